"""What users see of the reading of their projects: through `flash manifest`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Flash = Callable[..., "subprocess.CompletedProcess[str]"]
Write = Callable[..., Any]

GOOD = """
from runpod_flash import Endpoint

@Endpoint(name="good", cpu="cpu3c-1-2")
async def good(x: int): ...
"""


def resources(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The resources of a printed manifest."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["resources"]
    return found


def test_code_of_a_project_does_not_run(flash: Flash, project: Write, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    root = project(
        {
            "app.py": f"""
                import package_that_does_not_exist
                from runpod_flash import Endpoint

                open({str(proof)!r}, "w")

                @Endpoint(name="app", cpu="cpu3c-1-2")
                async def app(): ...

                raise SystemExit(3)
            """
        }
    ).root
    assert list(resources(flash("manifest", root))) == ["app"]
    assert not proof.exists()
    assert sorted(path.name for path in root.iterdir()) == ["app.py"]


def test_all_problems_are_listed_at_once_and_nothing_is_printed(flash: Flash, project: Write) -> None:
    root = project(
        {
            "a.py": "from runpod_flash import Endpoint, GpuType\n@Endpoint(name='a', gpu=GpuType.NVIDIA_A100, workers=(3, 1))\nasync def a(): ...\n",
            "b.py": "from runpod_flash import Endpoint\napi = Endpoint(name='b', cpu='cpu3c-1-2')\n@api.get('/ping')\nasync def b(): ...\n",
            "c.py": "from runpod_flash import Endpoint\ndef broken(:\n",
            "good.py": GOOD,
        }
    ).root
    done = flash("manifest", root, "--output", root / "out.json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert not (root / "out.json").exists()
    for place in ("a.py:2:25", "a.py:2:54", "b.py:3:10", "c.py:2:12"):
        assert f"--> {place}" in done.stderr
    assert "did you mean `NVIDIA_A100_80GB_PCIe`?" in done.stderr
    assert "4 problems" in done.stderr


def test_file_with_a_loop_is_imported_in_a_process_of_its_own(flash: Flash, project: Write) -> None:
    root = project(
        {
            "pkg/__init__.py": "",
            "pkg/made-in-loop.py": """
                import os
                from runpod_flash import Endpoint, GpuType, NetworkVolume
                from pkg.names import NAMES

                print("printing at import is fine")

                for name in NAMES:
                    @Endpoint(name=name, gpu=GpuType.NVIDIA_L4, workers=(1, len(NAMES)),
                              volume=NetworkVolume(name="v", size=20))
                    async def work(x: int, y: str = "a") -> int:
                        '''Works.'''
                        return x
                    globals()["work_" + name] = work
                del work
            """,
            "pkg/names.py": "NAMES = [letter for letter in 'ab']\n",
            "good.py": GOOD,
        }
    ).root
    found = resources(flash("manifest", root))
    assert list(found) == ["a", "b", "good"]
    assert found["a"]["file_path"] == "pkg/made-in-loop.py"
    assert found["a"]["module_path"] == "pkg.made-in-loop"
    assert found["a"]["gpuIds"] == "AMPERE_24,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000"
    assert (found["a"]["workersMin"], found["a"]["workersMax"]) == (1, 2)
    assert found["a"]["networkVolumes"] == [{"name": "v", "size": 20, "dataCenterId": "EU-RO-1"}]
    # A worker finds each by the name that the module has for it.
    assert [found[name]["functions"][0]["name"] for name in "ab"] == ["work_a", "work_b"]


def test_factory_and_computed_arguments_are_read_by_importing(flash: Flash, project: Write) -> None:
    root = project(
        {
            "factory.py": """
                from runpod_flash import Endpoint

                def cpu_endpoint(name, **more):
                    return Endpoint(name=name, cpu="cpu3c-1-2", **more)
            """,
            "app.py": """
                from factory import cpu_endpoint

                api = cpu_endpoint("api", workers=sum([1, 2]))

                @api.get("/x")
                async def x(): ...

                @api.post("/x")
                def y(data: dict): ...

                @cpu_endpoint("model")
                class Model:
                    async def run(self, x: int): ...
            """,
        }
    ).root
    found = resources(flash("manifest", root))
    assert list(found) == ["api", "model"]
    assert found["api"]["config_variable"] == "api"
    assert found["api"]["workersMax"] == 3
    assert found["model"]["functions"][0]["class_methods"] == ["run"]
    assert json.loads(flash("manifest", root).stdout)["routes"] == {"api": {"GET /x": "x", "POST /x": "y"}}


def test_unguarded_call_at_the_end_of_an_imported_file_does_not_run(flash: Flash, project: Write) -> None:
    root = project(
        {
            "app.py": """
                import asyncio
                from runpod_flash import Endpoint

                @Endpoint(name="-".join(part for part in ["my", "app"]), cpu="cpu3c-1-2")
                async def app(x: int):
                    return x

                asyncio.run(app(1))
                raise RuntimeError("the load ended before this")
            """
        }
    ).root
    assert list(resources(flash("manifest", root))) == ["my-app"]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ("raise ValueError('boom')", "ValueError: boom"),
        ("import package_that_does_not_exist", "ModuleNotFoundError: No module named 'package_that_does_not_exist'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os\nos._exit(7)", "ended with exit status 7"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "ended with signal 11"),
        ("@Endpoint(name='x', cpu='cpu3c-1-2', workers=-sum([1]))\ndef f(): ...", "workers cannot be negative"),
    ],
)
def test_failing_import_is_a_located_problem_of_that_file_alone(
    flash: Flash, project: Write, tail: str, expected: str
) -> None:
    text = "from runpod_flash import Endpoint\nnames = [Endpoint(name=n) for n in 'a']\n" + tail + "\n"
    root = project({"app.py": text, "good.py": GOOD}).root
    done = flash("manifest", root)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "--> app.py:" in done.stderr
    assert "one problem" in done.stderr


def test_import_that_hangs_is_ended_with_all_that_it_started(flash: Flash, project: Write, tmp_path: Path) -> None:
    children = tmp_path / "children"
    root = project(
        {
            "app.py": f"""
                import os, subprocess, sys, time
                from runpod_flash import Endpoint

                names = [Endpoint(name=n) for n in "a"]
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                open({str(children)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
                time.sleep(600)
            """,
            "good.py": GOOD,
        }
    ).root
    started = time.monotonic()
    done = flash("manifest", root, env={"FLASH_IMPORT_TIMEOUT": "2"})
    assert time.monotonic() - started < 20
    assert done.returncode == 1
    assert "import took longer than 2 s" in done.stderr
    for process in map(int, children.read_text().split()):
        stat = Path(f"/proc/{process}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_function_that_a_sibling_imports_counts_once(flash: Flash, project: Write) -> None:
    root = project(
        {
            "good.py": GOOD,
            "use.py": "from good import good\nfrom runpod_flash import Endpoint\n@Endpoint(name='use')\nasync def use():\n    return await good(1)\n",
        }
    ).root
    found = resources(flash("manifest", root))
    assert {name: [entry["name"] for entry in resource["functions"]] for name, resource in found.items()} == {
        "good": ["good"],
        "use": ["use"],
    }
    assert found["use"]["makes_remote_calls"] is True


def test_broken_and_odd_files_do_not_stop_the_others(flash: Flash, project: Write) -> None:
    root = project({"good.py": GOOD, "sub/__init__.py": ""}).root
    (root / "loop").symlink_to(root)
    (root / "dangling.py").symlink_to("nowhere")
    (root / "folder.py").mkdir()
    (root / "data.py").write_bytes(b"\xff\xfe not python")
    (root / "old.py").write_text("print 'python 2'\n")
    (root / "huge.py").write_text("x = [\n" + "    1,\n" * 1_500_000 + "]\n")
    done = flash("manifest", root)
    assert list(resources(done)) == ["good"]
    assert "dangling.py" in done.stderr


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root cannot read")
def test_unreadable_file_is_a_problem_with_its_name(flash: Flash, project: Write) -> None:
    root = project({"good.py": GOOD}).root
    (root / "secret.py").symlink_to("/proc/self/mem")
    os.mkfifo(root / "pipe.py")
    done = flash("manifest", root)
    assert done.returncode == 1
    assert "--> secret.py" in done.stderr
    assert "one problem" in done.stderr


def test_folder_that_is_none_is_an_error_with_a_hint(flash: Flash, tmp_path: Path) -> None:
    done = flash("manifest", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "is not a folder" in done.stderr
    assert "hint:" in done.stderr


def test_project_of_two_thousand_files_is_read_at_once(flash: Flash, project: Write) -> None:
    body = "\n".join(f"def helper_{i}(a, b=1):\n    return {{'a': a, 'b': b}}\n" for i in range(20))
    files = {f"p{i % 20}/m{i}.py": body for i in range(1990)}
    files |= {f"p{i}/worker{i}.py": GOOD.replace('"good"', f'"e{i}"') for i in range(10)}
    root = project(files).root
    started = time.monotonic()
    found = resources(flash("manifest", root))
    assert len(found) == 10
    # The bench measures it on a quiet machine; here only a wrong order of growth is caught.
    assert time.monotonic() - started < 5
