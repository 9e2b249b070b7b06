"""Conformance 1-12: what clients submit, and what is refused."""

from __future__ import annotations

import http.client
import json
import re
import select
import time
from collections.abc import Callable

import pytest
from platform_support import Platform, Scripted

Make = Callable[..., Scripted]


def test_01_run_answers_queued_job_with_uuid(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    answer = endpoint.answered("POST", "run", {"input": {"a": 1}})
    assert answer == {"id": answer["id"], "status": "IN_QUEUE"}
    assert re.fullmatch(r"[0-9a-f-]{36}-[a-z]\d+", answer["id"])


def test_02_runsync_id_starts_with_sync(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    answer = endpoint.runsync({"a": 1}, wait=1000)
    assert re.fullmatch(r"sync-[0-9a-f-]{36}-[a-z]\d+", answer["id"])
    assert answer["status"] == "IN_QUEUE"


@pytest.mark.parametrize("route", ["run", "runsync"])
def test_03_missing_input_is_refused(platform: Platform, scripted: Make, route: str) -> None:
    endpoint = scripted(platform)
    for body in ({}, {"data": {"a": 1}}, [], [{"input": 1}], "input", None, 7):
        answer = endpoint.post(route, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, body
        assert answer.json()["error"].startswith("bad request: ")
    assert endpoint.health()["jobs"]["inQueue"] == 0


@pytest.mark.parametrize("route", ["run", "runsync"])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nope", b'{"input": }', b'{"input": 1} x', b"\xff\xfe", b'{"input": "\xff"}', b'{"input": NaN}'],
)
def test_04_invalid_json_is_refused(platform: Platform, route: str, body: bytes, scripted: Make) -> None:
    answer = scripted(platform).post(route, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("bad request: ")


def test_05_body_limits_are_10_and_20_mib(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)

    def body(mib: int, more: int = 0) -> bytes:
        head = b'{"input":{"text":"'
        return head + b"x" * ((mib << 20) + more - len(head) - 3) + b'"}}'

    assert endpoint.post("run", content=body(10)).status_code == 200
    refused = endpoint.post("run", content=body(10, 1))
    assert refused.status_code == 400
    assert "exceeded max body size of 10MiB" in refused.json()["error"]
    assert endpoint.post("runsync?wait=1000", content=body(15)).status_code == 200
    refused = endpoint.post("runsync?wait=1000", content=body(20, 1))
    assert refused.status_code == 400
    assert "exceeded max body size of 20MiB" in refused.json()["error"]


def test_06_input_may_be_any_json(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    for value in ("text é", [1, {"b": None}], 7, -1.5, False, True, {"a": {"b": "ü"}}, {}, None, "", []):
        job = endpoint.run(value)
        taken = worker.job()
        assert (taken["id"], taken["input"]) == (job, value)
        assert type(taken["input"]) is type(value)
        assert worker.done(job, {"output": value}).status_code == 200
        assert endpoint.status(job)["output"] == value


def test_07_unknown_keys_are_ignored_and_policy_is_checked(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    endpoint.run({"a": 1}, unknown=[1], webhookV3="x")
    endpoint.run({"a": 1}, policy={"executionTimeout": 5000, "ttl": 10000, "lowPriority": True})
    for policy in ({"executionTimeout": 100}, {"executionTimeout": 604_800_001}, {"ttl": 9999}, {"ttl": 604_800_001}):
        for route in ("run", "runsync"):
            answer = endpoint.post(route, {"input": 1, "policy": policy})
            assert answer.status_code == 400, policy
            assert answer.json()["error"].startswith("bad request: ")


def test_08_every_client_route_asks_for_the_key(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    job = endpoint.run(1)
    routes = [
        ("POST", "run"),
        ("POST", "runsync?wait=1000"),
        ("GET", f"status/{job}"),
        ("POST", f"status/{job}"),
        ("GET", f"status-sync/{job}?wait=1000"),
        ("GET", f"stream/{job}"),
        ("GET", "health"),
        ("GET", "requests"),
        ("POST", f"cancel/{job}"),
        ("POST", f"retry/{job}"),
        ("POST", "purge-queue"),
        ("POST", "openai/v1/chat/completions"),
    ]
    for method, path in routes:
        for authorization in (
            None,
            "",
            "Bearer",
            "Bearer wrong",
            "wrong",
            f"Basic {platform.token}",
            platform.token[:-1],
        ):
            headers = {} if authorization is None else {"Authorization": authorization}
            answer = endpoint.request(method, path, {"input": 1}, token=None, headers=headers)
            assert answer.status_code == 401, (method, path, authorization)
            assert platform.token not in answer.text
    assert endpoint.health()["jobs"]["inQueue"] == 1
    endpoint.cancel(job)  # so that nothing waits for it
    for authorization in (platform.token, f"Bearer {platform.token}"):
        for method, path in routes[:7]:
            answer = endpoint.request(method, path, {"input": 1}, token=None, headers={"Authorization": authorization})
            assert answer.status_code == 200, (method, path)


def test_09_unknown_endpoint_is_404_json(platform: Platform) -> None:
    unknown = platform.endpoint("nosuchendpoint")
    for method, path in [
        ("POST", "run"),
        ("POST", "runsync"),
        ("GET", "status/x"),
        ("GET", "stream/x"),
        ("GET", "health"),
        ("POST", "purge-queue"),
        ("POST", "cancel/x"),
    ]:
        answer = unknown.request(method, path, {"input": 1})
        assert answer.status_code == 404, path
        assert answer.json()["error"]


def test_10_successes_are_200_json(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    job = endpoint.run(1)
    for method, path in [
        ("GET", f"status/{job}"),
        ("POST", f"status-sync/{job}?wait=1000"),
        ("GET", "health"),
        ("GET", "requests"),
    ]:
        endpoint.answered(method, path)  # checks both
    assert worker.job()["id"] == job
    worker.done(job, {"error": "no"})
    endpoint.answered("POST", f"stream/{job}")
    endpoint.answered("POST", f"retry/{job}")
    endpoint.answered("POST", f"cancel/{job}", {})
    endpoint.answered("POST", "purge-queue", {})


def test_a_body_that_comes_after_the_head_keeps_the_connection(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    connection = http.client.HTTPConnection("localhost", platform.port, timeout=20)
    connection.connect()
    connection.auto_open = 0  # one that was closed fails
    for path in (f"/v2/{endpoint.id}/cancel/none", f"/v2/{endpoint.id}/purge-queue", "/v2/serverless") * 2:
        connection.putrequest("POST", path)
        connection.putheader("Authorization", f"Bearer {platform.token}")
        connection.putheader("Content-Length", "2")
        connection.endheaders()
        # What is answered without the body is here by then.
        readable, _, _ = select.select([connection.sock], [], [], 0.05)
        assert not readable, path
        connection.send(b"{}")
        connection.getresponse().read()
    connection.close()


def test_11_rate_limit_is_429_json(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    answers = [endpoint.post("purge-queue") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert answers[-1].json()["error"]
    # Per endpoint and operation: the others go on.
    assert endpoint.health()
    assert scripted(platform).post("purge-queue").status_code == 200


def test_12_run_is_quick_without_workers(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform, workers=0)
    assert endpoint.started == 0
    took = []
    for _ in range(5):
        start = time.monotonic()
        endpoint.run({"a": 1})
        took.append(time.monotonic() - start)
    assert min(took) < 0.1, took
