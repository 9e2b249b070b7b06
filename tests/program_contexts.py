"""The programs in `programs/`, and the contexts that they are run in.

`programs/pNN_*.py` are small real programs, one for each line of the table of what must keep working. A *script* runs
a program's `main` in a process without a key, where decorated functions are called in workers of this machine; *live*
provisions and ships them; *deployed* is a client of the deployed app; *dev* calls them over HTTP under one `flash run`
that serves them all; *client* is the client programs against that server; *worker* imports a program as the worker of
each of its endpoints does; *manifest* compares what is built from it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).resolve().parent / "programs"
ALL = sorted(path.stem for path in PROGRAMS.glob("p*.py"))

#: Programs whose `main` is run as a script: all that have one.
SCRIPTS = [name for name in ALL if "async def main" in (PROGRAMS / f"{name}.py").read_text()]

#: Clients of programs that are deployed or served elsewhere: they need a key.
CLIENTS = ("p26_client", "p27_client_routes")
#: What is done to Runpod's own resources: it needs a key, and no worker of this machine has a part in it.
ACCOUNT = ("p32_resources",)
LOCAL = [name for name in SCRIPTS if name not in {*CLIENTS, *ACCOUNT}]

#: How a program ended: what it raised, or nothing.
Ended = tuple[dict[str, str | None], str]


def cases(programs: Iterable[str], context: str) -> list[Any]:
    """Return one parameter for each program, named as it is called: `23-stacked-live`."""
    found = []
    for program in programs:
        number, _, title = program.removeprefix("p").partition("_")
        found.append(pytest.param(program, id=f"{number}-{title.replace('_', '-')}-{context}"))
    return found


def environment_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Packages come from this environment: what is installed is not the point here."""
    return {**environment, "FLASH_DEPS": "none"}


def copy(root: Path, *, is_bare: bool = False) -> Path:
    """Copy all programs; bare ones have no dependencies, which workers on Runpod would install."""
    shutil.copytree(PROGRAMS, root, ignore=shutil.ignore_patterns("__pycache__", ".flash"))
    (root / ".env").write_text("P11_TOKEN=from-dotenv\n")
    for path in root.glob("p*.py") if is_bare else ():
        path.write_text(re.sub(r"\bdependencies=\[[^]]*\]", "dependencies=[]", path.read_text()))
    return root


def run(mode: str, folder: Path, environment: Mapping[str, str], programs: Mapping[str, Any]) -> Ended:
    """Run programs in one process; return how each ended, and what was printed."""
    command = [sys.executable, "run_programs.py", mode, json.dumps(programs)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("[")]
    return dict(lines), ended.stderr


def check(program: str, outcome: Ended) -> None:
    """Fail with what the program raised."""
    ended, printed = outcome
    assert program in ended, printed[-4000:]
    assert ended[program] is None, f"{ended[program]}\n{printed[-4000:]}"
