"""What payloads hold while they are on their way, answers that are not what they should be, and limits."""

from __future__ import annotations

import array as typed_array
import asyncio
import base64
import gc
import json
import pickle
import sys
import weakref
from collections.abc import AsyncIterator

import cloudpickle
import numpy as np
import pytest
from payload_support import Server, call, eventually, is_pinned, job, readers, returned, serving
from runpod_flash import errors


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with serving(monkeypatch) as made:
        yield made


async def test_memory_is_held_while_it_is_sent_and_free_when_the_call_is_answered(server: Server) -> None:
    value, array = bytearray(300_000), np.arange(100_000)[::2]
    gone = weakref.ref(array.base)
    calling = call(value, array=array)
    body = json.loads(await server.seen.get())
    assert cloudpickle.loads(base64.b64decode(body["input"]["args"][0])) == value
    np.testing.assert_array_equal(cloudpickle.loads(base64.b64decode(body["input"]["kwargs"]["array"])), array)
    assert is_pinned(value)
    server.answer(job(returned([1])))
    assert await calling == ([1], "said")
    assert not is_pinned(value)
    del array
    gc.collect()
    assert gone() is None


ENDS = ["answered", "failed", "raised", "cancelled", "timed out", "broken", "refused", "unreadable"]


@pytest.mark.parametrize("end", ENDS)
async def test_memory_is_held_for_the_time_of_a_call_and_free_however_it_ends(server: Server, end: str) -> None:
    value, data, array = bytearray(300_000), bytes(range(256)) * 1000, np.arange(200_000.0)
    strided, masked = array[::2], np.ma.masked_array(array, mask=array > 7)
    typed = typed_array.array("d", array)
    references = sys.getrefcount(data)
    gone = weakref.ref(array)
    calling = call(value, data, array=strided, masked=masked, typed=typed, timeout=5 if end == "timed out" else 60)
    await server.seen.get()
    with pytest.raises(BufferError):
        value.append(0)
    with pytest.raises(BufferError):
        typed.append(0)
    del array, strided, masked
    gc.collect()
    assert gone() is not None
    assert sys.getrefcount(data) > references
    if end == "cancelled":
        calling.cancel()
    elif end == "broken":
        server.answer(b"{", length=100)
    elif end == "refused":
        refusal = b'{"error":"bad"}'
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-length: {len(refusal)}\r\n\r\n".encode()
        server.answers.put_nowait(head + refusal)
    elif end != "timed out":
        answers = {
            "answered": job(returned([1])),
            "failed": job(None, status="FAILED", error="too bad"),
            "raised": job({"success": False, "error": "ValueError: no\n"}),
            "unreadable": job({"success": True, "result": "!"}),
        }
        server.answer(answers[end])
    await asyncio.wait([calling])
    assert calling.cancelled() == (end == "cancelled")
    assert calling.cancelled() or (calling.exception() is None) == (end == "answered")
    del calling
    await eventually(lambda: not is_pinned(value))
    typed.append(0)
    gc.collect()
    assert gone() is None
    assert sys.getrefcount(data) == references


async def test_memory_is_free_when_an_argument_cannot_be_pickled(server: Server) -> None:
    value = bytearray(300_000)
    with pytest.raises(errors.FlashError, match="cannot be pickled"):
        await call([value, (number for number in range(3))])
    assert not is_pinned(value)
    assert server.connections == 0


@pytest.mark.parametrize("order", [["id", "status", "output"], ["output", "status", "id"], ["status", "output", "id"]])
async def test_a_large_result_is_read_as_it_arrives_whatever_the_order_of_keys(
    server: Server, order: list[str]
) -> None:
    value = {"array": np.arange(400_000.0).reshape(400, 1000), "bytes": bytes(900_000), "text": "é" * 200_000}
    found = returned(value)
    output = {key: found[key] for key in (["result", "success", "stdout", "error"] if order[0] == "output" else found)}
    fields = {"id": "job-u1", "status": "COMPLETED", "output": output}
    calling = call()
    await server.seen.get()
    server.answer(json.dumps({key: fields[key] for key in order}).encode())
    got, stdout = await calling
    assert stdout == "said"
    assert got["bytes"] == value["bytes"]
    assert got["text"] == value["text"]
    np.testing.assert_array_equal(got["array"], value["array"])
    got["array"][0, 0] = 5  # It is the caller's own.
    await eventually(lambda: not readers())


LONG = base64.b64encode(pickle.dumps(bytes(2_000_000), 5)).decode()
CUT = base64.b64encode(pickle.dumps(bytes(2_000_000), 5)[:1_500_000]).decode()
#: BINBYTES8 and BYTEARRAY8 that claim 2**60 bytes.
CLAIMS = [
    base64.b64encode(b"\x80\x05" + code + (1 << 60).to_bytes(8, "little") + bytes(2_000_000))
    for code in (b"\x8e", b"\x96")
]


@pytest.mark.parametrize(
    "result",
    [LONG[:1_000_000] + "!" + LONG[1_000_001:], LONG[:-3], LONG[:1_500_001] + "=" * 3, CUT, *map(bytes.decode, CLAIMS)],
    ids=["no base64", "cut text", "padding within", "cut pickle", "claims bytes", "claims a bytearray"],
)
async def test_a_result_that_cannot_be_read_is_one_clear_error(server: Server, result: str) -> None:
    calling = call()
    await server.seen.get()
    server.answer(job({"success": True, "result": result}))
    with pytest.raises(errors.MalformedAnswerError, match=r"(?i)result|base64|pickle"):
        await calling
    await eventually(lambda: not readers())


async def test_an_answer_that_breaks_off_within_a_result_is_an_error(server: Server) -> None:
    calling = call()
    await server.seen.get()
    whole = job({"success": True, "result": LONG})
    server.answer(whole[:1_500_000], length=len(whole))
    with pytest.raises(errors.ConnectionFailedError):
        await calling
    await eventually(lambda: not readers())


async def test_a_call_that_is_cancelled_within_its_result_leaves_nothing(server: Server) -> None:
    calling = call()
    await server.seen.get()
    whole = job({"success": True, "result": LONG})
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(whole)}\r\n\r\n".encode()
    server.answers.put_nowait(head + whole[:1_500_000])
    await eventually(readers)
    calling.cancel()
    await eventually(lambda: not readers())


async def test_result_of_a_failed_job_is_discarded(server: Server) -> None:
    calling = call()
    await server.seen.get()
    server.answer(job({"success": True, "result": LONG}, status="FAILED", error="too bad"))
    with pytest.raises(errors.RemoteExecutionError, match="too bad"):
        await calling
    calling = call()
    await server.seen.get()
    server.answer(job({"success": False, "result": LONG, "error": "ValueError: no\n"}))
    with pytest.raises(errors.RemoteExecutionError, match="no"):
        await calling


async def test_a_result_whose_class_is_not_here_says_so(server: Server) -> None:
    calling = call()
    await server.seen.get()
    broken = pickle.dumps(bytes(2_000_000), 5)[:-1] + b"0cnot_there_at_all\nName\n."
    server.answer(job({"success": True, "result": base64.b64encode(broken).decode()}))
    with pytest.raises(errors.FlashError, match="cannot be read here: No module named"):
        await calling


async def test_what_is_over_the_limit_is_not_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((2000, 2000), "f8")
    for limit in (None, "3"):
        if limit:
            monkeypatch.setenv("FLASH_PAYLOAD_LIMIT_MB", limit)
        with pytest.raises(errors.PayloadTooLargeError) as raised:
            await call(7, image=image)
        assert isinstance(raised.value, ValueError)
        text = str(raised.value)
        assert "`image` is 30.5 MB, 40.7 MB as base64" in text
        assert "`argument 1` is" in text
        assert f"takes {limit or '20'}.0 MB" in text
        assert "FLASH_PAYLOAD_LIMIT_MB" in f"{text} {raised.value.hint}"
    assert server.connections == 0
    monkeypatch.setenv("FLASH_PAYLOAD_LIMIT_MB", "0")
    calling = call(7, image=image)
    assert len(await server.seen.get()) > 40_000_000
    server.answer(job(returned(None)))
    assert await calling == (None, "said")
    monkeypatch.setenv("FLASH_PAYLOAD_LIMIT_MB", "much")
    with pytest.raises(errors.FlashError, match="FLASH_PAYLOAD_LIMIT_MB=`much` is not a number"):
        await call(7)
