"""A pytest plugin: Runpod on this machine, for tests.

The fixture ``flash_platform`` gives each test an account of its own on a ``flash platform`` that is started once for
the test process and ends with it:

.. code-block:: python

    def test_worker(flash_platform):
        endpoint = flash_platform.run_worker("echo", [sys.executable, "handler.py"])
        answer = flash_platform.post(f"/v2/{endpoint}/runsync", {"input": {"text": "hello"}})
        assert answer["status"] == "COMPLETED"

It is found by pytest where ``runpod_flash`` is installed. Official clients are pointed at the platform by the variables
in ``flash_platform.env``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["FlashPlatform", "flash_platform"]

#: Seconds that the platform may take to start, to stop, and to answer what is no job.
_PATIENCE = 60.0


class FlashPlatform:
    """One account on a running platform.

    Args:
        ready: What ``flash platform --json`` printed: ``url``, ``api``, ``graphql``, ``rest``, ``token``.
        token: Token of the account.
        account: Name of the account.

    """

    def __init__(self, ready: dict[str, str], token: str, account: str) -> None:
        self.url: str = ready["url"]
        self.api: str = ready["api"]
        self.graphql: str = ready["graphql"]
        self.rest: str = ready["rest"]
        self.token = token
        self.account = account

    def __repr__(self) -> str:
        return f"FlashPlatform(url={self.url!r}, account={self.account!r})"

    @property
    def env(self) -> dict[str, str]:
        """Variables that point the official clients here; they read them when they are imported."""
        return {
            "RUNPOD_API_KEY": self.token,
            "RUNPOD_ENDPOINT_BASE_URL": self.api,
            "RUNPOD_API_BASE_URL": self.url,
            "RUNPOD_REST_API_URL": self.rest,
            "RUNPOD_HAPI_URL": self.url,
            "RUNPOD_URL_MIXED_OK": "1",
        }

    def request(self, method: str, path: str, body: Any = None, *, timeout: float = 120.0) -> Any:
        """Send a request with the account's token and return what its JSON says.

        Args:
            method: HTTP method.
            path: Path, such as ``/v2/ENDPOINT/run``.
            body: What to send as JSON; nothing when ``None``.
            timeout: Seconds to wait for the answer.

        Raises:
            urllib.error.HTTPError: The answer's status is not one of success.

        """
        return _request(self.url, self.token, method, path, body, timeout)

    def get(self, path: str, *, timeout: float = 120.0) -> Any:
        """Send a ``GET``; see :meth:`request`."""
        return self.request("GET", path, timeout=timeout)

    def post(self, path: str, body: Any = None, *, timeout: float = 120.0) -> Any:
        """Send a ``POST``; see :meth:`request`."""
        return self.request("POST", path, {} if body is None else body, timeout=timeout)

    def run_worker(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        workers: int = 1,
        directory: str | os.PathLike[str] = ".",
        load_balanced: bool = False,
    ) -> str:
        """Make an endpoint whose workers are a command, such as ``[sys.executable, "handler.py"]``.

        Args:
            name: Name of the endpoint.
            command: Program and arguments. It takes jobs as ``runpod.serverless.start`` does, or, where
                ``load_balanced`` says so, serves HTTP on ``PORT``.
            workers: Most workers at once.
            directory: Folder to start it in.
            load_balanced: Whether the command serves HTTP.

        Returns:
            The endpoint's ID.

        """
        body: dict[str, Any] = {
            "name": name,
            "type": "LOAD_BALANCER" if load_balanced else "QUEUE",
            "workers": {"min": 0, "max": workers},
            "command": [os.fspath(part) for part in command],
            "directory": str(Path(directory).resolve()),
        }
        if load_balanced:
            body["scaling"] = {"type": "REQUEST_COUNT", "requestCount": 4}
        made = self.post("/v2/serverless", body)
        return str(made["id"])


class _Process:
    """The platform of this test process."""

    def __init__(self) -> None:
        arguments = [sys.executable, "-c", "from runpod_flash._cli import main; raise SystemExit(main())"]
        self.process = subprocess.Popen(
            [*arguments, "platform", "--port", "0", "--json", "--follow-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(_PATIENCE)
            raise RuntimeError(f"`flash platform` ended with exit code {code}; it says above why")
        self.ready: dict[str, str] = json.loads(line)

    def stop(self) -> None:
        """End it; it goes with its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _request(url: str, token: str, method: str, path: str, body: Any, timeout: float) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    # Never through a proxy: it is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@pytest.fixture(scope="session")
def _flash_platform_process() -> Iterator[_Process]:
    process = _Process()
    yield process
    process.stop()


@pytest.fixture
def flash_platform(_flash_platform_process: _Process) -> Iterator[FlashPlatform]:
    """Give a test an account of its own on Runpod on this machine; what it made is removed after it."""
    ready = _flash_platform_process.ready
    admin = (ready["url"], ready["token"])
    made = _request(*admin, "POST", "/_platform/accounts", {}, _PATIENCE)
    yield FlashPlatform(ready, made["token"], made["account"])
    _request(*admin, "DELETE", f"/_platform/accounts/{made['account']}", None, _PATIENCE)
