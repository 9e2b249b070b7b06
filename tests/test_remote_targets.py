"""Where the functions of a `flash run` go, and what is said where they cannot go there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fault_proxy import FaultProxy, fault_proxy
from platform_support import Platform, platform_process, until
from support import Project, Serve

Flash = Callable[..., subprocess.CompletedProcess[str]]

APP = """
    from runpod_flash import Endpoint


    @Endpoint(name="NAME", cpu="cpu3c-1-2", workers=(0, 1))
    async def work(n: int) -> int:
        return 2 * n
"""


def app(name: str, **more: str) -> dict[str, str]:
    """Return a project with one endpoint, and others by their file's name."""
    others = {f"{file}.py": APP.replace("NAME", other) for file, other in more.items()}
    return {"work.py": APP.replace("NAME", name)} | others


def endpoints(platform: Platform, name: str) -> dict[str, str]:
    """Return the IDs of the live endpoints on the platform that begin with `live-{name}`, by name."""
    found = platform.get("/v2/serverless").json()["endpoints"]
    return {one["name"]: one["id"] for one in found if one["name"].startswith(f"live-{name}")}


@pytest.fixture
def proxy(platform: Platform) -> Iterator[FaultProxy]:
    """The platform, which fails where a test says so."""
    with fault_proxy(platform) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("arguments", "env", "lines"),
    [
        (["--local"], {"FLASH_TARGET": "runpod"}, ["this machine (--local)"]),
        (["--remote"], {"FLASH_TARGET": "local"}, ["Runpod (--remote)"]),
        ([], {"FLASH_TARGET": "runpod"}, ["Runpod (FLASH_TARGET=runpod)"]),
        ([], {"FLASH_TARGET": "local"}, ["this machine (FLASH_TARGET=local)"]),
        (
            ["--remote", "where-a"],
            {},
            ["where-a: Runpod (--remote where-a)", "where-b: this machine (not named by --remote)"],
        ),
        (["--remote", "where-a,where-b"], {}, ["where-b: Runpod (--remote where-a where-b)"]),
        ([], {"RUNPOD_API_KEY": ""}, ["this machine (no account needed: no Runpod key was found)"]),
    ],
)
def test_console_says_where_and_why(
    project: Callable[..., Project],
    platform: Platform,
    serve: Serve,
    arguments: list[str],
    env: dict[str, str],
    lines: list[str],
) -> None:
    server = serve(project(app("where-a", other="where-b")), *arguments, env=platform.variables | env)
    for line in lines:
        server.wait_for_line(line)


@pytest.mark.parametrize(
    ("arguments", "env", "status", "words"),
    [
        (["--local", "--remote"], {}, 2, ["cannot be used with"]),
        (
            ["--remote", "refused-gup"],
            {},
            1,
            ["there is no endpoint `refused-gup` here", "did you mean `refused-gpu`? the endpoints are `refused-gpu`"],
        ),
        (
            ["--remote"],
            {"RUNPOD_API_KEY": "  "},
            1,
            ["no Runpod API key found", "run `flash login`", "`flash run --local` runs all functions on this machine"],
        ),
        (
            ["--remote"],
            {"RUNPOD_API_KEY": "rpa_WRONGKEY"},
            1,
            ["Runpod answered 401", "the key from RUNPOD_API_KEY in the environment was sent", "`flash run --local`"],
        ),
        (
            ["--remote"],
            {"RUNPOD_API_KEY": "'rpa_WRONGKEY'"},
            1,
            ["the key from RUNPOD_API_KEY in the environment was sent with the quotes around it"],
        ),
        (
            ["--remote"],
            {"RUNPOD_API_KEY": "rpa_WRONG\nKEY"},
            1,
            ["the API key from RUNPOD_API_KEY in the environment has a line break in it"],
        ),
        (
            ["--remote"],
            {"RUNPOD_API_BASE_URL": "http://127.0.0.1:9"},
            1,
            ["127.0.0.1 cannot be reached", "check the network, proxies", "`flash run --local`"],
        ),
        (
            ["--remote"],
            {"RUNPOD_API_BASE_URL": "https://api.runpod.test", "HTTPS_PROXY": "http://me:WRONG@127.0.0.1:9"},
            1,
            ["api.runpod.test cannot be reached through the proxy http://127.0.0.1:9:", "`flash run --local`"],
        ),
        (["--remote"], {"FLASH_CONTROL_PLANE": "rest", "RUNPOD_API_KEY": "rpa_WRONGKEY"}, 1, ["answered 401"]),
        (["--remote"], {"FLASH_CONTROL_PLANE": "graphql", "RUNPOD_API_KEY": "rpa_WRONGKEY"}, 1, ["answered 401"]),
        (["--remote"], {"FLASH_CONTROL_PLANE": "soap"}, 1, ["FLASH_CONTROL_PLANE=`soap` names no control plane"]),
    ],
)
def test_what_is_in_the_way_is_said_with_the_way_out(
    project: Callable[..., Project],
    platform: Platform,
    flash: Flash,
    arguments: list[str],
    env: dict[str, str],
    status: int,
    words: list[str],
) -> None:
    root = project(app("refused-gpu"))
    ended = flash("run", "--port", "0", *arguments, cwd=root.root, env=platform.variables | env)
    assert ended.returncode == status, ended.stderr
    for word in words:
        assert word in ended.stderr
    assert "WRONG" not in ended.stderr


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (401, "text/html", "<h1>Sign in</h1>", "Runpod answered 401: Unauthorized"),
        (403, "text/html", "<h1>Forbidden</h1>", "may not do this: give it the permission in the console"),
        (429, "application/json", '{"error":"slow down"}', "Runpod answered 429: slow down"),
        (503, "text/html", "<h1>maintenance</h1>", "Runpod has a problem: try again in a while"),
        (
            200,
            "application/json",
            '{"errors":[{"message":"Something went wrong"}],"data":{"myself":null}}',
            "went wrong",
        ),
        (400, "application/json", '{"errors":[{"message":"Cannot query field \\"id\\""}]}', 'Cannot query field "id"'),
        (200, "text/html", "<h1>captive portal</h1>", "something that is not JSON"),
    ],
)
def test_control_plane_that_fails_ends_the_start_with_the_reason(
    project: Callable[..., Project],
    proxy: FaultProxy,
    flash: Flash,
    status: int,
    kind: str,
    body: str,
    words: str,
) -> None:
    proxy.answer("/graphql", status, body, kind)
    ended = flash("run", "--port", "0", "--remote", cwd=project(app("failing")).root, env=proxy.variables)
    assert (ended.returncode, words in ended.stderr) == (1, True), ended.stderr
    assert "`flash run --local`" in ended.stderr
    assert proxy.platform.token not in ended.stderr


def test_rest_is_used_where_graphql_is_not_served_any_more(
    project: Callable[..., Project], platform: Platform, proxy: FaultProxy, serve: Serve
) -> None:
    proxy.answer("/graphql", 410, '{"errors":[{"message":"gone"}]}')
    root = project(app("rested"))
    server = serve(root, "--remote", env=proxy.variables)
    server.wait_for_line("control plane: REST v2 (GraphQL is not served any more)")
    assert server.runsync("/work", n=2) == 4
    server.wait_for_line("making `live-rested` on Runpod by REST v2")
    [id] = endpoints(platform, "rested").values()
    # A changed configuration is told by PATCH, to the endpoint that is there.
    root.write(app("rested", gone="unused") | {"work.py": APP.replace("NAME", "rested").replace("(0, 1)", "(0, 2)")})
    server.wait_for_line("reloaded")
    assert server.runsync("/work", n=3) == 6
    server.wait_for_line("changing `live-rested`: workersMax 1 → 2")
    assert endpoints(platform, "rested") == {"live-rested": id}
    assert server.stop() == 0
    assert endpoints(platform, "rested") == {}
    assert not [one for one in proxy.requests if one.path == "/graphql" and "saveEndpoint" in one]


def test_rest_that_is_asked_for_is_used(project: Callable[..., Project], platform: Platform, serve: Serve) -> None:
    root = project(app("asked-rest"))
    server = serve(root, "--remote", env=platform.variables | {"FLASH_CONTROL_PLANE": "rest"})
    server.wait_for_line("control plane: REST v2 (FLASH_CONTROL_PLANE)")
    assert server.runsync("/work", n=2) == 4
    assert server.stop() == 0
    assert endpoints(platform, "asked-rest") == {}


def test_endpoint_that_changes_its_name_changes_its_place(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("moved-a", other="moved-c"))
    server = serve(root, "--remote", "moved-a", env=platform.variables)
    assert server.runsync("/work", n=2) == 4
    assert list(endpoints(platform, "moved")) == ["live-moved-a"]
    mark = server.output.mark
    root.write(app("moved-b"))
    server.wait_for_line("target  moved-b: this machine (not named by --remote)", after=mark)
    server.wait_for_line("target  moved-a: not declared (named by --remote)", after=mark)
    server.wait_for_line(re.compile(r"moved-a │ stays on Runpod \(\w+\) until this run ends"), after=mark)
    server.wait_for_line("reloaded work.py", after=mark)
    assert server.runsync("/work", n=3) == 6
    server.wait_for_line("moved-b │ worker ready", after=mark)
    assert list(endpoints(platform, "moved")) == ["live-moved-a"]
    mark = server.output.mark
    root.write(app("moved-a"))
    server.wait_for_line("target  moved-a: Runpod (--remote moved-a)", after=mark)
    server.wait_for_line("reloaded work.py", after=mark)
    assert server.runsync("/work", n=4) == 8
    assert "moved-a │ worker ready" not in server.output.text
    assert server.stop() == 0
    assert endpoints(platform, "moved") == {}


def test_broken_file_does_not_make_a_named_endpoint_unknown(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project({"work.py": "from runpod_flash import Endpoint\n\ndef broken(:\n"})
    server = serve(root, "--remote", "mended", env=platform.variables)
    root.write(app("mended"))
    server.wait_for_line("target  mended: Runpod (--remote mended)")
    server.wait_for_line("reloaded work.py")
    assert server.runsync("/work", n=2) == 4
    assert list(endpoints(platform, "mended")) == ["live-mended"]


def test_auto_provision_makes_all_endpoints_at_the_start(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("auto-a", other="auto-b", third="auto-c"))
    server = serve(root, "--remote", "auto-a", "auto-b", "--auto-provision", env=platform.variables)
    for name in ("auto-a", "auto-b"):
        server.wait_for_line(re.compile(rf"^{name} │ is on Runpod \(\w+\)"))
    server.wait_for_line("auto-c │ worker ready")
    assert sorted(endpoints(platform, "auto")) == ["live-auto-a", "live-auto-b"]
    assert server.stop() == 0
    assert endpoints(platform, "auto") == {}


def test_auto_provision_says_what_could_not_be_made(
    project: Callable[..., Project], proxy: FaultProxy, serve: Serve
) -> None:
    refusal = '{"errors":[{"message":"Not enough balance"}],"data":{"saveEndpoint":null}}'
    proxy.answer("mutation saveEndpoint", 200, refusal)
    server = serve(project(app("poor")), "--remote", "--auto-provision", env=proxy.variables)
    server.wait_for_line(re.compile("^poor │ could not make the endpoint on Runpod: .*: Not enough balance"))
    answer = server.post("/work/runsync", {"input": {"n": 1}})
    assert (answer.status_code, "Not enough balance" in answer.text) == (503, True)
    answer = server.post("/v2/poor/runsync", {"input": {"n": 1}})
    assert (answer.status_code, "Not enough balance" in answer.json()["error"]) == (503, True)
    assert server.stop() == 0


def costly(environment: dict[str, str], price: str = "3600") -> Any:
    """A cloud whose workers cost so many US dollars per hour."""
    return platform_process(environment, env={"FLASH_PLATFORM_PRICE": price})


def test_cost_of_workers_that_no_call_started_counts(
    project: Callable[..., Project], session_environment: dict[str, str], serve: Serve
) -> None:
    root = project({"work.py": APP.replace("NAME", "kept").replace("(0, 1)", "(1, 1)")})
    with costly(session_environment) as cloud:
        server = serve(root, "--remote", "--auto-provision", "--max-cost", "$0.001", env=cloud.variables)
        server.wait_for_line("all workers are stopped when they have cost about $0.001 (--max-cost)")
        server.wait_for_line("up to 1 worker, 1 of them always; $3600.00 per hour for each worker that runs")
        server.wait_for_line("live-kept 1 worker $3600.00/h; $3600.00/h now; about ")
        server.wait_for_line("--max-cost $0.001 is reached")
        server.wait_for_line("stopped `live-kept`")
        assert endpoints(cloud, "kept") == {}
        for path in ("/work/runsync", "/v2/kept/run"):
            refused = server.post(path, {"input": {"n": 1}})
            assert (refused.status_code, "--max-cost $0.001 is reached" in refused.text) == (503, True)
        assert endpoints(cloud, "kept") == {}
        assert server.stop() == 0


def test_cost_limit_is_enforced_until_it_is_done(
    project: Callable[..., Project], session_environment: dict[str, str], serve: Serve
) -> None:
    with costly(session_environment) as cloud, fault_proxy(cloud) as proxy:
        server = serve(project(app("again")), "--remote", "--max-cost", "0.50", env=proxy.variables)
        # Refused, so that it is not tried again before that is said.
        proxy.answer("deleteEndpoint", 400, '{"errors":[{"message":"not now"}]}')
        assert server.runsync("/work", n=2) == 4
        server.wait_for_line(re.compile("`live-again` could not be stopped, tried again in 5 s: .*not now"))
        assert list(endpoints(cloud, "again")) == ["live-again"]
        proxy.heal()
        server.wait_for_line("stopped `live-again`")
        assert endpoints(cloud, "again") == {}
        assert server.stop() == 0


def test_cost_of_workers_that_nobody_counts_is_that_of_all(
    project: Callable[..., Project], session_environment: dict[str, str], serve: Serve
) -> None:
    with costly(session_environment) as cloud, fault_proxy(cloud) as proxy:
        proxy.answer("/health", 404, '{"error":"no health today"}')
        variables = proxy.variables | {"RUNPOD_ENDPOINT_BASE_URL": f"{proxy.url}/v2"}
        server = serve(project(app("uncounted")), "--remote", "--max-cost", "0.50", env=variables)
        assert server.runsync("/work", n=2) == 4
        server.wait_for_line("stopped `live-uncounted`")
        assert server.stop() == 0


def test_unknown_price_is_said_and_cannot_be_limited(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    root = project(app("priceless"))
    server = serve(root, "--remote", env=platform.variables)
    assert server.runsync("/work", n=2) == 4
    server.wait_for_line("its workers cost money while they run (Runpod does not say how much)")
    server.wait_for_line("cost │ live-priceless 1 worker price not known; about $0.00 so far")
    server.kill()
    # An endpoint that is there already is limited no more than a new one.
    server = serve(root, "--remote", "--max-cost", "1", env=platform.variables)
    refused = server.post("/work/runsync", {"input": {"n": 1}})
    assert refused.status_code == 503
    assert "Runpod does not say what `live-priceless` costs: its cost cannot be limited" in refused.text
    server.stop()
    serve(root, "--local", "--clean", env=platform.variables).wait_for_line("removed `live-priceless`")
    until(lambda: endpoints(platform, "priceless") == {})
