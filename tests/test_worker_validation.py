"""300 bodies over 60 signatures: what a worker makes of them is what FastAPI makes of them.

The same functions are served by a worker and, by models written out as a person would write them,
by a plain FastAPI app; arguments and 422s must be equal, for jobs and for routes.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from worker_parent import READY, Worker, module

PREAMBLE = '''
import dataclasses, datetime, decimal, enum, uuid
from typing import Annotated, Any, Literal, Optional, Sequence, Union
from typing_extensions import TypedDict
from annotated_types import Gt, MinLen
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Inner(BaseModel):
    x: int
    tags: list[str] = []

class Model(BaseModel):
    text: str = Field(min_length=2, max_length=5)
    n: int = 3
    inner: Optional[Inner] = None

class Checked(BaseModel):
    a: int
    b: int
    @field_validator("a")
    @classmethod
    def is_even(cls, value):
        if value % 2: raise ValueError("must be even")
        return value
    @model_validator(mode="after")
    def in_order(self):
        if self.a > self.b: raise ValueError("a is after b")
        return self

class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=False, extra="forbid")
    own: int = Field(alias="theirs")

class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int

class Dog(BaseModel):
    kind: Literal["dog"]
    name: str

class Typed(TypedDict):
    x: int
    y: str

@dataclasses.dataclass
class Data:
    x: int
    y: str = "y"

def show(values):
    """Arguments with their types, as text: what JSON would hide."""
    return {name: f"{type(value).__name__}: {value!r}" for name, value in values.items()}
'''

#: Type → a valid value, one that is coerced, one that is refused.
TYPES = {
    "int": (1, "7", "zz"),
    "float": (1.5, "2", [1]),
    "str": ("a", "", 3),
    "bool": (True, "yes", "maybe"),
    "dict": ({"a": 1}, {}, [1]),
    "list": ([1, "a"], [], {"a": 1}),
    "list[int]": ([1, 2], ["3", 4.0], [1, "x", None]),
    "dict[str, int]": ({"a": 1}, {"a": "2"}, {"a": "x", "b": []}),
    "Optional[int]": (None, "5", "x"),
    "int | str": (1, "1", []),
    "Union[int, list[int]]": (1, ["2"], "x"),
    "Literal['a', 'b']": ("a", "b", "c"),
    "Color": ("red", "blue", "green"),
    "datetime.datetime": ("2026-01-02T03:04:05", 0, "soon"),
    "datetime.date": ("2026-01-02", 0, "2026-13-01"),
    "datetime.timedelta": ("PT5S", 3, "long"),
    "decimal.Decimal": ("1.50", 2, "x"),
    "uuid.UUID": ("12345678123456781234567812345678", "{12345678-1234-5678-1234-567812345678}", "1"),
    "Annotated[int, Field(gt=0, le=10)]": (5, "10", 0),
    "Annotated[str, Field(pattern='^a+$')]": ("aa", "a", "b"),
    "Annotated[list[int], MinLen(2)]": ([1, 2], ["1", "2"], [1]),
    "Annotated[int, Gt(3)]": (4, "5", 3),
    "tuple[int, str]": ([1, "a"], ["1", "a"], [1]),
    "set[int]": ([1, 2, 2], ["1"], ["x"]),
    "Sequence[int]": ([1], ["1"], "12"),
    "Any": ({"a": [None]}, 1, "anything"),
    "Optional[Model]": ({"text": "abc"}, None, {"text": "a", "n": "x"}),
    "list[Model]": ([{"text": "abc"}], [], [{"text": "abc"}, {"n": 1}]),
    "dict[str, Inner]": ({"k": {"x": 1}}, {"k": {"x": "1"}}, {"k": {"tags": 3}}),
    "Typed": ({"x": 1, "y": "a"}, {"x": "1", "y": "a"}, {"x": "a"}),
    "Data": ({"x": 1}, {"x": "1"}, {"y": 1}),
    "Annotated[Union[Cat, Dog], Field(discriminator='kind')]": (
        {"kind": "cat", "lives": 9},
        {"kind": "dog", "name": "d"},
        {"kind": "cow"},
    ),
    "'Color'": ("red", "blue", 1),
    "list['Inner']": ([{"x": 1}], [{"x": "1"}], [{"x": None}]),
}
MODELS = {
    "Model": ({"text": "abc", "inner": {"x": 1}}, {"text": "abc", "n": "4"}, {"text": "toolong", "inner": {}}),
    "Checked": ({"a": 2, "b": 3}, {"a": "2", "b": "3"}, {"a": 3, "b": "x"}),
    "Aliased": ({"theirs": 1}, {"theirs": "1"}, {"own": 1}),
    "Inner": ({"x": 1, "tags": ["a"]}, {"x": "1"}, {"x": {}, "tags": [1]}),
}


def signatures():
    """60 lists of (name, type, default or None): each type alone, then in company."""
    types = list(TYPES)
    found = [[("a", each, None)] for each in types]
    for index in range(22):
        first, second, third = (types[(index * step + shift) % len(types)] for step, shift in ((1, 3), (3, 1), (7, 2)))
        defaults = ["None", repr(TYPES[third][0])][index % 2]
        found.append([("a", first, None), ("b_b", second, None), ("model_c", third, defaults)])
    found += [[("p", each, None)] for each in MODELS]
    assert len(found) == 60
    return found


SIGNATURES = signatures()


def bodies(parameters):
    """Five bodies: valid, coerced, incomplete, wrong, and with nulls and strangers."""
    table = TYPES | MODELS
    valid = {name: table[kind][0] for name, kind, _ in parameters}
    coerced = {name: table[kind][1] for name, kind, _ in parameters}
    wrong = {name: table[kind][2] for name, kind, _ in parameters}
    incomplete = {"stranger": 1, **dict(list(valid.items())[1:])}
    nulls = {**dict.fromkeys(valid), "stranger": {"a": 1}}
    return [valid, coerced, incomplete, wrong, nulls]


def written(parameters):
    return ", ".join(f"{name}: {kind}" + (f" = {default}" if default else "") for name, kind, default in parameters)


def functions():
    lines = [PREAMBLE]
    for index, parameters in enumerate(SIGNATURES):
        kind = ("def", "async def")[index % 2]
        lines.append(f"{kind} f{index}({written(parameters)}):\n    return show(locals())\n")
    return "\n".join(lines)


def reference(app_of):
    """The same functions behind models that are written out, one for each."""
    lines = [PREAMBLE, "from fastapi import FastAPI", "app = FastAPI()"]
    for index, parameters in enumerate(SIGNATURES):
        fields = "\n    ".join(
            f"{name}: {kind}" + (f" = {default}" if default else "") for name, kind, default in parameters
        )
        lines.append(
            f"class F{index}(BaseModel):\n"
            "    model_config = ConfigDict(protected_namespaces=(), arbitrary_types_allowed=True)\n"
            f"    {fields}\n"
            f"class R{index}(BaseModel):\n    input: F{index}\n"
            f"def f{index}({written(parameters)}):\n    return show(locals())\n"
        )
        lines.append(app_of(index, parameters))
    return "\n".join(lines)


def job_app(index, _parameters):
    return (
        f"@app.post('/f{index}')\ndef job{index}(body: R{index}):\n"
        f"    given = body.input\n    return f{index}(**{{name: getattr(given, name) for name in given.model_fields_set}})\n"
    )


def route_app(index, parameters):
    if parameters[0][1] in MODELS:
        # A model alone is FastAPI's own body.
        return f"@app.post('/f{index}')\ndef route{index}({written(parameters)}):\n    return f{index}(p=p)\n"
    return (
        f"@app.post('/f{index}')\ndef route{index}(body: F{index}):\n"
        f"    return f{index}(**{{name: getattr(body, name) for name in body.model_fields_set}})\n"
    )


def client(folder, name, text):
    file = folder / f"{name}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(name, file)
    loaded = importlib.util.module_from_spec(spec)
    # Annotations given as text are looked up in the module.
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    assert isinstance(loaded.app, FastAPI)
    return TestClient(loaded.app)


def test_jobs_are_validated_as_fastapi_validates_them(tmp_path):
    fastapi = client(tmp_path, "flash_job_reference", reference(job_app))
    compared = 0
    with Worker() as worker:
        ready = worker.load(module(tmp_path, "signatures", functions()), [f"f{index}" for index in range(60)])
        assert ready.kind == READY, ready
        for index, parameters in enumerate(SIGNATURES):
            for body in bodies(parameters):
                expected = fastapi.post(f"/f{index}", json={"input": body})
                found = worker.json(f"f{index}", body)
                case = f"f{index}({written(parameters)}) with {body}"
                if len(parameters) == 1 and parameters[0][0] not in body:
                    # Ours alone: an input without the only parameter's name may be its value.
                    whole = fastapi.post(f"/f{index}", json={"input": {parameters[0][0]: body}})
                    if whole.status_code == 200:
                        assert found == whole.json(), case
                        compared += 1
                        continue
                if expected.status_code == 200:
                    assert found == expected.json(), case
                else:
                    assert found["failure"] == "invalid_input", case
                    assert found["detail"] == expected.json()["detail"], case
                compared += 1
    assert compared == 300


def test_routes_are_validated_as_fastapi_validates_them(tmp_path):
    fastapi = client(tmp_path, "flash_route_reference", reference(route_app))
    compared = 0
    routes = [("POST", f"/f{index}", f"f{index}") for index in range(60)]
    with Worker() as worker:
        ready = worker.load(module(tmp_path, "signatures", functions()), routes=routes)
        assert ready.kind == READY, ready
        for index, parameters in enumerate(SIGNATURES):
            for body in bodies(parameters):
                if parameters[0][1] in MODELS:
                    body = body.get("p", {"stranger": 1})
                text = json.dumps(body).encode()
                headers = [("content-type", "application/json")]
                expected = fastapi.post(f"/f{index}", content=text, headers=dict(headers))
                found = worker.http("POST", f"/f{index}", text, headers)
                case = f"f{index}({written(parameters)}) with {body}"
                assert (found.status, found.json()) == (expected.status_code, expected.json()), case
                compared += 1
    assert compared == 300


EDGES = """
from typing import Annotated
from pydantic import BaseModel, Field

class P(BaseModel):
    text: str
    n: int = 3

def process_data(input: dict): return input
def two(a: int, b: str = "x"): return [a, b]
def none(): return "ok"
def model(p: P): return [type(p).__name__, p.n]
def one(n: int): return n
def anything(data): return data
def rest(x: int, *args, **kwargs): return [x, list(args), kwargs]
def only_rest(**kwargs): return kwargs
def all_default(a: int | None = None, b: list[int] = [1]): return [a, b]
def positional(a: int, b: int = 2, /, *, c: int = 3): return [a, b, c]
def clash(self: int, model_config: int, copy: int = 1, json: int = 2): return [self, model_config, copy, json]
def field(n: int = Field(5, ge=1), m: Annotated[int, Field(ge=1)] = 6): return [n, m]
"""
MISSING = {"type": "missing", "msg": "Field required"}


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    names = re.findall(r"^def (\w+)", EDGES, re.MULTILINE)
    with Worker() as worker:
        ready = worker.load(module(tmp_path_factory.mktemp("edges"), "edges", EDGES), names)
        assert ready.kind == READY, ready
        yield worker


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        # The guide's own call, and the form that 1.21 wants.
        ("process_data", {"your": "data"}, {"your": "data"}),
        ("process_data", {"input": {"a": 1}}, {"a": 1}),
        ("process_data", {"input": {"a": 1}, "extra": 2}, {"a": 1}),
        ("two", {"a": "7", "stranger": 1}, [7, "x"]),
        ("none", {}, "ok"),
        ("none", {"x": 1}, "ok"),
        ("none", {"__empty": True}, "ok"),
        ("model", {"p": {"text": "hi"}}, ["P", 3]),
        ("model", {"text": "hi", "n": "4"}, ["P", 4]),
        ("anything", {"data": [1]}, [1]),
        ("anything", {"k": 1}, {"k": 1}),
        ("rest", {"x": "1", "y": 2}, [1, [], {"y": 2}]),
        ("only_rest", {"x": 1}, {"x": 1}),
        ("only_rest", {}, {}),
        ("all_default", {"__empty": True}, [None, [1]]),
        ("all_default", {"a": None}, [None, [1]]),
        ("positional", {"a": 1, "c": "4"}, [1, 2, 4]),
        ("clash", {"self": 1, "model_config": 2}, [1, 2, 1, 2]),
        ("field", {"m": 7}, [5, 7]),
    ],
)
def test_input_that_fits_calls_the_function(edges, name, value, result):
    assert edges.json(name, value) == result


@pytest.mark.parametrize(
    ("name", "value", "detail"),
    [
        ("process_data", {}, [{**MISSING, "loc": ["body", "input", "input"], "input": {}}]),
        ("two", {"b": "q"}, [{**MISSING, "loc": ["body", "input", "a"], "input": {"b": "q"}}]),
        ("two", {"__empty": True}, [{**MISSING, "loc": ["body", "input", "a"], "input": {}}]),
        ("one", {"k": 1}, [{**MISSING, "loc": ["body", "input", "n"], "input": {"k": 1}}]),
        ("model", {"n": 1}, [{**MISSING, "loc": ["body", "input", "text"], "input": {"n": 1}}]),
        ("model", {"k": 1}, [{**MISSING, "loc": ["body", "input", "p"], "input": {"k": 1}}]),
    ],
)
def test_input_that_lacks_something_names_it(edges, name, value, detail):
    assert edges.json(name, value)["detail"] == detail


@pytest.mark.parametrize("value", [None, [1], "text", 3])
def test_input_that_is_no_object_is_refused_as_in_1_21(edges, value):
    (error,) = edges.json("two", value)["detail"]
    assert error == {
        "type": "model_attributes_type",
        "loc": ["body", "input"],
        "msg": "Input should be a valid dictionary or object to extract fields from",
        "input": value,
    }


def test_empty_input_is_refused_with_a_text(edges):
    report = edges.json("all_default", {})
    assert report["failure"] == "invalid_input"
    assert report["detail"].startswith("Empty or null input")


@pytest.mark.parametrize(("text", "position"), [(b"xx", 0), (b'{"a": ', 6), (b"", 0), (b"\xff\xfe{", 0)])
def test_text_that_is_no_json_is_refused_as_fastapi_does(edges, text, position):
    (error,) = edges.json("two", text)["detail"]
    assert (error["type"], error["loc"], error["msg"]) == ("json_invalid", ["body", position], "JSON decode error")


def test_deeply_nested_json_is_refused_and_the_worker_lives(edges):
    assert edges.json("anything", b"[" * 200_000)["failure"] == "invalid_input"
    assert edges.json("none", {}) == "ok"
