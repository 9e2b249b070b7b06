"""An HTTP/2 server over TLS, frame by frame (RFC 9113): what it reads and writes obeys flow control."""

from __future__ import annotations

import asyncio
import ssl
import struct
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM = ACK = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW = 4
#: What a connection may carry at first, and a frame at most.
WINDOW, FRAME = 65_535, 16_384


def certificate(folder: Path) -> Path:
    """Make a certificate for ``localhost`` with its key; return the certificate's file."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    line += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    line += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*line, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert


@dataclass
class Connection:
    """One connection; requests on it are answered when they are whole."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: Http2Server
    bodies: dict[int, bytearray] = field(default_factory=dict)
    answering: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    #: What may still be sent on the connection (0) and each stream.
    windows: dict[int, int] = field(default_factory=lambda: {0: WINDOW})
    initial: int = WINDOW
    widened: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        """Serve until the client leaves."""
        assert await self.reader.readexactly(len(PREFACE)) == PREFACE
        self.send(SETTINGS, 0, 0)
        while True:
            length, kind, flags, stream = struct.unpack("!3sBBI", await self.reader.readexactly(9))
            payload = await self.reader.readexactly(int.from_bytes(length, "big"))
            await self.take(kind, flags, stream, payload)

    async def take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Do what a frame asks for."""
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from("!HI", payload, at)
                self.initial = value if name == INITIAL_WINDOW else self.initial
            self.send(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.send(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            async with self.widened:
                self.windows[stream] = self.windows.get(stream, self.initial) + int.from_bytes(payload, "big")
                self.widened.notify_all()
        elif kind == RST_STREAM:
            self.server.reset.put_nowait(stream)
            if task := self.answering.pop(stream, None):
                task.cancel()
        elif kind in (HEADERS, DATA):
            body = self.bodies.setdefault(stream, bytearray())
            if kind == DATA and payload:
                body += payload
                is_taken = len(body) <= self.server.most
                if not is_taken:
                    self.server.stalled.set()
                for place in (0, stream) if is_taken else (0,):
                    self.send(WINDOW_UPDATE, 0, place, len(payload).to_bytes(4, "big"))
            if flags & END_STREAM:
                self.answering[stream] = asyncio.create_task(self.answer(stream, bytes(self.bodies.pop(stream))))

    async def answer(self, stream: int, body: bytes) -> None:
        """Answer a request, as fast as the client takes it."""
        answer = await self.server.respond(body)
        # `:status: 200` of the static table (RFC 7541, appendix A).
        self.send(HEADERS, END_HEADERS, stream, b"\x88")
        self.windows.setdefault(stream, self.initial)
        sent = 0
        while sent < len(answer):
            async with self.widened:
                await self.widened.wait_for(lambda: min(self.windows[0], self.windows[stream]) > 0)
                size = min(len(answer) - sent, FRAME, self.windows[0], self.windows[stream])
                self.windows[0] -= size
                self.windows[stream] -= size
            self.send(DATA, END_STREAM if sent + size == len(answer) else 0, stream, answer[sent : sent + size])
            sent += size
            await self.writer.drain()
        self.answering.pop(stream, None)

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Send a frame."""
        self.writer.write(struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload)


@dataclass
class Http2Server:
    """Answers each body by `respond`, whatever its path."""

    respond: Callable[[bytes], Awaitable[bytes]]
    connections: int = 0
    #: How much of a body is taken.
    most: int = 1 << 40
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    #: Streams that the client reset.
    reset: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    protocols: list[str | None] = field(default_factory=list)

    async def start(self, cert: Path) -> str:
        """Listen; return the URL."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, cert.with_name("key.pem"))
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.listening = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        return f"https://localhost:{self.listening.sockets[0].getsockname()[1]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self.connections += 1
        self.protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        connection = Connection(reader, writer, self)
        try:
            await connection.run()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            for task in connection.answering.values():
                task.cancel()
            writer.close()
