"""Live calls of user programs: to our own workers, and to the official one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.platform_support import Platform

PROGRAM = (Path(__file__).parent / "live_program.py").read_text(encoding="utf-8")
HELPERS = "from pkg import upper\ndef shout(text): return upper(text)\n"

Run = Callable[..., subprocess.CompletedProcess[str]]


def write(root: Path) -> None:
    (root / "pkg").mkdir()
    (root / "pkg" / "__init__.py").write_text("from .case import upper\n")
    (root / "pkg" / "case.py").write_text("def upper(text): return text.upper()\n")
    (root / "helpers.py").write_text(HELPERS)
    (root / "app.py").write_text(PROGRAM)


def test_live_program_on_our_workers_gives_what_it_gives_in_one_process(
    platform: Platform, run: Run, tmp_path: Path
) -> None:
    write(tmp_path)
    done = run(
        sys.executable,
        "app.py",
        "13",
        cwd=tmp_path,
        timeout=120,
        env={**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout and "on the worker 2.5" in done.stdout
