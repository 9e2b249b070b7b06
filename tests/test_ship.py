"""What travels with a live function runs where there is nothing else."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runpod_flash import _shipment, errors

from tests.ship_classes import CLASSES
from tests.ship_functions import FUNCTIONS
from tests.ship_modules import MODULES
from tests.ship_programs import PROGRAMS

BARE = """
import asyncio, importlib, inspect, json, os, sys, tempfile, traceback
sys.modules["runpod_flash"] = None
ended = {}
for name, program in json.load(sys.stdin).items():
    before = set(sys.modules)
    with tempfile.TemporaryDirectory() as root:
        for path, text in program["modules"].items():
            file = os.path.join(root, path)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w") as stream:
                stream.write(text)
        sys.path.insert(0, root)
        importlib.invalidate_caches()
        try:
            space = {}
            exec(program["code"], space)
            if inspect.iscoroutinefunction(space["f"]):
                space["f"] = (lambda g: lambda *args: asyncio.run(g(*args)))(space["f"])
            ended[name] = "right" if eval(program["check"], space) else "wrong"
        except BaseException:
            ended[name] = traceback.format_exc()
        sys.path.pop(0)
        for module in set(sys.modules) - before:
            if (getattr(sys.modules[module], "__file__", None) or root).startswith(root):
                del sys.modules[module]
json.dump(ended, sys.stdout)
"""


def programs() -> dict[str, tuple[dict[str, str], str]]:
    found = {}
    for part in re.split(
        r"^# (?=\w[^\n]*$)(?<=\n\n# )", "\n\n" + "\n".join((PROGRAMS, FUNCTIONS, CLASSES, MODULES)), flags=re.MULTILINE
    )[1:]:
        name, _, text = part.partition("\n")
        text, _, check = text.partition("#> ")
        files = re.split(r"^#== (.*)\n", text, flags=re.MULTILINE)
        texts = {"app.py": files[0]} | dict(zip(files[1::2], files[2::2], strict=True))
        found[name] = (texts, check.strip())
    return found


ALL = programs()


def load(root: Path, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for path, text in texts.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path == "app.py":
            lines = text.replace("ENDPOINT", '_E(name="e", cpu="cpu3c-1-2")').splitlines(keepends=True)
            lines.insert(lines[0].startswith("from __future__"), "from runpod_flash import Endpoint as _E\n")
            text = "".join(lines)
        file.write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(root))
    spec = importlib.util.spec_from_file_location("app", root / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "app", module)
    spec.loader.exec_module(module)
    return module


def shipped(module: Any) -> _shipment.Shipment:
    """Return what travels with the module's `f`."""
    return _shipment.shipped(module.f.local)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ship every program, and run all of them in one bare interpreter."""
    sent: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, (texts, check) in ALL.items():
        root = tmp_path_factory.mktemp("program")
        with pytest.MonkeyPatch.context() as monkeypatch:
            before = set(sys.modules)
            try:
                module = load(root, texts, monkeypatch)
                shipment = shipped(module)
                sent[name] = {"code": shipment.code({})[0], "modules": shipment.modules, "check": check}
            except Exception as error:
                failed[name] = repr(error)
            for imported in set(sys.modules) - before:
                if (getattr(sys.modules[imported], "__file__", None) or "").startswith(str(root)):
                    del sys.modules[imported]
    run = subprocess.run([sys.executable, "-I", "-c", BARE], input=json.dumps(sent), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    answers: dict[str, str] = json.loads(run.stdout)
    for name, answer in answers.items():
        if answer != "right":
            answers[name] = f"{answer}\n{sent[name]['code']}"
    return answers | failed


@pytest.mark.parametrize("name", ALL)
def test_shipped_code_gives_the_same_in_a_bare_interpreter(name: str, ended: dict[str, str]) -> None:
    assert ended[name] == "right", ended[name]


def refused(root: Path, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> errors.FlashError:
    """Return the error of a program that cannot travel."""
    module = load(root, texts, monkeypatch)
    with pytest.raises(errors.FlashError) as raised:
        shipped(module)
    return raised.value


def test_relative_import_that_leads_nowhere_is_named_with_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = "X = 1\n\n@ENDPOINT\ndef f():\n    if X:\n        from .gone import a\n    from .nowhere import b, c\n    return b\n"
    error = refused(tmp_path, {"app.py": app}, monkeypatch)
    # Line 8 of what `load` writes, which begins with an import of its own; the guarded one may be missing.
    assert f"{tmp_path}/app.py:8: the relative import `.nowhere` leads to no module of the project" in str(error)
    assert type(error).__name__ == "LocalModuleResolutionError"
    assert "in the folder of its project" in (error.hint or "")


def test_object_that_is_no_function_is_refused_with_place_and_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = "from functools import partial\ndef g(a, b): return a + b\n\nf = ENDPOINT(partial(g, 2))\n"
    error = refused(tmp_path, {"app.py": app}, monkeypatch)
    assert f"{tmp_path}/app.py:5: a `partial` object has no source text" in str(error)
    assert "written with `def`" in (error.hint or "")


def test_binary_files_of_a_package_stay_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = 'from importlib.resources import files\n@ENDPOINT\ndef f(): return files("pack")\n'
    (tmp_path / "pack" / ".hidden").mkdir(parents=True)
    (tmp_path / "pack" / "model.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "pack" / ".env").write_text("KEY=secret\n")
    (tmp_path / "pack" / ".hidden" / "key.txt").write_text("secret\n")
    module = load(tmp_path, {"app.py": app, "pack/__init__.py": "", "pack/words.txt": "a\n"}, monkeypatch)
    shipment = shipped(module)
    assert shipment.modules == {"pack/__init__.py": "", "pack/words.txt": "a\n"}
