"""Where calls go and what they carry: every context of `sdk.md` 5.2, against a platform."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from platform_support import Platform
from runpod_flash import Endpoint, _core, errors


class Recorder:
    """A server that notes what it is asked and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.answer: Any = {"id": "j-1", "status": "COMPLETED", "output": {"ok": 1}}
        self.status = 200
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                recorder.requests.append((self.path.partition("?")[0], headers, json.loads(body) if body else None))
                text = json.dumps(recorder.answer).encode()
                self.send_response(recorder.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def shared_recorder() -> Iterator[Recorder]:
    """One recorder for the tests of this file."""
    recorder = Recorder()
    yield recorder
    recorder.server.shutdown()
    recorder.server.server_close()


@pytest.fixture
def recorder(shared_recorder: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    """The recorder as "Runpod", with a key, for a program in a folder called `shop`."""
    shared_recorder.__dict__.update(
        requests=[], status=200, answer={"id": "j-1", "status": "COMPLETED", "output": {"ok": 1}}
    )
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_key")
    monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", f"{shared_recorder.url}/v2")
    monkeypatch.setenv("RUNPOD_API_BASE_URL", shared_recorder.url)
    monkeypatch.setenv("FLASH_TARGET", "runpod")
    return shared_recorder


@Endpoint(name="sums", cpu="cpu3c-1-2")
async def sums(a: int, b: int = 2, *, label: str = "") -> Any:
    """A function with all kinds of parameters that have names."""


@Endpoint(name="anything", cpu="cpu3c-1-2")
def anything(*values: Any, **options: Any) -> Any:
    """A sync function that takes anything."""


@Endpoint(name="model", cpu="cpu3c-1-2")
class Model:
    """A class with methods of all kinds."""

    def __init__(self, size: str = "small") -> None:
        self.size = size

    def predict(self, x: int, y: int = 1) -> Any:
        """A method."""

    def ping(self) -> Any:
        """A method without parameters."""

    @staticmethod
    def twice(x: int) -> Any:
        """A static method."""

    def odd(self, method: str) -> Any:
        """A method whose parameter is called as the key that tells which method is called."""


def sent(recorder: Recorder, call: Any) -> Any:
    """Await a call and return the body that was sent for it."""
    assert asyncio.run(wait_for(call)) == {"ok": 1}
    path, _, body = recorder.requests[-1]
    assert path == "/v2/flash/runsync"
    return body


async def wait_for(call: Callable[[], Any]) -> Any:
    return await call()


@pytest.mark.parametrize(
    ("call", "input"),
    [
        (lambda: sums(1), {"a": 1}),
        (lambda: sums(1, 3), {"a": 1, "b": 3}),
        (lambda: sums(b=1, a=None), {"a": None, "b": 1}),
        (lambda: sums(1, label="é"), {"a": 1, "label": "é"}),
        (lambda: anything(), {"__empty": True}),
        (lambda: anything(app=1, env=2, endpoint_name=3, func=4), {"app": 1, "env": 2, "endpoint_name": 3, "func": 4}),
        (lambda: Model().predict(3), {"method": "predict", "x": 3}),
        (lambda: Model().predict(y=3, x=(1, 2)), {"method": "predict", "x": [1, 2], "y": 3}),
        (lambda: Model().ping(), {"method": "ping", "__empty": True}),
        (lambda: Model().twice(2), {"method": "twice", "x": 2}),
    ],
)
def test_deployed_call_sends_named_arguments(recorder: Recorder, call: Any, input: Any) -> None:
    assert sent(recorder, call) == {"input": input}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: sums(), r"sums\(\) missing a required argument: 'a'"),
        (lambda: sums(1, 2, 3), r"sums\(\) too many positional arguments"),
        (lambda: sums(1, typo=2), r"sums\(\) got an unexpected keyword argument 'typo'"),
        (lambda: anything(1), r"anything\(\) takes \*values, and a deployed call carries named arguments only"),
        (lambda: sums({1}), r"argument `a` of sums\(\) cannot be sent as JSON: it is of type `set`"),
        (
            lambda: sums(1, {"k": [b""]}),
            r"argument `b` of sums\(\)\['k'\]\[0\] cannot be sent as JSON: it is of type `bytes`",
        ),
        (
            lambda: Model("large").predict(1),
            r"Model\(\.\.\.\) was made with arguments, which a deployed worker does not get",
        ),
        (lambda: Model().odd("x"), r"Model\.odd\(\) has a parameter `method`"),
        (lambda: Model().predict(), r"Model\.predict\(\) missing a required argument: 'x'"),
    ],
)
def test_call_that_cannot_arrive_is_refused_before_it_is_sent(recorder: Recorder, call: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        asyncio.run(wait_for(call))
    assert recorder.requests == []


def test_method_that_is_not_there_is_an_attribute_error(recorder: Recorder) -> None:
    with pytest.raises(AttributeError, match="'Model' object has no attribute 'typo'"):
        Model().typo  # noqa: B018
    assert not hasattr(Model(), "size")
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("variables", "files", "expected"),
    [
        ({}, {}, ("shop", "production")),
        ({"FLASH_APP": "other", "FLASH_ENV": "staging"}, {}, ("other", "staging")),
        ({}, {"pyproject.toml": '[tool.flash]\napp = "named"\n'}, ("named", "production")),
        ({"FLASH_APP": "other"}, {"pyproject.toml": '[tool.flash]\napp = "named"\n'}, ("other", "production")),
    ],
)
def test_deployed_call_names_app_environment_and_endpoint(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    files: dict[str, str],
    expected: tuple[str, str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        Path(name).write_text(text)
    sent(recorder, lambda: sums(1))
    headers = recorder.requests[-1][1]
    assert (headers["x-flash-app"], headers["x-flash-environment"]) == expected
    assert headers["x-flash-endpoint"] == "sums"
    assert headers["authorization"] == "Bearer rpa_key"


#: Situation of `sdk.md` 5.2, its variables, and where a queue-based call goes; `None` unsets one.
CONTEXTS: list[tuple[str, dict[str, str | None], str]] = [
    ("script, no key", {"RUNPOD_API_KEY": None, "FLASH_TARGET": None}, "local"),
    ("script, asked for here", {"FLASH_TARGET": "local"}, "local"),
    ("script, asked for Runpod", {}, "deployed"),
    ("script, key", {"FLASH_TARGET": None, "PYTEST_CURRENT_TEST": None}, "deployed"),
    ("script, key in a test", {"FLASH_TARGET": None}, "local"),
    ("script, live", {"FLASH_TARGET": None, "FLASH_IS_LIVE_PROVISIONING": "TRUE"}, "live"),
    ("script, live means the word", {"FLASH_TARGET": None, "FLASH_IS_LIVE_PROVISIONING": "1"}, "local"),
    ("live, but here", {"FLASH_TARGET": "local", "FLASH_IS_LIVE_PROVISIONING": "true"}, "local"),
    ("build process", {"FLASH_TARGET": None, "FLASH_IS_LIVE_PROVISIONING": "false"}, "local"),
    ("worker", {"FLASH_TARGET": None, "RUNPOD_ENDPOINT_ID": "e", "FLASH_RESOURCE_NAME": "other"}, "deployed"),
    ("pod", {"FLASH_TARGET": None, "RUNPOD_POD_ID": "p", "FLASH_RESOURCE_NAME": "other"}, "deployed"),
    (
        "live worker",
        {"FLASH_TARGET": None, "RUNPOD_ENDPOINT_ID": "e", "FLASH_IS_LIVE_PROVISIONING": "true"},
        "live",
    ),
]


@pytest.mark.parametrize(("situation", "variables", "expected"), CONTEXTS, ids=[row[0] for row in CONTEXTS])
def test_call_goes_where_its_context_says(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    situation: str,
    variables: dict[str, str | None],
    expected: str,
) -> None:
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert _core.destination() == expected


@pytest.mark.parametrize(
    ("resource", "is_plain"),
    [("mine", True), ("live-mine-fb", True), ("", True), ("other", False)],
)
def test_worker_gets_its_own_functions_plain(monkeypatch: pytest.MonkeyPatch, resource: str, is_plain: bool) -> None:
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "e-1")
    monkeypatch.setenv("FLASH_RESOURCE_NAME", resource)

    def work(a: int) -> int:
        return a + 1

    decorated = Endpoint(name="mine", cpu="cpu3c-1-2")(work)
    assert (decorated is work) == is_plain


def test_function_called_from_a_deployed_worker_goes_to_its_app(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLASH_TARGET")
    for name, value in {
        "RUNPOD_ENDPOINT_ID": "e-1",
        "FLASH_RESOURCE_NAME": "caller",
        "FLASH_APP": "shop",
        "FLASH_ENV": "staging",
    }.items():
        monkeypatch.setenv(name, value)
    sent(recorder, lambda: sums(4))
    assert recorder.requests[-1][1]["x-flash-environment"] == "staging"


def test_route_runs_in_place_in_every_context(recorder: Recorder) -> None:
    api = Endpoint(name="api", cpu="cpu3c-1-2")

    @api.post("/double")
    def double(x: int) -> int:
        return 2 * x

    assert double(2) == 4
    assert recorder.requests == []


def test_result_with_the_key_error_is_a_result(recorder: Recorder) -> None:
    output = {"status": "error", "error": "no such voice"}
    recorder.answer = {"id": "j", "status": "COMPLETED", "output": output}
    assert asyncio.run(wait_for(lambda: sums(1))) == output
    recorder.answer = {"id": "j", "status": "COMPLETED"}
    assert asyncio.run(wait_for(lambda: sums(1))) is None


def test_endpoint_that_is_not_deployed_says_what_helps(recorder: Recorder) -> None:
    recorder.status, recorder.answer = 404, {"error": "not found"}
    with pytest.raises(RuntimeError) as caught:
        asyncio.run(wait_for(lambda: sums(1)))
    assert isinstance(caught.value, errors.NotFoundError)
    text = str(caught.value)
    assert text.startswith("endpoint 'sums' not found in app 'shop' environment 'production'")
    for help in ("flash deploy", "flash run", "FLASH_TARGET=local"):
        assert help in text


def test_deployed_failure_has_the_remote_traceback_and_cause(recorder: Recorder) -> None:
    recorder.answer = {
        "id": "j-7",
        "status": "FAILED",
        "error": "no such voice",
        "output": {
            "success": False,
            "traceback": 'Traceback (most recent call last):\n  File "x.py", line 3, in f\nVoiceError: no such voice\n',
        },
    }
    with pytest.raises(errors.JobFailedError, match="no such voice") as caught:
        asyncio.run(wait_for(lambda: sums(1)))
    assert caught.value.job_id == "j-7"
    assert caught.value.endpoint == "sums"
    assert "line 3, in f" in caught.value.remote_traceback
    assert isinstance(caught.value.__cause__, VoiceError)
    assert str(caught.value.__cause__) == "no such voice"


class VoiceError(Exception):
    """What the function above could raise: its module has it."""


def test_key_is_asked_for_before_a_deployed_call_leaves(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY")
    monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", "https://api.runpod.invalid/v2")
    with pytest.raises(errors.RunpodAPIKeyError, match="flash login"):
        asyncio.run(wait_for(lambda: sums(1)))


def test_unfinished_answer_is_waited_for_and_the_time_limit_kept(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, recorder: Recorder
) -> None:
    recorder.answer = {"id": "j-9", "status": "IN_PROGRESS"}
    monkeypatch.setenv("FLASH_SENTINEL_TIMEOUT", "1.5")
    with pytest.raises(TimeoutError) as caught:
        asyncio.run(wait_for(lambda: sums(1)))
    assert isinstance(caught.value, RuntimeError)
    assert "FLASH_SENTINEL_TIMEOUT" in str(caught.value)
    assert len(recorder.requests) > 1, "the job was asked about"


def test_image_endpoint_in_a_deployed_worker_is_the_deployed_one(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "e-1")
    image = Endpoint(name="vllm", image="vllm/vllm-openai:latest")

    async def main() -> Any:
        return await image.post("/v1/completions", {"prompt": "x"}, headers={"X-Mine": "1"}, params={"n": [1, 2]})

    assert asyncio.run(main())["id"] == "j-1"
    path, headers, body = recorder.requests[-1]
    assert (path, body, headers["x-mine"]) == ("/v1/completions", {"prompt": "x"}, "1")
    assert headers["x-flash-endpoint"] == "vllm"


def test_image_endpoint_is_refused_where_only_this_machine_is_allowed(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLASH_TARGET", "local")
    with pytest.raises(errors.TargetError, match="FLASH_TARGET=local"):
        asyncio.run(Endpoint(name="vllm", image="vllm/vllm-openai:latest").run({}))
