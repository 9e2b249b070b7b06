"""Management of the local platform: GraphQL, REST of both versions, uploads, accounts, as official tools use them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import FLASH, MARK, end_marked

TOKEN = "token-of-this-test"
TEMPLATE = {"name": "t", "image": "some/image:1", "env": {"A": "1"}}

# The worker API with the standard library alone: it starts at once.
WORKER = """
import json, os, urllib.request

take, done = os.environ["RUNPOD_WEBHOOK_GET_JOB"], os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"]
pod, key = os.environ["RUNPOD_POD_ID"], os.environ["RUNPOD_AI_API_KEY"]
print("worker says hello", flush=True)


def call(url, data=None):
    request = urllib.request.Request(url, data, {"Authorization": key})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return answer.status, answer.read()


while True:
    status, body = call(take.replace("$ID", pod))
    if status == 200:
        job = json.loads(body)
        output = json.dumps({"output": {"env": os.environ.get("A"), "input": job["input"]}}).encode()
        call(done.replace("$ID", job["id"]).replace("$RUNPOD_POD_ID", pod), output)
"""


class Managed:
    """A running `flash platform` and one of its accounts."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )

    def graphql(self, query: str, variables: dict[str, Any] | None = None) -> Any:
        answer = self.http.post("/graphql", json={"query": query, "variables": variables or {}})
        assert answer.status_code == 200
        assert "errors" not in answer.json(), answer.json()
        return answer.json()["data"]

    def rest(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.http.request(method, path, json=body) if body is not None else self.http.request(method, path)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def account(self) -> Managed:
        made = self.rest("POST", "/_platform/accounts")
        return Managed(self.url, made["token"])

    def variables(self) -> dict[str, str]:
        """Point official tools here."""
        return {
            "RUNPOD_API_KEY": self.token,
            "RUNPOD_API_BASE_URL": self.url,
            "RUNPOD_ENDPOINT_BASE_URL": f"{self.url}/v2",
            "RUNPOD_REST_API_URL": f"{self.url}/v1",
            "RUNPOD_HAPI_URL": self.url,
            "RUNPOD_CONSOLE_URL": self.url,
            "RUNPOD_URL_MIXED_OK": "1",
        }


Start = Callable[..., contextlib.AbstractContextManager[Managed]]


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start `flash platform`; leaving the context ends it."""
    mark = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:32]

    @contextlib.contextmanager
    def started(*arguments: str | Path) -> Iterator[Managed]:
        command = [str(FLASH), "platform", "--port", "0", "--json", *map(str, arguments)]
        variables = environment | {"FLASH_PLATFORM_TOKEN": TOKEN, MARK: mark}
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
            assert process.stdout is not None
            try:
                ready = json.loads(process.stdout.readline())
                yield Managed(ready["url"], ready["token"])
            finally:
                process.terminate()
                process.wait(30)

    yield started
    left = end_marked(mark, within=3)
    assert not left, left


@pytest.fixture
def platform(start: Start) -> Iterator[Managed]:
    with start() as managed:
        yield managed


def worker(tmp_path: Path) -> dict[str, Any]:
    """The fields of an endpoint whose workers are a command."""
    (tmp_path / "worker.py").write_text(WORKER)
    return {"command": [sys.executable, "worker.py"], "directory": str(tmp_path)}


def problem(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert text in body["detail"]


def test_79_official_python_makes_and_changes_an_endpoint(platform: Managed, official: Path, run: Any) -> None:
    program = """
import json, runpod
from runpod.error import AuthenticationError, QueryError

runpod.api_key = "%s"
first = runpod.create_template("first", "some/image:1", docker_start_cmd='python -c "1"', env={"A": "1"}, is_serverless=True)
endpoint = runpod.create_endpoint("shop", first["id"], workers_max=2, flashboot=True)
second = runpod.create_template("second", "some/image:2")
changed = runpod.update_endpoint_template(endpoint["id"], second["id"])
told = {"first": first, "endpoint": endpoint, "changed": changed, "second": second}
told["endpoints"], told["user"], told["gpus"] = runpod.get_endpoints(), runpod.get_user(), len(runpod.get_gpus())
told["gpu"] = runpod.get_gpu("NVIDIA A40")
registry = runpod.create_container_registry_auth("hub", "me", "secret-password")
runpod.update_container_registry_auth(registry["id"], "me", "other-password")
runpod.delete_container_registry_auth(registry["id"])
try:
    runpod.create_pod("pod", "image", "NVIDIA A40")
except QueryError as error:
    told["pod"] = str(error)
runpod.api_key = "wrong"
try:
    runpod.get_user()
except AuthenticationError as error:
    told["wrong"] = str(error)
print(json.dumps(told))
"""
    done = run(official, "-c", program % platform.token, env=platform.variables())
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["first"]["dockerArgs"] == 'python -c "1"'
    assert told["first"]["env"] == [{"key": "A", "value": "1"}]
    assert told["endpoint"] | {"id": ""} == {
        "id": "",
        "name": "shop",
        "templateId": told["first"]["id"],
        "gpuIds": "AMPERE_16",
        "networkVolumeId": None,
        "locations": "",
        "idleTimeout": 5,
        "scalerType": "QUEUE_DELAY",
        "scalerValue": 4,
        "workersMin": 0,
        "workersMax": 2,
        "allowedCudaVersions": "",
        "gpuCount": 1,
        "flashBootType": "FLASHBOOT",
    }
    assert told["changed"] == {"id": told["endpoint"]["id"], "templateId": told["second"]["id"]}
    assert [(known["id"], known["templateId"]) for known in told["endpoints"]] == [
        (told["endpoint"]["id"], told["second"]["id"])
    ]
    assert told["user"]["id"]
    assert told["gpus"] > 10
    assert (told["gpu"]["id"], told["gpu"]["memoryInGb"]) == ("NVIDIA A40", 48)
    assert "pods" in told["pod"]
    assert "Unauthorized" in told["wrong"]


APP = """
from runpod_flash import Endpoint


@Endpoint(name="adder", cpu="cpu3c-1-2", workers=(0, 1))
async def add(a: int, b: int = 2):
    return {"sum": a + b}


api = Endpoint(name="web", cpu="cpu3c-1-2")


@api.get("/hello")
async def hello():
    return {"hi": 1}
"""


def test_official_flash_deploys_calls_and_deletes_an_app(
    platform: Managed, official: Path, run: Any, project: Any
) -> None:
    folder = project({"app.py": APP}).root

    def flash(*arguments: str) -> str:
        done = run(official.with_name("flash"), *arguments, cwd=folder, env=platform.variables(), timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    assert "no apps found" in flash("app", "list")
    first = flash("deploy", "--app", "shop")
    assert "uploaded" in first
    assert "deployed to production" in first
    second = flash("deploy", "--app", "shop")
    url = re.compile(rf"{platform.url}/v2/(\w{{14}})/runsync")
    found = url.findall(first)
    assert found
    assert found == url.findall(second), "the second deployment changes the first one's endpoint"
    assert re.search(r"shop\s+1 env\s+2 builds", flash("app", "list"))
    assert "production" in flash("env", "list", "--app", "shop")
    environment = flash("env", "get", "production", "--app", "shop")
    assert found[0] in environment
    assert "web" in environment

    artifact = (folder / ".flash" / "artifact.tar.gz").read_bytes()
    query = """query q($id: String!) { flashAppByName(flashAppName: $id) {
        flashEnvironments { state activeBuildId activeArtifact { downloadUrl } }
        flashBuilds { id manifest } } }"""
    app = platform.graphql(query, {"id": "shop"})["flashAppByName"]
    [production] = app["flashEnvironments"]
    assert production["state"] == "DEPLOYED"
    assert production["activeBuildId"] == app["flashBuilds"][0]["id"]
    assert set(app["flashBuilds"][0]["manifest"]["resources_endpoints"]) == {"adder", "web"}
    address = production["activeArtifact"]["downloadUrl"]
    assert httpx.get(address, trust_env=False).content == artifact
    assert httpx.get(address + "0", trust_env=False).status_code == 404

    # The sentinel: by app, environment and name, as code of a deployed app calls.
    headers = {"X-Flash-App": "shop", "X-Flash-Environment": "production", "X-Flash-Endpoint": "adder"}
    answer = platform.http.post("/v2/flash/runsync", json={"input": {"a": 40}}, headers=headers)
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["output"]) == ("COMPLETED", {"sum": 42})
    elsewhere = platform.http.post(
        "/v2/flash/runsync", json={"input": {}}, headers=headers | {"X-Flash-Environment": "staging"}
    )
    assert elsewhere.status_code == 404

    assert "deleted adder" in flash("undeploy", "adder", "--force")
    assert [known["name"] for known in platform.rest("GET", "/v2/serverless")["endpoints"]] == ["web"]
    assert "deleted app shop" in flash("app", "delete", "shop")
    assert platform.rest("GET", "/v2/serverless")["endpoints"] == []
    assert "no apps found" in flash("app", "list")


def test_80_official_flash_asks_what_exists(platform: Managed, official: Path, run: Any) -> None:
    endpoint = platform.rest("POST", "/v2/serverless", {"name": "e", "image": "i:1"}, 201)["id"]
    program = """
import asyncio, json, sys
from runpod_flash import DataCenter, NetworkVolume
from runpod_flash.core.api.runpod import RunpodGraphQLClient


async def main():
    told = {}
    first = await NetworkVolume(name="models", size=10, datacenter=DataCenter.EU_RO_1).deploy()
    again = await NetworkVolume(name="models", size=10, datacenter=DataCenter.EU_RO_1).deploy()
    told["volumes"] = [first.id, again.id]
    async with RunpodGraphQLClient() as client:
        told["exists"] = [await client.endpoint_exists(sys.argv[1]), await client.endpoint_exists("nothing")]
        told["stock"] = [
            await client.get_gpu_lowest_price_stock_status("NVIDIA A40", 1),
            await client.get_cpu_specific_stock_status("cpu3c", "cpu3c-1-2", "EU-RO-1"),
        ]
        told["deleted"] = await client.delete_endpoint(sys.argv[1])
        told["gone"] = await client.endpoint_exists(sys.argv[1])
    print(json.dumps(told))


asyncio.run(main())
"""
    done = run(official, "-c", program, endpoint, env=platform.variables())
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["volumes"][0] == told["volumes"][1]
    assert told["exists"] == [True, False]
    assert told["stock"] == ["High", "High"]
    assert (told["deleted"], told["gone"]) == ({"success": True}, False)


def test_official_flash_logs_in_with_the_token_in_a_browser(
    platform: Managed, official: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    variables = environment | platform.variables() | {"HOME": str(home), "PYTHONUNBUFFERED": "1"}
    del variables["RUNPOD_API_KEY"]
    command = [str(official.with_name("flash")), "login", "--no-open", "--timeout", "60"]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as login:
        assert login.stdout is not None
        lines = iter(login.stdout.readline, "")
        request = next(found[1] for line in lines if (found := re.search(r"/flash/login\?request=(\w+)", line)))
        page = httpx.get(f"{platform.url}/flash/login", params={"request": f'{request}"><script>'}, trust_env=False)
        assert f'value="{request}script"' in page.text
        form = f"{platform.url}/flash/login"
        wrong = httpx.post(form, data={"request": request, "token": "wrong"}, trust_env=False)
        assert wrong.status_code == 401
        right = httpx.post(form, data={"request": request, "token": platform.token}, trust_env=False)
        assert right.status_code == 200
        assert login.wait(30) == 0
    assert platform.token in (home / ".runpod" / "config.toml").read_text()
    # The token is told once.
    query = "query q($id: String!) { flashAuthRequestStatus(flashAuthRequestId: $id) { status apiKey } }"
    status = platform.graphql(query, {"id": request})["flashAuthRequestStatus"]
    assert status == {"status": "CONSUMED", "apiKey": None}


def test_81_graphql_answers_errors_with_200_and_a_wrong_token_with_401(platform: Managed) -> None:
    def ask(body: Any, token: str | None = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": token}
        return platform.http.post("/graphql", json=body, headers=headers)

    unknown = ask({"query": "{ myself { id nothing } }"})
    assert unknown.status_code == 200
    assert unknown.json()["errors"][0]["message"] == 'Cannot query field "nothing" on type "User".'
    bodies: list[Any] = [{"query": "{"}, {}, [], {"query": 7}]
    for body in bodies:
        assert ask(body).json()["errors"][0]["message"], body
    for query in ("{ myself { id } }", "{", "mutation { createFlashAuthRequest { id } deleteEndpoint(id: 1) }"):
        refused = ask({"query": query}, token="Bearer wrong")
        assert (refused.status_code, refused.json()) == (401, {"error": "unauthorized"})
    bare = ask({"query": "{ myself { id } }"}, token=platform.token)
    assert bare.json()["data"]["myself"]["id"]
    old = httpx.post(f"{platform.url}/graphql?api_key={platform.token}", json={"query": "{ myself { id } }"})
    assert old.json() == bare.json()
    named = ask({"query": "query A { myself { id } } query B { b: myself { id } }", "operationName": "B"})
    assert set(named.json()["data"]) == {"b"}


def test_82_rest_v1_lists_are_bare_arrays(platform: Managed) -> None:
    for path in ("endpoints", "templates", "networkvolumes", "containerregistryauth", "billing/endpoints"):
        assert platform.rest("GET", f"/v1/{path}") == []
    template = platform.rest("POST", "/v1/templates", {"name": "t", "imageName": "i:1", "env": {"A": "1"}})
    made = platform.rest(
        "POST",
        "/v1/endpoints",
        {"name": "e", "templateId": template["id"], "gpuTypeIds": ["NVIDIA L4"], "workersMax": 2, "flashboot": True},
    )
    assert made["gpuTypeIds"] == ["NVIDIA L4"]
    assert (made["workersMin"], made["workersMax"], made["idleTimeout"], made["scalerValue"]) == (0, 2, 5, 4)
    assert (made["flashboot"], made["env"], made["computeType"]) == (True, {"A": "1"}, "GPU")
    path = f"/v1/endpoints/{made['id']}"
    assert platform.rest("PATCH", path, {"workersMax": 1})["workersMax"] == 1
    assert platform.rest("POST", f"{path}/update", {"idleTimeout": 9})["idleTimeout"] == 9
    [listed] = platform.rest("GET", "/v1/endpoints?includeTemplate=true&includeWorkers=true")
    assert (listed["id"], listed["template"]["imageName"], listed["workers"]) == (made["id"], "i:1", [])
    problem(platform.http.delete(f"/v1/templates/{template['id']}"), 409, made["id"])
    gone = platform.http.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert platform.rest("DELETE", f"/v1/templates/{template['id']}", status=204) is None
    problem(platform.http.get(path), 404, "not found")
    problem(platform.http.post("/v1/endpoints", json={"name": "e", "gpuTypeIds": ["Voodoo"]}), 400, "Voodoo")
    problem(platform.http.get("/v1/pods"), 501, "pods")

    volume = platform.rest("POST", "/v1/networkvolumes", {"name": "v", "size": 10, "dataCenterId": "EU-RO-1"})
    assert set(volume) == {"id", "name", "size", "dataCenterId"}
    path = f"/v1/networkvolumes/{volume['id']}"
    assert platform.rest("PATCH", path, {"size": 20, "name": "w"}) == volume | {"size": 20, "name": "w"}
    problem(platform.http.patch(path, json={"size": 5}), 409, "smaller")
    assert platform.rest("DELETE", path, status=204) is None


def test_82_rest_v2_has_wrapped_lists_and_problems(platform: Managed, tmp_path: Path) -> None:
    page = {"hasNextPage": False}
    for name, key in (
        ("serverless", "endpoints"),
        ("templates", "templates"),
        ("network-volumes", "networkVolumes"),
        ("registries", "registries"),
    ):
        assert platform.rest("GET", f"/v2/{name}") == {key: [], "pagination": page}
    assert {gpu["pool"] for gpu in platform.rest("GET", "/v2/catalog/gpus")["gpus"]} >= {"AMPERE_16", "ADA_24"}
    assert platform.rest("GET", "/v2/catalog/cpus")["cpus"]
    assert platform.rest("GET", "/v2/catalog/datacenters")["datacenters"]

    template = platform.rest("POST", "/v2/templates", TEMPLATE | {"disk": 10, "serverless": True}, 201)
    body = {
        "name": "e",
        "templateId": template["id"],
        "type": "QUEUE",
        "gpu": {"pools": ["AMPERE_16"], "count": 1},
        "workers": {"min": 0, "max": 3, "idleTimeout": 5},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5},
        "flashboot": "OFF",
    }
    made = platform.rest("POST", "/v2/serverless", body, 201)
    assert re.fullmatch(r"[a-z0-9]{14}", made["id"])
    assert made["requestUrls"]["runSync"] == f"{platform.url}/v2/{made['id']}/runsync"
    assert made["scaling"] == {"type": "QUEUE_DELAY", "queueDelay": 0.5}
    assert made["gpu"]["pools"] == ["AMPERE_16"]
    path = f"/v2/serverless/{made['id']}"
    # Its own variables do not touch the template that others may use.
    changed = platform.rest("PATCH", path, {"env": {"B": "2"}})
    assert (changed["env"], changed["image"]) == ({"B": "2"}, TEMPLATE["image"])
    assert changed["templateId"] != template["id"]
    assert platform.rest("GET", f"/v2/templates/{template['id']}")["env"] == {"A": "1"}
    workers = platform.rest("GET", f"{path}/workers")
    # No container runs here, and the list says so.
    [unhealthy] = workers["workers"]
    assert (unhealthy["status"], workers["summary"]["unhealthy"], workers["endpointVersion"]) == ("UNHEALTHY", 1, 2)
    assert TEMPLATE["image"] in unhealthy["reason"]
    assert platform.rest("GET", f"{path}/releases")["releases"][0]["version"] == 2
    balanced = platform.rest("POST", "/v2/serverless", {"name": "l", "type": "LOAD_BALANCER", "image": "i"}, 201)
    assert set(balanced["requestUrls"]) == {"base", "health"}
    assert balanced["scaling"] == {"type": "REQUEST_COUNT", "requestCount": 4}

    for wrong, text in (
        ({"workers": {"min": 5}}, "fewest workers"),
        ({"workers": {"idleTimeout": 0}}, "1 to 3600"),
        ({"workers": {"max": "many"}}, "`workers.max` must be a whole number"),
        ({"scaling": {"queueDelay": 0.1}}, "0.5"),
        ({"timeout": 100}, "5 seconds to 7 days"),
        ({"env": {"A=B": "1"}}, "A=B"),
        ({"name": ""}, "name"),
        ({"command": ["python"], "directory": "relative"}, "absolute"),
        ([], "object"),
    ):
        problem(platform.http.patch(path, json=wrong), 400, text)
    problem(platform.http.patch(path, json={"type": "LOAD_BALANCER"}), 409, "type")
    problem(platform.http.post("/v2/serverless", content=b"{"), 400, "JSON")
    problem(platform.http.put(path, json={}), 405, "method")
    assert platform.rest("GET", path) == changed, "what was refused changed nothing"
    assert platform.rest("DELETE", path, status=204) is None
    problem(platform.http.get(path), 404, made["id"])
    for reserved in ("pods", "clusters/x", "global-volumes", "billing/pods/y", "account/ssh-keys", "serverless/a/b/c"):
        problem(platform.http.get(f"/v2/{reserved}"), 404, "nothing")
    assert platform.http.post("/v2/serverless/run", json={"input": 1}).status_code == 405


def test_89_accounts_are_isolated_and_go_with_all_they_have(platform: Managed, tmp_path: Path) -> None:
    first, second = platform.account(), platform.account()
    endpoint = first.rest("POST", "/v2/serverless", {"name": "e", **worker(tmp_path)}, 201)["id"]
    key = first.graphql("query q($id: String!) { myself { endpoint(id: $id) { aiKey } } }", {"id": endpoint})
    key = key["myself"]["endpoint"]["aiKey"]
    other = second.rest("POST", "/v2/serverless", {"name": "e", **worker(tmp_path)}, 201)["id"]
    assert [known["id"] for known in first.rest("GET", "/v2/serverless")["endpoints"]] == [endpoint]
    for method in ("GET", "PATCH", "DELETE"):
        answer = second.http.request(method, f"/v2/serverless/{endpoint}", json={})
        problem(answer, 404, endpoint)
    problem(second.http.get(f"/v1/endpoints/{endpoint}"), 404, endpoint)
    deleted = second.http.post("/graphql", json={"query": f'mutation {{ deleteEndpoint(id: "{endpoint}") }}'})
    assert "not found" in deleted.json()["errors"][0]["message"]
    # The endpoint's own key opens its data plane, and neither another endpoint nor management.
    keyed = Managed(platform.url, key)
    assert keyed.http.get(f"/v2/{endpoint}/health").status_code == 200
    assert keyed.http.get(f"/v2/{other}/health").status_code in {401, 404}
    for path in ("/v2/serverless", f"/v2/serverless/{endpoint}", "/v1/endpoints", "/v1/pods", "/v2/catalog/gpus"):
        assert keyed.http.get(path).status_code == 401
    assert keyed.http.post("/_platform/accounts").status_code == 401
    assert second.http.post("/_platform/accounts").status_code == 404
    job = first.rest("POST", f"/v2/{endpoint}/runsync", {"input": {"n": 1}})
    assert job["output"] == {"env": None, "input": {"n": 1}}

    account = first.graphql("{ myself { id } }")["myself"]["id"]
    assert platform.rest("DELETE", f"/_platform/accounts/{account}", status=204) is None
    assert first.http.get("/v2/serverless").status_code == 401
    assert platform.http.get(f"/v2/{endpoint}/health").status_code == 404
    assert [known["id"] for known in second.rest("GET", "/v2/serverless")["endpoints"]] == [other]
    problem(platform.http.delete(f"/_platform/accounts/{account}"), 404, account)


def prepare(platform: Managed, app: str, size: int) -> dict[str, str]:
    query = """mutation PrepareArtifactUpload($input: PrepareFlashArtifactUploadInput!) {
        prepareFlashArtifactUpload(input: $input) { uploadUrl objectKey expiresAt } }"""
    variables = {"input": {"flashAppId": app, "tarballSize": size}}
    return dict(platform.graphql(query, variables)["prepareFlashArtifactUpload"])


def finalize(platform: Managed, app: str, key: str) -> dict[str, Any]:
    query = """mutation FinalizeArtifactUpload($input: FinalizeFlashArtifactUploadInput!) {
        finalizeFlashArtifactUpload(input: $input) { id manifest } }"""
    variables = {"input": {"flashAppId": app, "objectKey": key, "manifest": {"resources": {}}}}
    return dict(platform.http.post("/graphql", json={"query": query, "variables": variables}).json())


def make_app(platform: Managed, name: str) -> str:
    query = "mutation m($input: CreateFlashAppInput!) { createFlashApp(input: $input) { id } }"
    return str(platform.graphql(query, {"input": {"name": name}})["createFlashApp"]["id"])


def test_uploads_are_signed_sized_and_final(platform: Managed) -> None:
    app = make_app(platform, "shop")
    artifact = b"\x1f\x8b" + bytes(range(256)) * 100
    upload = prepare(platform, app, len(artifact))
    assert "not" in finalize(platform, app, upload["objectKey"])["errors"][0]["message"]

    def put(url: str, content: bytes) -> httpx.Response:
        return httpx.put(url, content=content, trust_env=False)

    for forged in (
        upload["uploadUrl"][:-1],
        upload["uploadUrl"].replace("expires=", "expires=9"),
        upload["uploadUrl"].split("?")[0],
    ):
        assert put(forged, artifact).status_code in {400, 404}
    for wrong in (artifact + b"x", artifact[:-1], b""):
        problem(put(upload["uploadUrl"], wrong), 400, "announced")
    assert put(upload["uploadUrl"], artifact).status_code == 200
    build = finalize(platform, app, upload["objectKey"])["data"]["finalizeFlashArtifactUpload"]
    assert build["manifest"] == {"resources": {}}
    problem(put(upload["uploadUrl"], artifact), 409, "finished")
    for size in (0, (1500 << 20) + 1):
        query = f'mutation {{ prepareFlashArtifactUpload(input: {{flashAppId: "{app}", tarballSize: {size}}}) {{ objectKey }} }}'
        answer = platform.http.post("/graphql", json={"query": query}).json()
        assert "1500 MiB" in answer["errors"][0]["message"]


def test_all_is_kept_over_a_restart(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with start("--state", state) as platform:
        mine = platform.account()
        made = mine.rest("POST", "/v2/serverless", {"name": "e", "env": {"A": "kept"}, **worker(tmp_path)}, 201)
        volume = mine.rest("POST", "/v2/network-volumes", {"name": "v", "size": 1, "dataCenterId": "EU-RO-1"}, 201)
        gone = mine.rest("POST", "/v2/serverless", {"name": "gone", "image": "i:1"}, 201)["id"]
        mine.rest("DELETE", f"/v2/serverless/{gone}", status=204)
        app = make_app(mine, "shop")
        upload = prepare(mine, app, 3)
        assert httpx.put(upload["uploadUrl"], content=b"abc", trust_env=False).status_code == 200
        build = finalize(mine, app, upload["objectKey"])["data"]["finalizeFlashArtifactUpload"]["id"]
        mine.graphql('mutation { updateUserSettings(input: { pubKey: "ssh-ed25519 x" }) { id } }')
        keys = mine.graphql("{ myself { id endpoints { aiKey } } }")
        token = mine.token
    assert (state / "volumes" / volume["id"]).is_dir()
    with start("--state", state) as platform:
        again = Managed(platform.url, token)
        [listed] = again.rest("GET", "/v2/serverless")["endpoints"]
        assert listed | {"requestUrls": 0} == made | {"requestUrls": 0}
        assert again.rest("GET", "/v2/network-volumes")["networkVolumes"] == [volume]
        assert again.graphql("{ myself { id endpoints { aiKey } } }") == keys
        kept = again.graphql("{ myself { pubKey flashApps { name flashBuilds { id manifest } } } }")["myself"]
        assert kept["pubKey"] == "ssh-ed25519 x"
        assert kept["flashApps"] == [{"name": "shop", "flashBuilds": [{"id": build, "manifest": {"resources": {}}}]}]
        job = again.rest("POST", f"/v2/{listed['id']}/runsync", {"input": {"n": 2}})
        assert job["output"] == {"env": "kept", "input": {"n": 2}}
        assert again.http.get(f"/v2/{gone}/health").status_code == 404
    # Nothing secret in plain sight of other users of the machine.
    assert state.stat().st_mode & 0o077 == 0


def test_workers_and_their_lines_are_listed(platform: Managed, tmp_path: Path) -> None:
    endpoint = platform.rest("POST", "/v2/serverless", {"name": "e", **worker(tmp_path)}, 201)["id"]
    assert platform.rest("POST", f"/v2/{endpoint}/runsync", {"input": 1})["status"] == "COMPLETED"
    listed = platform.rest("GET", f"/v2/serverless/{endpoint}/workers")
    [one] = listed["workers"]
    assert (one["status"], one["isStale"], listed["summary"]["idle"]) == ("IDLE", False, 1)
    seen: list[str] = []
    url = f"/v2/serverless/{endpoint}/workers/{one['id']}/logs"
    with platform.http.stream("GET", f"{url}?source=container") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            if line.startswith("data:"):
                seen.append(json.loads(line[5:])["line"])
                break
    assert seen == ["worker says hello"]
    problem(platform.http.get(f"{url}?tail=9999"), 400, "5000")
    problem(platform.http.get(f"/v2/serverless/{endpoint}/workers/none/logs"), 404, "none")


def test_changes_at_once_are_all_kept(platform: Managed) -> None:
    def make(number: int) -> None:
        client = Managed(platform.url, platform.token)
        client.rest("POST", "/v2/serverless", {"name": f"e{number}", "image": "i:1"}, 201)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = platform.rest("GET", "/v2/serverless")["endpoints"]
    assert {known["name"] for known in listed} == {f"e{number}" for number in range(20)}
    health = platform.rest("GET", f"/v2/{listed[0]['id']}/health")
    assert health["jobs"]["inQueue"] == 0
