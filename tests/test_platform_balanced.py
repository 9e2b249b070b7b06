"""Conformance 73 and 75 where time has to pass: what load-balanced requests get that no worker serves."""

from __future__ import annotations

import time

from platform_support import Endpoint, Platform, until

BALANCED = {"type": "LOAD_BALANCER", "scaling": {"type": "REQUEST_COUNT", "requestCount": 1}}


def never_well(platform: Platform) -> Endpoint:
    """Make a load-balanced endpoint whose worker never listens."""
    return platform.create(["/bin/sh", "-c", "exec sleep 100000"], workers={"min": 0, "max": 1}, **BALANCED)


def test_73_request_without_a_worker_ends_after_two_minutes(clocked: Platform) -> None:
    endpoint = never_well(clocked)
    host = {"Host": f"{endpoint.id}.api.localhost"}
    asked = clocked.later(clocked.get, "/anything", headers=host)
    until(lambda: endpoint.workers()["workers"])  # only a request that waits starts one
    clocked.advance(115)
    time.sleep(0.3)  # nothing is to happen
    assert not asked.done()
    clocked.advance(7)
    answer = asked.result(10)
    assert 400 <= answer.status_code < 600
    assert answer.json() == {"error": "no workers available"}
    endpoint.delete()


def test_75_strict_affinity_to_no_worker_is_gone(clocked: Platform) -> None:
    endpoint = never_well(clocked)
    headers = {"Host": f"{endpoint.id}.api.localhost", "X-Runpod-Worker-Id": "strict nosuchworker"}
    answer = clocked.get("/anything", headers=headers)
    assert answer.status_code == 404
    assert "affinity_worker_gone" in answer.text
    endpoint.delete()
