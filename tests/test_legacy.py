"""Programs of the old API: `@remote(LiveServerless(...))`, resource objects, module paths of 1.21."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import runpod_flash
from runpod_flash import Endpoint, GpuType, _official
from runpod_flash.client import remote
from runpod_flash.core.resources import (
    CpuLiveServerless,
    LiveLoadBalancer,
    LiveServerless,
    NetworkVolume,
    PodTemplate,
    ServerlessEndpoint,
    ServerlessResource,
)
from support import Serve

Run = Callable[..., subprocess.CompletedProcess[str]]
MakeProject = Callable[[dict[str, str]], Any]

OLD_PROJECT = {
    "app.py": """
        from runpod_flash import CpuLiveServerless, GpuGroup, LiveLoadBalancer, LiveServerless, remote

        gpu = LiveServerless(name="old-gpu", gpus=[GpuGroup.ADA_24], workersMax=3, idleTimeout=7)
        cpu = CpuLiveServerless(name="old-cpu", workersMax=2)
        api = LiveLoadBalancer(name="old-api")

        @remote(gpu)
        async def double(value: int) -> int:
            return value * 2

        @remote(resource_config=cpu)
        class Counter:
            def __init__(self) -> None:
                self.step = 10

            def add(self, value: int) -> int:
                return value + self.step

        @remote(api, method="POST", path="/greet")
        async def greet(name: str) -> dict:
            return {"hello": name}

        @remote(api, method="GET", path="/health")
        def health() -> dict:
            return {"ok": True}
        """,
    "plain.py": """
        import asyncio
        from app import Counter, double, greet, health

        async def main():
            print(await double(21), await Counter().add(5), await greet("you"), health())

        if __name__ == "__main__":
            asyncio.run(main())
        """,
}


def test_old_program_runs_as_a_script(project: MakeProject, run: Run) -> None:
    root = project(OLD_PROJECT)
    answer = run(sys.executable, "-W", "ignore", "plain.py", cwd=root.root)
    assert answer.stdout.strip() == "42 15 {'hello': 'you'} {'ok': True}", answer.stderr


def test_manifest_of_an_old_project_has_what_its_resources_say(project: MakeProject, flash: Run) -> None:
    root = project({"app.py": OLD_PROJECT["app.py"]})
    answer = flash("manifest", cwd=root.root)
    assert answer.returncode == 0, answer.stderr
    resources = json.loads(answer.stdout)["resources"]
    assert set(resources) == {"old-gpu", "old-cpu", "old-api"}
    assert (resources["old-gpu"]["workersMax"], resources["old-gpu"]["gpuIds"]) == (3, "ADA_24")
    assert resources["old-cpu"]["resource_type"] == "CpuLiveServerless"
    assert resources["old-api"]["resource_type"] == "LiveLoadBalancer"


def test_old_project_is_served(project: MakeProject, serve: Serve) -> None:
    server = serve(project({"app.py": OLD_PROJECT["app.py"]}))
    assert server.post("/app/double/runsync", {"input": {"value": 4}}).json()["output"] == 8
    assert server.post("/app/greet", {"name": "all"}).json() == {"hello": "all"}


def test_old_names_warn_at_the_line_that_touches_them(run: Run) -> None:
    program = "import runpod_flash\nrunpod_flash.LiveServerless\nfrom runpod_flash import remote\nremote(None)\n"
    answer = run(sys.executable, "-W", "always", "-c", program)
    lines = [line for line in answer.stderr.splitlines() if "Warning" in line]
    assert lines == [
        "<string>:2: DeprecationWarning: runpod_flash.LiveServerless is deprecated. Use runpod_flash.Endpoint instead.",
        *["<string>:3: DeprecationWarning: runpod_flash.remote is deprecated. Use runpod_flash.Endpoint instead."] * 2,
        "<string>:4: DeprecationWarning: runpod_flash.remote is deprecated. Use runpod_flash.Endpoint instead.",
    ]


def test_every_module_path_is_imported_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in _official.MODULES:
            module = importlib.import_module(f"runpod_flash.{path}")
            assert importlib.import_module(module.__name__) is module
            for name in _official.names_of(path):
                assert getattr(module, name) is not None
            assert inspect.getmodule(module) is module
    import runpod_flash.core.resources.gpu as gpu

    assert gpu is sys.modules["runpod_flash.core.resources.gpu"]
    assert runpod_flash.core.resources.gpu is gpu  # type: ignore[attr-defined]
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("runpod_flash.core.nothing")
    with pytest.raises(ImportError, match="cannot import name"):
        exec("from runpod_flash.core.resources import nothing")


def test_resource_of_an_endpoint_is_made_when_it_is_looked_at(run: Run) -> None:
    program = """
import sys
from runpod_flash import Endpoint
@Endpoint(name="work", workers=3)
async def work(): ...
config = work.__remote_config__["resource_config"]
assert (config.name, type(config).__name__) == ("work", "LiveServerless")
assert "pydantic" not in sys.modules
assert config.workersMax == 3
assert "pydantic" in sys.modules
"""
    answer = run(sys.executable, "-c", program)
    assert answer.returncode == 0, answer.stderr


def test_resource_of_an_endpoint_is_a_resource() -> None:
    endpoint = Endpoint(name="work", gpu=GpuType.NVIDIA_L4, workers=(1, 3), env={"A": "b"})
    config = endpoint._build_resource_config()
    written = LiveServerless(
        name="work",
        gpus=[GpuType.NVIDIA_L4],
        workersMin=1,
        workersMax=3,
        env={"A": "b"},
        datacenter=endpoint.datacenter,
    )
    assert isinstance(config, LiveServerless)
    assert isinstance(config, ServerlessResource)
    assert not isinstance(config, (LiveLoadBalancer, NetworkVolume))
    assert config == written
    assert written == config
    assert config.config_hash == written.config_hash
    assert copy.deepcopy(config) == written
    assert pickle.loads(pickle.dumps(config)) == written
    config.workersMax = 9
    assert endpoint._build_resource_config().workersMax == 9


def test_resource_of_a_cpu_endpoint_with_routes_follows_its_kind() -> None:
    endpoint = Endpoint(name="api", cpu="cpu3c-1-2")

    @endpoint.get("/x")
    def handler() -> None: ...

    config = handler.__remote_config__["resource_config"]  # type: ignore[attr-defined]
    assert type(config).__name__ == "CpuLiveLoadBalancer"
    assert (config.payload()["type"], config.payload()["template"]["containerDiskInGb"]) == ("LB", 10)


def test_functions_of_one_resource_share_their_dependencies() -> None:
    resource = LiveServerless(name="shared")

    @remote(resource, dependencies=["torch"], _internal=True)
    async def first() -> int: ...

    @remote(resource, dependencies=["numpy"], _internal=True)
    async def second() -> int: ...

    endpoint = second.__flash_endpoint__
    assert endpoint.dependencies == ["torch", "numpy"]
    assert first.__flash_endpoint__._group is endpoint
    assert second.__remote_config__["resource_config"] is resource


def test_template_of_the_user_is_not_changed_by_its_endpoint() -> None:
    template = PodTemplate(name="mine", containerDiskInGb=20)
    first = LiveServerless(name="a", template=template, env={"A": "1"})
    second = CpuLiveServerless(name="b", template=template)
    assert (template.name, template.env, template.imageName) == ("mine", [], "")
    assert first.template is not None
    assert second.template is not None
    assert first.template.name != second.template.name


def test_class_of_an_own_image_and_its_fields() -> None:
    endpoint = ServerlessEndpoint(name="own", imageName="mine:1", aiKey="rpa_secret")
    assert "rpa_secret" not in repr(endpoint)
    assert endpoint.payload()["template"]["imageName"] == "mine:1"


@pytest.mark.parametrize("argument", [None, "x", 5, NetworkVolume(name="v")])
def test_remote_refuses_what_is_no_resource(argument: object) -> None:
    with pytest.raises(ValueError, match="takes a resource such as LiveServerless"):
        remote(argument, _internal=True)(lambda: None)


def test_decorated_function_of_the_old_api_is_pickled() -> None:
    @remote(LiveServerless(name="pickled"), _internal=True)
    async def work(value: int) -> int:
        return value

    again = cloudpickle.loads(cloudpickle.dumps(work))
    assert again.__remote_config__["resource_config"].name == "pickled"


EXCHANGE = """
import pickle, sys
from runpod_flash.core.resources import LiveServerless, NetworkVolume, PodTemplate, GpuType, DataCenter
from runpod_flash.protos.remote_execution import FunctionRequest
values = [GpuType.NVIDIA_L4, DataCenter.EU_RO_1, NetworkVolume(name="v"), FunctionRequest(function_name="f")]
if sys.argv[1] == "write":
    sys.stdout.buffer.write(pickle.dumps([*values, LiveServerless(name="a", workersMax=3)]))
else:
    *found, resource = pickle.loads(sys.stdin.buffer.read())
    plain = [[value.model_dump() if hasattr(value, "model_dump") else value for value in some] for some in (found, values)]
    assert plain[0] == plain[1], plain
    assert (resource.name, resource.workersMax, type(resource)) == ("a", 3, LiveServerless)
"""


def test_pickles_are_read_by_the_other_package(official: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLASH_", "RUNPOD_"))}

    def exchange(interpreter: str | Path, mode: str, data: bytes) -> bytes:
        command = [interpreter, "-W", "ignore", "-c", EXCHANGE, mode]
        return subprocess.run(
            command, input=data, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, timeout=60, check=True
        ).stdout

    exchange(sys.executable, "read", exchange(official, "write", b""))
    exchange(official, "read", exchange(sys.executable, "write", b""))


def test_key_is_kept_for_its_owner_and_found_again(run: Run, tmp_path: Path) -> None:
    program = """
import json, os, stat
from runpod_flash.core.credentials import check_and_migrate_legacy_credentials, get_api_key, save_api_key
from runpod_flash.core.exceptions import RunpodAPIKeyError
from runpod_flash.core.validation import validate_api_key, validate_api_key_with_context
found = [get_api_key()]
for check in (validate_api_key, lambda: validate_api_key_with_context("deploy")):
    try:
        check()
    except RunpodAPIKeyError as error:
        found.append("flash login" in str(error) and str(error).startswith("Cannot deploy: "))
path = save_api_key("rpa_kept")
found += [path == __import__("pathlib").Path.home() / ".runpod" / "config.toml", stat.S_IMODE(os.stat(path).st_mode)]
found += [get_api_key(), validate_api_key(), check_and_migrate_legacy_credentials()]
os.environ["RUNPOD_API_KEY"] = "rpa_other"
print(json.dumps([*found, get_api_key()]))
"""
    answer = run(sys.executable, "-c", program, env={"HOME": str(tmp_path), "RUNPOD_API_KEY": ""})
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == [None, False, True, True, 0o600, "rpa_kept", "rpa_kept", False, "rpa_other"]


def test_sessions_of_other_packages_carry_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from runpod_flash.core.utils import http

    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_key")
    client = http.get_authenticated_httpx_client(timeout=3)
    assert client.headers["Authorization"] == "Bearer rpa_key"
    assert client.headers["User-Agent"].startswith(f"Runpod Flash/{runpod_flash.__version__} (Python ")
    assert "Authorization" not in http.get_authenticated_httpx_client(api_key_override=None).headers
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ModuleNotFoundError, match="run `pip install requests`"):
        http.get_authenticated_requests_session()


def test_own_function_of_a_deployed_worker_is_the_plain_one(project: MakeProject, run: Run) -> None:
    root = project({"app.py": OLD_PROJECT["app.py"]}).root
    program = "import app; print(app.Counter().add(1), hasattr(app.double, '__wrapped__'), app.health())"
    variables = {"RUNPOD_ENDPOINT_ID": "e1", "FLASH_RESOURCE_NAME": "live-old-cpu-fb"}
    answer = run(sys.executable, "-W", "ignore", "-c", program, cwd=root, env=variables)
    assert answer.stdout.strip() == "11 True {'ok': True}", answer.stderr


def test_secrets_are_taken_out_of_records() -> None:
    import logging

    from runpod_flash.logger import SensitiveDataFilter

    def shown(message: str, *args: object) -> str:
        record = logging.LogRecord("a", logging.INFO, "a.py", 1, message, args, None)
        assert SensitiveDataFilter().filter(record)
        return record.getMessage()

    assert "secret1" not in shown("api_key=%s", "secret1")
    assert "secret1" not in shown('{"api_key": "secret1", "HF_TOKEN": "secret1"}')
    assert "abcd" not in shown("Authorization: Bearer abcd.efgh")
    assert "rpa_ABCDEFGH" not in shown("%s", {"key": "rpa_ABCDEFGHIJ"})
    assert shown("%d of %s", 3, "all") == "3 of all"
