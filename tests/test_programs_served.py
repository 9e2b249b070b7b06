"""Every program that must keep working, under one `flash run` that serves them all (`program_contexts.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import program_contexts as contexts
import pytest
from program_answers import CALLS, ROUTES, WORKER_CALLS
from support import Server, free_port

pytestmark = pytest.mark.xdist_group("programs-served")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that holds all programs."""
    return contexts.copy(tmp_path_factory.mktemp("served") / "programs")


@pytest.fixture(scope="module")
def clients(session_environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which clients by ID reach the server, from scripts and from its own workers."""
    url = f"http://localhost:{free_port()}/v2"
    return {**contexts.environment_of(session_environment), "RUNPOD_ENDPOINT_BASE_URL": url}


@pytest.fixture(scope="module")
def server(folder: Path, clients: Mapping[str, str]) -> Iterator[Server]:
    """One `flash run` that serves all programs."""
    port = clients["RUNPOD_ENDPOINT_BASE_URL"].removesuffix("/v2").rpartition(":")[2]
    serving = Server(folder, "--no-reload", "--local", "--port", port, environment=clients)
    yield serving
    serving.stop()


@pytest.fixture(scope="module")
def served(server: Server) -> set[str]:
    """The paths that the server has."""
    return set(server.get("/openapi.json").json()["paths"])


@pytest.fixture(scope="module")
def ended(folder: Path, clients: Mapping[str, str], server: Server) -> contexts.Ended:
    """How each client program ended, as a script with a key that any server on this machine takes."""
    environment = {**clients, "RUNPOD_API_KEY": "any"}
    return contexts.run("script", folder, environment, dict.fromkeys(contexts.CLIENTS, ()))


@pytest.mark.parametrize("program", contexts.cases(sorted({*CALLS, *WORKER_CALLS, *ROUTES}), "dev"))
def test_program_over_http(program: str, server: Server, served: set[str]) -> None:
    for method, path, options, expected in ROUTES.get(program, ()):
        answer = server.request(method, f"/{program}{path}", **options)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.json() == expected
    for function, given, expected in (*CALLS.get(program, ()), *WORKER_CALLS.get(program, ())):
        route = f"/{program}/{function}"
        if f"{route}/runsync" not in served:
            route = f"/{program}"
        assert server.runsync(route, **given) == expected


@pytest.mark.parametrize("program", contexts.cases(contexts.CLIENTS, "client"))
def test_client_program_of_the_server(program: str, ended: contexts.Ended) -> None:
    contexts.check(program, ended)
