"""Endpoints made with Flash's images: official Flash's calls on our own workers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import runpod_flash
from worker_parent import ANSWER, FROM_WORKER, Worker, result_of

CLIENT = Path(__file__).with_name("platform_live_client.py")
LIVE = {"kind": "live", "volume": None}

SHOP = '''
import os

SHIPPING = 3


def add(a, b=2):
    """Say and add."""
    print("adding", a, b)
    return a + b


async def add_later(a, b):
    import asyncio

    await asyncio.sleep(0)
    return a + b


def runs_own_loop(a):
    import asyncio

    async def inner():
        return a + 1

    return asyncio.run(inner())


def items(n):
    for item in range(n):
        yield item


async def items_later(n):
    for item in range(n):
        yield item


def says():
    import logging
    import sys

    print("one")
    print("two", file=sys.stderr)
    logging.getLogger("shop").info("three")
    print("four", end="")


def fails(text):
    raise KeyError(text) from ValueError("before")


def leaves():
    raise SystemExit(3)


def needs_global():
    return SHIPPING


def arrays(values, *, factor):
    import numpy as np

    assert isinstance(values, np.ndarray) and values.flags.writeable
    return {"doubled": values * factor, "text": "é", "nothing": None}


def nothing():
    return None


def new_object():
    class Point:
        def __init__(self, x):
            self.x = x

        def __repr__(self):
            return f"Point({self.x})"

    return Point(4)


def with_helper(x):
    from helper import mul

    return mul(x)


def unpicklable():
    import threading

    return threading.Lock()


class Counter:
    made = 0

    def __init__(self, start, *, step=1):
        self.value, self.step = start, step
        print("made")

    def up(self, by=1):
        self.value += self.step * by
        return self.value

    async def up_later(self):
        self.value += self.step
        return self.value

    def fails(self):
        raise RuntimeError("no counter")
'''


def numpy_alone(folder: Path) -> Path:
    """A folder with this interpreter's numpy and nothing else: the official environment has none."""
    import numpy

    place = folder / "numpy-alone"
    place.mkdir(exist_ok=True)
    for found in Path(numpy.__file__).parent.parent.glob("numpy*"):
        with contextlib.suppress(FileExistsError):
            (place / found.name).symlink_to(found)
    return place


class Client:
    """Official Flash in a process of its own; what it sends goes to ``worker``."""

    def __init__(self, official: Path, folder: Path, kind: str, worker: Worker) -> None:
        self.file = folder / "shop.py"
        self.file.write_text(SHOP)
        self.kind, self.worker, self.sent = kind, worker, {}
        self.process = subprocess.Popen(
            [str(official), str(CLIENT), str(self.file), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(numpy_alone(folder))},
            text=True,
        )
        assert self._line() == {"ready": True}

    def _line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def _say(self, value: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def call(self, name: str, arguments: str = "", **more: Any) -> Any:
        """Call a function as the official client does; returns the ``repr`` of its value."""
        self._say({"name": name, "arguments": arguments, **more})
        while True:
            line = self._line()
            if "done" in line:
                if "error" in line["done"]:
                    raise RuntimeError(line["done"]["error"])
                return line["done"]["value"]
            self.sent = line["send"]
            if self.kind == "queue":
                answer = self.worker.json("", self.sent)
                self.answer = answer
                self._say({"error": answer["message"]} if answer.get("kind") == "failed" else {"output": answer})
            else:
                response = self.worker.http("POST", "/execute", json.dumps(self.sent).encode())
                assert response.status == 200
                self.answer = response.json()
                self._say(self.answer)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Client]


@pytest.fixture
def live(official: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a live worker and official Flash in front of it."""
    started: list[Client] = []

    def start(kind: str = "queue", **more: Any) -> Client:
        worker = Worker()
        ready = worker.load(LIVE, kind=kind, **more)
        assert "pid" in ready.head, ready
        started.append(Client(official, tmp_path, kind, worker))
        return started[-1]

    yield start
    for client in started:
        client.close()
        client.worker.kill()


@pytest.mark.parametrize("kind", ["queue", "load_balanced"])
def test_functions_of_all_kinds_return_their_values(live: Start, kind: str) -> None:
    client = live(kind)
    assert client.call("add", "1") == "3"
    assert client.call("add_later", "1, b=5") == "6"
    assert client.call("items", "3") == "[0, 1, 2]"
    assert client.call("items_later", "2") == "[0, 1]"
    assert client.call("nothing") == "None"
    assert client.call("runs_own_loop", "1") == "2"
    assert client.call("new_object") == "Point(4)"


def test_arrays_go_both_ways(live: Start) -> None:
    value = live().call("arrays", "__import__('numpy').arange(3), factor=2")
    assert value == "{'doubled': array([0, 2, 4]), 'text': 'é', 'nothing': None}"


def test_response_has_the_fields_that_the_client_reads(live: Start) -> None:
    client = live()
    client.call("add", "1, 1")
    assert set(client.answer) == {
        "success", "result", "json_result", "error", "stdout", "instance_id", "instance_info",
    }  # fmt: skip
    assert client.answer["stdout"] == "adding 1 1\n"
    assert "adding 1 1" in client.worker.output()


def test_output_of_all_streams_is_kept_in_order(live: Start) -> None:
    client = live()
    client.call("says")
    assert client.answer["stdout"] == "one\ntwo\nINFO:shop:three\nfour\n"
    client.call("nothing")
    assert client.answer["stdout"] == ""


@pytest.mark.parametrize("kind", ["queue", "load_balanced"])
def test_exception_is_told_with_the_users_frames(live: Start, kind: str) -> None:
    client = live(kind)
    with pytest.raises(RuntimeError, match="Remote execution failed: 'lost'") as caught:
        client.call("fails", "'lost'")
    text = str(caught.value)
    assert 'raise KeyError(text) from ValueError("before")' in text
    assert "ValueError: before" in text
    assert "runpod_flash" not in text
    with pytest.raises(RuntimeError, match=r"sys\.exit\(3\)"):
        client.call("leaves")
    with pytest.raises(RuntimeError, match="cannot be pickled"):
        client.call("unpicklable")
    assert client.call("add", "1, 2") == "3"


def test_name_that_did_not_travel_is_explained(live: Start) -> None:
    with pytest.raises(RuntimeError, match=r"name 'SHIPPING' is not defined[^$]*hint: only the text of the function"):
        live().call("needs_global")


def test_class_keeps_its_instance_between_calls(live: Start) -> None:
    client = live()
    counter: dict[str, Any] = {"constructor": "10, step=2"}
    assert client.call("Counter", "", method="up", **counter) == "12"
    assert client.answer["stdout"] == "made\n"
    assert client.call("Counter", "by=3", method="up", **counter) == "18"
    assert client.answer["stdout"] == ""
    assert client.call("Counter", "", method="up_later", **counter) == "20"
    info = client.answer["instance_info"]
    assert (info["class_name"], info["method_calls"]) == ("Counter", 3)
    assert client.answer["instance_id"] == client.sent["instance_id"]
    assert client.call("Counter", "", method="up", constructor="0") == "1"
    with pytest.raises(RuntimeError, match="no counter"):
        client.call("Counter", "", method="fails", **counter)
    with pytest.raises(RuntimeError, match="has no method `down`"):
        client.call("Counter", "", method="down", **counter)


def test_local_module_is_imported_anew_after_an_edit(live: Start, tmp_path: Path) -> None:
    client = live()
    helper = tmp_path / "helper.py"
    helper.write_text("def mul(x): return x * 2\n")
    assert client.call("with_helper", "4") == "8"
    helper.write_text("def mul(x): return x * 3\n")
    assert client.call("with_helper", "4") == "12"


def test_path_of_a_module_cannot_lead_out(live: Start, tmp_path: Path) -> None:
    client = live()
    client.call("add", "1, 2")
    evil = {**client.sent, "modules": {"../../evil.py": "x = 1"}}
    answer = client.worker.json("", evil)
    assert answer["success"] is False
    assert "leads out of its folder" in answer["error"]


def test_system_packages_are_a_warning(live: Start) -> None:
    client = live()
    assert client.call("add", "1, 2", system_dependencies=["ffmpeg"]) == "3"
    assert "ffmpeg" in client.answer["stdout"]


@pytest.mark.parametrize("value", [{}, {"prompt": "x"}, [1], None, {"function_name": "f"}, {"function_code": 5}])
def test_input_that_is_no_call_fails_the_job(value: Any) -> None:
    with Worker() as worker:
        worker.load(LIVE)
        report = worker.json("", value)
        assert (report["kind"], report["failure"]) == ("failed", "invalid_input"), report
        assert "live endpoint" in report["message"]


def test_json_arguments_and_results_need_no_pickle() -> None:
    with Worker() as worker:
        worker.load(LIVE)
        request = {
            "function_name": "f",
            "function_code": "def f(a, b): return {'sum': a + b}",
            "args": [1],
            "kwargs": {"b": 2},
            "serialization_format": "json",
        }
        answer = worker.json("", request)
        assert (answer["success"], answer["json_result"], answer["result"]) == (True, {"sum": 3}, None)


def test_argument_that_cannot_be_read_is_told() -> None:
    with Worker() as worker:
        worker.load(LIVE)
        answer = worker.json("", {"function_name": "f", "function_code": "def f(a): return a", "args": ["!!"]})
        assert answer["success"] is False
        assert "an argument cannot be read" in answer["error"]


def test_balanced_worker_answers_ping_and_execute_alone() -> None:
    with Worker() as worker:
        worker.load(LIVE, kind="load_balanced")
        assert worker.http("GET", "/ping").json() == {"status": "healthy"}
        assert worker.http("GET", "/execute").status == 405
        assert worker.http("GET", "/docs").status == 404
        broken = worker.http("POST", "/execute", b"{")
        assert broken.status == 200
        assert broken.json()["success"] is False
        wrapped = {"input": {"function_name": "f", "function_code": "def f(): return 1"}}
        answer = worker.http("POST", "/execute", json.dumps(wrapped).encode()).json()
        assert answer["success"] is True
        assert answer["result"]


APP = {
    "app.py": """
from runpod_flash import Endpoint
import lib.helper as helper

api = Endpoint(name="shop-api", cpu="cpu3c-1-2")


@api.get("/hello")
async def hello(name: str = "you"):
    return {"hello": name, "k": helper.K}


@api.post("/sum")
async def total(a: int, b: int = 1):
    return {"sum": a + b}


@Endpoint(name="adder", cpu="cpu3c-1-2")
async def add(a: int, b: int = 2):
    import vendored

    return {"sum": a + b, "vendored": vendored.VERSION, "data": open("data.txt").read()}


@Endpoint(name="counter", cpu="cpu3c-1-2")
class Counter:
    def __init__(self):
        self.n = 0

    def up(self, by: int = 1):
        self.n += by
        return self.n

    def down(self):
        self.n -= 1
        return self.n


@Endpoint(name="caller", cpu="cpu3c-1-2")
async def call(a: int):
    return (await add(a))["sum"]
""",
    "lib/helper.py": "K = 7\n",
    "data.txt": "plain",
}


@pytest.fixture(scope="module")
def build(official: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked archive of an app, as official ``flash build`` makes it."""
    root = tmp_path_factory.mktemp("shop-app")
    for name, text in APP.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    environment = {**os.environ, "CI": "1", "HOME": str(root.parent), "RUNPOD_FLASH_SILENCE_DEPRECATION": "1"}
    flash = official.parent / "flash"
    subprocess.run([str(flash), "build"], cwd=root, env=environment, check=True, capture_output=True)
    unpacked = root.parent / "unpacked"
    with tarfile.open(root / ".flash" / "artifact.tar.gz") as archive:
        archive.extractall(unpacked, filter="data")
    (unpacked / "vendored.py").write_text("VERSION = 3\n")
    return unpacked


def deployed(build: Path, resource: str, kind: str = "queue") -> Worker:
    """A worker that has loaded one endpoint of the build."""
    worker = Worker(env={"FLASH_RESOURCE_NAME": resource})
    source = {"kind": "artifact", "root": str(build), "resource": resource, "volume": None}
    ready = worker.load(source, kind=kind, endpoint=resource, working_directory=str(build))
    assert "pid" in ready.head, ready
    return worker


def test_deployed_function_answers_json(build: Path) -> None:
    with deployed(build, "adder") as worker:
        assert worker.json("", {"a": 1}) == {"sum": 3, "vendored": 3, "data": "plain"}
        assert worker.json("", {"a": "x"})["failure"] == "invalid_input"


def test_deployed_class_keeps_its_state(build: Path) -> None:
    with deployed(build, "counter") as worker:
        assert worker.json("", {"method": "up", "by": 2}) == 2
        assert worker.json("", {"method": "down", "__empty": True}) == 1
        assert "several methods" in json.dumps(worker.json("", {"by": 1}))


def test_deployed_routes_answer_and_execute_is_not_there(build: Path) -> None:
    with deployed(build, "shop-api", "load_balanced") as worker:
        assert worker.http("GET", "/hello?name=me").json() == {"hello": "me", "k": 7}
        body = json.dumps({"a": 2}).encode()
        assert worker.http("POST", "/sum", body, [("content-type", "application/json")]).json() == {"sum": 3}
        assert worker.http("GET", "/ping").json() == {"status": "healthy"}
        assert worker.http("POST", "/execute", b"{}").status == 404


def test_deployed_function_calls_another_endpoint_by_its_name(build: Path) -> None:
    with deployed(build, "caller") as worker:
        worker.start_json("", {"a": 1})
        nested = worker.nested.get(timeout=20)
        assert (nested.head["endpoint"], nested.head["callable"]) == ("adder", "add")


def test_volume_is_a_folder_at_runpods_path(tmp_path: Path) -> None:
    if os.path.lexists("/runpod-volume"):
        pytest.skip("this machine has a /runpod-volume of its own")
    code = "def f():\n open('/runpod-volume/f', 'a').write('x')\n import os\n return os.environ['FLASH_VOLUME_PATH']"
    request = {"function_name": "f", "function_code": code, "serialization_format": "json"}
    for name in ["one", "two"]:
        folder = tmp_path / name
        folder.mkdir()
        with Worker(env={"FLASH_VOLUME": str(folder)}) as worker:
            worker.load(LIVE)
            assert worker.json("", request)["json_result"] == "/runpod-volume"
        assert (folder / "f").read_text() == "x"
    assert not os.path.lexists("/runpod-volume")


def test_command_finds_its_volume_and_keeps_its_folder(tmp_path: Path) -> None:
    if os.path.lexists("/runpod-volume"):
        pytest.skip("this machine has a /runpod-volume of its own")
    volume, here = tmp_path / "volume", tmp_path / "here"
    volume.mkdir()
    here.mkdir()
    command = ["sh", "-c", "pwd && echo hi > /runpod-volume/f && exit 7"]
    program = Path(runpod_flash.__file__).parent / "worker" / "volume.py"
    run = subprocess.run(
        [sys.executable, "-IS", str(program), str(volume), *command], cwd=here, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (7, f"{here}\n"), run.stderr
    assert (volume / "f").read_text() == "hi\n"


def test_packages_come_from_an_environment_that_the_parent_makes(tmp_path: Path) -> None:
    packages = tmp_path / "env" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "tinypkg.py").write_text("def shout(text): return text.upper()\n")
    with Worker() as worker:
        worker.load(LIVE)
        code = "def f(text):\n import tinypkg\n return tinypkg.shout(text)"
        request = {
            "function_name": "f",
            "function_code": code,
            "args": ["hi"],
            "serialization_format": "json",
            "dependencies": ["tinypkg>=1"],
        }
        call = worker.start_json("", request)
        asked = worker.nested.get(timeout=20)
        assert asked.head == {"dependencies": ["tinypkg>=1"]}
        answer = json.dumps(str(tmp_path / "env" / "bin" / "python")).encode()
        worker.send(ANSWER, asked.call_id, {"kind": "json"}, [answer], flags=FROM_WORKER)
        assert result_of(worker.next(call))["json_result"] == "HI"
        # It is asked for once.
        assert worker.json("", request)["json_result"] == "HI"
        assert worker.nested.empty()


def test_package_of_the_official_images_is_there_when_code_wants_it(tmp_path: Path) -> None:
    packages = tmp_path / "env" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "aiohttp.py").write_text("VERSION = 1\n")
    with Worker() as worker:
        worker.load(LIVE)
        code = "def f():\n import aiohttp\n return aiohttp.VERSION"
        call = worker.start_json("", {"function_name": "f", "function_code": code, "serialization_format": "json"})
        asked = worker.nested.get(timeout=20)
        assert asked.head == {"dependencies": ["aiohttp"]}
        answer = json.dumps(str(tmp_path / "env" / "bin" / "python")).encode()
        worker.send(ANSWER, asked.call_id, {"kind": "json"}, [answer], flags=FROM_WORKER)
        assert result_of(worker.next(call))["json_result"] == 1
