"""A server that misbehaves on purpose: nothing is submitted twice, nothing hangs, each case is one clear exception.

The same cases at the level of the core are in `src/runpod/tests/`; here a program meets them through `Endpoint(id=…)`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from misbehaving import DONE, RUNS, Act, Serve, answer, cut_off, dribble, hang, refuse, reset, serving
from platform_support import Platform
from runpod_flash import Endpoint, EndpointJob, errors
from support import FLASH


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server and point this process at it."""
    yield from serving(monkeypatch)


def runsync(timeout: float = 60) -> EndpointJob[Any]:
    """Make one call as a program does."""
    return asyncio.run(Endpoint(id="ep").runsync({"a": 1}, timeout=timeout))


@pytest.mark.parametrize(
    ("act", "kind", "may_be_accepted"),
    [
        pytest.param(refuse(500), errors.ServiceUnavailableError, True, id="500"),
        pytest.param(refuse(502), errors.ServiceUnavailableError, True, id="502"),
        pytest.param(refuse(504), errors.ServiceUnavailableError, True, id="504"),
        pytest.param("reset", errors.ConnectionFailedError, True, id="reset-before-the-body"),
        pytest.param(reset, errors.ConnectionFailedError, True, id="reset-after-the-body"),
        pytest.param(cut_off, errors.ConnectionFailedError, True, id="reset-in-the-answer"),
        pytest.param(answer(200, DONE[:-9]), errors.MalformedAnswerError, True, id="truncated-json"),
        pytest.param(answer(200, b"<html>hello"), errors.MalformedAnswerError, True, id="a-page"),
        pytest.param(refuse(429, Retry_After="600"), errors.RateLimitError, False, id="429-for-too-long"),
        pytest.param(refuse(401), errors.AuthenticationError, False, id="401"),
        pytest.param(refuse(404), errors.NotFoundError, False, id="404"),
        pytest.param(refuse(422), errors.InvalidRequestError, False, id="422"),
    ],
)
def test_failed_submission_is_one_clear_exception_and_never_a_second_job(
    serve: Serve, act: Act | str, kind: type[errors.RunpodError], may_be_accepted: bool
) -> None:
    server = serve(lambda *_: act)
    with pytest.raises(kind) as caught:
        runsync()
    assert server.requests == ["runsync"]
    assert ("may have been accepted" in str(caught.value)) is may_be_accepted
    assert caught.value.endpoint == "ep"
    assert "SECRET" not in repr(caught.value) + str(caught.value.body)
    if isinstance(caught.value, errors.RateLimitError):
        assert caught.value.retry_after == 600
        assert (caught.value.status_code, caught.value.request_id) == (429, "req-7")


def test_refusal_that_says_when_to_come_again_is_followed(serve: Serve) -> None:
    server = serve(lambda _, before: refuse(429, Retry_After="0") if before < 2 else answer(200, DONE))
    assert runsync().output == {"n": 42}
    assert server.count("runsync") == 3


def test_content_type_is_not_believed(serve: Serve) -> None:
    serve(lambda *_: answer(200, DONE, Content_Type="text/html; charset=utf-7"))
    assert runsync().output == {"n": 42}


@pytest.mark.parametrize("act", [refuse(500), refuse(429, Retry_After="0"), reset, cut_off, answer(200, RUNS[:9])])
def test_passing_trouble_with_the_status_is_borne(serve: Serve, act: Act) -> None:
    def script(kind: str, before: int) -> Act:
        if kind == "runsync":
            return answer(200, RUNS)
        return act if before == 0 else answer(200, DONE)

    server = serve(script)
    assert runsync().output == {"n": 42}
    assert server.count("run", "runsync") == 1


def test_states_may_be_told_twice(serve: Serve) -> None:
    told = [RUNS, RUNS, b'{"id":"j1","status":"COMPLETED","status":"IN_PROGRESS"}', DONE, DONE]
    server = serve(lambda kind, before: answer(200, told[0 if kind == "runsync" else before + 1]))
    assert runsync().output == {"n": 42}
    assert (server.count("runsync"), server.count("status", "status-sync")) == (1, 3)


def test_job_that_vanishes_is_an_error_that_names_it(serve: Serve) -> None:
    server = serve(lambda kind, _: answer(200, RUNS) if kind == "runsync" else refuse(404))
    with pytest.raises(errors.JobNotFoundError) as caught:
        runsync()
    assert caught.value.job_id == "j1"
    assert server.count("runsync") == 1


@pytest.mark.parametrize("act", [hang, dribble])
@pytest.mark.parametrize("when", ["runsync", "status"])
def test_no_silence_outlasts_the_timeout(serve: Serve, act: Act, when: str) -> None:
    server = serve(lambda kind, _: act if kind.startswith(when) else answer(200, RUNS))
    with pytest.raises(errors.DeadlineExceededError) as caught:
        runsync(timeout=0.3)
    assert isinstance(caught.value, TimeoutError)
    assert server.count("runsync") == 1
    assert caught.value.job_id == (None if when == "runsync" else "j1")


def test_refused_connection_says_that_nothing_was_sent(serve: Serve) -> None:
    serve(lambda *_: hang).close()
    with pytest.raises(errors.ConnectionFailedError, match="cannot connect to") as caught:
        runsync()
    assert isinstance(caught.value, ConnectionError)
    assert "accepted" not in str(caught.value)


def test_key_stays_here_where_anybody_could_read_it(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(lambda *_: answer(200, DONE))
    monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", "http://runpod.example/v2")
    with pytest.raises(errors.ConfigurationError, match="without encryption"):
        runsync()


CALLS = """
import asyncio
from runpod_flash import Endpoint

job = asyncio.run(Endpoint(id="our-plain").runsync({"wanted": {"pong": 1}}))
print(*job.output["echo"])
"""


@pytest.mark.parametrize("base", ["https://api.runpod.ai/v2", "https://api.localhost:{port}/v2"])
def test_certificates_and_proxies_are_those_of_the_environment(
    platform: Platform, run: Callable[..., Any], tmp_path: Path, base: str
) -> None:
    line = [FLASH, "platform", "env", "--url", platform.url, "--token", platform.token, "--shell", "json"]
    told = json.loads(run(*line, env=platform.environment).stdout)
    env = {**told, "RUNPOD_ENDPOINT_BASE_URL": base.format(port=platform.port)}
    program = tmp_path / "app.py"
    program.write_text(CALLS)
    good = run(sys.executable, program, env=env)
    assert (good.returncode, good.stdout.split()) == (0, ["pong"]), good.stderr
    bad = run(sys.executable, program, env=env | {"SSL_CERT_FILE": ""})
    assert bad.returncode != 0
    assert "SSL_CERT_FILE" in bad.stderr
