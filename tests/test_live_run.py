"""`flash run --remote` with `flash platform` as the cloud: made, called, shown, removed."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from platform_support import Platform, platform_process, until
from support import FLASH, Project, Serve

#: Files of a hybrid app; endpoint names begin with the test's own letter.
APP = {
    "gpu_worker.py": """
        from runpod_flash import Endpoint, GpuGroup

        FACTOR = 2


        def scale(number):
            return number * FACTOR


        @Endpoint(name="NAME-gpu", gpu=GpuGroup.ADA_24)
        async def process(input_data: dict) -> dict:
            return {"got": input_data, "scaled": scale(input_data.get("n", 1))}
    """,
    "counter.py": """
        from runpod_flash import Endpoint


        @Endpoint(name="NAME-counter", cpu="cpu3c-1-2")
        class Counter:
            def __init__(self, start: int = 10):
                self.n = start

            def up(self, by: int = 1):
                self.n += by
                return self.n
    """,
    "caller.py": """
        from gpu_worker import process
        from runpod_flash import Endpoint


        @Endpoint(name="NAME-caller", cpu="cpu3c-1-2")
        async def ask(n: int) -> dict:
            return await process({"n": n})
    """,
    "api.py": """
        from runpod_flash import Endpoint

        api = Endpoint(name="NAME-api", cpu="cpu3c-1-2")


        @api.get("/items/{id}")
        async def item(id: int, q: str = "none"):
            return {"id": id, "q": q}
    """,
}


def app(name: str, *files: str) -> dict[str, str]:
    """Return files of the app with names of their own."""
    return {file: APP[file].replace("NAME", name) for file in files or APP}


def endpoints(platform: Platform, name: str) -> list[str]:
    """Return the names of the live endpoints on the platform that begin with `live-{name}`."""
    found = platform.get("/v2/serverless").json()["endpoints"]
    return sorted(endpoint["name"] for endpoint in found if endpoint["name"].startswith(f"live-{name}"))


def state(project: Project) -> dict[str, Any]:
    """Return the tracked endpoints by name."""
    path = project / ".flash/resources.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text())
    assert found["version"] == 1
    return {endpoint["name"]: endpoint for endpoint in found["endpoints"]}


def test_hybrid_app_runs_in_both_places_and_leaves_nothing(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("hybrid"))
    remote = ["hybrid-gpu", "hybrid-counter", "hybrid-api"]
    server = serve(root, "--remote", *remote, env=platform.variables)
    server.wait_for_line("hybrid-gpu: Runpod (--remote hybrid-gpu hybrid-counter hybrid-api)")
    server.wait_for_line("hybrid-caller: this machine (not named by --remote)")
    server.wait_for_line("control plane: GraphQL")
    server.wait_for_line("cost money while they run")
    # The body of the guide; every call is a live one.
    body = {"input_data": {"n": 3}}
    assert server.runsync("/gpu_worker", **body) == {"got": {"n": 3}, "scaled": 6}
    assert server.runsync("/counter", by=4) == 14
    assert endpoints(platform, "hybrid") == ["live-hybrid-counter", "live-hybrid-gpu"]
    answer = server.post("/v2/hybrid-gpu/run", {"input": body}).json()
    finished = until(
        lambda: (s := server.get(f"/v2/hybrid-gpu/status/{answer['id']}").json())["status"] == "COMPLETED" and s
    )
    assert finished["output"]["scaled"] == 6
    wrong = server.post("/counter/runsync", {"input": {"by": "many"}})
    assert wrong.status_code == 422, wrong.text
    # A worker of this machine calls Runpod through its parent.
    assert server.runsync("/caller", n=5)["scaled"] == 10
    assert server.get("/api/items/7?q=x").json() == {"id": 7, "q": "x"}
    # What a file says now is what runs, on the endpoint that is there.
    kept = state(root)["live-hybrid-gpu"]["id"]
    mark = server.output.mark
    root.write({"gpu_worker.py": app("hybrid")["gpu_worker.py"].replace("FACTOR = 2", "FACTOR = 100")})
    server.wait_for_line("reloaded gpu_worker.py", after=mark)
    assert server.runsync("/gpu_worker", **body)["scaled"] == 300
    assert state(root)["live-hybrid-gpu"]["id"] == kept
    text = (root / ".flash/resources.json").read_text()
    assert platform.token not in text
    assert (root / ".flash/.gitignore").read_text() == "*\n"
    server.stop()
    assert endpoints(platform, "hybrid") == []
    assert state(root) == {}
    assert "removed `live-hybrid-gpu`" in server.output.text
    assert platform.token not in server.output.text


def test_killed_run_leaves_what_the_next_one_offers(
    project: Callable[..., Project], platform: Platform, serve: Serve, environment: dict[str, str]
) -> None:
    root = project(app("killed", "counter.py"))
    first = serve(root, "--remote", env=platform.variables)
    assert first.runsync("/counter") == 11
    first.kill()
    assert endpoints(platform, "killed") == ["live-killed-counter"]
    # Without a terminal nobody is asked: it is listed and stays.
    second = serve(root, "--local", env=platform.variables)
    second.wait_for_line("live-killed-counter (")
    second.wait_for_line("`flash run --clean` removes them")
    second.stop()
    assert endpoints(platform, "killed") == ["live-killed-counter"]
    # On one, the answer counts; `n` by default.
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [str(FLASH), "run", "--local", "--port", "0"],
        cwd=root.root,
        env=environment | platform.variables,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        told = b""
        while b"remove them now? [y/N]" not in told:
            told += os.read(controller, 4096)
        os.write(controller, b"y\n")
        until(lambda: endpoints(platform, "killed") == [])
    finally:
        process.send_signal(signal.SIGINT)
        # To the end of the terminal, which is an error on Linux.
        with contextlib.suppress(OSError):
            while os.read(controller, 4096):
                pass
        process.wait(15)
        os.close(controller)
    assert state(root) == {}


def test_cost_limit_stops_the_workers(
    project: Callable[..., Project], session_environment: dict[str, str], serve: Serve
) -> None:
    root = project(app("costly", "counter.py"))
    with platform_process(session_environment, env={"FLASH_PLATFORM_PRICE": "3600"}) as cloud:
        server = serve(root, "--remote", "--max-cost", "1.50", env=cloud.variables)
        assert server.runsync("/counter") == 11
        server.wait_for_line("$3600.00 per hour for each worker")
        server.wait_for_line("live-costly-counter 1 worker $3600.00/h")
        server.wait_for_line("--max-cost $1.50 is reached")
        until(lambda: endpoints(cloud, "costly") == [])
        refused = server.post("/counter/runsync", {"input": {"by": 1}})
        assert refused.status_code == 503
        assert "--max-cost $1.50 is reached" in refused.text
        server.stop()


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["--remote", "nothere"], {}, "there is no endpoint `nothere` here"),
        (["--remote"], {"RUNPOD_API_KEY": ""}, "no Runpod API key found"),
        (["--max-cost", "none"], {}, "write a number of US dollars above 0"),
        ([], {"FLASH_TARGET": "moon"}, "FLASH_TARGET must be `local` or `runpod`"),
    ],
)
def test_run_refuses_what_it_cannot_follow(
    project: Callable[..., Project],
    platform: Platform,
    flash: Callable[..., subprocess.CompletedProcess[str]],
    arguments: list[str],
    env: dict[str, str],
    words: str,
) -> None:
    root = project(app("refused", "counter.py"))
    result = flash("run", "--port", "0", *arguments, cwd=root.root, env=platform.variables | env)
    assert result.returncode != 0
    assert words in result.stderr


def test_key_without_a_terminal_stays_here_and_says_how_to_go(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("stays", "counter.py"))
    server = serve(root, env=platform.variables)
    server.wait_for_line(re.compile("a Runpod key was found and is not used; `flash run --remote`"))
    assert server.runsync("/counter") == 11
    assert endpoints(platform, "stays") == []
    server.stop()
    # What was answered once is remembered.
    root.write({".flash/settings.json": '{"version": 1, "target": "runpod"}'})
    server = serve(root, env=platform.variables)
    server.wait_for_line("Runpod (remembered in .flash/settings.json)")


LEGACY = """
import asyncio, os
from runpod_flash import Endpoint
from runpod_flash.core.resources.resource_manager import ResourceManager
endpoint = Endpoint(name="takeover-counter", cpu="cpu3c-1-2")
asyncio.run(ResourceManager().get_or_deploy_resource(endpoint._build_resource_config()))
"""


def test_endpoints_of_1_21_are_taken_over_once(
    project: Callable[..., Project], platform: Platform, serve: Serve, official: Path, environment: dict[str, str]
) -> None:
    root = project(app("takeover", "counter.py"))
    variables = environment | platform.variables | {"FLASH_IS_LIVE_PROVISIONING": "true", "CI": "1"}
    subprocess.run([str(official), "-c", LEGACY], cwd=root.root, env=variables, check=True, capture_output=True)
    before = platform.get("/v2/serverless").json()["endpoints"]
    [made] = [endpoint["id"] for endpoint in before if endpoint["name"] == "live-takeover-counter"]
    pickled = (root / ".flash/resources.pkl").read_bytes()
    server = serve(root, "--remote", env=platform.variables)
    assert server.runsync("/counter") == 11
    assert state(root)["live-takeover-counter"]["id"] == made
    server.stop()
    # It is not the run's own: it stays, as the file does.
    assert endpoints(platform, "takeover") == ["live-takeover-counter"]
    assert (root / ".flash/resources.pkl").read_bytes() == pickled
    platform.request("DELETE", f"/v2/serverless/{made}")


def test_malicious_pickle_is_data(project: Callable[..., Project], platform: Platform, serve: Serve) -> None:
    root = project(app("malicious", "counter.py"))
    evidence = root / "executed"
    pickled = f"cposix\nsystem\n(S'touch {evidence}'\ntR.".encode()
    root.write({".flash/resources.pkl": pickled})
    server = serve(root, "--remote", env=platform.variables)
    assert server.runsync("/counter") == 11
    server.stop()
    assert not evidence.exists()
