"""`/v2/{endpoint}/…` of `flash run`: an endpoint on Runpod answers each request as one on this machine does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from platform_support import FINAL, Platform, until
from support import Project, Serve, Server

APP = """
    import asyncio

    from runpod_flash import Endpoint


    @Endpoint(name="ops-work", cpu="cpu3c-1-2", workers=(0, 1))
    async def work(n: int, mode: str = "") -> dict:
        if mode == "boom":
            raise ValueError("boom")
        if mode == "sleep":
            await asyncio.sleep(600)
        return {"twice": 2 * n}


    @Endpoint(name="ops-count", cpu="cpu3c-1-2", workers=(0, 1))
    def count(n: int):
        for number in range(n):
            yield {"number": number}


    @Endpoint(name="ops-pair", cpu="cpu3c-1-2", workers=(0, 1))
    class Pair:
        def up(self, n: int):
            return n + 1

        def down(self, n: int):
            return n - 1


    api = Endpoint(name="ops-api", cpu="cpu3c-1-2", workers=(0, 1))


    @api.get("/hello")
    async def hello():
        return "hello"
"""


class Jobs:
    """The requests of one server, and what they are answered with."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.seen: dict[str, Any] = {}

    def ask(self, name: str, method: str, path: str, json: Any = None) -> Any:
        """Send a request to `/v2/`; keep status and shape under `name`, and return the JSON."""
        answer = self.server.request(method, f"/v2/{path}", **({"json": json} if json is not None else {}))
        body = answer.json()
        self.seen[name] = (answer.status_code, shape(body))
        return body

    def submit(self, endpoint: str, **input: Any) -> str:
        """Submit a job; return its ID."""
        answer = self.server.post(f"/v2/{endpoint}/run", {"input": input})
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "IN_QUEUE"
        return str(answer.json()["id"])

    def ended(self, endpoint: str, job: str) -> Any:
        """Wait for a job's end."""
        return until(
            lambda: (s := self.server.get(f"/v2/{endpoint}/status-sync/{job}").json())["status"] in FINAL and s, 60
        )


def shape(value: Any, key: str = "") -> Any:
    """What must be equal wherever it runs: all but times, IDs, and what only one worker of the two says."""
    if isinstance(value, dict):
        return {name: shape(inner, name) for name, inner in value.items() if name != "waitingFor"}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if key in ("id", "workerId", "delayTime", "executionTime", "error_traceback"):
        return type(value).__name__
    return value


def everything(server: Server) -> dict[str, Any]:
    """Send every kind of request once."""
    jobs = Jobs(server)
    done = jobs.submit("ops-work", n=4)
    assert jobs.ended("ops-work", done)["output"] == {"twice": 8}
    jobs.ask("status", "GET", f"ops-work/status/{done}")
    jobs.ask("status by POST", "POST", f"ops-work/status/{done}")
    jobs.ask("retry of a success", "POST", f"ops-work/retry/{done}")
    jobs.seen["retry of a success"] = jobs.seen["retry of a success"][0]
    jobs.ask("cancel of what is finished", "POST", f"ops-work/cancel/{done}")
    jobs.ask("runsync", "POST", "ops-work/runsync", {"input": {"n": 5}})
    jobs.ask("runsync with a wait", "POST", "ops-work/runsync?wait=60000.5", {"input": {"n": 5}})
    jobs.ask("wait that is none", "POST", "ops-work/runsync?wait=soon", {"input": {"n": 5}})
    failed = jobs.submit("ops-work", n=1, mode="boom")
    end = jobs.ended("ops-work", failed)
    assert (end["status"], end["error"]) == ("FAILED", "ValueError: boom")
    assert jobs.ask("retry", "POST", f"ops-work/retry/{failed}") == {"id": failed, "status": "IN_QUEUE"}
    assert jobs.ended("ops-work", failed)["status"] == "FAILED"
    asleep = jobs.submit("ops-work", n=1, mode="sleep")
    waiting = jobs.submit("ops-work", n=1)
    until(lambda: server.get(f"/v2/ops-work/status/{asleep}").json()["status"] == "IN_PROGRESS", 30)
    jobs.ask("health", "GET", "ops-work/health")
    jobs.seen["health"] = {group: sorted(counts) for group, counts in jobs.seen["health"][1].items()}
    jobs.ask("purge-queue", "POST", "ops-work/purge-queue")
    assert jobs.ended("ops-work", waiting)["status"] == "CANCELLED"
    assert jobs.ask("cancel", "POST", f"ops-work/cancel/{asleep}")["status"] == "CANCELLED"
    jobs.seen["wrong input"] = shape(jobs.ended("ops-work", jobs.submit("ops-work", n="many")))
    listed = jobs.ask("requests", "GET", "ops-work/requests")["requests"]
    assert (listed[-1]["id"], {failed, asleep, waiting} <= {one["id"] for one in listed}) == (done, True)
    counted = jobs.submit("ops-count", n=3)
    assert jobs.ended("ops-count", counted)["status"] == "COMPLETED"
    given = jobs.ask("stream", "GET", f"ops-count/stream/{counted}")
    assert [item["output"] for item in given["stream"]] == [{"number": number} for number in range(3)]
    jobs.ask("stream again", "GET", f"ops-count/stream/{counted}")
    jobs.ask("stream of a function", "GET", f"ops-work/stream/{done}")
    jobs.ask("method", "POST", "ops-pair/runsync", {"input": {"method": "down", "n": 5}})
    jobs.ask("requests without jobs", "GET", "ops-api/requests")
    for name, method, path, body in [
        ("no such job", "GET", "ops-work/status/nothere", None),
        ("no such job to stream", "GET", "ops-work/stream/nothere", None),
        ("no such job to cancel", "POST", "ops-work/cancel/nothere", None),
        ("no such job to retry", "POST", "ops-work/retry/nothere", None),
        ("a job of another endpoint", "GET", f"ops-count/status/{done}", None),
        ("wrong method", "GET", "ops-work/run", None),
        ("wrong method to cancel", "GET", f"ops-work/cancel/{done}", None),
        ("no such route", "GET", "ops-work/nothere", None),
        ("no input", "POST", "ops-work/run", {"inputs": {}}),
        ("not an object", "POST", "ops-work/run", [1]),
        ("wrong policy", "POST", "ops-work/run", {"input": {"n": 1}, "policy": {"ttl": 1}}),
        ("job for routes", "POST", "ops-api/run", {"input": {}}),
    ]:
        jobs.ask(name, method, path, body)
    return jobs.seen


def test_job_operations_are_the_same_in_both_places(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project({"ops.py": APP})
    here = everything(serve(root, "--local", env=platform.variables))
    remote = serve(root, "--remote", env=platform.variables)
    remote.wait_for_line("Runpod (--remote)")
    there = everything(remote)
    assert here.keys() == there.keys()
    for name, seen in here.items():
        assert there[name] == seen, name


def test_asking_makes_no_endpoint(project: Callable[..., Project], platform: Platform, serve: Serve) -> None:
    root = project({"ops.py": APP.replace("ops-", "asked-")})
    server = serve(root, "--remote", env=platform.variables)
    empty = {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0}
    assert server.get("/v2/asked-work/health").json()["jobs"] == empty
    assert server.post("/v2/asked-work/purge-queue").json() == {"removed": 0, "status": "completed"}
    assert server.get("/v2/asked-work/requests").json() == {"requests": []}
    assert server.get("/v2/asked-work/status/nothere").status_code == 404
    listed = platform.get("/v2/serverless").json()["endpoints"]
    assert not [one["name"] for one in listed if one["name"].startswith("live-asked")]
