"""Client endpoints (`Endpoint(id=…)`) and their jobs, against a platform."""

from __future__ import annotations

import asyncio
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import runpod_flash
from platform_support import Platform, Scripted
from runpod_flash import Endpoint, EndpointJob, errors

Make = Callable[..., Scripted]


@pytest.fixture(autouse=True)
def here(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point this process at the platform."""
    for name, value in platform.variables.items():
        monkeypatch.setenv(name, value)


async def played(platform: Platform, function: Callable[..., Any], *arguments: Any) -> Any:
    """Do what a worker does, on a thread."""
    return await asyncio.wrap_future(platform.later(function, *arguments))


def test_runsync_returns_the_job_when_it_has_ended() -> None:
    async def main() -> EndpointJob[Any]:
        return await Endpoint(id="our-plain").runsync({"wanted": {"a": 1}})

    job = asyncio.run(main())
    assert job.done
    assert job.output["echo"] == {"a": 1}
    assert job.error is None
    assert job.worker_id
    assert job.execution_time is not None
    assert job.delay_time is not None
    assert repr(job) == f"EndpointJob(id='{job.id}', status='COMPLETED')"


def test_run_gives_a_job_that_can_be_awaited_waited_for_and_asked() -> None:
    async def main() -> None:
        ep = Endpoint(id="our-plain")
        job = await ep.run({"wanted": {"a": 2}})
        assert job.id
        assert not job.done
        assert (await job)["echo"] == {"a": 2}
        assert await job.wait() is job
        assert await job.status() == "COMPLETED"
        again = await ep.status(job.id)
        assert (again.id, again.output) == (job.id, job.output)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "options", "body"),
    [
        ({"a": 1}, {}, {"input": {"a": 1}}),
        ([1, None, "é"], {}, {"input": [1, None, "é"]}),
        ("text", {}, {"input": "text"}),
        # The documented form, and a whole body.
        ({"input": {"a": 1}}, {}, {"input": {"a": 1}}),
        ({"input": {"a": 1}, "policy": {"ttl": 60000}}, {}, {"input": {"a": 1}, "policy": {"ttl": 60000}}),
        # What has other keys, or no `input`, is the input.
        ({"input": 1, "steps": 2}, {}, {"input": {"input": 1, "steps": 2}}),
        ({"webhook": "x"}, {}, {"input": {"webhook": "x"}}),
        ({"input": {"input": 1}}, {}, {"input": {"input": 1}}),
        (
            {"a": 1},
            {"policy": {"executionTimeout": 9000}, "webhook": "http://localhost:1/x", "s3_config": {"bucketName": "b"}},
            {
                "input": {"a": 1},
                "policy": {"executionTimeout": 9000},
                "webhook": "http://localhost:1/x",
                "s3Config": {"bucketName": "b"},
            },
        ),
    ],
)
def test_input_goes_as_it_is_and_a_whole_body_too(given: Any, options: dict[str, Any], body: Any) -> None:
    from runpod_flash import _client

    options = {"webhook": None, "policy": None, "s3_config": None} | options
    pieces, sizes = _client.body(given, **options)
    assert json.loads(b"".join(pieces)) == body
    assert sizes == [("input", len(json.dumps(body["input"], separators=(",", ":"), ensure_ascii=False).encode()))]


def test_raw_input_reaches_the_worker_as_given(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()

    async def main() -> Any:
        ep = Endpoint(id=endpoint.id)
        job = await ep.run(
            {"steps": 2, "input": [1]}, policy={"executionTimeout": 60000}, s3_config={"bucketName": "b"}
        )
        taken = await played(platform, worker.job)
        await played(platform, worker.done, taken["id"], {"output": {"error": None}})
        return taken, await job

    taken, output = asyncio.run(main())
    assert taken["input"] == {"steps": 2, "input": [1]}
    assert taken["s3Config"] == {"bucketName": "b"}
    assert output == {"error": None}


def test_wait_returns_a_failed_job_and_await_raises_with_the_remote_traceback() -> None:
    async def main() -> None:
        job = await Endpoint(id="our-failing").run({"wanted": {}})
        assert await job.wait() is job
        assert job.done
        assert "boom" in str(job.error)
        with pytest.raises(errors.JobFailedError, match="boom é") as caught:
            await job
        error = caught.value
        assert isinstance(error, runpod_flash.RemoteExecutionError)
        assert (error.job_id, error.endpoint, error.error_type) == (job.id, "our-failing", "ValueError")
        assert 'raise ValueError("boom é")' in error.remote_traceback
        assert isinstance(error.__cause__, ValueError)
        assert str(error.__cause__) == "boom é"
        with pytest.raises(errors.JobFailedError):
            await pickle.loads(pickle.dumps(job))

    asyncio.run(main())


def test_wait_that_is_too_short_says_what_1_21_says(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)

    async def main() -> None:
        job = await Endpoint(id=endpoint.id).run({})
        with pytest.raises(TimeoutError) as caught:
            await job.wait(timeout=0.05)
        assert str(caught.value) == f"job {job.id} did not complete within 0.05s (last status: IN_QUEUE)"
        assert await job.status() == "IN_QUEUE"
        with pytest.raises(errors.DeadlineExceededError) as late:
            await Endpoint(id=endpoint.id).runsync({}, timeout=0.2)
        assert isinstance(late.value, TimeoutError)
        assert await job.cancel() is job
        assert job.done
        with pytest.raises(errors.JobCancelledError):
            await job

    asyncio.run(main())


def test_job_is_retried_and_queue_purged(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()

    async def main() -> None:
        ep = Endpoint(id=endpoint.id)
        job = await ep.run({"n": 1})
        taken = await played(platform, worker.job)
        await played(platform, worker.done, taken["id"], {"error": "first"})
        assert (await job.wait()).error == "first"
        assert not (await job.retry()).done
        taken = await played(platform, worker.job)
        await played(platform, worker.done, taken["id"], {"output": "second"})
        assert await job == "second"
        waiting = await ep.run({"n": 2})
        assert (await ep.health())["jobs"]["inQueue"] == 1
        listed = await ep.requests()
        assert waiting.id in json.dumps(listed)
        assert (await ep.purge_queue())["removed"] == 1
        assert (await ep.health())["jobs"]["inQueue"] == 0

    asyncio.run(main())


def test_stream_gives_items_of_a_job_an_id_and_an_input() -> None:
    async def main() -> None:
        ep = Endpoint(id="our-items")
        job = await ep.run({"wanted": {"x": 1}})
        assert [item["number"] async for item in job] == [0, 1, 2]
        assert [item["number"] async for item in ep.stream({"wanted": {}})] == [0, 1, 2]
        other = await ep.run({"wanted": {}})
        assert [item["number"] async for item in ep.stream(other.id)] == [0, 1, 2]

    asyncio.run(main())


def test_blocking_ways_need_no_loop_and_refuse_to_stop_one() -> None:
    ep = Endpoint(id="our-plain")
    job = ep.blocking.run({"wanted": {"a": 3}})
    assert job.result(timeout=30)["echo"] == {"a": 3}
    assert job.blocking.status() == "COMPLETED"
    assert ep.blocking.runsync({"wanted": {}}).done
    assert [item["number"] for item in Endpoint(id="our-items").blocking.stream({"wanted": {}})] == [0, 1, 2]
    with pytest.raises(errors.JobFailedError):
        Endpoint(id="our-failing").blocking.run({"wanted": {}}).result()

    async def inside() -> None:
        with pytest.raises(RuntimeError, match="await job"):
            job.result()
        with pytest.raises(RuntimeError, match=r"await endpoint\.run"):
            ep.blocking.run({})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(inside())


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {1, 2}}, "input['a'] cannot be sent as JSON: it is of type `set`"),
        ({"a": [0, b"x"]}, "input['a'][1] cannot be sent as JSON: it is of type `bytes`"),
        ([float("nan")], "input[0] cannot be sent as JSON: it is nan, which JSON has no number for"),
        ({(1, 2): 3}, "input cannot be sent as JSON: it is a dict with a key of type `tuple`"),
        (Path("x"), f"input cannot be sent as JSON: it is of type `{type(Path()).__module__}.PosixPath`"),
    ],
)
def test_value_that_json_cannot_carry_is_named_before_anything_is_sent(value: Any, place: str) -> None:
    async def main() -> None:
        with pytest.raises(TypeError) as caught:
            await Endpoint(id="no-such-endpoint").run(value)
        assert caught.value.args[0] == place

    asyncio.run(main())


def test_errors_say_what_was_asked_and_are_httpx_errors_too() -> None:
    async def main() -> None:
        with pytest.raises(errors.NotFoundError) as missing:
            await Endpoint(id="no-such-endpoint").run({})
        assert missing.value.status_code == 404
        assert missing.value.endpoint == "no-such-endpoint"
        assert isinstance(missing.value, (RuntimeError, LookupError))
        # httpx is loaded in this process: 1.21 raised its errors.
        assert isinstance(missing.value, httpx.HTTPStatusError)
        assert missing.value.response.status_code == 404
        copy = pickle.loads(pickle.dumps(missing.value))
        assert (type(copy), copy.status_code) == (errors.NotFoundError, 404)
        with pytest.raises(errors.JobNotFoundError) as gone:
            await Endpoint(id="our-plain").status("nosuchjob-e1")
        assert gone.value.job_id == "nosuchjob-e1"

    asyncio.run(main())


def test_key_that_is_missing_or_wrong_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_wrong_key_here")

    async def main() -> None:
        await Endpoint(id="our-plain").run({})

    with pytest.raises(errors.AuthenticationError) as wrong:
        asyncio.run(main())
    assert wrong.value.status_code == 401
    assert "rpa_wrong" not in f"{wrong.value} {wrong.value.body}"
    monkeypatch.delenv("RUNPOD_API_KEY")
    monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", "https://api.runpod.invalid/v2")
    with pytest.raises(errors.RunpodAPIKeyError, match="flash login"):
        asyncio.run(main())


def test_client_methods_of_own_code_are_refused() -> None:
    ep = Endpoint(name="mine", cpu="cpu3c-1-2")
    for call in (ep.run({}), ep.runsync({}), ep.status("j"), ep.cancel("j"), ep.retry("j"), ep.health()):
        with pytest.raises(ValueError, match="for clients"):
            asyncio.run(call)
