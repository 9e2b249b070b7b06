"""JSON input on live endpoints: what arrives, is refused and comes back is what a worker of the app does.

The adapter that travels with a function is compared with an ordinary worker, which `test_worker_validation.py` holds
against FastAPI.
"""

from __future__ import annotations

import base64
import json
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_support import Endpoint, Platform
from runpod_flash import _core
from support import Project, Serve
from test_worker_validation import EDGES, PREAMBLE, SIGNATURES, bodies, functions, written
from worker_parent import READY, Worker, module, script

LIVE = {"kind": "live", "volume": None}

MORE = """
import dataclasses, datetime, decimal, enum, pathlib, uuid
from typing import Annotated, Any, Optional

from fastapi import Body, Depends, Query, Request, UploadFile
from pydantic import BaseModel, Field


class Model(BaseModel):
    text: str = Field(alias="theText", default="t")
    when: Optional[datetime.date] = None


class Kind(enum.Enum):
    A = "a"


@dataclasses.dataclass
class Data:
    x: int
    inner: Optional[Model] = None


def binary(data: bytes, n: int = 1): return [type(data).__name__, len(data) * n]
def wants_request(request: Request, a: int = 1): return a
def wants_file(file: UploadFile): return file.filename
def depends(a: int, b: Any = Depends(lambda: 1)): return a
def query(a: int = Query(3, ge=1), b: str = Body("b")): return [a, b]
def many(first, *rest, last=3, **more): return [first, list(rest), last, more]
def only_args(*rest): return list(rest)
def names(input: dict, method: str = "m", self: int = 1, __empty: int = 2): return [input, method, self]
def untyped(a, b=None): return [a, b]
async def later(a: int): return a + 1
def numbers(n: int):
    for i in range(n): yield {"i": i}
async def numbers_later(n: int):
    for i in range(n): yield i
def broken(hint: "Nowhere", a: int = 1): return [hint, a]
def coerced(a: int, b: float, c: bool, d: decimal.Decimal, e: uuid.UUID): return [a, b, c, d, e]
def fails(text: str): raise ValueError(text)
def awaitable(a: int): return later(a)

VALUES = {
    "plain": {"a": [1, None, "é", 1.5, True], "": {}},
    "tuple": (1, (2,)),
    "set": {1},
    "frozen": frozenset([1]),
    "model": Model(theText="x", when="2026-01-02"),
    "models": [Model(), {"m": Model()}],
    "data": Data(1, Model()),
    "enum": Kind.A,
    "date": datetime.date(2026, 1, 2),
    "time": datetime.datetime(2026, 1, 2, 3, 4, 5),
    "delta": datetime.timedelta(seconds=90),
    "decimal": [decimal.Decimal("1.5"), decimal.Decimal("2")],
    "uuid": uuid.UUID(int=1),
    "path": pathlib.PurePosixPath("/a"),
    "bytes": b"abc",
    "keys": {1: 2, None: 3, True: 4},
    "odd keys": {(1, 2): 3},
    "large": 2**70,
    "nan": [float("nan")],
    "binary": {"deep": [b"\\xff"]},
    "object": {"deep": [object()]},
    "function": len,
    "class": Kind,
    "module": json_module,
    "error": {"error": "x"},
    "generator": (number for number in range(3)),
}
def value(name: str): return VALUES[name]
""".replace("json_module", "__import__('json')").replace("(number for number in range(3))", "[0, 1, 2]")

#: Input for each function of `MORE`.
INPUTS: list[tuple[str, Any]] = [
    ("binary", {"data": "abc", "n": "2"}),
    ("binary", {"data": [1]}),
    ("wants_request", {"a": 1}),
    ("wants_request", {"request": {}, "a": 1}),
    ("wants_file", {"file": "x"}),
    ("depends", {"a": "1"}),
    ("query", {"a": 5}),
    ("query", {"a": 0}),
    ("query", {"b": "c"}),
    ("many", {"first": 1, "last": 2, "x": 3, "method": "y"}),
    ("many", {"last": 1}),
    ("only_args", {"x": 1}),
    ("only_args", {}),
    ("names", {"input": {"a": 1}, "method": "GET", "self": "2"}),
    ("names", {"method": "GET"}),
    ("untyped", {"a": {"b": 1}}),
    ("untyped", {}),
    ("untyped", {"__empty": True}),
    ("untyped", [1]),
    ("untyped", None),
    ("later", {"a": "3"}),
    ("later", 3),
    ("numbers", {"n": 2}),
    ("numbers_later", {"n": 0}),
    ("broken", {"hint": [1], "a": "2"}),
    ("coerced", {"a": "1", "b": 2, "c": "no", "d": "1.50", "e": "12345678123456781234567812345678"}),
    ("coerced", {"a": 1.5, "b": "x", "c": 2, "d": [], "e": 1}),
    ("fails", {"text": "too bad é"}),
    ("awaitable", {"a": 1}),
]

CLASSES = '''
from pydantic import BaseModel

class Point(BaseModel):
    x: int

class Base:
    def inherited(self): return "inherited"

class Counter(Base):
    """Counts."""
    def __init__(self, start: int = 10): self.n = start
    def up(self, by: int = 1):
        self.n += by
        return self.n
    async def at(self, point: Point): return [self.n, point.x]
    def items(self, n: int):
        for i in range(n): yield self.n + i
    @staticmethod
    def double(x): return 2 * x
    def _hidden(self): return 1

class Single(Base):
    def predict(self, data: dict, **more): return [data, more]

class Method:
    def run(self, method: str, n: int = 1): return [method, n]

class Needs:
    def __init__(self, size): self.size = size
    def get(self): return self.size
    def other(self): return 1
'''
#: Inputs of each class, in this order: the object is the same.
METHODS: list[tuple[str, Any]] = [
    ("Counter", {"method": "up", "by": "5"}),
    ("Counter", {"method": "up"}),
    ("Counter", {"method": "at", "point": {"x": "3"}}),
    ("Counter", {"method": "at", "x": "3"}),
    ("Counter", {"method": "at", "point": {}}),
    ("Counter", {"method": "items", "n": 2}),
    ("Counter", {"method": "double", "x": 2}),
    ("Counter", {"method": "inherited"}),
    ("Counter", {"method": "_hidden"}),
    ("Counter", {"method": 5}),
    ("Counter", {"by": 1}),
    ("Counter", [1]),
    ("Single", {"data": {"a": 1}, "b": 2}),
    ("Single", {"method": "predict", "data": {}}),
    ("Single", {"method": "other", "data": {}}),
    ("Method", {"method": "run", "n": 2}),
    ("Method", {"method": "GET"}),
    ("Needs", {"method": "get"}),
]


class Pair:
    """The same code in an ordinary worker and, with each call, on a live one."""

    def __init__(self, worker: Worker, live: Worker, code: str) -> None:
        self.worker = worker
        self.live = live
        self.code = code

    def ask_live(self, name: str, value: Any, code: str | None = None, version: str = "1") -> Any:
        """Return what the adapter answers, or the text of what it raised."""
        text = value.decode() if isinstance(value, bytes) else json.dumps(value)
        request = {
            "function_name": "_flash_json_call",
            "function_code": f"{code or self.code}\n{_core.json_adapter(name, None, version)}",
            "args": [base64.b64encode(pickle.dumps(text)).decode()],
        }
        answer = self.live.json("", request)
        if not answer["success"]:
            return answer["error"]
        return json.loads(pickle.loads(base64.b64decode(answer["result"])))

    def check(self, name: str, value: Any, code: str | None = None) -> None:
        """Compare both."""
        expected, found = self.worker.json(name, value), self.ask_live(name, value, code)
        case = f"{name} with {value!r}: {expected} and {found}"
        if not (isinstance(expected, dict) and "failure" in expected):
            assert found == {"result": expected}, case
        elif expected["failure"] == "invalid_input":
            # Half of a surrogate pair cannot be told between processes as it is.
            text = json.dumps({"errors": expected["detail"], "message": expected["message"]}).replace(
                "\\\\ud800", "\\ud800"
            )
            assert json.dumps(found) == text, case
        else:
            assert isinstance(found, str), case
            assert expected["message"] in found, case
            assert expected["hint"] is None or expected["hint"] in found, case


@pytest.fixture(scope="module")
def live() -> Iterator[Worker]:
    """A worker of a live endpoint."""
    with Worker() as worker:
        assert worker.load(LIVE).kind == READY
        yield worker


def pair(folder: Path, live: Worker, name: str, code: str, callables: list[str]) -> Iterator[Pair]:
    """Load code in an ordinary worker."""
    with Worker() as worker:
        ready = worker.load(module(folder, name, code), callables)
        assert ready.kind == READY, ready
        yield Pair(worker, live, code)


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_300_bodies_give_what_a_worker_gives(live: Worker, tmp_path: Path, future: str) -> None:
    compared = 0
    for both in pair(tmp_path, live, "signatures", future + functions(), [f"f{index}" for index in range(60)]):
        for index, parameters in enumerate(SIGNATURES):
            code = f"{future}{PREAMBLE}\ndef f{index}({written(parameters)}):\n    return show(locals())\n"
            for body in bodies(parameters):
                both.check(f"f{index}", body, code)
                compared += 1
    assert compared == 300


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_parameters_of_all_kinds_give_what_a_worker_gives(live: Worker, tmp_path: Path, future: str) -> None:
    code = future + EDGES
    inputs = [None, [], "text", 3, {}, {"a": 1}, {"n": "2"}, {"input": {"a": 1}}, {"your": "data"}, {"x": 1, "y": 2}]
    inputs += [{"__empty": True}, {"p": {"text": "a"}}, {"text": "a", "n": "x"}, {"self": 1, "model_config": 2}]
    inputs += [b"{", b"", b"[" * 20_000, b'{"a": NaN}', b'"\\ud800"']
    names = re.findall(r"^def (\w+)", EDGES, re.MULTILINE)
    for both in pair(tmp_path, live, "edges", code, names):
        for name in names:
            for value in inputs:
                both.check(name, value)


def test_odd_signatures_and_results_give_what_a_worker_gives(live: Worker, tmp_path: Path) -> None:
    names = re.findall(r"^(?:async )?def (\w+)", MORE, re.MULTILINE)
    for both in pair(tmp_path, live, "more", MORE, names):
        for name, value in INPUTS:
            both.check(name, value)
        kept = re.findall(r'^    "([a-z ]+)":', MORE, re.MULTILINE)
        assert len(kept) == 26
        for name in kept:
            both.check("value", {"name": name})


def test_classes_give_what_a_worker_gives(live: Worker, tmp_path: Path) -> None:
    for both in pair(tmp_path, live, "classes", CLASSES, ["Counter", "Single", "Method", "Needs"]):
        for name, value in METHODS:
            both.check(name, value)


def test_object_of_a_class_stays_until_its_code_changes(live: Worker) -> None:
    code = "class Kept:\n    def __init__(self): self.n = FROM\n    def up(self):\n        self.n += 1\n        return self.n\n"
    both = Pair(live, live, code)
    first, second = code.replace("FROM", "0"), code.replace("FROM", "100")
    asked = [(first, "a"), (first, "a"), (second, "b"), (second, "b"), (first, "c")]
    found = [both.ask_live("Kept", {"method": "up"}, text, version) for text, version in asked]
    assert found == [{"result": number} for number in (1, 2, 101, 102, 1)]


def test_result_is_written_where_fastapi_is_missing(live: Worker) -> None:
    hidden = "import sys\nsys.modules['fastapi'] = sys.modules['fastapi.encoders'] = None\nsys.modules.pop('_flash_json', None)\n"
    code = f"{hidden}{MORE.replace('from fastapi', '# from fastapi')}"
    code = re.sub(r"^def (wants_request|wants_file|depends|query).*$", "", code, flags=re.MULTILINE)
    with Worker() as worker:
        assert worker.load(LIVE).kind == READY
        both = Pair(worker, worker, code)
        assert both.ask_live("value", {"name": "data"}) == {"result": {"x": 1, "inner": {"theText": "t", "when": None}}}
        assert both.ask_live("value", {"name": "set"}) == {"result": [1]}
        assert both.ask_live("value", {"name": "delta"}) == {"result": 90.0}
        assert "cannot be sent as JSON: `output.deep[0]`" in both.ask_live("value", {"name": "object"})


GUIDE = """
from runpod_flash import Endpoint

@Endpoint(name="guide-live", cpu="cpu3c-1-2")
async def process_data(input: dict) -> dict:
    return {"result": "processed", "got": input}
"""
#: The guide's own body, and the one that 1.21 takes.
BODIES = [{"your": "data"}, {"input": {"your": "data"}}]


@pytest.mark.parametrize("body", BODIES)
def test_bodies_of_the_guide_complete_on_an_official_worker(
    official_endpoint: Callable[..., Endpoint], body: dict[str, Any]
) -> None:
    code = GUIDE.replace("from runpod_flash import Endpoint", "").replace(
        '@Endpoint(name="guide-live", cpu="cpu3c-1-2")', ""
    )
    request = {
        "execution_type": "function",
        "function_name": "_flash_json_call",
        "function_code": f"{code}\n{_core.json_adapter('process_data')}",
        "args": [base64.b64encode(pickle.dumps(json.dumps(body))).decode()],
        "kwargs": {},
    }
    output = official_endpoint("flash_function").runsync(request)["output"]
    assert output["success"], output
    answer = json.loads(pickle.loads(base64.b64decode(output["result"])))
    assert answer == {"result": {"result": "processed", "got": {"your": "data"}}}


def test_bodies_of_the_guide_complete_on_a_live_endpoint(
    project: Callable[..., Project], platform: Platform, serve: Serve
) -> None:
    server = serve(project({"guide_worker.py": GUIDE}), "--remote", env=platform.variables)
    for body in BODIES:
        answer = server.post("/guide_worker/runsync", {"input": body}).json()
        assert (answer["status"], answer["output"]["got"]) == ("COMPLETED", {"your": "data"}), answer
        job = server.post("/v2/guide-live/runsync", {"input": body}).json()
        assert (job["status"], job["output"]["got"]) == ("COMPLETED", {"your": "data"}), job
    refused = server.post("/guide_worker/runsync", {"input": {}})
    assert refused.status_code == 422, refused.text
    server.stop()


@pytest.mark.parametrize("kind", ["live", "script"])
def test_annotations_of_user_code_are_what_it_says(tmp_path: Path, kind: str) -> None:
    code = "class Point:\n    x: int\n\ndef names(): return str(Point.__annotations__['x'])\n"
    with Worker() as worker:
        if kind == "script":
            worker.load(script(tmp_path, code), ["names"])
            assert worker.json("names", {}) == "<class 'int'>"
            return
        worker.load(LIVE)
        request = {"function_name": "names", "function_code": code, "serialization_format": "json"}
        assert worker.json("", request)["json_result"] == "<class 'int'>"


MODELS = """
import asyncio
from typing import Optional

from pydantic import BaseModel
from runpod_flash import Endpoint


class Outer(BaseModel):
    inner: Optional[Inner] = None
    many: list["Inner"] = []


class Inner(BaseModel):
    x: int


@Endpoint(name="models-live", cpu="cpu3c-1-2")
async def f(n: int):
    return Outer(inner=Inner(x=n), many=[{"x": "1"}]).model_dump()


if __name__ == "__main__":
    print(asyncio.run(f(3)))
"""


@pytest.mark.parametrize("program", ["models_app.py", "imports_it.py"])
def test_models_whose_annotations_are_text_are_complete_on_a_live_endpoint(
    project: Callable[..., Project], platform: Platform, run: Callable[..., Any], program: str
) -> None:
    files = {
        "models_app.py": "from __future__ import annotations\n" + MODELS,
        "imports_it.py": "import asyncio\nfrom models_app import f\nprint(asyncio.run(f(3)))\n",
    }
    env = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(sys.executable, program, cwd=project(files).root, env=env, timeout=90)
    assert done.stdout.strip() == "{'inner': {'x': 3}, 'many': [{'x': 1}]}", done.stderr
