"""Values of every kind that payloads carry, by name, and what makes two of them the same.

Imported by clients and workers of every package, so that an interpreter gets a kind's name and makes the value itself.
"""

from __future__ import annotations

import array
import datetime
import decimal
import mmap
import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.rec  # as its classes say; else cloudpickle sends them by value

#: Items that make an array large: its memory is pinned, and what numpy would copy goes another way.
LARGE = 40_001
#: A live function that makes the values itself, says how those that arrived differ, and sends them back.
ECHO = """
def echo(**values):
    from payload_kinds import made, difference
    return {kind: (difference(made(kind), value), value) for kind, value in values.items()}
"""


def _numbers(count: int = LARGE, dtype: str = "<f8") -> Any:
    return (np.arange(count) * 37 % 10_007).astype(dtype)


def _read_only() -> Any:
    array = _numbers()
    array.setflags(write=False)
    return array


def _memmap() -> Any:
    handle, path = tempfile.mkstemp()
    os.close(handle)
    array: Any = np.memmap(path, dtype="<i4", mode="r+", shape=(300, 401))
    array[:] = np.arange(300 * 401).reshape(300, 401)
    array.flush()
    os.unlink(path)
    return array


def _memmap_strided() -> Any:
    return _memmap()[::2, 1::2]


def _structured(count: int = 10_001) -> Any:
    dtype = np.dtype([("id", ">u2"), ("at", "M8[ms]"), ("position", "<f4", (3,)), ("name", "S5")], align=True)
    array = np.zeros(count, dtype)
    array["id"] = np.arange(count) % 65_536
    array["at"] = np.arange(count).astype("M8[ms]")
    array["position"] = np.arange(3 * count).reshape(count, 3)
    array["name"] = b"ab\x00c"
    return array


def _masked(mask: bool = True, order: str = "C") -> Any:
    data = np.asarray(_numbers(400 * 500).reshape(400, 500), order=order)  # type: ignore[call-overload]
    array: Any = np.ma.masked_array(data, fill_value=-1.5)
    if mask:
        array[::3, ::2] = np.ma.masked
    return array


def _frame() -> Any:
    import pandas as pd

    return pd.DataFrame(
        {
            "a": _numbers(),
            "b": _numbers(dtype="i8"),
            "c": pd.Categorical.from_codes(np.arange(LARGE) % 3, ["x", "y", "z"]),
            "d": pd.date_range("2026-01-01", periods=LARGE, freq="min", tz="Europe/Berlin"),
            "e": [f"text {number}" for number in range(LARGE)],
        },
        index=pd.RangeIndex(5, 5 + LARGE, name="row"),
    )


def _table() -> Any:
    import pyarrow as pa

    strings = pa.array([None if number % 7 == 0 else f"text {number}" for number in range(LARGE)])
    return pa.table({"a": _numbers(), "b": strings}).slice(3, LARGE - 10)


def _arrow_buffer() -> Any:
    import pyarrow as pa

    return pa.py_buffer(_numbers())


def _function(held: Any) -> Any:
    return lambda x: float(x + held.sum())


class Bytes(bytearray):
    """A bytearray with something of its own."""

    label = "none"


def _labelled() -> Bytes:
    value = Bytes(bytes(range(256)) * 1000)
    value.label = "some"
    return value


class OwnReduce(np.ndarray):
    """An array class that pickles its attribute too, as numpy's documentation has it."""

    unit = "none"

    def __reduce__(self) -> Any:
        function, arguments, state = super().__reduce__()
        return function, arguments, (*state, self.unit)

    def __setstate__(self, state: Any) -> None:
        self.unit = state[-1]
        super().__setstate__(state[:-1])


class Subclass(np.ndarray):
    """An array class of the user's."""


KINDS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "plain": lambda: {"a": [1, 2.5, "x", b"y", None, True, 2**70], "b": (1, {2}, frozenset({3})), "π": 1 + 2j},
    "dates": lambda: [datetime.datetime(2026, 11, 24, tzinfo=datetime.timezone.utc), decimal.Decimal("1.10")],
    "text": lambda: "grüße 😀 " * 20_000,
    "text alone, of ASCII": lambda: "abcdefghi\n" * 20_000,
    "text with half of a pair": lambda: "ab\ud83d" * 50_000,
    "texts": lambda: {"a": ["abc " * 50_000, "é" * 50_000]},
    "array.array": lambda: array.array("d", range(LARGE)),
    "array.array, small": lambda: [array.array("h", range(10)), array.array("h")],
    "bytearray class": _labelled,
    "array class with its own reduction": lambda: _numbers().view(OwnReduce),
    "bytes": lambda: bytes(range(256)) * 1000,
    "bytes of no length": lambda: b"",
    "bytearray": lambda: bytearray(range(256)) * 1000,
    "memoryview": lambda: memoryview(bytes(range(256)) * 1000),
    "memoryview writable": lambda: memoryview(bytearray(range(256)) * 1000).cast("I"),
    "memoryview strided": lambda: memoryview(bytes(range(256)) * 1000)[::3],
    "memoryview of axes": lambda: memoryview(np.asfortranarray(_numbers(300 * 300).reshape(300, 300))),
    "one array": lambda: _numbers(),
    "array C": lambda: _numbers(300 * 300).reshape(300, 300),
    "array Fortran": lambda: np.asfortranarray(_numbers(300 * 300).reshape(300, 300)),
    "array transposed": lambda: _numbers(60 * 50 * 40).reshape(60, 50, 40).transpose(1, 0, 2),
    "array strided": lambda: _numbers(600 * 600).reshape(600, 600)[::2, ::-3],
    "array strided small": lambda: _numbers(60).reshape(6, 10)[::2, ::3],
    "array reversed": lambda: _numbers()[::-1],
    "array of one column": lambda: _numbers(3 * LARGE).reshape(LARGE, 3)[:, 1],
    "array broadcast": lambda: np.broadcast_to(_numbers(300), (300, 300)),
    "array bytes strided": lambda: _numbers(900_000, "u1")[::3],
    "array 24-byte items strided": lambda: _numbers(6 * LARGE).view("V24")[::2],
    "array of no size": lambda: np.zeros((3, 0, 2), ">i4"),
    "array of no axes": lambda: np.array(2.5),
    "array of objects": lambda: np.array([1, "two", None, [3]], dtype=object),
    "array of objects, large": lambda: np.array([*range(LARGE)], dtype=object),
    "array read-only": _read_only,
    "array big-endian": lambda: _numbers(dtype=">f8"),
    "array big-endian strided": lambda: _numbers(2 * LARGE, ">u4")[::2],
    "array bool": lambda: _numbers(8 * LARGE) > 5000,
    "array complex": lambda: _numbers(dtype="c16"),
    "array text": lambda: _numbers(dtype="U7"),
    "array float16": lambda: _numbers(200_000, "f2"),
    "array datetime": lambda: _numbers(dtype="M8[us]"),
    "array datetime Fortran": lambda: np.asfortranarray(_numbers(300 * 300, "M8[s]").reshape(300, 300)),
    "array timedelta strided": lambda: _numbers(2 * LARGE, "m8[s]")[1::2],
    "array structured": _structured,
    "array structured strided": lambda: _structured(20_001)[::2],
    "array structured small": lambda: _structured(5),
    "array one field": lambda: _structured()["position"],
    "array memmap": _memmap,
    "array memmap strided": _memmap_strided,
    "array record": lambda: _structured().view(np.recarray),
    "array subclass": lambda: _numbers().view(Subclass),
    "array subclass strided": lambda: _numbers(2 * LARGE).view(Subclass)[::2],
    "masked": _masked,
    "masked Fortran": lambda: _masked(order="F"),
    "masked strided": lambda: _masked()[::2, 1::2],
    "masked with no mask": lambda: _masked(mask=False),
    "masked structured": lambda: np.ma.masked_array(_structured(), mask=(1, 0, 0, 1)),
    "masked small": lambda: np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]),
    "scalars": lambda: [np.float32(1.5), np.int64(-3), np.datetime64("2026-11-24"), np.bool_(True), np.complex64(1j)],
    "structured scalar": lambda: _structured(3)[1],
    "shared": lambda: [_numbers()] * 3,
    "many": lambda: {f"key {number}": _numbers(20_000 + number) for number in range(12)},
    "mmap": lambda: memoryview(mmap.mmap(-1, 300_000)),
    "function": lambda: _function(_numbers()),
    "series": lambda: _frame()["a"],
    "frame": _frame,
    "frame of every second row": lambda: _frame()[["a", "b"]].iloc[::2],
    "frame of every third row of one kind": lambda: _frame()[["a"]].iloc[::-3],
    "series of every second row": lambda: _frame()["b"].iloc[1::2],
    "frame of floats": lambda: _frame()[["a"]].T,
    "arrow table": _table,
    "arrow buffer": _arrow_buffer,
}


def groups(count: int, kinds: Iterable[str] = KINDS) -> list[list[str]]:
    """Return all kinds in so many groups."""
    return [list(kinds)[number::count] for number in range(count)]


def made(kind: str) -> Any:
    """Make the value of a kind as it is after a way through stock cloudpickle."""
    import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(KINDS[kind]()))


def difference(left: Any, right: Any) -> str | None:
    """Say what differs between two values, `None` where nothing does."""
    if type(left) is not type(right):
        return f"type: {type(left)} and {type(right)}"
    if isinstance(left, np.ndarray):
        for name in ("dtype", "shape", "strides"):
            if getattr(left, name) != getattr(right, name):
                return f"{name}: {getattr(left, name)} and {getattr(right, name)}"
        for flag in ("WRITEABLE", "ALIGNED"):
            if left.flags[flag] != right.flags[flag]:
                return f"{flag}: {left.flags[flag]} and {right.flags[flag]}"
        if isinstance(left, np.ma.MaskedArray):
            if repr(left.fill_value) != repr(right.fill_value):
                return f"fill value: {left.fill_value} and {right.fill_value}"
            return difference(np.ma.getmaskarray(left), np.ma.getmaskarray(right)) or difference(left.data, right.data)
        if left.dtype.names:  # Between fields may be bytes that mean nothing.
            found = (difference(np.asarray(left[name]), np.asarray(right[name])) for name in left.dtype.names)
            return next((text for text in found if text), None)
        if left.dtype.hasobject:
            return difference(left.tolist(), right.tolist())
        return None if left.tobytes() == right.tobytes() else "bytes"
    if isinstance(left, (list, tuple)):
        if len(left) != len(right):
            return f"length: {len(left)} and {len(right)}"
        return next(filter(None, (difference(*pair) for pair in zip(left, right, strict=True))), None)
    if isinstance(left, dict):
        return difference(list(left), list(right)) or difference(list(left.values()), list(right.values()))
    if hasattr(left, "equals"):  # pandas, arrow
        if str(getattr(left, "dtypes", None)) != str(getattr(right, "dtypes", None)):
            return f"dtypes: {left.dtypes} and {right.dtypes}"
        return None if left.equals(right) else "values"
    if isinstance(left, Bytes) and left.label != right.label:
        return "label"
    if callable(left):
        return None if left(2.0) == right(2.0) else "what it returns"
    return None if left == right and repr(left) == repr(right) else f"value: {left!r:.80} and {right!r:.80}"
