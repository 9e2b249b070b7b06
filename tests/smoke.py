"""Checks one installed wheel under the interpreter that runs this file; needs nothing but the wheel.

Run as `python smoke.py`: `tests/smoke.sh` does so in an environment of its own for every Python it finds.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

APP = """
    import asyncio
    import sys

    from runpod_flash import CpuInstanceType, Endpoint

    SCALE = 10


    @Endpoint(name="scale", cpu=CpuInstanceType.CPU3G_1_4)
    async def scale(values: list[int], offset: int = 0) -> dict:
        return {"values": [value * SCALE + offset for value in values], "python": sys.version_info[:2]}


    @Endpoint(name="join", cpu=CpuInstanceType.CPU3G_1_4)
    def join(first: str, second: str) -> str:
        return f"{first} {second}"


    async def main() -> None:
        answer = await scale([1, 2], offset=3)
        assert answer == {"values": [13, 23], "python": sys.version_info[:2]}, answer
        assert await join("two", "words") == "two words"
        print("answered")


    asyncio.run(main())
"""


def version_is_the_wheels() -> None:
    said = subprocess.run([flash(), "--version"], capture_output=True, text=True, check=True).stdout
    assert importlib.metadata.version("runpod-flash") in said, said


def import_loads_nothing_else() -> None:
    code = "import sys; b = {*sys.modules}; from runpod_flash import Endpoint, GpuType; print(*sys.modules.keys() - b)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"asyncio", "logging", "inspect", "numpy", "pydantic", "fastapi", "cloudpickle"}
    assert not heavy & set(loaded), sorted(heavy & set(loaded))


def decorated_function_is_a_coroutine_function() -> None:
    from runpod_flash import Endpoint

    @Endpoint(name="smoke", cpu="cpu3g-1-4")
    async def double(value: int = 1) -> int:
        """Return twice the value."""
        return 2 * value

    assert inspect.iscoroutinefunction(double)
    assert asyncio.iscoroutinefunction(double) if sys.version_info < (3, 14) else True
    assert double.__name__ == "double"
    assert double.__doc__ == "Return twice the value."
    assert list(inspect.signature(double).parameters) == ["value"]
    assert asyncio.run(double.local(4)) == 8


def enums_are_enums_that_pickle() -> None:
    import enum

    from runpod_flash import GpuGroup, GpuType

    assert issubclass(GpuType, enum.Enum)
    assert GpuGroup("ADA_24") is GpuGroup.ADA_24
    for member in (GpuType.NVIDIA_L4, GpuGroup.ADA_24):
        assert pickle.loads(pickle.dumps(member)) is member


def wrong_value_is_a_value_error_that_names_the_right_one() -> None:
    from runpod_flash import Endpoint

    try:
        Endpoint(name="wrong", gpu="NVIDIA_A100_80GB_PCI")  # type: ignore[arg-type]
    except ValueError as error:
        message = str(error)
    else:
        raise AssertionError("an unknown GPU was accepted")
    assert "NVIDIA_A100_80GB_PCIe" in message or "NVIDIA A100 80GB PCIe" in message, message


def script_calls_its_own_functions_in_workers() -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app.py")
        app.write_text(textwrap.dedent(APP))
        ended = subprocess.run([sys.executable, str(app)], capture_output=True, text=True, timeout=60, cwd=folder)
        assert ended.returncode == 0, ended.stderr
        assert "answered" in ended.stdout, ended.stdout + ended.stderr
        assert sorted(path.name for path in Path(folder).iterdir() if path.name != "__pycache__") == ["app.py"]


def manifest_is_written_from_a_project() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(textwrap.dedent(APP))
        printed = subprocess.run([flash(), "manifest"], capture_output=True, text=True, timeout=60, cwd=folder)
        assert printed.returncode == 0, printed.stderr
        assert '"scale"' in printed.stdout, printed.stdout


def flash() -> str:
    beside = Path(sys.executable).with_name("flash")
    return str(beside) if beside.exists() else shutil.which("flash") or "flash"


CHECKS: list[Callable[[], None]] = [
    version_is_the_wheels,
    import_loads_nothing_else,
    decorated_function_is_a_coroutine_function,
    enums_are_enums_that_pickle,
    wrong_value_is_a_value_error_that_names_the_right_one,
    script_calls_its_own_functions_in_workers,
    manifest_is_written_from_a_project,
]


def main() -> int:
    for name in [name for name in os.environ if name.startswith(("RUNPOD_", "FLASH_"))]:
        del os.environ[name]
    failed = 0
    for check in CHECKS:
        try:
            check()
        except Exception as error:  # every check is tried
            failed += 1
            print(f"FAILED {check.__name__}: {type(error).__name__}: {error}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
