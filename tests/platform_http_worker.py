"""A load-balanced worker with nothing but the standard library: what the platform's proxy is tested with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import struct
import sys
import time
from urllib.parse import parse_qs, urlsplit

#: What the health check answers; ``POST /_health`` changes it.
health = int(os.environ.get("TEST_HEALTH", "200"))
HEALTH_PATH = os.environ.get("HEALTH_CHECK_PATH", "/ping")
STARTED = time.monotonic()
#: Seconds for which the health check says that it is not ready.
WARM_UP = float(os.environ.get("TEST_WARM_UP", "0"))

Headers = list[tuple[str, str]]


def answer(status: int, body: bytes, headers: Headers | None = None) -> bytes:
    """Return a whole answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers or []]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read_body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    """Return a request's body, chunked or not."""
    named = {name.lower(): value for name, value in headers}
    if named.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body
    return await reader.readexactly(int(named.get("content-length", "0")))


async def events(writer: asyncio.StreamWriter, count: int) -> None:
    """Send events, each with the time at which it was sent."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(count):
        event = f"data: {time.time()}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0.1)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def web_socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
    """Echo the frames of a WebSocket (RFC 6455) until it is closed."""
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    head = f"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    writer.write(head.encode())
    while True:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", await reader.readexactly(2))[0]
        mask = await reader.readexactly(4)
        data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(await reader.readexactly(length)))
        size = bytes([length]) if length < 126 else bytes([126]) + struct.pack(">H", length)
        writer.write(bytes([first]) + size + data)
        await writer.drain()
        if first & 0x0F == 8:
            return


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_health: bool = False) -> None:
    """Answer one request."""
    global health
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers: Headers = [(name, value) for name, _, value in (line.partition(": ") for line in head[1:] if line)]
        named = {name.lower(): value for name, value in headers}
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if path == HEALTH_PATH and (is_health or not os.environ.get("TEST_APART")):
            status = 204 if time.monotonic() - STARTED < WARM_UP else health
            writer.write(answer(status, b""))
        elif path == "/sse":
            await events(writer, 10)
        elif path == "/ws":
            await web_socket(reader, writer, named["sec-websocket-key"])
        elif path == "/die":
            os._exit(3)
        elif path == "/big":
            writer.write(answer(200, bytes(int(query["size"][0]))))
        else:
            body = await read_body(reader, headers)
            if path == "/_health":
                health = int(body)
            await asyncio.sleep(float(query.get("sleep", ["0"])[0]))
            said = {
                "method": method,
                "target": target,
                "headers": headers,
                "length": len(body),
                "digest": hashlib.sha256(body).hexdigest(),
                "worker": os.environ["RUNPOD_POD_ID"],
                "is_health": is_health,
            }
            status = int(query.get("status", ["200"])[0])
            own = [("Content-Type", "application/json"), ("X-Own", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
            writer.write(answer(status, json.dumps(said).encode(), own))
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Listen on ``PORT``, and on ``PORT_HEALTH`` where that is another one."""
    port, health_port = int(os.environ["PORT"]), int(os.environ["PORT_HEALTH"])
    await asyncio.sleep(float(os.environ.get("TEST_LATE", "0")))
    servers = [await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 20)]
    if health_port != port:
        servers.append(
            await asyncio.start_server(lambda reader, writer: serve(reader, writer, True), "127.0.0.1", health_port)
        )
    print("listening", file=sys.stderr)
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
