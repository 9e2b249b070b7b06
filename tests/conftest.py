"""Fixtures that all tests share, and the account of tests that were left out."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from platform_support import HANDLERS, Endpoint, Node, Official, Platform, Scripted, platform_process
from support import FLASH, MARK, Project, Serve, clean_environment, end_marked, find_chromium

REPOSITORY = Path(__file__).resolve().parent.parent
#: Set by CI: a test that is left out there is a failure.
COMPLETE = os.environ.get("FLASH_TESTS_COMPLETE") == "1"
#: `make test-torch` has torch, which no other test needs.
collect_ignore = [] if importlib.util.find_spec("torch") else ["test_tensors.py"]
# Read by the product too; a user's setting must not reach tests that work inside this process. `FLASH_KILL_*` are
# read by a test alone.
for name in [name for name in os.environ if name.startswith(("RUNPOD_", "FLASH_")) and name[:11] != "FLASH_KILL_"]:
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
def platform(session_environment: dict[str, str]) -> Iterator[Platform]:
    """One `flash platform`, shared by the tests of a test process: each makes endpoints of its own."""
    with platform_process(session_environment, "--app", HANDLERS / "app") as process:
        yield process


@pytest.fixture(scope="session")
def clocked(session_environment: dict[str, str]) -> Iterator[Platform]:
    """Another one whose clock a test moves ahead."""
    with platform_process(session_environment, manual_clock=True) as process:
        yield process


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[..., Scripted]]:
    """Make an endpoint whose workers the test plays: `scripted(platform, workers=2, **fields)`."""
    made: list[Endpoint] = []

    def make(where: Platform, **options: Any) -> Scripted:
        made.append(endpoint := where.scripted(tmp_path, **options))
        return endpoint

    yield make
    for endpoint in made:
        endpoint.platform.request("DELETE", f"/v2/serverless/{endpoint.id}", token=endpoint.token)


@pytest.fixture(scope="session")
def official_python(official: Path, session_environment: dict[str, str]) -> Official:
    """Programs of the official packages."""
    return Official(official, session_environment)


@pytest.fixture(scope="session")
def official_endpoint(platform: Platform, official_python: Official) -> Callable[..., Endpoint]:
    """Return the endpoint of an official worker, `handlers/{name}.py`: shared by the tests of a test process."""

    @functools.cache
    def endpoint(name: str, variables: tuple[tuple[str, str], ...] = ()) -> Endpoint:
        workers = {"min": 0, "max": 1, "idleTimeout": 300}
        return platform.create(official_python.worker(name), workers=workers, env=dict(variables))

    return endpoint


@pytest.fixture
def account(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's calls go to the platform."""
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def node(session_environment: dict[str, str]) -> Node:
    """Programs that use the official JavaScript client."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node.js is not installed (Debian: apt-get install nodejs npm)")
    modules = REPOSITORY / ".venv-official-node"
    assert (modules / "node_modules" / "runpod-sdk").is_dir(), (
        "runpod-sdk is not installed: make .venv-official-node/.installed"
    )
    return Node(program, modules, session_environment)


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
            if isinstance(serving, Platform):
                item.add_report_section("call", f"flash platform at {serving.url}", serving.errors.text[-20000:])
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
