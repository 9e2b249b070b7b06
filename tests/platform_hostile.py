"""A table of hostile requests: what an attacker, a broken client or a bored scanner sends."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """What the requests are aimed at."""

    port: int
    token: str
    endpoint: str
    #: A worker of that endpoint that lives, its key, a job that it holds, and one that it has finished.
    worker: str
    worker_key: str
    held: str
    finished: str
    #: Another endpoint, its own key, and its worker's.
    other: str
    other_key: str
    other_worker_key: str


@dataclass(frozen=True)
class Hostile:
    """One request. It must be refused with 4xx, or its connection closed without an answer."""

    name: str
    #: Sent as they are, one after the other.
    parts: tuple[bytes, ...]
    #: Close our side after the last part.
    half_closes: bool = False
    #: Send no more and wait: the server has to give up (its clock is moved ahead).
    stalls: bool = False
    extra: dict[str, int] = field(default_factory=dict)


def head(
    target: Target,
    method: str,
    path: str,
    length: int | None = None,
    *,
    host: str | None = "localhost",
    key: str | None = None,
    more: bytes = b"",
    version: str = "HTTP/1.1",
) -> bytes:
    """Return a request's head; with the account's token unless told otherwise."""
    lines = [f"{method} {path} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    token = target.token if key is None else key
    if token:
        lines.append(f"Authorization: {token}")
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n" + more + b"\r\n"


def whole(target: Target, method: str, path: str, body: bytes = b"", **options: object) -> tuple[bytes, ...]:
    """Return a complete request."""
    return (head(target, method, path, len(body), **options) + body,)  # type: ignore[arg-type]


NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b"   \r\n",
    "open object": b'{"input":{"a":1}',
    "open string": b'{"input":"abc',
    "open list": b'{"input":[1,2',
    "trailing comma": b'{"input":1,}',
    "trailing text": b'{"input":1}{"input":2}',
    "single quotes": b"{'input': 1}",
    "no quotes": b"{input: 1}",
    "comment": b'{"input": 1 /* one */}',
    "leading zero": b'{"input": 01}',
    "plus": b'{"input": +1}',
    "hexadecimal": b'{"input": 0x10}',
    "not a number": b'{"input": NaN}',
    "infinity": b'{"input": -Infinity}',
    "control character": b'{"input": "a\x01b"}',
    "raw line break": b'{"input": "a\nb"}',
    "bad escape": b'{"input": "\\x41"}',
    "short escape": b'{"input": "\\u12"}',
    "not UTF-8": b'{"input": "\xff\xfe\xfa"}',
    "overlong UTF-8": b'{"input": "\xc0\xaf"}',
    "UTF-16": '{"input": 1}'.encode("utf-16"),
    "nul": b'{"input": 1}\x00',
    "form": b"input=1&x=2",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xabV\xca",
    "deep list": b'{"input":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep object": b'{"input":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "deep and open": b"[" * 1_000_000,
}
NO_INPUT: dict[str, bytes] = {
    "nothing": b"{}",
    "list": b'[{"input":1}]',
    "null": b"null",
    "text": b'"input"',
    "other case": b'{"Input":1}',
    "nested": b'{"body":{"input":1}}',
}
BAD_POLICY: dict[str, object] = {
    "negative timeout": {"executionTimeout": -1},
    "zero timeout": {"executionTimeout": 0},
    "textual timeout": {"executionTimeout": "5000"},
    "endless timeout": {"executionTimeout": 10**30},
    "listed timeout": {"executionTimeout": [5000]},
    "negative ttl": {"ttl": -10000},
    "short ttl": {"ttl": 1},
    "endless ttl": {"ttl": 2**63},
    "textual priority": {"lowPriority": "yes"},
    "list": [1],
    "text": "fast",
}
BAD_WEBHOOK: dict[str, object] = {
    "file": "file:///etc/passwd",
    "script": "javascript:alert(1)",
    "gopher": "gopher://127.0.0.1:70/_x",
    "no scheme": "localhost/hook",
    "number": 7,
    "list": ["http://localhost/"],
    "line break": "http://localhost/\r\nX: y",
}
PATHS = [
    "/",
    "/v2",
    "/v2/",
    "/v2//run",
    "/v2/../etc/passwd",
    "/v2/%2e%2e/%2e%2e/etc/passwd",
    "/v2/{id}/../../etc/passwd",
    "/v2/{id}/%2e%2e%2fhealth",
    "/v2/{id}%00/run",
    "/v2/{id}%2Frun",
    "/v2/{id}/run%20",
    "/v2/{id}/run/extra",
    "/v2/{id}/RUN",
    "/v2/{id}/status/",
    "/v2/{id}/status/%FF%FE",
    "/v2/{id}/status/" + "a" * 5000,
    "/v2/" + "b" * 8000 + "/health",
    "/v2/{id}/status/..%5c..%5cwindows",
    "/v2/{id}/status/$(reboot)",
    "/v2/{id}/status/'%20OR%201=1--",
    "/v2/{id};/run",
    "/v2/%7B%7Bid%7D%7D/health",
    "/.env",
    "/admin",
    "/_platform/unknown",
    "/v1/pod/../../secret/logs",
    "/wp-login.php",
]
HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:80",
    "localhost@evil.example",
    "evil.example.",
    "0x7f.1.evil.example",
    "user@evil.example",
    "",
    "lo calhost",
]


def _bodies(target: Target) -> Iterator[Hostile]:
    for route in ("run", "runsync"):
        path = f"/v2/{target.endpoint}/{route}"
        for name, body in NOT_JSON.items():
            yield Hostile(f"{route}: JSON: {name}", whole(target, "POST", path, body))
    path = f"/v2/{target.endpoint}/run"
    for name, body in NO_INPUT.items():
        yield Hostile(f"no input: {name}", whole(target, "POST", path, body))
    for name, policy in BAD_POLICY.items():
        body = json.dumps({"input": 1, "policy": policy}).encode()
        yield Hostile(f"policy: {name}", whole(target, "POST", path, body))
    for name, webhook in BAD_WEBHOOK.items():
        body = json.dumps({"input": 1, "webhook": webhook}).encode()
        yield Hostile(f"webhook: {name}", whole(target, "POST", path, body))
    large = b'{"input":"' + b"x" * (11 << 20) + b'"}'
    yield Hostile("11 MiB", whole(target, "POST", path, large))
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    yield Hostile(
        "11 MiB in chunks",
        (head(target, "POST", path, more=b"Transfer-Encoding: chunked\r\n"), *[chunk] * 11, b"0\r\n\r\n"),
    )
    for length in (1 << 40, (1 << 63) - 1):
        yield Hostile(f"told {length} bytes", (head(target, "POST", path, length) + b'{"input":1}',), half_closes=True)
    yield Hostile(
        "told 1 GiB and waits to go on", (head(target, "POST", path, 1 << 30, more=b"Expect: 100-continue\r\n"),)
    )


def _tokens(target: Target) -> Iterator[Hostile]:
    reads = [f"/v2/{target.endpoint}/{path}" for path in (f"status/{target.held}", "health", "requests")]
    reads += [f"/v2/{target.endpoint}/stream/{target.held}", "/v2/serverless", f"/v2/serverless/{target.endpoint}"]
    writes = [f"/v2/{target.endpoint}/{path}" for path in ("run", "purge-queue", f"cancel/{target.held}", "runsync")]
    writes += ["/v2/serverless", "/graphql", "/_platform/clock", "/_platform/accounts"]
    keys = {"no": "", "a wrong": "wrong", "another endpoint's": target.other_key, "a worker's": target.other_worker_key}
    for name, key in keys.items():
        for path in reads:
            yield Hostile(f"{name} token: GET {path}", whole(target, "GET", path, key=key))
        for path in writes:
            body = b'{"input":1,"query":"{ myself { id } }","advance_ms":1,"name":"x"}'
            yield Hostile(f"{name} token: POST {path}", whole(target, "POST", path, body, key=key))


def _places(target: Target) -> Iterator[Hostile]:
    for path in PATHS:
        asked = path.replace("{id}", target.endpoint)
        yield Hostile(f"path {path[:60]}", whole(target, "POST" if "run" in path else "GET", asked))
    health = f"/v2/{target.endpoint}/health"
    for host in HOSTS:
        yield Hostile(f"host {host!r}", whole(target, "GET", health, host=host))
    yield Hostile("no host", whole(target, "GET", health, host=None))
    yield Hostile("two hosts", whole(target, "GET", health, more=b"Host: evil.example\r\n"))
    yield Hostile("foreign address", whole(target, "GET", f"http://evil.example{health}"))
    for origin in (b"https://evil.example", b"null", b"http://localhost.evil.example"):
        yield Hostile(f"origin {origin!r}", whole(target, "GET", health, more=b"Origin: " + origin + b"\r\n"))
    for method, path in [
        ("GET", f"/v2/{target.endpoint}/run"),
        ("DELETE", f"/v2/{target.endpoint}/run"),
        ("PUT", f"/v2/{target.endpoint}/runsync"),
        ("PATCH", f"/v2/{target.endpoint}/status/{target.held}"),
        ("DELETE", f"/v2/{target.endpoint}/status/{target.held}"),
        ("GET", f"/v2/{target.endpoint}/cancel/{target.held}"),
        ("GET", f"/v2/{target.endpoint}/purge-queue"),
        ("TRACE", health),
        ("FOO", health),
        ("post", f"/v2/{target.endpoint}/run"),
        ("M" * 3000, health),
        ("GET", "*"),
        ("PUT", "/graphql"),
        ("DELETE", "/v2/serverless"),
    ]:
        yield Hostile(f"method {method[:10]} {path}", whole(target, method, path))


def _framing(target: Target) -> Iterator[Hostile]:
    path = f"/v2/{target.endpoint}/run"
    body = b'{"input":1}'

    def raw(name: str, more: bytes, sent: bytes = body, **options: bool) -> Hostile:
        return Hostile(f"head: {name}", (head(target, "POST", path, more=more) + sent,), **options)

    yield raw("header of 2 MB", b"X-A: " + b"a" * 2_000_000 + b"\r\nContent-Length: 11\r\n")
    yield raw("5000 headers", b"".join(b"X-%d: a\r\n" % number for number in range(5000)) + b"Content-Length: 11\r\n")
    yield raw("no colon", b"Nonsense\r\nContent-Length: 11\r\n")
    yield raw("blank before colon", b"X-A : b\r\nContent-Length: 11\r\n")
    yield raw("nul", b"X-A: a\x00b\r\nContent-Length: 11\r\n")
    yield raw("name with blank", b"X A: b\r\nContent-Length: 11\r\n")
    yield raw("folded", b"X-A: b\r\n c\r\nContent-Length: 11\r\n")
    for length in (b"-1", b"+11", b"1e1", b"0x0b", b"11, 12", b"eleven", b"18446744073709551616", b"11 11"):
        yield raw(f"length {length.decode()}", b"Content-Length: " + length + b"\r\n", half_closes=True)
    yield raw("two lengths", b"Content-Length: 11\r\nContent-Length: 12\r\n", half_closes=True)
    chunked = b"b\r\n" + body + b"\r\n0\r\n\r\n"
    yield raw("unknown coding", b"Transfer-Encoding: xchunked\r\n", chunked, half_closes=True)
    yield raw("coding not last", b"Transfer-Encoding: chunked, identity\r\n", chunked, half_closes=True)
    smuggled = b"0\r\n\r\nGET /v2/serverless HTTP/1.1\r\nHost: localhost\r\nX: "
    yield raw("length and coding", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", smuggled, half_closes=True)
    yield raw(
        "length and coding, reversed",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        smuggled,
        half_closes=True,
    )
    for name, sent in {
        "no number": b"zz\r\n" + body,
        "negative": b"-b\r\n" + body + b"\r\n0\r\n\r\n",
        "endless": b"fffffffffffffffff\r\n" + body,
        "too short": b"5\r\n" + body + b"\r\n0\r\n\r\n",
        "no end": b"b\r\n" + body,
        "endless extension": b"b;" + b"a" * 200_000 + b"\r\n" + body + b"\r\n0\r\n\r\n",
    }.items():
        yield raw(f"chunk: {name}", b"Transfer-Encoding: chunked\r\n", sent, half_closes=True)
    trailers = b"".join(b"T-%d: %s\r\n" % (number, b"a" * 1000) for number in range(2000))
    yield raw(
        "endless trailers", b"Transfer-Encoding: chunked\r\n", b"b\r\n" + body + b"\r\n0\r\n" + trailers + b"\r\n"
    )
    for name, sent in {
        "HTTP/0.9": b"GET /\r\n",
        "HTTP/9.9": head(target, "GET", "/", version="HTTP/9.9"),
        "no version": b"GET /v2/serverless\r\n\r\n",
        "no path": b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "blanks": b"GET  /v2/ x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "nothing": b"",
        "line breaks": b"\r\n" * 5000,
        "nuls": b"\x00" * 5000,
        "noise": bytes(range(256)) * 20,
        "broken TLS": b"\x16\x03\x01" + struct.pack(">H", 300) + b"\xff" * 300,
        "SMB": b"\x00\x00\x00\x85\xffSMB\x72\x00\x00\x00\x00\x18\x53\xc8",
        "SSH": b"SSH-2.0-OpenSSH_9.0\r\n",
        "proxy": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        "path of 300 kB": b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    }.items():
        yield Hostile(f"start: {name}", (sent,), half_closes=True)
    request = head(target, "POST", path, len(body)) + body
    for cut in (1, 20, len(request) - len(body) - 2, len(request) - len(body), len(request) - 1):
        yield Hostile(f"ends after {cut - len(request)} bytes", (request[:cut],), half_closes=True)
    for route in ("run", "runsync"):
        start = head(target, "POST", f"/v2/{target.endpoint}/{route}", 100) + b'{"input":'
        yield Hostile(f"body of {route} stalls", (start,), stalls=True)
    start = head(target, "POST", path, more=b"Transfer-Encoding: chunked\r\n") + b"5\r\n{"
    yield Hostile("chunk stalls", (start,), stalls=True)


def _workers(target: Target) -> Iterator[Hostile]:
    base = f"/v2/{target.endpoint}"
    result = b'{"output":"forged"}'
    for name, worker, key in (
        ("forged worker", "nosuchworker", target.token),
        ("forged worker with a key of another", "nosuchworker", target.worker_key),
        ("worker with another's key", target.worker, target.other_worker_key),
        ("path as worker", "..%2f..%2fworker", target.token),
    ):
        for method, path in (
            ("GET", f"job-take/{worker}?gpu=x&job_in_progress=0"),
            ("GET", f"job-take-batch/{worker}?gpu=x&batch_size=9&job_in_progress=0"),
            ("POST", f"job-done/{worker}/{target.held}?gpu=x&isStream=false"),
            ("POST", f"job-stream/{worker}/{target.held}?gpu=x&isStream=false"),
            ("GET", f"job-stop/{worker}?gpu=x"),
        ):
            body = result if method == "POST" else b""
            yield Hostile(f"{name}: {path.partition('?')[0]}", whole(target, method, f"{base}/{path}", body, key=key))
    mine = {"key": target.worker_key}
    done = f"{base}/job-done/{target.worker}"
    for name, path, body in (
        ("replayed result", f"{done}/{target.finished}?isStream=false", result),
        ("replayed failure", f"{done}/{target.finished}?isStream=false", b'{"error":"forged"}'),
        ("late item", f"{base}/job-stream/{target.worker}/{target.finished}?isStream=false", result),
        ("result of no job", f"{done}/nosuchjob?isStream=false", result),
        ("result at another endpoint", f"/v2/{target.other}/job-done/{target.worker}/{target.held}?x=1", result),
        ("result: not JSON", f"{done}/{target.held}?isStream=false", b"nope"),
        ("result: open", f"{done}/{target.held}?isStream=false", b'{"output":'),
        ("result: list", f"{done}/{target.held}?isStream=false", b"[1]"),
        ("result: nothing", f"{done}/{target.held}?isStream=false", b""),
        ("result: deep", f"{done}/{target.held}?isStream=false", b'{"output":' + b"[" * 500_000),
        ("replayed result of 21 MiB", f"{done}/{target.finished}?x=1", b'{"output":"' + b"x" * (21 << 20) + b'"}'),
    ):
        yield Hostile(name, whole(target, "POST", path, body, **mine))
    yield Hostile("worker manages", whole(target, "GET", "/v2/serverless", **mine))
    yield Hostile("worker asks GraphQL", whole(target, "POST", "/graphql", b'{"query":"{ myself { id } }"}', **mine))


def _management(target: Target) -> Iterator[Hostile]:
    for name, body in {
        "name": {"name": 7},
        "workers": {"name": "x", "workers": {"min": -1, "max": 10**12}},
        "type": {"name": "x", "type": "NOSUCH"},
        "command": {"name": "x", "command": "rm -rf /"},
        "scaling": {"name": "x", "scaling": {"type": "QUEUE_DELAY", "queueDelay": -4}},
        "list": [],
    }.items():
        sent = json.dumps(body).encode()
        yield Hostile(f"endpoint: {name}", whole(target, "POST", "/v2/serverless", sent))
    for method, path in (
        ("GET", "/v2/serverless/..%2f..%2fstate"),
        ("DELETE", "/v2/serverless/nosuch"),
        ("PATCH", "/v2/serverless/nosuch"),
        ("GET", "/v2/templates/nosuch"),
    ):
        yield Hostile(f"{method} {path}", whole(target, method, path, b"{}" if method == "PATCH" else b""))
    yield Hostile("clock: text", whole(target, "POST", "/_platform/clock", b'{"advance_ms":"1"}'))
    yield Hostile("clock: back", whole(target, "POST", "/_platform/clock", b'{"advance_ms":-1}'))


def table(target: Target) -> list[Hostile]:
    """Return all requests."""
    parts = (_bodies, _tokens, _places, _framing, _workers, _management)
    return [request for part in parts for request in part(target)]
