"""Every program that must keep working, toward Runpod on this machine: live, and deployed (`program_contexts.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import program_contexts as contexts
import pytest
from platform_support import Platform, platform_process

pytestmark = pytest.mark.xdist_group("programs-runpod")

#: Deployed, the arguments of a constructor are refused with a reason; `_deployed.py` has that.
DEPLOYED = [name for name in contexts.SCRIPTS if name != "p24_constructor"]
LIVE = [*contexts.LOCAL, *contexts.ACCOUNT]


@pytest.fixture(scope="module")
def environment_of_programs(session_environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of all processes here."""
    return contexts.environment_of(session_environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs without dependencies, which workers on Runpod would install."""
    return contexts.copy(tmp_path_factory.mktemp("runpod") / "programs", is_bare=True)


@pytest.fixture(scope="module")
def runpod(folder: Path, environment_of_programs: Mapping[str, str]) -> Iterator[Platform]:
    """Runpod on this machine, with the programs as a deployed app."""
    with platform_process(environment_of_programs, "--app", folder, "--no-rate-limits") as process:
        yield process


@pytest.fixture(scope="module")
def lives(folder: Path, environment_of_programs: Mapping[str, str], runpod: Platform) -> contexts.Ended:
    """How each program ended, run as a script that provisions and ships its functions."""
    environment = {**environment_of_programs, **runpod.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    return contexts.run("script", folder, environment, dict.fromkeys(LIVE, ()))


@pytest.fixture(scope="module")
def deployeds(folder: Path, environment_of_programs: Mapping[str, str], runpod: Platform) -> contexts.Ended:
    """How each program ended, run as a script with a key: as a client of the deployed app."""
    environment = {**environment_of_programs, **runpod.variables}
    return contexts.run("script", folder, environment, dict.fromkeys(DEPLOYED, ()))


@pytest.mark.parametrize("program", contexts.cases(LIVE, "live"))
def test_program_that_ships_its_functions(program: str, lives: contexts.Ended) -> None:
    contexts.check(program, lives)


@pytest.mark.parametrize("program", contexts.cases(DEPLOYED, "deployed"))
def test_program_as_a_client_of_the_deployed_app(program: str, deployeds: contexts.Ended) -> None:
    contexts.check(program, deployeds)
