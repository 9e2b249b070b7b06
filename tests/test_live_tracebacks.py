"""What fails on a live worker is told with the files and lines of the caller: of our worker, and of the official one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from platform_support import Official, Platform

from tests.test_live_calls import DIRECTED

Run = Callable[..., subprocess.CompletedProcess[str]]

APP = """\
import asyncio
from runpod_flash import Endpoint
from pack.deep import dive
UNUSED = 1

def twice(function):
    def wrapper(x):
        return function(x) * 2
    return wrapper

def helper(x):
    # Why it is so.
    if x == 3:
        import no_such_module_there
    return dive(x)

@Endpoint(name="located", cpu="cpu3c-1-2")
@twice
def f(x):
    return helper(
        x
    )

@Endpoint(name="located-class", cpu="cpu3c-1-2")
class Model:
    def go(self, x):
        return helper(x)

async def main():
    for call in (lambda: f(0), lambda: f(3), lambda: Model().go(0)):
        try:
            await call()
        except Exception as error:
            print(error.remote_traceback, error.hint, "===")

asyncio.run(main())
"""


@pytest.mark.parametrize("worker", ["ours", "official"])
def test_traceback_of_a_live_call_names_the_callers_files_and_lines(
    platform: Platform, request: pytest.FixtureRequest, run: Run, tmp_path: Path, worker: str
) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "deep.py").write_text("# first\ndef dive(x):\n    return 1 / x\n")
    (tmp_path / "app.py").write_text(APP)
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    if worker == "ours":
        done = run(sys.executable, "app.py", cwd=tmp_path, timeout=100, env=live)
    else:
        official: Official = request.getfixturevalue("official_python")
        place = platform.create(official.worker("flash_function"), workers={"min": 0, "max": 1})
        done = run(sys.executable, "-c", DIRECTED, place.id, "app.py", cwd=tmp_path, timeout=100, env=live)
        place.delete()
    assert done.returncode == 0, done.stdout + done.stderr
    # The official program is given the file's name as it was called.
    app, deep = ("app.py" if worker == "official" else f"{tmp_path}/app.py"), f"{tmp_path}/pack/deep.py"
    divided, missing, method, _ = done.stdout.split("===")
    for file, line, name, source in (
        (app, 8, "wrapper", "return function(x) * 2"),
        (app, 20, "f", "return helper("),
        (app, 15, "helper", "return dive(x)"),
        (deep, 3, "dive", "return 1 / x"),
    ):
        assert f'  File "{file}", line {line}, in {name}\n    {source}\n' in divided, divided
    assert f'  File "{app}", line 14, in helper\n    import no_such_module_there\n' in missing, missing
    assert "nothing of requirements.txt or pyproject.toml" in missing
    assert f'  File "{app}", line 27, in go\n    return helper(x)\n' in method, method
