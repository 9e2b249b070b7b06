"""Load-balanced endpoints in a worker: bodies, answers, streams, errors."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from worker_parent import ANSWER, CANCEL, HTTP_CHUNK, HTTP_START, READY, Worker, module

ROUTES = '''
import asyncio
import threading
from typing import Annotated, Optional

from fastapi import BackgroundTasks, Depends, Header, HTTPException, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

class Item(BaseModel):
    name: str
    size: int = 1

seen = []

async def item(item_id: int, q: str = "d"):
    """Gives an item.

    By its ID."""
    return {"item_id": item_id, "q": q, "t": type(item_id).__name__}
async def two(text: str, n: int = 1):
    return {"text": text, "n": n}
async def put(k: str, v: int):
    return {"k": k, "v": v}
async def model(item: Item):
    return {"type": type(item).__name__, "size": item.size}
async def models(item: Optional[Item] = None, items: list[Item] = []):
    return [type(item).__name__, [type(each).__name__ for each in items]]
async def upload(f: bytes, name: str = "n"):
    return {"len": len(f), "name": name}
async def file(file: UploadFile):
    return {"name": file.filename, "len": len(await file.read())}
async def raw(request: Request):
    return {"body": (await request.body()).decode(), "path": request.url.path, "client": request.client.host}
def user(x_user: Annotated[str, Header()]):
    return x_user
async def depends(user: Annotated[str, Depends(user)]):
    return {"user": user}
def sync():
    return threading.current_thread() is threading.main_thread(), asyncio.run(asyncio.sleep(0, "ran"))
BARRIER, RELEASED = threading.Barrier(2, timeout=20), threading.Event()
def barrier():
    BARRIER.wait()
    return "met"
def blocks():
    return "released" if RELEASED.wait(20) else "held up"
async def release():
    RELEASED.set()
async def err(a: int):
    raise ValueError("lb boom")
def teapot():
    raise HTTPException(418, "short and stout")
async def exits():
    raise SystemExit(3)
async def nan():
    return {"a": [1.0, float("nan")]}
async def nan_typed() -> dict:
    return {"a": [1.0, float("nan")]}
async def weird():
    return {"a": [object()]}
async def stream():
    async def pieces():
        for index in range(3):
            yield f"piece {index}\\n"
            await asyncio.sleep(0)
    return StreamingResponse(pieces(), media_type="text/plain", headers={"x-own": "1"})
async def endless():
    async def pieces():
        try:
            while True:
                yield b"more"
                await asyncio.sleep(0.001)
        finally:
            print("stream closed")
    return StreamingResponse(pieces())
async def broken_stream():
    async def pieces():
        yield b"first"
        raise RuntimeError("half way")
    return StreamingResponse(pieces())
async def waits():
    try:
        print("waiting")
        await asyncio.Event().wait()
    finally:
        print("cancelled")
async def background(tasks: BackgroundTasks):
    tasks.add_task(seen.append, 1)
    return Response(status_code=202)
def kwargs(a: int, **more):
    return {"a": a, "more": more}
'''
TABLE = [
    ("GET", "/items/{item_id}", "item"),
    ("POST", "/two", "two"),
    ("PUT", "/put/{k}", "put"),
    ("POST", "/model", "model"),
    ("POST", "/models", "models"),
    ("POST", "/upload", "upload"),
    ("POST", "/file", "file"),
    ("POST", "/raw", "raw"),
    ("GET", "/depends", "depends"),
    ("GET", "/sync", "sync"),
    ("GET", "/barrier", "barrier"),
    ("GET", "/blocks", "blocks"),
    ("POST", "/release", "release"),
    ("POST", "/err", "err"),
    ("GET", "/teapot", "teapot"),
    ("GET", "/exits", "exits"),
    ("GET", "/nan", "nan"),
    ("GET", "/nan-typed", "nan_typed"),
    ("GET", "/weird", "weird"),
    ("GET", "/stream", "stream"),
    ("GET", "/endless", "endless"),
    ("GET", "/broken-stream", "broken_stream"),
    ("GET", "/waits", "waits"),
    ("POST", "/background", "background"),
    ("POST", "/kwargs", "kwargs"),
    ("DELETE", "/put/{k}", "put_delete"),
]
ROUTES += """
async def put_delete(k: str):
    return {"deleted": k}
"""
JSON = [("content-type", "application/json")]
FORM = [("content-type", "application/x-www-form-urlencoded")]


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lb")
    with Worker() as worker:
        ready = worker.load(module(folder, "api", ROUTES), routes=TABLE)
        assert ready.kind == READY, ready
        yield worker, ready.head


@pytest.fixture
def worker(ready):
    return ready[0]


def post(worker, path, value, headers=JSON):
    return worker.http("POST", path, json.dumps(value).encode(), headers)


def test_path_and_query_parameters_are_typed(worker):
    assert worker.http("GET", "/items/7?q=x%20y").json() == {"item_id": 7, "q": "x y", "t": "int"}
    wrong = worker.http("GET", "/items/abc")
    assert (wrong.status, wrong.json()["detail"][0]["loc"]) == (422, ["path", "item_id"])


def test_body_parameters_are_one_object_and_path_parameters_need_no_repeating(worker):
    assert post(worker, "/two", {"text": "a"}).json() == {"text": "a", "n": 1}
    assert worker.http("PUT", "/put/kk", b'{"v": "3"}', JSON).json() == {"k": "kk", "v": 3}
    assert worker.http("DELETE", "/put/kk").json() == {"deleted": "kk"}
    missing = post(worker, "/two", {})
    assert missing.status == 422
    assert missing.json()["detail"] == [
        {"type": "missing", "loc": ["body", "text"], "msg": "Field required", "input": {}}
    ]


@pytest.mark.parametrize("headers", [[], FORM, [("content-type", "text/plain")], JSON])
def test_json_is_read_whatever_the_content_type_says(worker, headers):
    assert post(worker, "/two", {"text": "a", "n": 4}, headers).json() == {"text": "a", "n": 4}


@pytest.mark.parametrize("headers", [[], FORM])
def test_form_fields_without_json_are_parameters(worker, headers):
    assert worker.http("POST", "/two", b"text=a%20b&n=4", headers).json() == {"text": "a b", "n": 4}


def test_broken_json_is_named(worker):
    for headers in (JSON, FORM, []):
        answer = worker.http("POST", "/two", b'{"text": ', headers)
        assert (answer.status, answer.json()["detail"][0]["type"]) == (422, "json_invalid")


def test_models_arrive_as_models(worker):
    assert post(worker, "/model", {"name": "a", "size": 4}).json() == {"type": "Item", "size": 4}
    assert post(worker, "/models", {"item": {"name": "a"}, "items": [{"name": "b"}]}).json() == ["Item", ["Item"]]
    assert post(worker, "/models", {}).json() == ["NoneType", []]


def test_uploads_by_bytes_and_by_upload_file(worker):
    boundary = [("content-type", "multipart/form-data; boundary=XX")]

    def part(name):
        return (
            f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="a.bin"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n12345\r\n--XX--\r\n"
        ).encode()

    assert worker.http("POST", "/upload", part("f"), boundary).json() == {"len": 5, "name": "n"}
    assert worker.http("POST", "/file", part("file"), boundary).json() == {"name": "a.bin", "len": 5}


def test_request_headers_and_dependencies_are_fastapi_s_own(worker):
    answer = worker.http("POST", "/raw", b"a=1", FORM, root_path="/lb")
    assert answer.json() == {"body": "a=1", "path": "/lb/raw", "client": "127.0.0.1"}
    assert worker.http("GET", "/depends", headers=[("x-user", "me")]).json() == {"user": "me"}


def test_methods_and_paths_that_do_not_exist(worker):
    assert worker.http("GET", "/nope").status == 404
    assert worker.http("GET", "/two").status == 405
    assert worker.http("HEAD", "/two").status == 405
    assert worker.http("OPTIONS", "/two").status == 405
    assert worker.http("GET", "/ping").json() == {"status": "healthy"}


def test_sync_handler_runs_in_a_thread_without_a_loop(worker):
    assert worker.http("GET", "/sync").json() == [False, "ran"]


def test_sync_handlers_run_at_a_time_and_hold_nothing_up(worker):
    with ThreadPoolExecutor() as clients:
        # Each waits at the barrier for the other: one after another they would wait for ever.
        pair = [clients.submit(worker.http, "GET", "/barrier") for _ in range(2)]
        assert [answer.result().json() for answer in pair] == ["met", "met"]
        blocked = clients.submit(worker.http, "GET", "/blocks")
        assert worker.http("POST", "/release", b"{}", JSON).status == 200
        assert blocked.result().json() == "released"


def test_exception_gives_500_with_the_user_s_frames(worker):
    answer = post(worker, "/err", {"a": 1})
    assert answer.status == 500
    body = answer.json()
    assert (body["detail"], body["error_type"], body["error_message"]) == (
        "ValueError: lb boom",
        "ValueError",
        "lb boom",
    )
    assert 'raise ValueError("lb boom")' in body["error_traceback"]
    assert "runpod_flash" not in body["error_traceback"]
    assert "site-packages" not in body["error_traceback"]


def test_http_exception_and_exit_of_a_handler(worker):
    assert (worker.http("GET", "/teapot").status, worker.http("GET", "/teapot").json()) == (
        418,
        {"detail": "short and stout"},
    )
    answer = worker.http("GET", "/exits")
    assert (answer.status, answer.json()["error_type"]) == (500, "SystemExit")
    assert worker.http("GET", "/sync").status == 200


@pytest.mark.parametrize("path", ["/nan", "/nan-typed"])
def test_nan_in_a_result_fails_with_its_path(worker, path):
    answer = worker.http("GET", path)
    assert answer.status == 500
    assert "`output.a[1]` is nan" in answer.json()["error_message"]


def test_result_that_cannot_be_encoded_is_a_500(worker):
    answer = worker.http("GET", "/weird")
    assert answer.status == 500
    assert "`output.a[0]` is a `object`" in answer.json()["error_message"]


def test_streaming_response_comes_in_pieces(worker):
    answer = worker.http("GET", "/stream")
    assert answer.chunks == [b"piece 0\n", b"piece 1\n", b"piece 2\n"]
    assert (answer.status, answer.headers["x-own"], answer.end["kind"]) == (200, "1", "http")


def test_stream_that_fails_half_way_ends_with_the_report(worker):
    answer = worker.http("GET", "/broken-stream")
    assert (answer.status, answer.chunks) == (200, [b"first"])
    assert (answer.end["kind"], answer.end["error_type"], answer.end["message"]) == (
        "failed",
        "RuntimeError",
        "half way",
    )


def test_disconnect_cancels_stream_and_handler(worker):
    call = worker.start_http("GET", "/endless")
    frames = worker.http_frames(call)
    assert next(frames).kind == HTTP_START
    assert next(frames).kind == HTTP_CHUNK
    worker.send(CANCEL, call)
    assert next(frame for frame in frames if frame.kind == ANSWER).head["failure"] == "cancelled"
    call = worker.start_http("GET", "/waits")
    while "waiting" not in worker.output():
        assert worker.http("GET", "/ping").status == 200
    worker.send(CANCEL, call)
    assert worker.next(call).head["failure"] == "cancelled"
    assert "stream closed" in worker.output()
    assert "cancelled" in worker.output()


def test_response_of_the_handler_and_background_task(worker):
    assert worker.http("POST", "/background").status == 202


def test_keyword_arguments_get_the_rest_of_the_object(worker):
    assert post(worker, "/kwargs", {"a": 1, "b": 2}).json() == {"a": 1, "more": {"b": 2}}


def test_openapi_is_fastapi_s_own(ready):
    document = ready[1]["openapi"]
    item = document["paths"]["/items/{item_id}"]["get"]
    assert (item["summary"], item["description"]) == ("Gives an item.", "By its ID.")
    assert item["parameters"][0]["schema"]["type"] == "integer"
    reference = document["paths"]["/two"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert (reference.rpartition("/")[2], schema["required"]) == ("TwoBody", ["text"])
    assert schema["properties"]["n"] == {"type": "integer", "title": "N", "default": 1}
    assert "/ping" not in document["paths"]
