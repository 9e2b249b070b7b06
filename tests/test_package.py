"""The package as it is installed: its version, its typing marker, its console script."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def cargo_version() -> str:
    found = re.search(r'^version = "(.+)"$', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_version_of_the_distribution_is_that_of_the_crate() -> None:
    assert metadata.version("runpod-flash") == cargo_version()


def test_version_of_the_module_is_that_of_the_crate() -> None:
    import runpod_flash

    assert runpod_flash.__version__ == cargo_version()


def test_version_of_the_command_is_that_of_the_crate(flash) -> None:
    answer = flash("--version")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()[-1].lstrip("v") == cargo_version()


def test_package_is_marked_as_typed() -> None:
    assert resources.files("runpod_flash").joinpath("py.typed").is_file()
