"""Where programs run that are no plain file below asyncio: trio, `python -c`, standard input, the prompt."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from platform_support import Platform

Run = Callable[..., subprocess.CompletedProcess[str]]

PROGRAM = """
import asyncio
from runpod_flash import Endpoint

FACTOR = 3

@Endpoint(name="typed", cpu="cpu3c-1-2")
def triple(x):
    if x < 0:
        raise ValueError("negative")
    return x * FACTOR

async def main():
    found = []
    for x in (2, -1):
        try:
            found.append(await triple(x))
        except Exception as error:
            found.append(getattr(error, "remote_traceback", None) or f"{type(error).__name__}: {error}")
    return found

found = asyncio.run(main())
print("found", *found, sep="|")

"""

#: How a program is given to the interpreter that has no file of it.
WAYS = {"argument": ("-c", PROGRAM), "input": ("-",), "prompt": ("-i", "-q")}


@pytest.mark.parametrize("way", WAYS)
def test_program_without_a_file_runs_on_this_machine(run: Run, way: str) -> None:
    done = run(sys.executable, *WAYS[way], stdin="" if way == "argument" else PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr
    _, six, traceback = done.stdout.partition("found")[2].split("|")
    assert six == "6"
    file = "<string>" if way == "argument" else "<stdin>"
    assert f'File "{file}", line ' in traceback or "python-input" in traceback, traceback
    assert ", in triple\n" in traceback
    assert traceback.rstrip().endswith("ValueError: negative")
    assert way == "prompt" or done.stderr == ""


@pytest.mark.parametrize("way", WAYS)
def test_program_without_a_file_is_sent_or_refused_with_the_fix(run: Run, platform: Platform, way: str) -> None:
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(sys.executable, *WAYS[way], stdin="" if way == "argument" else PROGRAM, env=live)
    assert done.returncode == 0, done.stdout + done.stderr
    found = done.stdout.partition("found")[2]
    if "|6|" in found:  # From 3.13 on the interpreter itself keeps the text.
        assert "ValueError: negative" in found
        return
    assert "ShipmentError: `triple` has no source text that could travel to a live endpoint" in found
    assert "hint: define it in a file or a notebook cell" in found
    assert "making" not in done.stderr, "an endpoint was made for it"


TRIO = """
    import asyncio, warnings
    import anyio, trio
    from runpod_flash import Endpoint

    warnings.simplefilter("error")

    @Endpoint(name="trio", cpu="cpu3c-1-2")
    def double(x):
        return 2 * x

    @Endpoint(name="trio-items", cpu="cpu3c-1-2")
    def items(n):
        yield from range(n)

    api = Endpoint(name="trio-api", cpu="cpu3c-1-2")

    @api.get("/x")
    async def route():
        return "here"

    async def iterate():
        return [item async for item in items(2)]

    async def main():
        print(await route())
        for call in (lambda: double(1), lambda: iterate()):
            try:
                print(await call())
            except RuntimeError as error:
                print(error)
        print(await trio.to_thread.run_sync(asyncio.run, double(4)))
        print(await trio.to_thread.run_sync(asyncio.run, iterate()))

    if __name__ == "__main__":
        trio.run(main)
        anyio.run(main, backend="trio")
    """


def test_trio_is_told_how_to_call(run: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(TRIO))
    done = run(sys.executable, "app.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    refusal = (
        "no running asyncio event loop; await calls below asyncio (uvloop, or anyio with its asyncio backend). "
        "Elsewhere use the blocking methods, or a thread of its own: trio.to_thread.run_sync(asyncio.run, call)"
    )
    assert done.stdout.splitlines() == ["here", refusal, refusal, "8", "[0, 1]"] * 2
    assert done.stderr == ""
