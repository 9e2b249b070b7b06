"""`dependencies=[...]` through `flash run`: real installations by `uv`, from wheels made here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from platform_support import platform_process
from support import Project, Serve, end_marked, processes_with_mark

MakeProject = Callable[[Mapping[str, "str | bytes"]], Project]

WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

#: A build that says that it began, then waits for the file `go`.
SLOW_BACKEND = """
import pathlib, time, zipfile
HERE = pathlib.Path(__file__).parent
INFO = "slowpackage-1.0.dist-info"
METADATA = "Metadata-Version: 2.1\\nName: slowpackage\\nVersion: 1.0\\n"
WHEEL = {wheel!r}
def prepare_metadata_for_build_wheel(folder, settings=None):
    target = pathlib.Path(folder) / INFO
    target.mkdir()
    (target / "METADATA").write_text(METADATA)
    (target / "WHEEL").write_text(WHEEL)
    return INFO
def build_wheel(folder, settings=None, metadata=None):
    signals = pathlib.Path({signals!r})
    (signals / "building").write_text("")
    while not (signals / "go").exists():
        time.sleep(0.02)
    with zipfile.ZipFile(pathlib.Path(folder) / "slowpackage-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("slowpackage.py", "version = '1.0'\\n")
        wheel.writestr(f"{{INFO}}/METADATA", METADATA)
        wheel.writestr(f"{{INFO}}/WHEEL", WHEEL)
        wheel.writestr(f"{{INFO}}/RECORD", "")
    return "slowpackage-1.0-py3-none-any.whl"
"""


def make_wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    information = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{information}/METADATA", "\n".join(metadata) + "\n")
        wheel.writestr(f"{information}/WHEEL", WHEEL)
        wheel.writestr(f"{information}/RECORD", "")


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Variables for a `flash run` that gets packages from a folder only, into a cache of its own."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    make_wheel(wheels, "alpha", "1.0")
    make_wheel(wheels, "alpha", "2.0")
    make_wheel(wheels, "beta", "1.0", "alpha<2")
    return {
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_INDEX": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "FLASH_CACHE_DIR": str(tmp_path / "flash-cache"),
    }


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """The folder of a package whose build takes until `go` is there."""
    folder = tmp_path / "slowpackage"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "slowpackage"\ndynamic = ["version"]\n'
    )
    (folder / "backend.py").write_text(SLOW_BACKEND.format(wheel=WHEEL, signals=str(folder)))
    return folder


def endpoint(name: str, dependencies: str, body: str) -> str:
    return (
        "from runpod_flash import Endpoint\n\n\n"
        f'@Endpoint(name="{name}", cpu="cpu3c-1-2", dependencies={dependencies})\n'
        f"async def {name}() -> object:\n    {body}\n"
    )


def installed_environments(cache: str | Path) -> list[Path]:
    return [path for path in (Path(cache) / "environments").glob("*") if path.is_dir()]


def call(url: str, path: str, within: float = 60) -> dict[str, Any]:
    """Call a function without parameters and return the body, whatever became of it."""
    answer: dict[str, Any] = httpx.post(
        f"{url}{path}/runsync", json={"input": {"__empty": True}}, timeout=within, trust_env=False
    ).json()
    return answer


def test_deps_conflicting_versions_in_two_endpoints_both_answer(
    project: MakeProject, serve: Serve, offline: dict[str, str]
) -> None:
    server = serve(
        project(
            {
                "old.py": endpoint("old", '["alpha==1.0"]', "import alpha; return alpha.version"),
                "new.py": endpoint("new", '["alpha==2.0"]', "import alpha; return alpha.version"),
                "both.py": endpoint("both", '["beta"]', "import alpha, beta; return [alpha.version, beta.version]"),
            }
        ),
        env=offline,
    )
    assert server.runsync("/old") == "1.0"
    assert server.runsync("/new") == "2.0"
    assert server.runsync("/both") == ["1.0", "1.0"]


def test_deps_of_a_script_are_found_in_its_workers(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, offline: dict[str, str]
) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'beside'\n")
    text = endpoint("packages", '["alpha"]', "import alpha, beside; return alpha.version, beside.WORD")
    text += "\n\nimport asyncio\n\nprint(asyncio.run(packages()))\n"
    (tmp_path / "app.py").write_text(text)
    answer = run(sys.executable, "app.py", env=offline)
    assert (answer.returncode, answer.stdout) == (0, "('2.0', 'beside')\n"), answer.stderr


def test_deps_isolated_environment_has_only_what_is_declared(
    project: MakeProject, serve: Serve, offline: dict[str, str]
) -> None:
    body = "import importlib.util as u; return [u.find_spec(n) is not None for n in ('alpha', 'pytest', 'numpy')]"
    files = {"one.py": endpoint("one", '["alpha"]', body), "requirements.txt": "runpod-flash\n"}
    server = serve(project(files), env=offline)
    assert server.runsync("/one") == [True, False, False]


def test_deps_requirements_of_the_project_are_installed_too(
    project: MakeProject, serve: Serve, offline: dict[str, str]
) -> None:
    files = {
        "one.py": endpoint("one", "[]", "import alpha; return alpha.version"),
        "requirements.txt": "runpod-flash>=1\nalpha<2  # not the new one\n",
    }
    assert serve(project(files), env=offline).runsync("/one") == "1.0"


def test_deps_failing_requirement_fails_its_endpoint_alone(
    project: MakeProject, serve: Serve, offline: dict[str, str]
) -> None:
    server = serve(
        project(
            {
                "bad.py": endpoint("bad", '["alpha==9"]', "return 1"),
                "odd.py": endpoint("odd", '["alpha = = 1"]', "return 1"),
                "good.py": endpoint("good", '["alpha"]', "import alpha; return alpha.version"),
            }
        ),
        env=offline,
    )
    text = str(call(server.url, "/bad"))
    assert "alpha==9" in text
    assert "there is no version of alpha==9" in text
    text = str(call(server.url, "/odd"))
    assert "alpha = = 1" in text
    assert server.runsync("/good") == "2.0"
    server.wait_for_line("there is no version of alpha==9")


def test_deps_server_is_up_while_packages_install_and_jobs_wait(
    project: MakeProject, serve: Serve, offline: dict[str, str], slow: Path
) -> None:
    server = serve(
        project(
            {
                "quick.py": endpoint("quick", "[]", "return 'here'"),
                "late.py": endpoint(
                    "late", f'["slowpackage @ file://{slow}"]', "import slowpackage as s; return s.version"
                ),
            }
        ),
        env=offline,
    )
    answers: list[dict[str, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(call(server.url, "/late")))
    caller.start()
    server.wait_for_line("installing 1 package: slowpackage")
    assert server.runsync("/quick") == "here"
    job = server.post("/v2/late/run", {"input": {"__empty": True}}).json()
    assert server.get(f"/v2/late/status/{job['id']}").json()["status"] == "IN_QUEUE"
    assert not answers
    (slow / "go").write_text("")
    caller.join(60)
    assert answers[0]["output"] == "1.0", answers
    server.wait_for_line("installed 1 package in")


def test_deps_cached_environment_needs_no_uv(
    project: MakeProject, serve: Serve, offline: dict[str, str], tmp_path: Path
) -> None:
    app = project({"one.py": endpoint("one", '["alpha"]', "import alpha, sys; return [alpha.version, sys.prefix]")})
    first = serve(app, env=offline)
    version, prefix = first.runsync("/one")
    assert first.stop() == 0
    assert Path(prefix).is_relative_to(tmp_path / "flash-cache" / "environments")
    second = serve(app, env=offline | {"FLASH_UV": "/bin/false"})
    assert second.runsync("/one") == [version, prefix]
    assert "install" not in second.output.text
    assert len(installed_environments(offline["FLASH_CACHE_DIR"])) == 1


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_deps_server_that_ends_while_installing_leaves_nothing_half_done(
    project: MakeProject, serve: Serve, offline: dict[str, str], slow: Path, ending: signal.Signals
) -> None:
    app = project(
        {"late.py": endpoint("late", f'["slowpackage @ file://{slow}"]', "import slowpackage as s; return s.version")}
    )
    server = serve(app, env=offline)
    server.wait_for_line("installing 1 package: slowpackage")
    while not (slow / "building").exists():  # written by uv's child: there is no event to wait for
        os.sched_yield()
    if ending is signal.SIGKILL:
        server.process.kill()
        server.process.wait()
        left = end_marked(server.mark, within=10)
        assert not left, f"left behind by a killed server: {left}"
    else:
        assert server.stop() == 0
    assert not processes_with_mark(server.mark)
    (slow / "go").write_text("")
    assert serve(app, env=offline).runsync("/late") == "1.0"
    assert len(installed_environments(offline["FLASH_CACHE_DIR"])) == 1


def test_deps_host_lists_what_the_interpreter_lacks(
    project: MakeProject, serve: Serve, offline: dict[str, str]
) -> None:
    app = project(
        {
            "lacks.py": endpoint("lacks", '["alpha>=1", "pydantic<1"]', "return 1"),
            "has.py": endpoint("has", '["pydantic>=2"]', "import sys; return sys.prefix"),
        }
    )
    server = serve(app, "--deps", "host", env=offline)
    text = str(call(server.url, "/lacks"))
    assert "`alpha>=1`" in text
    assert "`pydantic<1` (has 2." in text
    assert not Path(server.runsync("/has")).is_relative_to(offline["FLASH_CACHE_DIR"])
    assert not installed_environments(offline["FLASH_CACHE_DIR"])


def test_deps_none_checks_nothing(project: MakeProject, serve: Serve, offline: dict[str, str]) -> None:
    app = project({"one.py": endpoint("one", '["alpha>=99"]', "return 'ran'")})
    assert serve(app, "--deps", "none", env=offline).runsync("/one") == "ran"
    assert serve(app, env=offline | {"FLASH_DEPS": "none"}).runsync("/one") == "ran"


def test_deps_none_counts_for_the_app_of_a_platform(
    project: MakeProject, offline: dict[str, str], environment: dict[str, str]
) -> None:
    root = project({"one.py": endpoint("unchecked", '["alpha>=99"]', "return 'ran'")}).root
    with platform_process(environment | offline, "--app", root, env={"FLASH_DEPS": "none"}) as platform:
        answer = platform.post("/v2/unchecked/runsync", {"input": {"__empty": True}}).json()
        assert answer.get("output") == "ran", answer


def test_deps_changed_on_save_are_installed(project: MakeProject, serve: Serve, offline: dict[str, str]) -> None:
    body = "import alpha; return alpha.version"
    app = project({"one.py": endpoint("one", '["alpha==1.0"]', body)})
    server = serve(app, env=offline)
    assert server.runsync("/one") == "1.0"
    seen = server.output.mark
    app.write({"one.py": endpoint("one", '["alpha==2.0"]', body)})
    server.wait_for_line("installed 1 package in", within=30, after=seen)
    assert server.runsync("/one") == "2.0"


def test_deps_without_network_says_what_is_missing(project: MakeProject, serve: Serve, offline: dict[str, str]) -> None:
    refused = "http://127.0.0.1:9"
    variables = {
        "UV_DEFAULT_INDEX": f"{refused}/simple",
        "UV_HTTP_RETRIES": "0",
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": offline["UV_CACHE_DIR"],
        "FLASH_CACHE_DIR": offline["FLASH_CACHE_DIR"],
    }
    app = project(
        {
            "missing.py": endpoint("missing", '["package-that-is-nowhere"]', "return 1"),
            "there.py": endpoint("there", '["pydantic>=2"]', "import pydantic; return pydantic.VERSION[0]"),
        }
    )
    server = serve(app, env=variables)
    assert "`package-that-is-nowhere`" in str(call(server.url, "/missing"))
    assert server.runsync("/there") == "2"


def test_deps_real_package_from_the_index(project: MakeProject, serve: Serve) -> None:
    server = serve(project({"one.py": endpoint("one", '["six==1.17.0"]', "import six; return six.__version__")}))
    assert server.runsync("/one") == "1.17.0"


def test_deps_without_usable_uv_or_cache_say_what_to_do(
    project: MakeProject, serve: Serve, offline: dict[str, str], tmp_path: Path
) -> None:
    app = project({"one.py": endpoint("one", '["alpha"]', "return 1"), "two.py": endpoint("two", "[]", "return 2")})
    server = serve(app, env=offline | {"FLASH_UV": "/bin/false"})
    assert "`/bin/false` is " in str(call(server.url, "/one"))
    assert server.runsync("/two") == 2
    in_the_way = tmp_path / "a-file"
    in_the_way.write_text("")
    server = serve(app, env=offline | {"FLASH_CACHE_DIR": str(in_the_way)})
    assert f"cannot use `{in_the_way}" in str(call(server.url, "/one"))
    assert server.runsync("/two") == 2
    server.wait_for_line("FLASH_CACHE_DIR")
