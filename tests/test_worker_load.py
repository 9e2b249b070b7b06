"""What a worker loads: modules, scripts, values; and how it says that it could not."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap

import pytest
from worker_parent import LOAD_FAILED, READY, TIMEOUT, Worker, module, result_of, script


@pytest.fixture
def worker():
    with Worker() as worker:
        yield worker


def test_siblings_are_imported_from_the_project_root(worker, tmp_path):
    module(tmp_path, "sub.helper", "def double(x): return 2 * x\n")
    source = module(tmp_path, "sub.app", "from sub.helper import double\ndef f(x): return double(x)\n")
    assert worker.load(source, ["f"]).kind == READY
    assert worker.python("f", 4) == 8


@pytest.mark.parametrize("name", ["my-worker", "01_num.w", "json", "sub-x.asyncio"])
def test_file_names_that_cannot_be_imported_or_hide_the_standard_library_load(worker, tmp_path, name):
    source = module(tmp_path, name, "import json\nclass K:\n    pass\ndef f(x): return [x, __name__]\n")
    assert worker.load(source, ["f"]).kind == READY
    assert worker.json("f", {"x": 1}) == [1, name]


def test_deeply_nested_folders_load_at_once(worker, tmp_path):
    source = module(tmp_path, ".".join(["deep"] * 40 + ["app"]), "def f(): return __name__.count('.')\n")
    assert worker.load(source, ["f"]).kind == READY
    assert worker.python("f") == 40


def test_folder_named_like_an_installed_package_does_not_hide_it(worker, tmp_path):
    source = module(tmp_path, "pydantic.app", "from pydantic import BaseModel\ndef f(): return BaseModel.__module__\n")
    assert worker.load(source, ["f"]).kind == READY
    assert worker.python("f") == "pydantic.main"


def test_environment_and_working_directory_are_set_before_the_code_loads(worker, tmp_path):
    text = (
        "import os\nseen = [os.environ['OWN'], os.environ['FLASH_RESOURCE_NAME'], os.getcwd()]\ndef f(): return seen\n"
    )
    source = module(tmp_path, "app", text)
    env = {"OWN": "1", "FLASH_RESOURCE_NAME": "else"}
    worker.load(source, ["f"], env=env, working_directory=str(tmp_path))
    assert worker.python("f") == ["1", "own", os.path.realpath(tmp_path)]


@pytest.mark.parametrize(
    "change", ["os.environ.clear()", "os.environ['FLASH_RESOURCE_NAME'] = os.environ['RUNPOD_ENDPOINT_ID'] = 'other'"]
)
def test_worker_knows_its_endpoint_whatever_its_code_does_to_variables(worker, tmp_path, change):
    text = f"""
import os
{change}
from runpod_flash import Endpoint

@Endpoint(name="own")
def f(): return "plain"

@Endpoint(name="other")
async def g(): return "elsewhere"

@Endpoint(name="own")
async def h(): return await g()
"""
    assert worker.load(module(tmp_path, "app", text), ["f", "h"]).kind == READY
    assert worker.python("f") == "plain"
    worker.start_python("h")
    assert worker.nested.get(timeout=TIMEOUT).head["chain"] == ["own"]


FAILURES = {
    "syntax error": ("x = 1\ndef f(:\n    pass\n", "SyntaxError", 2, "def f(:"),
    "missing module": ("import nothing_of_that_name\n", "ModuleNotFoundError", 1, "import nothing_of_that_name"),
    "exit": ("import sys\nsys.exit(3)\n", "SystemExit", 2, "sys.exit(3)"),
    "raises": ("def g():\n    return 1 / 0\ng()\n", "ZeroDivisionError", 2, "return 1 / 0"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_code_that_does_not_load_is_located_in_the_user_s_frames(worker, tmp_path, case):
    text, error_type, line, source = FAILURES[case]
    loaded = module(tmp_path, "pkg.broken", text)
    failed = worker.load(loaded, ["f"])
    assert failed.kind == LOAD_FAILED
    report = failed.head
    assert (report["failure"], report["error_type"]) == ("load", error_type)
    innermost = report["frames"][-1]
    assert (innermost["file"], innermost["line"], innermost["source"]) == (loaded["file"], line, source)
    for strange in ("importlib", "runpod_flash"):
        assert strange not in report["traceback"]
        assert all(strange not in frame["file"] for frame in report["frames"])
    assert worker.process.wait(20) == 1


@pytest.mark.parametrize("data", [b"x = '\xff'\n", b"x = 1\x00\n", b"# -*- coding: nothing -*-\n"])
def test_file_that_is_no_text_is_a_load_failure(worker, tmp_path, data):
    source = module(tmp_path, "app", "")
    with open(source["file"], "wb") as stream:
        stream.write(data)
    failed = worker.load(source, ["f"])
    assert (failed.kind, failed.head["error_type"]) == (LOAD_FAILED, "SyntaxError")
    assert failed.head["message"]


def test_import_loop_is_a_load_failure(worker, tmp_path):
    module(tmp_path, "b", "from a import x\ny = 1\n")
    failed = worker.load(module(tmp_path, "a", "from b import y\nx = 1\ndef f(): pass\n"), ["f"])
    assert (failed.kind, failed.head["error_type"]) == (LOAD_FAILED, "ImportError")


def test_callable_that_is_not_defined_is_a_load_failure(worker, tmp_path):
    failed = worker.load(module(tmp_path, "a", "g = 1\n"), ["f"])
    assert failed.kind == LOAD_FAILED
    assert "`f` is not defined" in failed.head["message"]


def test_odd_encodings_load_or_fail_as_python_has_it(worker, tmp_path):
    source = module(tmp_path, "latin", "")
    with open(source["file"], "wb") as stream:
        stream.write("# -*- coding: latin-1 -*-\ndef f(): return 'ä'\n".encode("latin-1"))
    assert worker.load(source, ["f"]).kind == READY
    assert worker.python("f") == "ä"


SCRIPT = """
import asyncio, dataclasses, enum
from runpod_flash import _context

FACTOR = 3

@dataclasses.dataclass
class Point:
    x: int
    class Inner: pass

class Color(enum.Enum):
    RED = 1

async def f(point):
    return [Point(point.x * FACTOR), Color.RED, __name__]

async def main():
    # What a decorated function does when it is called while a worker loads.
    assert _context.loading
    raise _context.LoadStopped

asyncio.run(main())
raise AssertionError("the load went on")
"""


def test_script_without_a_main_guard_serves_what_it_bound_before_its_first_call(worker, tmp_path):
    assert worker.load(script(tmp_path, SCRIPT), ["f"]).kind == READY
    # A parent for which the script is `__main__`, in a process of its own.
    parent = (
        "import pickle, sys, dataclasses, enum\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n"
        "class Color(enum.Enum):\n    RED = 1\n"
        "if len(sys.argv) == 1: sys.stdout.buffer.write(pickle.dumps(((Point(2),), {}), 5))\n"
        "else: print(pickle.loads(sys.stdin.buffer.read()))\n"
    )
    arguments = subprocess.run([sys.executable, "-c", parent], capture_output=True, check=True).stdout
    head = {"callable": "f", "input": {"kind": "python", "constructor": None, "function": None}}
    answer = worker.next(worker.start(head, [arguments]))
    assert answer.head["kind"] == "python", answer.head
    shown = subprocess.run(
        [sys.executable, "-c", parent, "read"], input=answer.buffers[0], capture_output=True, check=True
    ).stdout
    assert shown.decode().strip() == "[Point(x=6), <Color.RED: 1>, '__flash_main__']"


def test_script_that_calls_its_own_decorated_function_unguarded_loads(worker, tmp_path):
    text = """
import asyncio
from runpod_flash import Endpoint

@Endpoint(name="own", cpu="cpu3c-1-2")
async def f(x):
    return x + 1

async def main():
    return await f(1)

asyncio.run(main())
raise AssertionError("the load went on")
"""
    assert worker.load(script(tmp_path, text), ["f"]).kind == READY
    assert worker.python("f", 2) == 3


def test_module_that_calls_at_import_runs_once_up_to_there(worker, tmp_path):
    text = """
from runpod_flash import _context
print("loading")
def f(): return 1
if _context.loading: raise _context.LoadStopped
"""
    assert worker.load(module(tmp_path, "sub.app", text), ["f"]).kind == READY
    assert worker.python("f") == 1
    assert worker.output() == "loading"


def test_script_with_a_main_guard_does_not_run_it(worker, tmp_path):
    text = "def f(): return 1\nif __name__ == '__main__':\n    raise SystemExit(5)\n"
    assert worker.load(script(tmp_path, text), ["f"]).kind == READY
    assert worker.python("f") == 1


def test_value_brings_its_function_along_and_keeps_class_instances(worker):
    cloudpickle = pytest.importorskip("cloudpickle")
    factor = 5

    def scaled(x):
        return x * factor

    class Counter:
        def __init__(self, start):
            self.n = start

        def up(self):
            self.n += 1
            return self.n

    assert worker.load({"kind": "value", "sys_path": sys.path}).kind == READY

    def call(name, value, arguments, constructor=None):
        buffers = [pickle.dumps(arguments, 5)]
        key = None
        if constructor is not None:
            key = {"key": repr(constructor), "start": 1}
            buffers.append(pickle.dumps(constructor, 5))
        head = {"kind": "python", "constructor": key, "function": len(buffers)}
        buffers.append(value)
        return result_of(worker.next(worker.start({"callable": name, "input": head}, buffers)))

    function, cls = cloudpickle.dumps(scaled), cloudpickle.dumps(Counter)
    assert call("scaled", function, ((3,), {})) == 15
    assert call("Counter.up", cls, ((), {}), ((10,), {})) == 11
    assert call("Counter.up", cls, ((), {}), ((10,), {})) == 12
    assert call("Counter.up", cls, ((), {}), ((0,), {})) == 1


def test_spare_worker_loads_and_answers(tmp_path):
    with Worker(env={"FLASH_WORKER_PRELOAD": "pydantic,nothing_of_that_name"}) as worker:
        while "cannot preload nothing_of_that_name" not in worker.output():
            assert not worker.ended.wait(0.005)
        text = "import sys\nhad = 'pydantic' in sys.modules\ndef f(): return had\n"
        assert worker.load(module(tmp_path, "app", text), ["f"]).kind == READY
        assert worker.python("f") is True


def test_user_s_package_wins_and_only_the_runtime_is_added(tmp_path):
    # An interpreter that has none of our packages, as in an isolated environment.
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    source = module(
        tmp_path,
        "app",
        """
        import importlib.util, typing_extensions, pydantic
        def f():
            return [typing_extensions.__file__, pydantic.__file__, importlib.util.find_spec("pytest") is None]
        """.replace("\n        ", "\n"),
    )
    (packages,) = bare.glob("lib/python*/site-packages")
    own = packages / "typing_extensions.py"
    import typing_extensions

    with open(typing_extensions.__file__) as stream:
        own.write_text(stream.read())
    with Worker(python=str(bare / "bin" / "python")) as worker:
        assert worker.load(source, ["f"]).kind == READY
        extensions, pydantic, has_no_pytest = worker.python("f")
        assert extensions == str(own)
        assert "site-packages" in pydantic
        assert not pydantic.startswith(str(bare))
        assert has_no_pytest


def test_descriptions_come_from_the_signatures(worker, tmp_path):
    text = """
from __future__ import annotations
from typing import Iterator, Optional
from pydantic import BaseModel

class Query(BaseModel):
    text: str
    n: int = 3

def f(q: Query, k: Optional[int] = None, *, json: str = "x", **more) -> Query:
    '''Does it.

    More.'''

def g() -> Iterator[int]:
    yield 1

class Model:
    '''A model.'''
    def predict(self, x: int) -> dict[str, int]: ...
    @property
    def skipped(self): ...
    @staticmethod
    def also_skipped(a): ...
    def _hidden(self): ...
"""
    ready = worker.load(module(tmp_path, "app", text), ["f", "g", "Model"])
    assert ready.kind == READY, ready
    f, g, predict = ready.head["callables"]
    assert f["name"] == "f"
    assert f["doc"] == "Does it.\n\nMore."
    assert list(f["input_schema"]["properties"]) == ["q", "k", "json"]
    assert f["input_schema"]["required"] == ["q"]
    assert f["input_schema"]["properties"]["json"]["default"] == "x"
    assert f["input_schema"]["$defs"]["Query"]["properties"]["n"]["default"] == 3
    assert f["output_schema"]["title"] == "Query"
    assert g["is_generator"]
    assert g["output_schema"] == {"type": "array", "items": {"type": "integer"}}
    assert (predict["name"], predict["doc"]) == ("Model.predict", "A model.")
    assert predict["input_schema"]["properties"]["x"]["type"] == "integer"
    assert ready.head["pid"] == worker.process.pid
    assert ready.head["python"] == ".".join(map(str, sys.version_info[:3]))


def test_annotations_that_mean_nothing_to_pydantic_do_not_stop_the_load(worker, tmp_path):
    text = textwrap.dedent("""
        from __future__ import annotations
        import threading
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from nowhere import Thing
        def f(lock: threading.Lock = None, thing: Thing = 1, *, n: int = 2) -> Nothing:
            return [lock is None, thing, n]
    """)
    assert worker.load(module(tmp_path, "app", text), ["f"]).kind == READY
    assert worker.json("f", {"n": "5"}) == [True, 1, 5]
