"""`flash run` as a client sees it: the guide's apps and calls, real workers behind a real server."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from platform_support import until

GPU_WORKER = """
    from runpod_flash import Endpoint, GpuType

    @Endpoint(name="gpu-inference", gpu=GpuType.NVIDIA_A100_80GB_PCIe)
    async def process_data(input: dict) -> dict:
        return {"result": "processed", "keys": sorted(input)}
"""

TWO_WORKERS = """
    from runpod_flash import Endpoint, GpuType

    @Endpoint(name="preprocess", gpu=GpuType.NVIDIA_A100_80GB_PCIe)
    async def preprocess(data: dict) -> dict:
        return {"preprocessed": data}

    @Endpoint(name="inference", gpu=GpuType.NVIDIA_A100_80GB_PCIe)
    async def run_model(input: dict) -> dict:
        return {"output": "result"}
"""

LB_WORKER = """
    from runpod_flash import Endpoint

    api = Endpoint(name="api-server", cpu="cpu5c-4-8", workers=(1, 5))

    @api.post("/generate")
    async def generate_text(prompt: str) -> dict:
        return {"text": f"generated from {prompt}"}

    @api.post("/translate")
    async def translate_text(text: str, target: str) -> dict:
        return {"translated": text, "target": target}

    @api.get("/health")
    async def health_check() -> dict:
        return {"status": "healthy"}

    @api.get("/items/{item_id}")
    async def read_item(item_id: int, verbose: bool = False) -> dict:
        return {"item_id": item_id, "verbose": verbose}

    @api.post("/fail")
    async def fail() -> dict:
        raise ValueError("boom")
"""

MIXED = """
    from runpod_flash import Endpoint, GpuType

    api = Endpoint(name="public-api", cpu="cpu5c-4-8", workers=(1, 5))

    @api.post("/process")
    async def handle_request(data: dict) -> dict:
        result = await run_gpu_inference(data)
        return {"result": result}

    @Endpoint(name="gpu-backend", gpu=GpuType.NVIDIA_A100_80GB_PCIe)
    async def run_gpu_inference(input: dict) -> dict:
        import os
        return {"inference": "result", "pid": os.getpid(), "input": input}
"""

MORE = """
    import os
    from typing import Optional

    from pydantic import BaseModel
    from runpod_flash import Endpoint


    class Order(BaseModel):
        text: str
        count: int = 3


    @Endpoint(name="model", cpu="cpu3c-1-2", workers=(0, 1))
    class Model:
        def __init__(self):
            self.calls = 0

        def predict(self, order: Order) -> dict:
            self.calls += 1
            return {"type": type(order).__name__, "count": order.count, "calls": self.calls}

        async def info(self) -> dict:
            return {"calls": self.calls}


    @Endpoint(name="raises", cpu="cpu3c-1-2")
    async def raises(message: str) -> None:
        raise ValueError(message)


    @Endpoint(name="dies", cpu="cpu3c-1-2")
    def dies(how: str = "exit") -> None:
        os._exit(7) if how == "exit" else os.abort()


    @Endpoint(name="adds", cpu="cpu3c-1-2")
    def adds(a: int, b: Optional[int] = 2) -> int:
        print("adding", a)
        return a + (b or 0)
"""


def curl(server, path: str, *arguments: str) -> tuple[int, object]:
    """What `curl` itself gets, with no header that it does not send by itself."""
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", f"{server.url}{path}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.fixture
def app(project, serve):
    return serve(project({"more.py": MORE, "gpu_worker.py": GPU_WORKER, "lb_worker.py": LB_WORKER}))


def test_guides_queue_based_call_works_with_curls_own_headers(app) -> None:
    status, body = curl(app, "/gpu_worker/runsync", "-d", '{"input": {"your": "data"}}')
    assert (status, body["status"]) == (200, "COMPLETED")
    assert body["output"] == {"result": "processed", "keys": ["your"]}
    assert body["id"]
    # The official form of the same call, with the parameter's name.
    status, body = curl(app, "/gpu_worker/runsync", "-X", "POST", "--json", '{"input": {"input": {"a": 1}}}')
    assert body["output"]["keys"] == ["a"]


def test_guides_load_balanced_calls_work(app) -> None:
    assert curl(app, "/lb_worker/health") == (200, {"status": "healthy"})
    status, body = curl(app, "/lb_worker/generate", "-d", '{"prompt": "hi"}')
    assert (status, body) == (200, {"text": "generated from hi"})
    status, body = curl(app, "/lb_worker/translate", "--json", '{"text": "a", "target": "de"}')
    assert (status, body) == (200, {"translated": "a", "target": "de"})
    status, body = curl(app, "/lb_worker/items/7?verbose=true")
    assert (status, body) == (200, {"item_id": 7, "verbose": True})


def test_load_balanced_wrong_input_is_fastapis_422(app) -> None:
    answer = app.post("/lb_worker/translate", {"text": "a"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "target"]
    assert app.get("/lb_worker/items/x").json()["detail"][0]["type"] == "int_parsing"
    assert app.get("/lb_worker/nothing").status_code == 404
    assert app.get("/lb_worker/generate").status_code == 405


def test_load_balanced_failure_is_500_with_the_users_frames(app) -> None:
    answer = app.post("/lb_worker/fail", {})
    assert answer.status_code == 500
    assert "boom" in answer.text
    assert "lb_worker.py" in answer.text
    assert "site-packages" not in answer.text


def test_load_balanced_endpoint_answers_by_host(app) -> None:
    answer = app.get("/health", headers={"host": f"api-server.localhost:{app.port}"})
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


def test_two_queue_functions_have_their_own_routes(project, serve) -> None:
    server = serve(project({"gpu_worker.py": TWO_WORKERS}))
    assert server.runsync("/gpu_worker/preprocess", data={"a": 1}) == {"preprocessed": {"a": 1}}
    assert server.runsync("/gpu_worker/run_model", input={}) == {"output": "result"}
    assert server.post("/gpu_worker/runsync", {"input": {}}).status_code == 404


def test_load_balanced_route_reaches_a_queue_function_through_its_queue(project, serve) -> None:
    server = serve(project({"mixed_api_worker.py": MIXED}))
    result = server.post("/mixed_api_worker/process", {"data": {"k": 1}}).json()["result"]
    assert result["input"] == {"k": 1}
    # The same worker as the queue's own route reaches.
    assert server.runsync("/mixed_api_worker", input={"k": 2})["pid"] == result["pid"]


def test_load_balanced_worker_answers_while_a_route_awaits_a_slow_function(project, serve) -> None:
    source = """
        import os, time
        from runpod_flash import Endpoint

        @Endpoint(name="slow", cpu="cpu3c-1-2")
        def slow(gate: str) -> str:
            while not os.path.exists(gate):
                time.sleep(0.01)
            return "opened"

        api = Endpoint(name="front", cpu="cpu3c-1-2")

        @api.post("/waits")
        async def waits(gate: str) -> str:
            return await slow(gate)

        @api.get("/health")
        def health() -> dict:
            return {"pid": os.getpid()}
    """
    server = serve(project({"app.py": source}))
    gate = server.root / "gate"
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(server.post, "/app/waits", {"gate": str(gate)})
        pids = {server.get("/app/health").json()["pid"] for _ in range(3)}
        assert len(pids) == 1
        assert not waiting.done()
        gate.touch()
        assert waiting.result().json() == "opened"


def test_calls_between_files_and_classes_go_through_queues(project, serve) -> None:
    files = {
        "text/clean.py": """
            import os
            from runpod_flash import Endpoint

            @Endpoint(name="cleaner", cpu="cpu3c-1-2")
            def clean(text: str) -> dict:
                return {"text": text.strip(), "pid": os.getpid()}
        """,
        "app.py": """
            import os
            from runpod_flash import Endpoint
            from text.clean import clean

            @Endpoint(name="counter", cpu="cpu3c-1-2")
            class Counter:
                async def count(self, text: str) -> dict:
                    cleaned = await clean(text)
                    return {"count": len(cleaned["text"]), "pids": [cleaned["pid"], os.getpid()]}

            api = Endpoint(name="front", cpu="cpu3c-1-2")

            @api.post("/count")
            async def front(text: str) -> dict:
                return await Counter().count(text)
        """,
    }
    server = serve(project(files))
    answer = server.post("/app/count", {"text": "  abc  "}).json()
    assert answer["count"] == 3
    assert answer["pids"][0] == server.runsync("/text/clean", text="x")["pid"]
    assert len(set(answer["pids"])) == 2
    # Imported by another file, it is served once, where it is declared.
    assert server.post("/app/clean/runsync", {"input": {"text": "x"}}).status_code == 404


def test_calls_that_go_in_a_circle_are_an_error(project, serve) -> None:
    source = """
        from runpod_flash import Endpoint

        @Endpoint(name="ping", cpu="cpu3c-1-2")
        async def ping(x: int) -> int:
            return await pong(x)

        @Endpoint(name="pong", cpu="cpu3c-1-2")
        async def pong(x: int) -> int:
            return await ping(x)
    """
    body = serve(project({"circle.py": source})).post("/circle/ping/runsync", {"input": {"x": 1}}).json()
    assert body["status"] == "FAILED"
    assert "ping" in body["error"]
    assert "pong" in body["error"]


def test_class_keeps_its_state_and_gets_models(app) -> None:
    first = app.runsync("/more/predict", order={"text": "x"})
    assert first == {"type": "Order", "count": 3, "calls": 1}
    assert app.runsync("/more/predict", order={"text": "x", "count": "5"})["count"] == 5
    assert app.runsync("/more/info") == {"calls": 2}


def test_queue_wrong_input_is_422_naming_the_field(app) -> None:
    answer = app.post("/more/adds/runsync", {"input": {"a": "zz"}})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input", "a"]
    assert answer.json()["detail"][0]["type"] == "int_parsing"
    assert app.post("/more/adds/runsync", {"input": {"b": 1}}).json()["detail"][0]["type"] == "missing"
    assert app.post("/more/adds/runsync", {}).json()["detail"][0]["loc"] == ["body", "input"]
    assert app.post("/more/adds/runsync", content=b"{nope").json()["detail"][0]["type"] == "json_invalid"


def test_queue_failure_is_failed_and_never_completed(app) -> None:
    answer = app.post("/more/raises/runsync", {"input": {"message": "no luck"}})
    body = answer.json()
    assert (answer.status_code, body["status"], body["error"]) == (200, "FAILED", "ValueError: no luck")
    assert body["output"]["error_type"] == "ValueError"
    assert "more.py" in body["output"]["error_traceback"]
    assert "site-packages" not in body["output"]["error_traceback"]


@pytest.mark.parametrize("how", ["exit", "abort"])
def test_worker_that_dies_costs_its_job_only(app, how: str) -> None:
    body = app.post("/more/dies/runsync", {"input": {"how": how}}).json()
    assert body["status"] == "FAILED"
    assert "7" in body["error"] if how == "exit" else "SIGABRT" in body["error"]
    assert app.runsync("/more/adds", a=1) == 3


def test_worker_whose_code_calls_sys_exit_answers_and_is_replaced(project, serve) -> None:
    files = {
        "leaves.py": """
            import os
            import sys

            from runpod_flash import Endpoint

            @Endpoint(name="leaves", workers=1)
            def leaves(code: int | None = None) -> int:
                if code is not None:
                    sys.exit(code)
                return os.getpid()
        """
    }
    server = serve(project(files))
    first = server.runsync("/leaves")
    assert server.runsync("/leaves") == first
    body = server.post("/leaves/runsync", {"input": {"code": 3}}).json()
    assert body["status"] == "FAILED"
    assert body["error"] == "SystemExit: the function called sys.exit(3)", body
    # What it left behind in its process is gone, and nothing is said of a crash.
    assert server.runsync("/leaves") != first
    until(lambda: first not in server.processes())
    assert "killed" not in server.output.text


def test_real_api_is_served_below_v2(app) -> None:
    job = app.post("/v2/adds/run", {"input": {"a": 40}}).json()
    assert job["status"] == "IN_QUEUE"
    done = app.get(f"/v2/adds/status-sync/{job['id']}").json()
    assert (done["status"], done["output"]) == ("COMPLETED", 42)
    assert app.get("/v2/adds/health").json()["jobs"]["completed"] == 1
    assert app.post("/v2/adds/runsync", {"input": {"a": 1, "b": 1}}).json()["output"] == 2
    # Wrong input is accepted there, as Runpod does, and the job fails.
    assert app.post("/v2/adds/runsync", {"input": {"a": "x"}}).json()["status"] == "FAILED"


def test_console_says_what_is_served_and_what_was_asked(app) -> None:
    app.runsync("/more/adds", a=1)
    line = app.wait_for_line("/more/adds/runsync  200")
    assert "POST" in line
    assert "adding 1" in app.wait_for_line("│ adding 1")
    app.post("/more/raises/runsync", {"input": {"message": "no luck"}})
    app.wait_for_line("200 FAILED")
    app.wait_for_line("ValueError: no luck")
    text = app.output.text
    for expected in ("gpu-inference", "load-balanced", "NVIDIA_A100_80GB_PCIe", "/lb_worker/items/{item_id}", "/docs"):
        assert expected in text
    assert text.count("no GPU here") == 1
    assert "this machine" in text
    assert "\x1b" not in text


def test_own_routes_answer(app) -> None:
    assert app.get("/").json() == {"message": "Flash Dev Server", "docs": "/docs"}
    assert app.get("/ping").json() == {"status": "healthy"}
    assert app.get("/redoc", follow_redirects=False).headers["location"] == "/docs"
    assert app.get("/nope").json() == {"detail": "Not Found"}


def test_foreign_origin_and_host_are_refused(app) -> None:
    body = {"input": {"a": 1}}
    assert app.post("/more/adds/runsync", body, headers={"origin": "https://evil.example"}).status_code == 403
    assert app.post("/more/adds/runsync", body, headers={"host": "evil.example"}).status_code == 403
    assert app.post("/more/adds/runsync", body, headers={"origin": "http://localhost:3000"}).status_code == 200


def test_openapi_has_the_models_of_both_kinds(app) -> None:
    document = app.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    predict = document["paths"]["/more/predict/runsync"]["post"]
    assert predict["tags"] == ["model"]
    assert predict["requestBody"]["content"]["application/json"]["example"]["input"]["order"]["text"]
    assert document["components"]["schemas"]["Order"]["properties"]["count"]["default"] == 3
    item = document["paths"]["/lb_worker/items/{item_id}"]["get"]
    assert {each["name"]: each["in"] for each in item["parameters"]} == {"item_id": "path", "verbose": "query"}
    identifiers = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(set(identifiers)) == len(identifiers)


def test_openapi_examples_can_be_sent_as_they_are(app) -> None:
    document = app.get("/openapi.json").json()
    sent = 0
    for path, item in document["paths"].items():
        body = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json")
        if body and "/dies/" not in path and "{" not in path:
            answer = app.post(path, body["example"])
            assert answer.status_code == 200, f"{path}: {answer.text}"
            sent += 1
    assert sent >= 6


def test_ipv6_loopback_answers_as_well(app) -> None:
    try:
        answer = httpx.get(f"http://[::1]:{app.port}/ping", trust_env=False)
    except httpx.ConnectError:
        pytest.skip("this machine has no IPv6")
    assert answer.status_code == 200
