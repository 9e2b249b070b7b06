"""Reads pickles that were damaged on purpose, in a process with bounded memory; prints what came of them.

A program: a crash, a hang or memory without bounds ends it, which `test_payload_hostile.py` sees.
"""

from __future__ import annotations

import base64
import collections
import datetime
import pickle
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from runpod_flash import _core

#: Bytes of address space: what a pickle claims beyond that is not there.
MEMORY = 6 << 30
COUNT = 800
#: A memo index, lengths and a buffer beside the pickle, none of which is there.
CLAIMS = (b"r\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"\x96" + b"\x7f" * 8, b"\x97")


def bodies() -> Iterator[bytes]:
    """Yield pickles of several kinds: no functions, whose damaged code could do anything."""
    array = np.arange(3000.0).reshape(30, 100)
    values = [
        {"a": [1, 2.5, "x", b"y", None, True, 2**70], "b": (1, {2}, frozenset({3})), "c": 1 + 2j},
        [datetime.datetime(2026, 11, 24), "text " * 100, bytes(5000), bytearray(70_000)],
        array,
        [array[::2, ::3], np.asfortranarray(array), array.astype(">i4")],
        np.ma.masked_array(array, mask=array > 7),
        np.zeros(50, [("id", "u2"), ("at", "M8[ms]")]),
        {f"key {number}": [(number,) * 3] * 4 for number in range(300)},
    ]
    for value in values:
        for protocol in (0, 2, 3, 4, 5):
            yield pickle.dumps(value, protocol)


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Change, cut, double or insert bytes."""
    changed = bytearray(body)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(changed) or 1)
        end = at + chance.choice((1, 2, 8, 100))
        what = chance.randrange(5)
        if what == 0 and changed:
            changed[at] = chance.randrange(256)
        elif what == 1:
            del changed[at:]
        elif what == 2:
            changed[at:at] = changed[at:end]
        elif what == 3:
            changed[at:at] = chance.choice(CLAIMS)
        else:
            del changed[at:end]
    return bytes(changed)


def main() -> None:
    """Read them all."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    chance, found = random.Random(5), collections.Counter[str]()
    whole = list(bodies())
    for number in range(COUNT):
        body = damaged(whole[number % len(whole)], chance)
        try:
            _core.load_text(base64.b64encode(body).decode())
            found["value"] += 1
        except Exception as error:
            found[type(error).__name__] += 1
    # Not `ru_maxrss`: that of the process that started this one counts there.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(sum(found.values()), peak // 1024, dict(found))


if __name__ == "__main__":
    main()
