"""Conformance 79-90: management, the clients' whole surface, two accounts, restarts."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_support import Endpoint, Node, Official, Platform, Scripted, platform_process, until

Make = Callable[..., Scripted]
pytestmark = pytest.mark.official


def test_79_official_python_manages_templates_and_endpoints(platform: Platform, official_python: Official) -> None:
    seen = official_python.script(
        platform,
        """
import json, sys, runpod
runpod.api_key = sys.argv[1]
template = runpod.create_template("conform é", "nosuch/image:1", is_serverless=True, env={"A": "1"})
made = runpod.create_endpoint("conform-79", template["id"], gpu_ids="AMPERE_16", workers_max=2, idle_timeout=7)
listed = runpod.get_endpoints()
other = runpod.create_template("conform other", "nosuch/image:2", is_serverless=True)
changed = runpod.update_endpoint_template(made["id"], other["id"])
user = runpod.get_user()
print(json.dumps([template, made, listed, other, changed, user]))
""",
        platform.token,
    )
    template, made, listed, other, changed, user = seen
    assert template["name"] == "conform é"
    found = next(endpoint for endpoint in listed if endpoint["id"] == made["id"])
    assert found["name"].startswith("conform-79")
    assert (found["templateId"], found["workersMax"], found["idleTimeout"]) == (template["id"], 2, 7)
    assert changed["id"] == made["id"]
    assert changed["templateId"] == other["id"]
    assert user["id"]
    # Its image has no runtime here: that is said, and jobs are accepted.
    endpoint = platform.endpoint(made["id"])
    job = endpoint.run(1)
    assert endpoint.status(job)["status"] == "IN_QUEUE"
    assert endpoint.health()["workers"]["unhealthy"] == 1
    endpoint.delete()


LIVE = """
import asyncio, json, os, sys
from runpod_flash import Endpoint, GpuGroup
@Endpoint(name="conform-80", gpu=GpuGroup.ADA_24, workers=(0, 1))
def add(a, b):
    print("inside worker")
    return {"sum": a + b}
print(json.dumps(asyncio.run(add(2, 3))))
"""


def test_80_official_flash_runs_a_live_function(platform: Platform, official_python: Official, tmp_path: Path) -> None:
    script = tmp_path / "live.py"
    script.write_text(LIVE)
    run = "import os, runpy, sys; os.chdir(sys.argv[2]); runpy.run_path(sys.argv[1], run_name='__main__')"
    live = {"FLASH_IS_LIVE_PROVISIONING": "true"}  # as `flash dev` of 1.21 sets it
    assert official_python.script(platform, run, str(script), str(tmp_path), timeout=100, **live) == {"sum": 5}
    endpoints = platform.graphql("query { myself { endpoints { id name } } }")["myself"]["endpoints"]
    made = next(endpoint for endpoint in endpoints if "conform-80" in endpoint["name"])
    ask = "query($id: String!) { myself { endpoint(id: $id) { id } } }"
    assert platform.graphql(ask, {"id": made["id"]})["myself"]["endpoint"] == {"id": made["id"]}
    # The key must be there, or the official client takes it for a failure.
    gone = platform.graphql("mutation($id: String!) { deleteEndpoint(id: $id) }", {"id": made["id"]})
    assert gone == {"deleteEndpoint": None}
    assert platform.graphql(ask, {"id": made["id"]})["myself"]["endpoint"] is None


def test_81_graphql_takes_literals_and_variables(platform: Platform) -> None:
    inline = """
    mutation {
      saveEndpoint(input: {
        name: "li\\"ter\\u00e9l", gpuIds: "AMPERE_16", scalerType: "QUEUE_DELAY", scalerValue: 4, workersMax: 1,
        flashBootType: FLASHBOOT,
        template: { name: "t-81", imageName: "nosuch/image", env: [{ key: "A", value: "1\\n2" }, { key: "B", value: "" }] }
      }) { id name flashBootType template { env { key value } } }
    }"""
    made = platform.graphql(inline)["saveEndpoint"]
    assert made["name"] == 'li"terél'
    assert {"key": "A", "value": "1\n2"} in made["template"]["env"]
    by_variables = platform.graphql(
        "mutation Save($input: EndpointInput!) { saveEndpoint(input: $input) { id workersMax } }",
        {"input": {"id": made["id"], "name": made["name"], "workersMax": 3, "templateId": None}},
    )
    assert by_variables["saveEndpoint"] == {"id": made["id"], "workersMax": 3}
    for broken in ("query { nosuchfield }", "query { myself { nosuchfield } }", "query {", "", "query { myself }"):
        answer = platform.post("/graphql", {"query": broken})
        assert answer.status_code in (200, 400), broken
        assert answer.json()["errors"][0]["message"]
    platform.endpoint(made["id"]).delete()


def test_82_rest_of_both_versions(platform: Platform) -> None:
    made = platform.create(["true"], workers={"min": 0, "max": 1})
    volumes = platform.get("/v1/networkvolumes")
    assert volumes.status_code == 200
    assert isinstance(volumes.json(), list)
    added = platform.post("/v1/networkvolumes", {"name": "v", "size": 10, "dataCenterId": "EU-RO-1"})
    assert added.status_code in (200, 201)
    assert added.json()["id"] in [volume["id"] for volume in platform.get("/v1/networkvolumes").json()]
    gone = platform.request("DELETE", f"/v1/networkvolumes/{added.json()['id']}")
    assert (gone.status_code, gone.content) == (204, b"")

    listed = platform.get("/v2/serverless").json()
    assert made.id in [endpoint["id"] for endpoint in listed["endpoints"]]
    one = platform.get(f"/v2/serverless/{made.id}").json()
    assert one["requestUrls"]["run"].endswith(f"/v2/{made.id}/run")
    for answer in (
        platform.get("/v2/serverless/nosuch"),
        platform.post("/v2/serverless", {"name": 7}),
        platform.request("PATCH", f"/v2/serverless/{made.id}", {"workers": {"max": -1}}),
        platform.request("PUT", "/v2/serverless"),
    ):
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["title"]
    gone = platform.request("DELETE", f"/v2/serverless/{made.id}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert platform.get(f"/v2/serverless/{made.id}").status_code == 404


def test_83_javascript_client_times_out_and_purges(platform: Platform, scripted: Make, node: Node) -> None:
    endpoint = scripted(platform, workers=0)
    seen = node.script(
        platform,
        """
console.log = () => {};
const endpoint = sdk.endpoint(argv[0]);
const waited = await endpoint.runSync({ input: 1, policy: { ttl: 60000 } }, 1500);
const job = await endpoint.run({ input: 2 });
const status = await endpoint.status(job.id);
const purged = await endpoint.purgeQueue();
const health = await endpoint.health();
let refused = "";
try {
  await runpodSdk("wrong", { baseUrl: base }).endpoint(argv[0]).health();
} catch (error) {
  refused = String(error);
}
process.stdout.write(JSON.stringify({ waited, job, status, purged, health, refused }) + "\\n");
""",
        endpoint.id,
    )
    assert (seen["waited"]["status"], seen["waited"]["completed"]) == ("IN_QUEUE", False)
    assert seen["job"]["status"] == "IN_QUEUE"
    assert (seen["status"]["started"], seen["status"]["completed"]) == (True, False)
    assert seen["purged"] == {"removed": 2, "status": "completed"}
    assert seen["health"]["jobs"]["inQueue"] == 0
    assert "401" in seen["refused"]


def test_84_python_clients_purge_and_say_401(platform: Platform, scripted: Make, official_python: Official) -> None:
    endpoint = scripted(platform, workers=0)
    seen = official_python.script(
        platform,
        """
import asyncio, json, sys, runpod
from runpod import AsyncioEndpoint, http_client
key, id = sys.argv[1:]
seen = {}
try:
    runpod.Endpoint(id, api_key="wrong").health()
except RuntimeError as error:
    seen["refused"] = str(error)
runpod.api_key = key
endpoint = runpod.Endpoint(id)
[endpoint.run({"input": number}) for number in range(3)]
seen["sync"] = endpoint.purge_queue()
try:
    runpod.Endpoint("nosuch").run({"input": 1})
except Exception as error:
    seen["unknown"] = str(error)
async def main():
    async with http_client.AsyncClientSession() as session:
        endpoint = AsyncioEndpoint(id, session)
        await endpoint.run(1)
        job = await endpoint.run({})
        seen["status"] = await job.status()
        seen["asyncio"] = await endpoint.purge_queue()
asyncio.run(main())
print(json.dumps(seen))
""",
        platform.token,
        endpoint.id,
    )
    assert "401" in seen["refused"]
    assert "404" in seen["unknown"]
    assert seen["sync"] == {"removed": 3, "status": "completed"}
    assert seen["status"] == "IN_QUEUE"
    assert seen["asyncio"] == {"removed": 2, "status": "completed"}


def test_85_go_client_can_decode_every_status(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    jobs = []
    for body in ({"output": {"x": 1}}, {"error": "text"}, {"error": {"code": 7}}, {"error": ["a"]}):
        jobs.append(job := endpoint.run(1))
        worker.job()
        worker.done(job, body)
    jobs.append(cancelled := endpoint.run(1))
    endpoint.cancel(cancelled)
    jobs.append(endpoint.run(1))
    for job in jobs:
        # As Go does it: POST without a body.
        for path in (f"status/{job}", f"status-sync/{job}?wait=1000"):
            seen = endpoint.answered("POST", path, content=b"", headers={"Content-Type": "application/json"})
            for name in ("delayTime", "executionTime", "retries"):
                assert type(seen.get(name, 0)) is int
            assert isinstance(seen.get("error", ""), str), seen
            assert isinstance(seen["id"], str)


OPENAI_WORKER = """
import runpod

async def handler(job):
    wanted = job["input"]
    route, body = wanted["openai_route"], wanted.get("openai_input")
    if route == "/v1/models":
        yield {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "me"}]}
    elif body.get("stream"):
        for word in ("one", "two"):
            yield 'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"%s"}}]}\\n\\n' % word
        yield "data: [DONE]\\n\\n"
    else:
        message = {"role": "assistant", "content": body["messages"][0]["content"] + "!"}
        yield {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
               "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}

runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
"""


def test_86_openai_routes(platform: Platform, official_python: Official, tmp_path: Path) -> None:
    (tmp_path / "openai_worker.py").write_text(OPENAI_WORKER)
    endpoint = platform.create([official_python.python, "-u", tmp_path / "openai_worker.py"])
    assert endpoint.answered("GET", "openai/v1/models")["data"][0]["id"] == "m"
    body = {"model": "m", "messages": [{"role": "user", "content": "hé"}]}
    answer = endpoint.answered("POST", "openai/v1/chat/completions", body)
    assert answer["choices"][0]["message"]["content"] == "hé!"
    path = f"/v2/{endpoint.id}/openai/v1/chat/completions"
    headers = {"Authorization": f"Bearer {platform.token}"}
    with platform.client.stream("POST", path, json=body | {"stream": True}, headers=headers) as streamed:
        assert streamed.status_code == 200
        assert streamed.headers["content-type"].startswith("text/event-stream")
        text = streamed.read().decode()
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert [json.loads(event)["choices"][0]["delta"]["content"] for event in events[:-1]] == ["one", "two"]
    endpoint.delete()


def test_87_client_2_0_waits_and_polls(platform: Platform, scripted: Make) -> None:
    endpoint = scripted(platform)
    worker = endpoint.worker()
    # As runpod 2.0 does it: a short wait, then status.
    waited = endpoint.runsync(1, wait=1000)
    assert waited["status"] == "IN_QUEUE"
    worker.job()
    # A worker whose start-up hook failed fails the job that it holds.
    told = json.dumps({"event": "prestart_failed", "error": "no model"})
    assert worker.done(waited["id"], {"error": told}).status_code == 200
    seen = endpoint.status(waited["id"])
    assert (seen["status"], seen["error"]) == ("FAILED", told)


def test_88_sentinel_finds_deployed_endpoints(platform: Platform) -> None:
    headers = {"X-Flash-App": "nosuch", "X-Flash-Environment": "production", "X-Flash-Endpoint": "worker"}
    for route in ("run", "runsync"):
        answer = platform.post(f"/v2/flash/{route}", {"input": 1}, headers=headers)
        assert answer.status_code == 404
        assert answer.json()["error"]
    assert platform.post("/v2/flash/runsync", {"input": 1}).status_code in (400, 404)
    assert platform.post("/v2/flash/runsync", {"input": 1}, headers=headers, token=None).status_code == 401


def test_89_two_accounts_do_not_see_each_other(platform: Platform, scripted: Make) -> None:
    made = platform.post("/_platform/accounts", {})
    assert made.status_code in (200, 201), made.text
    other = made.json()["token"]
    mine, foreign = scripted(platform), scripted(platform, token=other)
    second = scripted(platform)
    jobs = {endpoint: endpoint.run({"of": endpoint.id}) for endpoint in (mine, foreign, second)}
    workers = {endpoint: endpoint.worker() for endpoint in jobs}
    for endpoint, job in jobs.items():
        for someone in jobs:
            answer = platform.get(f"/v2/{someone.id}/status/{job}", token=endpoint.token)
            if someone is endpoint:
                assert answer.status_code == 200
            else:
                assert answer.status_code in (401, 403, 404), (someone, endpoint)
        # Its own key opens it, and nothing else.
        assert platform.get(f"/v2/{endpoint.id}/health", token=endpoint.key).status_code == 200
        for someone in jobs:
            if someone is not endpoint:
                answer = platform.get(f"/v2/{someone.id}/health", token=endpoint.key)
                assert answer.status_code in (401, 403, 404)
        assert platform.get("/v2/serverless", token=endpoint.key).status_code == 401
        assert platform.post("/graphql", {"query": "{ myself { id } }"}, token=endpoint.key).status_code == 401
    for endpoint, worker in workers.items():
        assert worker.job()["input"] == {"of": endpoint.id}
        for job in jobs.values():
            expected = job == jobs[endpoint]
            assert (worker.done(job, {"output": endpoint.id}).status_code == 200) is expected
    listed = [found["id"] for found in platform.get("/v2/serverless", token=other).json()["endpoints"]]
    assert listed == [foreign.id]
    assert platform.get(f"/v2/serverless/{mine.id}", token=other).status_code == 404
    assert platform.request("DELETE", f"/v2/serverless/{mine.id}", token=other).status_code == 404
    assert {endpoint.status(job)["output"] for endpoint, job in jobs.items()} == {e.id for e in jobs}


RESTARTED = """
import json, sys, runpod
key, id, waiting = sys.argv[1:]
runpod.api_key = key
job = runpod.Endpoint(id).run({"input": {"a": 2}})
print(json.dumps([job.output(timeout=90), job.status()]))
"""


def test_90_restart_keeps_jobs_and_workers_come_back(
    session_environment: dict[str, str], official_python: Official, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    token = "account-token-of-test-90"
    with platform_process(session_environment, "--state", state, "--token", token) as platform:
        endpoint: Endpoint = platform.create(official_python.worker("sync"))
        done = endpoint.runsync({"a": 1})
        running = endpoint.run({"seconds": 3})
        waiting = endpoint.run({"a": "waits"})
        endpoint.wait_for(running, "IN_PROGRESS")
        port = platform.port
        platform.process.send_signal(signal.SIGKILL)
        platform.process.wait()
        # A client that submits meanwhile tries again until it is back.
        client = platform.later(official_python.script, platform, RESTARTED, token, endpoint.id, waiting, timeout=110)
        with pytest.raises(httpx.TransportError):
            endpoint.status(waiting)
        platform.start("--port", str(port))
        assert platform.port == port
        assert endpoint.status(done["id"]) == done
        assert endpoint.wait_for(running, "COMPLETED", within=60)["retries"] == 1
        assert endpoint.wait_for(waiting, "COMPLETED", within=60)["output"]["echo"] == {"a": "waits"}
        output, status = client.result(110)
        assert (output["echo"], status) == ({"a": 2}, "COMPLETED")
        assert endpoint.get("status/nosuch").status_code == 404
        workers: Any = until(lambda: endpoint.workers()["workers"])
        assert len(workers) == 1
