"""Fixtures that all tests share, and the account of tests that were left out."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from support import FLASH, MARK, Project, Serve, clean_environment, end_marked, find_chromium

REPOSITORY = Path(__file__).resolve().parent.parent
#: Set by CI: a test that is left out there is a failure.
COMPLETE = os.environ.get("FLASH_TESTS_COMPLETE") == "1"
# Read by the product too; a user's setting must not reach tests that work inside this process.
for name in [name for name in os.environ if name.startswith(("RUNPOD_", "FLASH_"))]:
    del os.environ[name]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of cached environments: one for all test processes of a run, so that each installs once."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    cache = base / "flash-cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def session_environment(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> dict[str, str]:
    """The environment for processes of session-wide fixtures."""
    return clean_environment(tmp_path_factory.mktemp("home"), shared_cache)


@pytest.fixture
def environment(session_environment: dict[str, str]) -> dict[str, str]:
    """A copy of the clean environment, to change freely."""
    return dict(session_environment)


@pytest.fixture
def project(tmp_path: Path) -> Callable[[Mapping[str, str | bytes]], Project]:
    """Write `{relative path: content}` into this test's own folder; call it again to add or change files."""
    root = tmp_path / "app"
    root.mkdir()

    def write(files: Mapping[str, str | bytes]) -> Project:
        return Project(root).write(files)

    return write


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run a program to its end, both streams captured; nothing that it started may be left."""
    mark = uuid.uuid4().hex

    def run_program(
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 60,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, arguments)),
            cwd=cwd or tmp_path,
            env=environment | dict(env or {}) | {MARK: mark},
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    yield run_program
    left = end_marked(mark, within=3)
    assert not left, f"left behind by a program that ended: {left}"


@pytest.fixture
def flash(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one `flash` command to its end: `flash("manifest", cwd=folder)`."""

    def run_flash(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        return run(FLASH, *arguments, **options)

    return run_flash


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Serve]:
    """Start `flash run` in a project's folder; every server is stopped after the test and must leave nothing.

    `serve(project)`, `serve(project, "--no-reload", env={"NAME": "value"})`.
    """
    serving = Serve(environment)
    yield serving
    serving.stop_all()


@pytest.fixture(scope="session")
def official() -> Path:
    """The interpreter of the environment that holds the official package, version 1.21.0."""
    python = REPOSITORY / ".venv-official" / "bin" / "python"
    if not python.exists():
        pytest.skip("the official package is not installed: make .venv-official/.installed")
    return python


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    path = find_chromium()
    if path is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what a test's servers printed when the test fails."""
    if call.when == "call" and call.excinfo is not None:
        for serving in getattr(item, "funcargs", {}).values():
            for server in serving.servers if isinstance(serving, Serve) else ():
                item.add_report_section("call", f"flash run in {server.root.name}", server.output.text)
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that were left out, with the reason."""
    left_out = terminalreporter.stats.get("skipped", [])
    if left_out:
        terminalreporter.section("left out")
        for report in left_out:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.write_line(f"{report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a complete run that left a test out."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if COMPLETE and reporter and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
