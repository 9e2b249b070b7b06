"""Every official client with every kind of worker: all that the client can do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from platform_clients import FLASH, JAVASCRIPT, PYTHON_ASYNCIO, PYTHON_SYNC
from platform_support import Endpoint, Official, Platform

pytestmark = pytest.mark.official

CLIENTS = {"python": PYTHON_SYNC, "asyncio": PYTHON_ASYNCIO, "javascript": JAVASCRIPT, "flash": FLASH}
OURS = ["our-plain", "our-coroutine", "our-items", "our-failing"]
OFFICIAL = ["sync", "asynchronous", "generator", "failing", "progress", "several", "refresh"]
#: Yield three items.
STREAMING = {"our-items", "generator"}
#: Raise `ValueError("boom é")`.
FAILING = {"our-failing", "failing"}


def grouped(kind: str) -> Any:
    """One kind's tests share one worker, so one test process."""
    return pytest.param(kind, marks=pytest.mark.xdist_group(f"official-{kind}"))


@pytest.fixture
def run_client(request: pytest.FixtureRequest, platform: Platform) -> Callable[..., Any]:
    """Run the program of a client; Node.js only where it is needed."""

    def run(client: str, *arguments: str) -> Any:
        if client == "javascript":
            return request.getfixturevalue("node").script(platform, CLIENTS[client], *arguments, timeout=110)
        official: Official = request.getfixturevalue("official_python")
        return official.script(platform, CLIENTS[client], platform.token, *arguments, timeout=110)

    return run


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", [grouped(kind) for kind in OURS + OFFICIAL])
def test_client_with_worker(
    kind: str,
    client: str,
    platform: Platform,
    official_endpoint: Callable[..., Endpoint],
    run_client: Callable[..., Any],
) -> None:
    endpoint = platform.endpoint(kind) if kind in OURS else official_endpoint(kind)
    quick: Any = {"é": [1, None], "client": client}
    slow: Any = {"seconds": 1}
    sent = ({"wanted": quick}, {"wanted": slow}) if kind in OURS else (quick, slow)
    seen = run_client(client, endpoint.id, *map(json.dumps, sent))

    expected = "FAILED" if kind in FAILING else "COMPLETED"
    items = [{"number": number, "echo": quick} for number in range(3)] if kind in STREAMING else []
    for way in ("runsync", "run"):
        if way not in seen:
            assert (client, way) == ("asyncio", "runsync")
            continue
        status, output = seen[way]
        assert status == expected or (client, way, status) == ("python", "runsync", None)
        if kind == "our-failing":
            assert output["error_message"] == "boom é"
        elif kind == "failing":
            assert output is None
        elif kind == "generator":
            assert output == []  # the items are in the stream
        elif kind == "our-items":
            assert output == items
        else:
            assert output["echo"] == quick
            assert "refresh_worker" not in output
    assert seen["cancelled"] == ["CANCELLED", "CANCELLED"]
    if client == "flash":
        return
    assert seen["stream"] == items
    assert seen["health"]["jobs"].keys() == {"completed", "failed", "inProgress", "inQueue", "retried"}
    counted = seen["health"]["jobs"]["failed" if kind in FAILING else "completed"]
    assert counted >= 2


@pytest.mark.xdist_group("official-progress")
def test_progress_is_seen_while_it_runs(official_endpoint: Callable[..., Endpoint], tmp_path: Any) -> None:
    endpoint = official_endpoint("progress")
    gate = tmp_path / "gate"
    job = endpoint.run({"until": str(gate)})
    seen = endpoint.wait_for(job, "IN_PROGRESS")
    while seen.get("output") != {"at": 1, "echo": {"until": str(gate)}}:
        assert seen["status"] == "IN_PROGRESS"
        assert seen.get("output") in (None, "p0")
        seen = endpoint.status(job)
    gate.touch()
    # A last update may come after the result: it changes nothing.
    assert endpoint.wait_for(job, "COMPLETED")["output"]["echo"] == {"until": str(gate)}
    assert endpoint.runsync({})["status"] == "COMPLETED"
    assert endpoint.status(job)["status"] == "COMPLETED"


@pytest.mark.xdist_group("official-several")
def test_concurrent_worker_runs_four_jobs_at_once(official_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = official_endpoint("several")
    jobs = [endpoint.run({"meet": 4, "number": number}) for number in range(4)]
    done = [endpoint.wait_for(job, "COMPLETED") for job in jobs]
    assert len({seen["workerId"] for seen in done}) == 1
    assert [seen["output"]["echo"]["number"] for seen in done] == [0, 1, 2, 3]


@pytest.mark.xdist_group("official-generator")
def test_generator_with_aggregate_gives_all_items_as_output(official_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = official_endpoint("generator", (("AGGREGATE", "1"),))
    job = endpoint.run({"count": 3})
    done = endpoint.wait_for(job, "COMPLETED")
    assert [item["number"] for item in done["output"]] == [0, 1, 2]
    items, _ = endpoint.drained(job)
    assert items == done["output"]


@pytest.mark.xdist_group("official-sync")
def test_results_of_official_worker_at_the_edges(official_endpoint: Callable[..., Endpoint]) -> None:
    endpoint = official_endpoint("sync")
    for value, expected in (
        (True, True),
        ("text é", "text é"),
        ([1, {"a": None}], [1, {"a": None}]),
        (None, None),
        ({"error": ""}, {}),
    ):
        seen = endpoint.runsync({"do": "return", "value": value})
        assert seen["status"] == "COMPLETED", value
        assert seen.get("output", {}) == expected
    assert "output" not in endpoint.runsync({"do": "return", "value": {}})
    assert endpoint.runsync({"do": "nan"})["output"] == {"value": None}


@pytest.mark.xdist_group("official-sync")
def test_worker_gets_only_its_endpoints_environment(
    platform: Platform, official_endpoint: Callable[..., Endpoint]
) -> None:
    seen = official_endpoint("sync").runsync({"do": "environment"})["output"]
    assert seen["RUNPOD_ENDPOINT_ID"] == official_endpoint("sync").id
    assert platform.token not in seen.values()
    assert all(platform.token not in value for value in seen.values())
    assert not [name for name in seen if name.startswith("FLASH_PLATFORM")]
