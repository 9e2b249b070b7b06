"""Pages of other origins on this machine: what their browsers let them read of `flash run`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import Project, Serve, Server

APP = """
    from runpod_flash import Endpoint

    api = Endpoint(name="origin-api", cpu="cpu3c-1-2", workers=(0, 1))


    @api.get("/hello")
    async def hello():
        return "hello"


    @Endpoint(name="origin-work", cpu="cpu3c-1-2", workers=(0, 1))
    async def work(n: int):
        return n
"""
PAGE = "http://localhost:3000"
FOREIGN = "https://evil.example"


@pytest.fixture
def server(project: Callable[..., Project], serve: Serve) -> Server:
    """A server with a route and a function."""
    return serve(project({"shop.py": APP}), "--local")


@pytest.mark.parametrize("origin", [PAGE, "http://127.0.0.1:5173", "https://[::1]:8000"])
def test_page_on_loopback_may_read_answers(server: Server, origin: str) -> None:
    headers = {"Origin": origin}
    for answer in (
        server.get("/shop/hello", headers=headers),
        server.post("/shop/work/runsync", {"input": {"n": 1}}, headers=headers),
        server.post("/v2/origin-work/runsync", {"input": {"n": 1}}, headers=headers),
        server.get("/v2/origin-work/nothere", headers=headers),
        server.get("/openapi.json", headers=headers),
    ):
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["vary"] == "Origin"
        # The cookie of a token is of no use to another origin.
        assert "access-control-allow-credentials" not in answer.headers


def test_preflight_is_answered_for_pages_on_loopback_alone(server: Server) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    allowed = server.request("OPTIONS", "/shop/work/runsync", headers=asked | {"Origin": PAGE})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["access-control-allow-methods"] == "POST"
    assert allowed.headers["access-control-allow-headers"] == "authorization,content-type"
    refused = server.request("OPTIONS", "/shop/work/runsync", headers=asked | {"Origin": FOREIGN})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


def test_own_pages_and_foreign_origins_get_nothing(server: Server) -> None:
    assert "access-control-allow-origin" not in server.get("/docs", headers={"Origin": PAGE}).headers
    assert "access-control-allow-origin" not in server.get("/shop/hello").headers
    refused = server.get("/shop/hello", headers={"Origin": FOREIGN})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)


def test_preflight_needs_no_token_and_the_request_does(project: Callable[..., Project], serve: Serve) -> None:
    server = serve(project({"shop.py": APP}), "--local", "--host", "0.0.0.0", env={"FLASH_TOKEN": "s3cret"})
    page = {"Origin": PAGE}
    asked = server.request("OPTIONS", "/shop/hello", headers=page | {"Access-Control-Request-Method": "GET"})
    assert asked.status_code == 204
    without = server.get("/shop/hello", headers=page)
    # The page may read why.
    assert (without.status_code, without.headers["access-control-allow-origin"]) == (401, PAGE)
    given = server.get("/shop/hello", headers=page | {"Authorization": "Bearer s3cret"})
    assert (given.status_code, given.json()) == (200, "hello")
