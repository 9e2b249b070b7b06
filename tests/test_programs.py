"""Every program that must keep working: as a script, in its own workers, and in the manifest (`program_contexts.py`)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import program_contexts as contexts
import pytest
from program_answers import BUILT, CALLS
from support import FLASH

pytestmark = pytest.mark.xdist_group("programs")

#: An unguarded call ends the load of a module in a real worker; here it would be made.
IMPORTED = [name for name in contexts.SCRIPTS if name != "p00_readme"]


@pytest.fixture(scope="module")
def environment_of_programs(session_environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of all processes here."""
    return contexts.environment_of(session_environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that holds all programs."""
    return contexts.copy(tmp_path_factory.mktemp("scripts") / "programs")


@pytest.fixture(scope="module")
def scripts(folder: Path, environment_of_programs: Mapping[str, str]) -> contexts.Ended:
    """How each program ended, run as a script without a key."""
    return contexts.run("script", folder, environment_of_programs, dict.fromkeys(contexts.LOCAL, ()))


@pytest.fixture(scope="module")
def workers(environment_of_programs: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> contexts.Ended:
    """How the import of each program by its own workers ended."""
    apart = contexts.copy(tmp_path_factory.mktemp("worker") / "app")  # Where nothing has written.
    calls = {name: CALLS.get(name, ()) for name in IMPORTED}
    return contexts.run("worker", apart, environment_of_programs, calls)


@pytest.fixture(scope="module")
def manifest(folder: Path, environment_of_programs: Mapping[str, str]) -> Any:
    """The manifest of all programs."""
    command = [str(FLASH), "manifest"]
    printed = subprocess.run(
        command, cwd=folder, env=environment_of_programs, capture_output=True, text=True, timeout=60, check=False
    )
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout)


def test_each_pattern_that_must_keep_working_has_a_program() -> None:
    numbers = {name.removeprefix("p").partition("_")[0] for name in contexts.ALL}
    assert {f"{number:02}" for number in range(41)} <= numbers


@pytest.mark.parametrize("program", contexts.cases(contexts.LOCAL, "script"))
def test_program_as_a_script(program: str, scripts: contexts.Ended) -> None:
    contexts.check(program, scripts)


@pytest.mark.parametrize("program", contexts.cases(IMPORTED, "worker"))
def test_program_in_its_own_workers(program: str, workers: contexts.Ended) -> None:
    contexts.check(program, workers)


@pytest.mark.parametrize("program", contexts.cases(sorted(BUILT), "manifest"))
def test_program_in_the_manifest(program: str, manifest: Any) -> None:
    for endpoint, expected in BUILT[program].items():
        found = manifest["resources"][endpoint]
        assert {field: found.get(field) for field in expected} == expected
