"""Routes of load-balanced endpoints in `flash run --remote`: the answers are those of this machine's workers."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_support import Official, Platform
from support import Project, Serve, Server

APP = """
import asyncio
from typing import Annotated, Optional

from fastapi import BackgroundTasks, Cookie, Depends, Form, Header, HTTPException, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from runpod_flash import Endpoint

api = Endpoint(name="routed-api", cpu="cpu3c-1-2")
PREFIX = "item"
done = []


class Item(BaseModel):
    name: str
    size: int = 1


def user(x_user: Annotated[str, Header()]):
    return x_user.upper()


def helper(value):
    return f"{PREFIX} {value}"


@api.get("/items/{item_id}")
async def item(item_id: int, q: str = "d", tags: Optional[str] = None):
    return {"item": helper(item_id), "q": q, "tags": tags}


@api.get("/files/{rest:path}")
def files(rest: str):
    return {"rest": rest}


@api.post("/two")
async def two(text: str, n: int = 1):
    return {"text": text, "n": n}


@api.put("/put/{k}")
def put(k: str, v: int):
    return {"k": k, "v": v}


@api.post("/model")
async def model(item: Item):
    return {"type": type(item).__name__, "size": item.size}


@api.post("/upload")
async def upload(f: bytes, name: str = "n"):
    return {"head": list(f[:4]), "len": len(f), "name": name}


@api.post("/file")
async def file(file: UploadFile, note: Annotated[str, Form()] = ""):
    return {"name": file.filename, "type": file.content_type, "len": len(await file.read()), "note": note}


@api.post("/raw")
async def raw(request: Request):
    body = await request.body()
    return Response(body[::-1], 201, {"x-own": "ä".encode().decode("latin-1"), "x-path": request.url.path}, "image/png")


@api.get("/depends")
async def depends(user: Annotated[str, Depends(user)], session: Annotated[str, Cookie()] = "none"):
    return {"user": user, "session": session}


@api.get("/cookies")
def cookies(response: Response):
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    response.status_code = 202
    return None


@api.get("/teapot")
def teapot():
    raise HTTPException(418, "short and stout", headers={"x-tea": "green"})


@api.post("/err")
async def err(a: int):
    raise ValueError("boom")


@api.get("/exits")
def exits():
    raise SystemExit(3)


@api.get("/nan")
async def nan():
    return {"a": [1.0, float("nan")]}


@api.get("/stream")
async def stream():
    async def pieces():
        for index in range(3):
            yield f"piece {index}\\n"
            await asyncio.sleep(0)

    return StreamingResponse(pieces(), media_type="text/event-stream", headers={"x-own": "1"})


@api.post("/background", )
async def background(tasks: BackgroundTasks):
    tasks.add_task(done.append, 1)
    return Response(status_code=204)


@api.post("/none")
async def none():
    return None


@api.get("/endless")
async def endless():
    async def pieces():
        while True:
            yield b"x" * 1_000_000
            await asyncio.sleep(0)

    return StreamingResponse(pieces())
"""

#: With annotations that are text, and what other files of the project have.
LAZY = """
from __future__ import annotations

from typing import Optional

from pydantic import BaseModel
from runpod_flash import Endpoint
from shapes import Shape, area

api = Endpoint(name="routed-lazy", cpu="cpu3c-1-2")


class Order(BaseModel):
    shape: Shape
    parent: Optional[Order] = None


@api.post("/order")
async def order(order: Order, factor: int = 1):
    return {"area": area(order.shape) * factor, "nested": order.parent is not None}


@api.post("/plain")
def plain(shape: Shape, count: int = 1):
    return {"type": type(shape).__name__, "count": count}
"""
SHAPES = """
from pydantic import BaseModel


class Shape(BaseModel):
    side: float


def area(shape: Shape) -> float:
    return shape.side**2
"""
FILES = {"api.py": APP, "lazy.py": LAZY, "shapes.py": SHAPES}

Send = dict[str, Any]
#: What is sent to both: method, path, the rest.
SENT: list[tuple[str, str, Send]] = [
    ("GET", "/items/7?q=a%20b+c&tags=%C3%A4", {}),
    ("GET", "/items/seven", {}),
    ("GET", "/files/a/b%20c.txt", {}),
    ("POST", "/two", {"json": {"text": "hi", "n": "3"}}),
    ("POST", "/two", {"json": {"n": "x"}}),
    ("POST", "/two", {"data": {"text": "a form", "n": "2"}}),
    ("POST", "/two", {"content": b'{"text": "no type"}'}),
    ("POST", "/two", {"content": b"{", "headers": {"content-type": "application/json"}}),
    ("POST", "/two", {"content": b"plain", "headers": {"content-type": "text/plain"}}),
    ("POST", "/two", {}),
    ("PUT", "/put/a%2Fb", {"json": {"v": 3}}),
    ("PUT", "/put/key", {"json": {"v": 3}}),
    ("POST", "/model", {"json": {"name": "n"}}),
    ("POST", "/model", {"json": [1]}),
    ("POST", "/upload", {"files": {"f": bytes(range(256)) * 400}, "data": {"name": "binary"}}),
    ("POST", "/upload", {"json": {"f": "x"}}),
    ("POST", "/file", {"files": {"file": ("a.csv", b"1,2", "text/csv")}, "data": {"note": "ü"}}),
    ("POST", "/file", {}),
    ("POST", "/raw", {"content": bytes(range(256)), "headers": {"content-type": "application/octet-stream"}}),
    ("POST", "/raw", {"content": b"{}", "headers": {"content-type": "application/json"}}),
    ("GET", "/depends", {"headers": {"x-user": "me", "cookie": "session=s1"}}),
    ("GET", "/depends", {}),
    ("GET", "/cookies", {}),
    ("GET", "/teapot", {}),
    ("POST", "/err", {"json": {"a": 1}}),
    ("GET", "/exits", {}),
    ("GET", "/nan", {}),
    ("GET", "/stream", {}),
    ("POST", "/background", {}),
    ("POST", "/none", {}),
    # No route of this method, or none at all.
    ("GET", "/two", {}),
    ("DELETE", "/items/7", {}),
    ("GET", "/nowhere", {}),
    ("GET", "/stream/", {}),
]
LAZY_SENT: list[tuple[str, str, Send]] = [
    ("POST", "/order?factor=2", {"json": {"shape": {"side": 3}, "parent": {"shape": {"side": "1"}}}}),
    ("POST", "/order", {"json": {"shape": {"side": "x"}}}),
    ("POST", "/plain", {"json": {"side": 2}}),
]


@pytest.fixture(scope="module")
def sides(
    session_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory, platform: Platform
) -> Iterator[tuple[Server, Server]]:
    """The same project on this machine and on Runpod."""
    serve = Serve(session_environment)
    here, there = (Project(tmp_path_factory.mktemp(name)).write(FILES) for name in ("here", "there"))
    yield serve(here, "--local"), serve(there, "--remote", env=platform.variables)
    serve.stop_all()


def shown(answer: httpx.Response) -> Any:
    """Return what must be the same in both places."""
    kept = ("content-type", "x-own", "x-path", "x-tea", "allow", "location", "set-cookie")
    port = str(answer.url.port)
    headers = [(name, value.replace(port, "PORT")) for name, value in answer.headers.multi_items() if name in kept]
    body: Any = answer.content
    if answer.headers.get("content-type") == "application/json":
        body = answer.json()
        if isinstance(body, dict):
            # File names differ, as the frames of a traceback do.
            body.pop("error_traceback", None)
    return answer.status_code, headers, body


@pytest.mark.parametrize("where", ["prefix", "host"])
def test_routes_answer_as_on_this_machine(sides: tuple[Server, Server], where: str) -> None:
    for method, path, rest in [*SENT, *LAZY_SENT]:
        label = "lazy" if (method, path, rest) in LAZY_SENT else "api"
        answers = []
        for server in sides:
            options = {**rest, "headers": dict(rest.get("headers", {}))}
            if where == "host":
                options["headers"]["host"] = f"routed-{label}.localhost:{server.port}"
            url = path if where == "host" else f"/{label}{path}"
            answers.append(shown(server.request(method, url, **options)))
        here, there = answers
        assert there == here, f"{method} {path} {rest}"


def test_failure_of_a_route_has_the_remote_traceback(sides: tuple[Server, Server]) -> None:
    answer = sides[1].request("POST", "/api/err", json={"a": 1}).json()
    assert answer["detail"] == "ValueError: boom"
    assert "in err" in answer["error_traceback"]


def test_answer_without_an_end_is_refused_with_the_reason(sides: tuple[Server, Server]) -> None:
    answer = sides[1].request("GET", "/api/endless", timeout=60)
    assert answer.status_code == 500
    assert "larger than 22 MB, or has no end" in answer.json()["detail"]


def test_body_over_the_limit_is_not_sent(sides: tuple[Server, Server]) -> None:
    answer = sides[1].request("POST", "/api/raw", content=bytes(24 << 20), timeout=60)
    assert answer.status_code == 413
    assert "a load-balanced endpoint takes 30.0 MB" in answer.json()["detail"]


WORKER = Path(__file__).parent.parent / "python/runpod_flash/worker"
ON_OFFICIAL = """
from fastapi import HTTPException, UploadFile
from pydantic import BaseModel
class Item(BaseModel):
    name: str
    size: int = 1
async def both(k: str, item: Item, q: int = 0):
    if q > 1:
        raise HTTPException(418, "tea", headers={"x-tea": "green"})
    return {"k": k, "size": item.size, "q": q}
async def file(k: str, file: UploadFile):
    return [file.filename, (await file.read()).decode()]
async def _flash_http_call(head, body):
    from _flash_http.worker.shipped import answer
    return await answer("POST", "/x/{k}", NAME, head, body)
"""


def test_routes_are_answered_by_the_official_execute(platform: Platform, official_python: Official) -> None:
    place = platform.create(
        official_python.worker("flash_balanced"),
        type="LOAD_BALANCER",
        scaling={"type": "REQUEST_COUNT", "requestCount": 10},
    )
    names = ("bodies", "encoding", "functions", "report", "routes", "shipped", "validation")
    modules = {f"_flash_http/worker/{name}.py": (WORKER / f"{name}.py").read_text() for name in names}
    modules |= {"_flash_http/__init__.py": "", "_flash_http/worker/__init__.py": ""}

    def ask(function: str, query: str, **content: Any) -> tuple[int, dict[str, str], Any]:
        request = httpx.Request("POST", f"http://x/x/a%20b?{query}", **content)
        head = {
            "method": "POST",
            "path": "/x/a%20b",
            "query": query,
            "headers": request.headers.multi_items(),
            "root_path": "",
            "client": None,
        }
        pickled = [base64.b64encode(pickle.dumps(value)).decode() for value in (json.dumps(head), request.read())]
        call = {
            "function_name": "_flash_http_call",
            "function_code": ON_OFFICIAL.replace("NAME", function),
            "modules": modules,
            "args": pickled,
        }
        told = platform.request("POST", "/execute", call, headers={"Host": f"{place.id}.api.localhost"}).json()
        assert told["success"], told
        whole = pickle.loads(base64.b64decode(told["result"]))
        length = int.from_bytes(whole[:4], "big")
        head = json.loads(whole[4 : 4 + length])
        return head["status"], dict(head["headers"]), json.loads(whole[4 + length :])

    assert ask("both", "q=1", json={"name": "n"})[::2] == (200, {"k": "a b", "size": 1, "q": 1})
    status, headers, body = ask("both", "q=2", json={"name": "n"})
    assert (status, headers["x-tea"], body) == (418, "green", {"detail": "tea"})
    status, _, body = ask("both", "", json={"size": "x"})
    assert (status, [one["loc"] for one in body["detail"]]) == (422, [["body", "name"], ["body", "size"]])
    assert ask("file", "", files={"file": ("a.txt", b"text")})[::2] == (200, ["a.txt", "text"])
    place.delete()
