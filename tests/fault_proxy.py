"""A server in front of a `flash platform` that misbehaves as a test says: what Runpod may do, at the level of HTTP.

Clients are pointed at it by `variables`; what no rule takes goes on to the platform and comes back unchanged, but for
addresses of the platform, which become the proxy's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
from platform_support import Platform

#: What a rule answers with: status, content type, body. `None` lets the request through.
Answer = tuple[int, str, str]
Rule = Callable[["Request"], Answer | None]


@dataclass
class Request:
    """A request that came."""

    method: str
    path: str
    body: str
    headers: dict[str, str]

    def __contains__(self, text: str) -> bool:
        return text in self.path or text in self.body


@dataclass
class FaultProxy:
    """The server, and what it has seen."""

    platform: Platform
    url: str
    rules: list[Rule] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """Point clients here; jobs go to the platform directly."""
        return self.platform.variables | {"RUNPOD_API_BASE_URL": self.url, "RUNPOD_REST_API_URL": f"{self.url}/v1"}

    def answer(self, part: str, status: int, body: str, kind: str = "application/json", times: int = 1 << 30) -> None:
        """Answer requests that have `part` in path or body, so many times."""
        left = [times]

        def rule(request: Request) -> Answer | None:
            if part not in request or not left[0]:
                return None
            left[0] -= 1
            return status, kind, body

        self.rules.insert(0, rule)

    def heal(self) -> None:
        """Behave from now on."""
        self.rules.clear()

    def count(self, part: str) -> int:
        """How many requests had `part` in path or body."""
        return sum(part in request for request in self.requests)


@contextmanager
def fault_proxy(platform: Platform) -> Iterator[FaultProxy]:
    """Run a proxy in front of a platform for as long as the block lasts."""
    onward = httpx.Client(base_url=platform.url, timeout=60, trust_env=False)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        HOP: ClassVar[set[str]] = {"connection", "transfer-encoding", "content-length", "date", "server", "host"}

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in self.HOP}
            request = Request(self.command, self.path, body.decode(errors="replace"), headers)
            proxy.requests.append(request)
            for rule in list(proxy.rules):
                if (answer := rule(request)) is not None:
                    status, kind, text = answer
                    return self.send(status, {"Content-Type": kind}, text.encode())
            answered = onward.request(self.command, self.path, headers=headers, content=body)
            kept = {name: value for name, value in answered.headers.items() if name.lower() not in self.HOP}
            kept.pop("content-encoding", None)
            return self.send(
                answered.status_code, kept, answered.content.replace(platform.url.encode(), proxy.url.encode())
            )

        def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = FaultProxy(platform, f"http://127.0.0.1:{server.server_address[1]}")
    serving = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        serving.join(5)
        onward.close()
