"""What the errors of the client say to a user: what it was about, what was seen, and what to do; never a secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from misbehaving import RUNS, Act, Serve, answer, hang, refuse, serving
from platform_support import Platform, Scripted
from runpod_flash import Endpoint, _core, errors

HEAD = json.dumps({"function_name": "f", "function_code": "def f(): pass"})


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server and point this process at it."""
    yield from serving(monkeypatch)


def ended(status: str, **fields: Any) -> Act:
    return answer(200, json.dumps({"id": "j1", "status": status} | fields).encode())


@pytest.mark.parametrize(
    ("act", "kind", "said", "hint"),
    [
        (refuse(401), "AuthenticationError", "does not accept the API key", "flash login"),
        (refuse(404), "NotFoundError", "not found", "check the endpoint's ID"),
        (refuse(413), "PayloadTooLargeError", "too large", "S3"),
        (refuse(422), "InvalidRequestError", "it is 422", None),
        (refuse(429, Retry_After="600"), "RateLimitError", "too many requests", "longer timeout"),
        (refuse(500), "ServiceUnavailableError", "may have been accepted", "`requests()`"),
        (answer(200, b"{}"), "MalformedAnswerError", "cannot be read", "`requests()`"),
        (answer(200, b"<html>"), "MalformedAnswerError", "cannot be read", "RUNPOD_ENDPOINT_BASE_URL"),
        (ended("FAILED", error="boom"), "JobFailedError", "job `j1` failed: boom", None),
        (ended("TIMED_OUT"), "JobTimedOutError", "job `j1` timed out", "execution_timeout_ms"),
        (ended("CANCELLED"), "JobCancelledError", "job `j1` was cancelled", None),
    ],
)
def test_error_names_what_it_is_about_and_what_to_do(
    serve: Serve, act: Act, kind: str, said: str, hint: str | None
) -> None:
    serve(lambda *_: act)

    async def call() -> None:
        await _core.call_deployed(("ep",), [b'{"input":1}'], [], 60.0)

    with pytest.raises(errors.RunpodError) as caught:
        asyncio.run(call())
    text = str(caught.value)
    assert type(caught.value).__name__ == kind
    assert said in text
    assert "endpoint ep" in text
    assert "request req-7" in text
    assert (hint or "") in (caught.value.hint or "")
    assert "SECRET" not in text + repr(vars(caught.value))


def test_remote_traceback_stays_the_last_thing(serve: Serve) -> None:
    error = {
        "error_type": "ValueError",
        "error_message": "boom",
        "error_traceback": "Traceback:\n  x\nValueError: boom",
    }
    serve(lambda *_: ended("FAILED", error=json.dumps(error)))
    with pytest.raises(errors.JobFailedError) as caught:
        asyncio.run(_result())
    first, _, rest = str(caught.value).partition("\n\n")
    assert first == "job `j1` failed: ValueError: boom (endpoint ep, request req-7)"
    assert rest == "remote traceback:\nTraceback:\n  x\nValueError: boom"


async def _result() -> Any:
    return await _core.call_deployed(("ep",), [b'{"input":1}'], [], 60.0)


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_timeout_says_how_the_job_was_last_seen(serve: Serve, is_cancelled: bool) -> None:
    def script(kind: str, before: int) -> Act:
        if kind == "runsync":
            return answer(200, b'{"id":"j1","status":"IN_QUEUE"}')
        if kind == "cancel":
            return answer(200, b'{"id":"j1","status":"CANCELLED"}')
        return answer(200, RUNS) if before == 0 else hang

    server = serve(script)

    async def call() -> None:
        if is_cancelled:
            await _core.call_deployed(("ep",), [b'{"input":1}'], [], 2.0)
        else:
            await Endpoint(id="ep").runsync({}, timeout=2.0)

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(call())
    assert isinstance(caught.value, errors.DeadlineExceededError)
    text = str(caught.value)
    assert text.startswith("job `j1` has not ended: not done within the timeout of 2 s; it was last seen `IN_PROGRESS`")
    assert (caught.value.job_id, caught.value.last_status) == ("j1", "IN_PROGRESS")
    assert caught.value.hint
    assert ("it is cancelled" in text) is is_cancelled
    if is_cancelled:
        server.wait_for("cancel")


def test_timeout_of_a_job_that_nobody_took_says_so(serve: Serve) -> None:
    queued = answer(200, b'{"id":"j1","status":"IN_QUEUE"}')
    serve(lambda kind, _: queued if kind in ("run", "runsync") else hang)

    async def main() -> None:
        with pytest.raises(errors.DeadlineExceededError, match="last seen `IN_QUEUE`") as caught:
            await Endpoint(id="ep").runsync({}, timeout=0.3)
        assert "no worker has taken it yet" in str(caught.value)
        job = await Endpoint(id="ep").run({})
        with pytest.raises(TimeoutError) as late:
            await job.wait(0.2)
        assert str(late.value) == "job j1 did not complete within 0.2s (last status: IN_QUEUE)"
        assert isinstance(late.value.__cause__, errors.DeadlineExceededError)

    asyncio.run(main())


def test_timeout_before_anything_was_sent_says_that_nothing_was_submitted(serve: Serve) -> None:
    serve(lambda *_: refuse(429, Retry_After="1"))
    with pytest.raises(errors.RunpodError) as caught:
        asyncio.run(_call_within(0.5))
    assert "accepted" not in str(caught.value)


async def _call_within(timeout: float) -> None:
    await _core.live_call("ep", "f", HEAD, (), {}, None, timeout)


def test_endpoint_that_is_deleted_ends_what_waits_for_its_jobs(
    platform: Platform, scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)
    endpoint = scripted(platform, workers={"min": 0, "max": 1})

    async def main() -> list[BaseException | Any]:
        ep = Endpoint(id=endpoint.id)
        jobs = await asyncio.gather(*[ep.run({}) for _ in range(100)])
        waiting = [asyncio.ensure_future(job) for job in jobs]
        await asyncio.sleep(0)
        platform.request("DELETE", f"/v2/serverless/{endpoint.id}", token=platform.token)
        return await asyncio.gather(*waiting, return_exceptions=True)

    for error in asyncio.run(main()):
        assert isinstance(error, (errors.NotFoundError, errors.JobCancelledError)), repr(error)
        assert isinstance(error, errors.RunpodError)
        assert endpoint.id in str(error)
        assert error.job_id
