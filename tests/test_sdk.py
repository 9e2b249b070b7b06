"""The public Python surface: what can be imported, what it costs, what it refuses and how."""

from __future__ import annotations

import asyncio
import copy
import enum
import inspect
import json
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import runpod_flash
from runpod_flash import (
    CPU_DATACENTERS,
    CpuInstanceType,
    CudaVersion,
    DataCenter,
    Endpoint,
    FlashError,
    GpuGroup,
    GpuType,
    NetworkVolume,
    PodTemplate,
    ServerlessScalerType,
    ServerlessType,
)

REPOSITORY = Path(__file__).resolve().parent.parent

Run = Callable[..., subprocess.CompletedProcess[str]]

PARAMETERS = {
    "name": None,
    "id": None,
    "gpu": None,
    "cpu": None,
    "workers": None,
    "idle_timeout": 60,
    "dependencies": None,
    "system_dependencies": None,
    "accelerate_downloads": True,
    "volume": None,
    "datacenter": None,
    "env": None,
    "gpu_count": 1,
    "execution_timeout_ms": 0,
    "flashboot": True,
    "image": None,
    "scaler_type": None,
    "scaler_value": 4,
    "template": None,
    "min_cuda_version": CudaVersion.V12_8,
    "max_concurrency": 1,
}


def test_endpoint_has_the_parameters_of_1_21_in_their_order() -> None:
    parameters = inspect.signature(Endpoint).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == PARAMETERS
    assert list(parameters) == list(PARAMETERS)
    kinds = [parameter.kind for parameter in parameters.values()]
    assert kinds[0] == inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}


def test_parameter_table_of_the_core_is_the_signature() -> None:
    from runpod_flash import _core

    assert [row[0] for row in _core.parameter_table()] == list(PARAMETERS)


def test_all_names_are_there_and_star_import_takes_them() -> None:
    namespace: dict[str, Any] = {}
    exec("from runpod_flash import *", namespace)
    assert set(runpod_flash.__all__) <= namespace.keys()
    assert (runpod_flash.DEFAULT_WORKERS_MIN, runpod_flash.DEFAULT_WORKERS_MAX) == (0, 1)
    assert runpod_flash.__version__ == "1.22.0"
    assert set(runpod_flash.__all__) <= set(dir(runpod_flash))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'runpod_flash' has no attribute 'nothing'"):
        runpod_flash.nothing  # noqa: B018


def test_import_loads_little_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, json
        from runpod_flash import Endpoint, GpuType
        @Endpoint(name="x", gpu=GpuType.NVIDIA_L4, dependencies=["numpy"])
        async def f(x): return x
        print(json.dumps(sorted(sys.modules)))
        """
    )
    answer = run(sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}")
    assert answer.returncode == 0, answer.stderr
    bare = run(sys.executable, "-S", "-c", "import sys, json; print(json.dumps(sorted(sys.modules)))")
    loaded = set(json.loads(answer.stdout)) - set(json.loads(bare.stdout))
    for heavy in ("asyncio", "logging", "inspect", "numpy", "pydantic", "typing", "re", "socket", "threading", "ast"):
        assert heavy not in loaded
    ours = {name for name in loaded if name.startswith("runpod_flash")}
    assert ours == {
        "runpod_flash",
        "runpod_flash._core",
        "runpod_flash._decorate",
        "runpod_flash._enums",
        "runpod_flash._light",
        "runpod_flash.endpoint",
    }
    third_party = {name.split(".")[0] for name in loaded - ours} - sys.stdlib_module_names
    assert not third_party - {"json"}
    assert list(tmp_path.iterdir()) == []


def test_dotenv_of_a_parent_folder_is_read_without_overriding(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "A_NEW=from file # why\nexport QUOTED='a b'\nA_SET=from file\nnot a line\nLAST=${QUOTED} 1\n"
    )
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    program = "import os, runpod_flash; print([os.environ.get(n) for n in ('A_NEW', 'QUOTED', 'A_SET', 'LAST')])"
    answer = run(sys.executable, "-c", program, cwd=below, env={"A_SET": "from shell"})
    assert answer.stdout.strip() == "['from file', 'a b', 'from shell', 'a b 1']", answer.stderr


# Enums.

CPU3 = ["cpu3g-1-4", "cpu3g-2-8", "cpu3g-4-16", "cpu3g-8-32", "cpu3c-1-2", "cpu3c-2-4", "cpu3c-4-8", "cpu3c-8-16"]
CPU5 = ["cpu5c-1-2", "cpu5c-2-4", "cpu5c-4-8", "cpu5c-8-16"]
AMERICA = ["US-CA-2", "US-IL-1", "US-KS-2", "US-MO-1", "US-MO-2", "US-NC-2", "US-NE-1", "US-WA-1"]
POOLS = ["ADA_24", "ADA_32_PRO", "ADA_48_PRO", "ADA_80_PRO", "AMPERE_16", "AMPERE_24", "AMPERE_48", "AMPERE_80"]

OFFICIAL = {
    "CudaVersion": ["11.8", *(f"12.{minor}" for minor in range(10)), "13.0"],
    "DataCenter": [*AMERICA, "EU-CZ-1", "EU-RO-1", "EUR-NO-1"],
    "CpuInstanceType": [*CPU3, *CPU5],
    "GpuGroup": ["any", *POOLS, "HOPPER_141", "BLACKWELL_96", "BLACKWELL_180"],
    "ServerlessScalerType": ["QUEUE_DELAY", "REQUEST_COUNT"],
    "ServerlessType": ["QB", "LB"],
}
ADDED = {
    "CudaVersion": ["V11_1", "V11_4", "V11_7"],
    "DataCenter": ["US_GA_2", "US_MD_1", "US_NC_1", "EUR_IS_1"],
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_enum_begins_with_the_members_of_1_21(name: str) -> None:
    members = list(getattr(runpod_flash, name))
    official = OFFICIAL[name]
    assert [member.value for member in members[: len(official)]] == official
    assert [member.name for member in members[len(official) :]] == ADDED.get(name, [])


def test_gpu_types_are_those_of_1_21() -> None:
    assert len(GpuType) == 21
    assert GpuType.ANY.value == "any"
    assert GpuType.NVIDIA_A100_80GB_PCIe.value == "NVIDIA A100 80GB PCIe"
    assert GpuType.NVIDIA_A100_SXM4_80GB.value == "NVIDIA A100-SXM4-80GB"
    assert [gpu.name for gpu in GpuType][-2:] == ["NVIDIA_H200", "NVIDIA_B200"]


@pytest.mark.parametrize(
    ("cls", "is_str"),
    [
        (GpuGroup, False),
        (GpuType, False),
        (CudaVersion, False),
        (ServerlessScalerType, False),
        (ServerlessType, False),
        (CpuInstanceType, True),
        (DataCenter, True),
    ],
)
def test_enum_is_a_real_enum(cls: Any, is_str: bool) -> None:
    assert issubclass(cls, enum.Enum)
    assert issubclass(cls, str) is is_str
    assert cls.__module__ == "runpod_flash"
    assert getattr(runpod_flash, cls.__name__) is cls
    for member in cls:
        assert pickle.loads(pickle.dumps(member)) is member
        assert copy.deepcopy(member) is member
        assert cls(member.value) is member
        assert cls[member.name] is member
        assert (member == member.value) is is_str
    assert str(next(iter(cls))) == f"{cls.__name__}.{next(iter(cls)).name}"
    assert len({hash(member) for member in cls}) == len(cls)


def test_wrong_member_or_value_names_the_nearest() -> None:
    with pytest.raises(AttributeError, match="GpuType has no member `NVIDIA_A100`; did you mean `NVIDIA_A100_80GB_P"):
        GpuType.NVIDIA_A100  # noqa: B018
    with pytest.raises(ValueError, match=r"'A100' is not a valid GpuType; did you mean GpuType.NVIDIA_A100_80GB_PCIe"):
        GpuType("A100")
    with pytest.raises(ValueError, match="'zzzzzz' is not a valid GpuGroup"):
        GpuGroup("zzzzzz")
    assert not hasattr(GpuGroup, "_ignore_me")


def test_gpu_helpers_answer_as_in_1_21() -> None:
    assert [group.name for group in GpuGroup.all()][:2] == ["AMPERE_48", "ADA_24"]
    assert len(GpuGroup.all()) == 12
    assert len(GpuType.all()) == 20
    assert GpuType.is_gpu_type("NVIDIA L4")
    assert not GpuType.is_gpu_type("any")
    assert GpuGroup.to_gpu_ids_str([GpuType.NVIDIA_L4]) == "AMPERE_24,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000"
    assert GpuGroup.to_gpu_ids_str([GpuGroup.ANY]) == "any"
    assert GpuGroup.to_gpu_ids_str([]) == ""
    assert GpuGroup.from_gpu_ids_str("ADA_24, AMPERE_48") == [GpuGroup.ADA_24]
    assert GpuGroup.from_gpu_ids_str("any") == [GpuGroup.ANY]
    assert GpuGroup.normalize_gpu_ids_str("b,-c, A ,") == "A,b,-c"


def test_data_centers_are_read_in_any_spelling() -> None:
    assert DataCenter.from_string(" us_ca_2 ") is DataCenter.US_CA_2
    assert [center.value for center in DataCenter.all()] == OFFICIAL["DataCenter"]
    assert frozenset({DataCenter.EU_RO_1}) == CPU_DATACENTERS
    with pytest.raises(ValueError, match=r"Unknown datacenter 'x'\. .*Valid datacenters: US-CA-2, "):
        DataCenter.from_string("x")


# Construction.


@pytest.mark.parametrize(
    ("arguments", "leading"),
    [
        ({"gpu": GpuGroup.ANY, "cpu": "cpu3c-1-2"}, "gpu and cpu are mutually exclusive"),
        ({"id": "a", "image": "b"}, "id and image are mutually exclusive"),
        ({"image": "b"}, "name or id is required when image= is set."),
        ({"max_concurrency": 0}, "max_concurrency must be >= 1, got 0"),
        ({"gpu": "NVIDIA L4"}, "gpu must be a GpuGroup, GpuType, or list, got str"),
        ({"gpu": (GpuGroup.ANY,)}, "gpu must be a GpuGroup, GpuType, or list, got tuple"),
        ({"cpu": "bogus"}, "'bogus' is not a valid CpuInstanceType"),
        ({"cpu": 4}, "cpu must be a CpuInstanceType, string, or list, got int"),
        ({"workers": -1}, "workers cannot be negative: (0, -1)"),
        ({"workers": (3, 1)}, "workers min (3) cannot exceed max (1)"),
        ({"workers": "3"}, "workers must be an int or (min, max) tuple, got str: '3'"),
        ({"volume": []}, "volume list must not be empty"),
        ({"volume": "vol"}, "volume must be a NetworkVolume or list of NetworkVolume, got str"),
        ({"volume": [1]}, "volume list elements must be NetworkVolume; element at index 0 is int"),
        ({"datacenter": "MARS"}, "Unknown datacenter 'MARS'"),
        ({"idle_timeout": 0}, "idle_timeout must be between 1 and 3600"),
        ({"env": {"A": 1}}, "env['A'] must be a string, got int: 1"),
        ({"dependencies": "torch"}, "dependencies must be a list of strings, got str: 'torch'"),
        ({"min_cuda_version": "12.99"}, "min_cuda_version: '12.99' is not a valid CudaVersion"),
        ({"scaler_type": "X"}, "scaler_type: 'X' is not a valid ServerlessScalerType"),
        ({"template": {}}, "template must be a PodTemplate, got dict"),
        ({"name": "a/b"}, "name must not contain `/` or control characters"),
    ],
)
def test_wrong_argument_is_a_value_error_in_the_users_words(arguments: dict[str, Any], leading: str) -> None:
    with pytest.raises(ValueError) as caught:
        Endpoint(**arguments)
    assert str(caught.value).startswith(leading)
    assert isinstance(caught.value, FlashError)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        Endpoint("a/b", workers=-1, env={"A": 1}, idle_timeout=4000)  # type: ignore[dict-item]
    for parameter in ("name", "workers", "env['A']", "idle_timeout"):
        assert parameter in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [({"gpus": []}, "gpu=[...]"), ({"dependancies": []}, "dependencies"), ({"min_workers": 1}, "workers=(min, max)")],
)
def test_unknown_keyword_is_a_type_error_with_the_nearest(arguments: dict[str, Any], meant: str) -> None:
    with pytest.raises(TypeError) as caught:
        Endpoint(**arguments)
    assert f"did you mean `{meant}`?" in str(caught.value)


def test_name_is_the_only_positional_argument() -> None:
    assert Endpoint("a").name == "a"
    with pytest.raises(TypeError, match="one positional argument"):
        Endpoint("a", "b")  # type: ignore[misc]
    with pytest.raises(TypeError, match="multiple values"):
        Endpoint("a", name="b")  # type: ignore[misc]
    with pytest.raises(TypeError, match="python_version"):
        Endpoint("a", python_version="3.12")  # type: ignore[call-arg]


def test_every_documented_value_is_accepted() -> None:
    for center in (DataCenter.US_GA_2, "US-MD-1", "us_nc_1", [DataCenter.EUR_IS_1, "EU-RO-1"]):
        Endpoint("a", datacenter=center)  # type: ignore[arg-type]
    for version in (CudaVersion.V11_1, "11.4", CudaVersion.V11_7, CudaVersion.V13_0, None):
        Endpoint("a", min_cuda_version=version)


def test_properties_are_read_only_and_normalised() -> None:
    endpoint = Endpoint("a-fb", cpu=["cpu3c-1-2", CpuInstanceType.CPU5C_1_2], workers=(1, 3), max_concurrency=5)
    assert (endpoint.workers_min, endpoint.workers_max, endpoint._max_concurrency) == (1, 3, 5)
    assert endpoint.is_cpu
    assert not endpoint.is_client
    assert not endpoint.is_load_balanced
    assert endpoint._cpu == [CpuInstanceType.CPU3C_1_2, CpuInstanceType.CPU5C_1_2]
    assert endpoint._gpu is None
    assert endpoint.datacenter is None
    assert endpoint._arguments["workers"] == (1, 3)
    assert endpoint._build_resource_config().name == "a"
    with pytest.raises(AttributeError):
        endpoint.workers_max = 3  # type: ignore[misc]
    gpu = Endpoint("b", gpu=[GpuType.NVIDIA_L4, "ADA_24"])  # type: ignore[list-item]
    assert gpu._gpu == [GpuType.NVIDIA_L4, GpuGroup.ADA_24]
    assert gpu.datacenter == DataCenter.all()
    assert Endpoint("c")._gpu == [GpuGroup.ANY]


def test_endpoint_is_pickled_and_copied_with_its_arguments() -> None:
    endpoint = Endpoint("a", gpu=GpuType.NVIDIA_L4, workers=3)
    for other in (
        pickle.loads(pickle.dumps(endpoint)),
        copy.deepcopy(endpoint),
        cloudpickle.loads(cloudpickle.dumps(endpoint)),
    ):
        assert other is not endpoint
        assert (other.name, other.workers_max, other._gpu) == ("a", 3, [GpuType.NVIDIA_L4])


def test_volume_and_template_are_models() -> None:
    volume = NetworkVolume(name="models", datacenter="us-ca-2")
    assert (volume.dataCenterId, volume.size, volume.is_created) == (DataCenter.US_CA_2, 100, False)
    assert volume.datacenter is DataCenter.US_CA_2
    assert NetworkVolume(id="vol").dataCenterId is DataCenter.EU_RO_1
    for wrong in ({}, {"name": " "}, {"name": "a", "size": 5}, {"name": "a", "sise": 50}):
        with pytest.raises(ValueError):
            NetworkVolume(**wrong)
    template = PodTemplate(containerDiskInGb=100, env=[{"key": "A", "value": "b"}])
    assert template.env[0].key == "A"
    endpoint = Endpoint("a", template=template, volume=[volume, NetworkVolume(name="b")])
    assert [each.name for each in endpoint.volume or []] == ["models", "b"]
    with pytest.raises(ValueError, match="Container disk size 100GB exceeds"):
        Endpoint("a", cpu="cpu3c-1-2", template=template)
    with pytest.raises(ValueError, match="Multiple volumes in datacenter US-CA-2"):
        Endpoint("a", volume=[volume, volume])


# Decorators.


def test_decorated_function_is_an_async_def_that_looks_like_the_original() -> None:
    def plain(a: int, b: str = "x", *, c: float = 1.0) -> dict[str, int]:
        """Says something."""
        return {b: a}

    decorated = Endpoint("a", max_concurrency=3)(plain)
    assert inspect.isfunction(decorated)
    assert inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == inspect.signature(plain)
    assert (decorated.__name__, decorated.__doc__, decorated.__module__) == ("plain", "Says something.", __name__)
    assert decorated.__wrapped__ is plain
    assert decorated.local(1) == {"x": 1}
    assert decorated.__remote_config__.keys() == {
        "resource_config",
        "method",
        "path",
        "dependencies",
        "system_dependencies",
        "max_concurrency",
    }
    assert decorated.__flash_endpoint__.name == "a"


def test_endpoint_without_a_name_takes_the_functions() -> None:
    endpoint = Endpoint()

    @endpoint
    def my_function() -> None: ...

    assert endpoint.name == "my_function"
    assert my_function.__remote_config__["resource_config"].name == "my_function"


def test_generator_function_is_awaitable_and_iterable() -> None:
    @Endpoint("a")
    def items(n: int) -> Any:
        yield from range(n)

    call = items(3)
    assert hasattr(call, "__await__")
    assert hasattr(call, "__aiter__")
    assert list(items.local(2)) == [0, 1]
    with pytest.raises(TypeError, match="missing a required argument: 'n'"):
        items()


def test_route_is_the_function_itself() -> None:
    api = Endpoint(name="api", cpu="cpu3c-1-2")

    def health() -> str:
        return "ok"

    assert api.get("/health")(health) is health
    assert health() == "ok"
    assert api.is_load_balanced
    assert api.scaler_type is ServerlessScalerType.REQUEST_COUNT
    assert api._routes == [{"method": "GET", "path": "/health", "function": health, "function_name": "health"}]
    assert health.__remote_config__["is_lb_route_handler"] is True  # type: ignore[attr-defined]
    assert health.__is_lb_route_handler__ is True  # type: ignore[attr-defined]
    for method in ("post", "put", "patch", "delete"):
        getattr(api, method)("/health")(health)
    assert len(api._routes) == 5


def test_route_and_mode_mistakes_are_refused() -> None:
    def handler() -> None: ...

    api = Endpoint(name="api")
    with pytest.raises(ValueError, match="path must start with '/', got: x"):
        api.get("x")
    with pytest.raises(ValueError, match="path '/ping' is reserved by the framework"):
        api.post("/ping")
    with pytest.raises(TypeError, match="data and keyword arguments are only valid in client mode"):
        api.post("/x", {})
    with pytest.raises(ValueError, match="name is required for load-balanced endpoints"):
        Endpoint().get("/x")
    api.get("/x")(handler)
    with pytest.raises(ValueError, match=r"duplicate route: GET /x \(already registered to 'handler'\)"):
        api.get("/x")(handler)
    with pytest.raises(ValueError, match="cannot use Endpoint as a direct decorator after registering routes"):
        api(handler)
    with pytest.raises(TypeError, match="decorates a function, got a class"):
        api.get("/class")(type("C", (), {}))
    queue = Endpoint(name="queue")
    queue(handler)
    with pytest.raises(ValueError, match="cannot add routes after using Endpoint as a direct decorator"):
        queue.get("/x")
    with pytest.raises(TypeError, match="decorates a function or a class, got int"):
        queue(5)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"run\(\) is for clients"):
        asyncio.run(queue.run({}))


@pytest.mark.parametrize("arguments", [{"id": "abc"}, {"name": "a", "image": "vllm/vllm:latest"}])
def test_client_constructs_and_says_what_is_missing_at_a_call(arguments: dict[str, Any]) -> None:
    client = Endpoint(**arguments)
    mode = "id" if "id" in arguments else "image"
    assert client.is_client
    with pytest.raises(ValueError, match=rf"cannot use Endpoint\({mode}=\.\.\.\) as a decorator"):
        client(lambda: None)
    with pytest.raises(TypeError, match=rf"Endpoint\({mode}=\.\.\.\) is a client, not a route decorator"):
        client.get("/x")(lambda: None)
    for call in (
        client.post("/v1/completions", {"prompt": "x"}, timeout=3),
        client.run({}),
        client.runsync({}),
        client.cancel("j"),
    ):
        with pytest.raises(FlashError, match="no Runpod API key found"):
            asyncio.run(call)


def test_own_function_in_a_worker_is_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain() -> int:
        return 1

    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "abc")
    monkeypatch.setenv("FLASH_RESOURCE_NAME", "live-mine-fb")
    assert Endpoint("mine")(plain) is plain
    assert Endpoint("other")(plain) is not plain
    assert plain.__remote_config__["resource_config"].name == "mine"  # type: ignore[attr-defined]
    monkeypatch.delenv("FLASH_RESOURCE_NAME")
    assert Endpoint("any")(plain) is plain


@Endpoint("module-level")
def module_level(x: int) -> int:
    return x


@Endpoint("module-class")
class ModuleClass:
    """A class."""

    def __init__(self, size: str) -> None:
        self.size = size

    def predict(self, x: int) -> int:
        return x


def test_decorated_objects_are_pickled_by_reference() -> None:
    sys.modules.setdefault(__name__, sys.modules[ModuleClass.__module__])
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    assert pickle.loads(pickle.dumps(ModuleClass)) is ModuleClass
    model = ModuleClass("large")
    again = pickle.loads(pickle.dumps(model))
    assert (type(again), again._constructor_args) == (ModuleClass, ("large",))
    assert cloudpickle.loads(cloudpickle.dumps(module_level)) is not None


def test_decorated_class_shows_its_constructor_and_methods() -> None:
    assert (ModuleClass.__name__, ModuleClass.__doc__) == ("ModuleClass", "A class.")
    assert str(inspect.signature(ModuleClass)) in ("(size: 'str') -> 'None'", "(size: 'str')")
    assert inspect.iscoroutinefunction(ModuleClass.predict)
    assert not isinstance(ModuleClass("x"), ModuleClass._wrapped_class)
    assert not hasattr(ModuleClass("x"), "anything")
    with pytest.raises(TypeError, match=r"ModuleClass\(\) missing a required argument: 'size'"):
        ModuleClass()


# Made files, and types.


def test_made_files_are_current(run: Run) -> None:
    answer = run(sys.executable, REPOSITORY / "docs/generate.py", "--check")
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_stub_of_the_core_is_that_of_the_built_module(run: Run) -> None:
    answer = run(sys.executable, "-m", "mypy.stubtest", "runpod_flash._core", timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_decorated_function_keeps_its_types(run: Run, tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(
        textwrap.dedent(
            """
            from collections.abc import AsyncIterator, Iterator

            from runpod_flash import Endpoint, GpuGroup, GpuType

            @Endpoint(name="a", gpu=[GpuType.NVIDIA_L4, GpuGroup.ADA_24])
            async def asynchronous(x: int, y: str = "a") -> float:
                return 1.0

            @Endpoint(name="b", cpu="cpu3c-1-2", workers=(1, 3))
            def synchronous(x: int) -> list[str]:
                return []

            @Endpoint(name="c")
            def items(n: int) -> Iterator[bytes]:
                yield b""

            @Endpoint(name="d")
            async def later(n: int) -> AsyncIterator[str]:
                yield ""

            api = Endpoint(name="api")

            @api.get("/x")
            async def route(q: int) -> int:
                return q

            async def main() -> None:
                reveal_type(await asynchronous(1, y="b"))
                reveal_type(await synchronous(1))
                reveal_type(synchronous.local(1))
                reveal_type(await items(1))
                async for item in later(1):
                    reveal_type(item)
                reveal_type(await route(1))
                await asynchronous("wrong")
                await synchronous()
            """
        )
    )
    answer = run(sys.executable, "-m", "mypy", "--strict", "--no-incremental", "typed.py", cwd=tmp_path, timeout=120)
    text = answer.stdout.replace("builtins.", "")
    found = [line.split(": ", 2)[2] for line in text.splitlines() if line.startswith("typed.py")]
    assert found == [
        'Revealed type is "float"',
        'Revealed type is "list[str]"',
        'Revealed type is "list[str]"',
        'Revealed type is "list[bytes]"',
        'Revealed type is "str"',
        'Revealed type is "int"',
        'Argument 1 to "__call__" of "RemoteFunction" has incompatible type "str"; expected "int"  [arg-type]',
        'Missing positional argument "x" in call to "__call__" of "RemoteFunction"  [call-arg]',
    ], answer.stdout
