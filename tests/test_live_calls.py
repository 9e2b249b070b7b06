"""Live calls of user programs: to our own workers, and to the official one."""

from __future__ import annotations

import base64
import json
import linecache
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runpod_flash import _core, _live, _shipment, errors

from tests.platform_support import Official, Platform

PROGRAM = (Path(__file__).parent / "live_program.py").read_text(encoding="utf-8")
IMAGE = "runpod/flash-cpu:py3.12-latest"

#: Runs a program with all calls going to one endpoint that is there already.
DIRECTED = """
import sys, types
from runpod_flash import _live
place = sys.argv.pop(1)
async def provision(endpoint, needs_key):
    return place
_live._provision = provision
sys.path.insert(0, ".")
del sys.argv[0]
module = types.ModuleType("__main__")
module.__file__ = sys.argv[0]
sys.modules["__main__"] = module
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"), module.__dict__)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("from .case import upper\n")
    (tmp_path / "pkg" / "case.py").write_text("def upper(text): return text.upper()\n")
    (tmp_path / "helpers.py").write_text("from pkg import upper\ndef shout(text): return upper(text)\n")
    (tmp_path / "app.py").write_text(PROGRAM)
    return tmp_path


def test_live_program_on_our_workers_gives_what_it_gives_in_one_process(
    platform: Platform, run: Run, app: Path
) -> None:
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    done = run(sys.executable, "app.py", "13", cwd=app, timeout=120, env=live)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout
    assert "on the worker 2.5" in done.stdout


def test_live_program_on_an_official_worker_gives_the_same(
    platform: Platform, official_python: Official, run: Run, app: Path
) -> None:
    workers = {"min": 3, "max": 3}
    place = platform.create(official_python.worker("flash_function"), workers=workers, env=platform.variables)
    live = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    # Every call makes its object anew there: 10, not 13.
    done = run(sys.executable, "-c", DIRECTED, place.id, "app.py", "10", cwd=app, timeout=120, env=live)
    place.delete()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout
    assert "on the worker 2.5" in done.stdout


def cell(number: int, text: str, names: dict[str, Any]) -> None:
    """Run a notebook cell, as IPython does."""
    file = f"/tmp/ipykernel_7/{number}.py"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), names)


def fresh(shipment: _shipment.Shipment) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(shipment.code({})[0], names)
    return names


def test_notebook_cells_ship_what_other_cells_define() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    cell(1, "import math as m\nfrom collections import Counter\nSTATE = {'n': 1}\nlimit = m.floor(2.5)\n", names)
    cell(2, "class Base:\n    def go(self): return limit\n\ndef helper(x): return m.ceil(x) + STATE['n']\n", names)
    cell(
        3,
        "class Model(\n    Base,\n):\n    def both(self, x):\n        return self.go(), helper(x), Counter('aa')['a']\n\n"
        "def f(x): return Model().both(x)\n",
        names,
    )
    assert fresh(_shipment.shipped(names["f"]))["f"](1.5) == (2, 3, 2)
    assert fresh(_shipment.shipped(names["Model"]))["Model"]().both(0.5) == (2, 2, 2)
    # The state of the notebook counts at the time of the call, and a cell that is run again.
    names["STATE"] = {"n": 10}
    assert fresh(_shipment.shipped(names["f"]))["f"](1.5) == (2, 12, 2)


def test_shipments_of_the_latest_functions_are_kept() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    made = []
    for number in range(_shipment.KEPT + 10):
        cell(1000 + number, f"def f(): return {number}\n", names)
        made.append(names["f"])
        _shipment.shipped(made[-1])
    assert len(_shipment._cache) == _shipment.KEPT
    assert _shipment.shipped(made[-1]) is _shipment.shipped(made[-1])
    assert fresh(_shipment.shipped(made[0]))["f"]() == 0


def test_code_that_cannot_travel_is_refused_with_place_and_fix() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    cell(11, "import threading\nlock = threading.Lock()\n", names)
    cell(12, "def f():\n    with lock:\n        return 1\n\nshort = lambda: 1\n", names)
    with pytest.raises(
        errors.ShipmentError, match=r"/tmp/ipykernel_7/12.py:2: `lock` \(lock\) cannot travel"
    ) as refused:
        _shipment.shipped(names["f"])
    assert "inside the function" in (refused.value.hint or "")
    with pytest.raises(errors.ShipmentError, match="a lambda cannot travel"):
        _shipment.shipped(names["short"])
    exec("def typed(): return 1", names)
    with pytest.raises(errors.ShipmentError, match="`typed` has no source text"):
        _shipment.shipped(names["typed"])
    cell(13, "def lost(): return nowhere\n", names)
    with pytest.warns(UserWarning, match=r"13.py:1: `nowhere` is not defined"):
        _shipment.shipped(names["lost"])


def test_json_adapter_maps_and_checks_what_a_route_gets(platform: Platform) -> None:
    endpoint = platform.create(image=IMAGE, name="live-json")
    text = (
        "import dataclasses\n@dataclasses.dataclass\nclass Item:\n    size: int\n"
        "async def f(item: Item, /, n: int = 2, *, word='w'): return {'size': item.size * n, 'word': word, 'set': {1}}\n"
    )

    def call(value: Any) -> Any:
        request = {
            "function_name": "_flash_json_call",
            "function_code": text + _core.json_adapter("f", None),
            "args": [base64.b64encode(pickle.dumps(json.dumps(value))).decode()],
        }
        output = endpoint.runsync(request)["output"]
        return json.loads(pickle.loads(base64.b64decode(output["result"])))

    assert call({"item": {"size": "3"}, "n": 4}) == {"result": {"size": 12, "word": "w", "set": [1]}}
    wrong = call({"item": {"size": "x"}})["errors"]
    assert [(one["loc"], one["type"]) for one in wrong] == [(["body", "input", "item", "size"], "int_parsing")]
    assert [one["type"] for one in call({"n": 1})["errors"]] == ["missing"]
    endpoint.delete()


def test_failures_become_exceptions_of_their_own_class_where_it_is_known() -> None:
    made = _live.failed("e", "json.decoder.JSONDecodeError", "bad: line 1", "Traceback …", None, None)
    assert isinstance(made.__cause__, json.JSONDecodeError)
    assert made.error_type == "JSONDecodeError"
    assert made.remote_traceback == "Traceback …"
    assert isinstance(_live.failed("e", "KeyError", "'k'", "", None, None).__cause__, KeyError)
    # What is not known here is not imported, and nothing ends this process.
    assert _live.failed("e", "antigravity.Fly", "x", "", None, None).__cause__ is None
    assert "antigravity" not in sys.modules
    assert _live.failed("e", "SystemExit", "1", "", None, None).__cause__ is None
