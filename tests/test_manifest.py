"""Manifests beside those that the official package writes for the same apps, in the same run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: What this package records beyond 1.21.
TOP_ADDITIONS = {"requirements", "host_python_version"}
RESOURCE_ADDITIONS = {
    "gpuCount",
    "executionTimeoutMs",
    "flashboot",
    "dependencies",
    "systemDependencies",
    "accelerateDownloads",
    "podTemplate",
}
FUNCTION_ADDITIONS = {"is_generator"}

APPS: dict[str, dict[str, str]] = {
    "guide_queue": {
        "gpu_worker.py": """
from runpod_flash import Endpoint, GpuType

@Endpoint(name="gpu-inference", gpu=GpuType.NVIDIA_A100_80GB_PCIe, dependencies=["torch"])
async def process_data(input: dict) -> dict:
    import torch
    return {"result": "processed"}
""",
    },
    "guide_two": {
        "gpu_worker.py": """
from runpod_flash import Endpoint, GpuType

@Endpoint(name="preprocess", gpu=GpuType.NVIDIA_A100_80GB_PCIe, dependencies=["torch"])
async def preprocess(data: dict) -> dict:
    return {"preprocessed": data}

@Endpoint(name="inference", gpu=GpuType.NVIDIA_A100_80GB_PCIe, dependencies=["transformers"])
async def run_model(input: dict) -> dict:
    return {"output": "result"}
""",
    },
    "guide_load_balanced": {
        "lb_worker.py": """
from runpod_flash import Endpoint

api = Endpoint(name="api-server", cpu="cpu5c-4-8", workers=(1, 5))

@api.post("/generate")
async def generate_text(prompt: str) -> dict:
    return {"text": "generated"}

@api.post("/translate")
async def translate_text(text: str, target: str) -> dict:
    return {"translated": text}

@api.get("/health")
async def health_check() -> dict:
    return {"status": "healthy"}
""",
    },
    "guide_mixed": {
        "mixed_api_worker.py": """
from runpod_flash import Endpoint, GpuType

api = Endpoint(name="public-api", cpu="cpu5c-4-8", workers=(1, 5))

@api.post("/process")
async def handle_request(data: dict) -> dict:
    result = await run_gpu_inference(data)
    return {"result": result}

@Endpoint(name="gpu-backend", gpu=GpuType.NVIDIA_A100_80GB_PCIe, dependencies=["torch"])
async def run_gpu_inference(input: dict) -> dict:
    return {"inference": "result"}
""",
    },
    "class_with_options": {
        "model_worker.py": """
from pydantic import BaseModel
from runpod_flash import (
    CudaVersion, DataCenter, Endpoint, GpuType, NetworkVolume, PodTemplate, ServerlessScalerType,
)

class Prompt(BaseModel):
    text: str
    max_tokens: int = 16

@Endpoint(
    name="sd-model",
    gpu=[GpuType.NVIDIA_GEFORCE_RTX_4090, GpuType.NVIDIA_L4],
    gpu_count=1,
    workers=(1, 4),
    idle_timeout=120,
    execution_timeout_ms=300000,
    flashboot=True,
    max_concurrency=5,
    scaler_type=ServerlessScalerType.REQUEST_COUNT,
    scaler_value=2,
    min_cuda_version=CudaVersion.V12_4,
    env={"HF_HOME": "/runpod-volume/hf", "MODEL": "sd"},
    volume=NetworkVolume(name="models", size=50, datacenter=DataCenter.US_CA_2),
    datacenter=DataCenter.US_CA_2,
    template=PodTemplate(containerDiskInGb=64),
    dependencies=["six"],
    system_dependencies=["ffmpeg"],
)
class SDModel:
    def __init__(self, steps: int = 20):
        self.steps = steps

    async def generate(self, prompt: Prompt) -> dict:
        return {"text": prompt.text, "steps": self.steps}

    def info(self) -> dict:
        return {"steps": self.steps}

    @staticmethod
    def helper():
        return None

    @property
    def size(self):
        return 1

    def _private(self):
        return None
""",
    },
    "sync_class_and_functions": {
        "work.py": """
from runpod_flash import Endpoint, GpuGroup

@Endpoint(name="sync-class", gpu=GpuGroup.ADA_24)
class Plain:
    def one(self, x: int) -> int:
        return x

    def two(self) -> int:
        return 2

@Endpoint(name="sync-function", gpu=GpuGroup.ANY)
def compute(x: int) -> int:
    return x

@Endpoint(gpu=GpuGroup.AMPERE_80, workers=3, idle_timeout=300)
def named_by_function(size):
    return compute(size)

@Endpoint(name="items")
async def stream(count: int):
    for index in range(count):
        yield index
""",
    },
    "cpu_lists": {
        "cpus.py": """
from runpod_flash import CpuInstanceType, Endpoint

@Endpoint(name="one", cpu=CpuInstanceType.CPU3C_1_2)
async def one():
    return 1

@Endpoint(name="several", cpu=["cpu3g-2-8", CpuInstanceType.CPU5C_4_8], workers=(0, 3))
async def several():
    return 2

@Endpoint(name="placed", cpu="cpu5c-8-16", datacenter="EU-RO-1", env={})
async def placed():
    return 3
""",
    },
    "gpu_lists": {
        "gpus.py": """
from runpod_flash import Endpoint, GpuGroup, GpuType

@Endpoint(name="mixed", gpu=[GpuGroup.AMPERE_24, GpuType.NVIDIA_RTX_4000_ADA_GENERATION])
async def mixed():
    return 1

@Endpoint(name="any-last", gpu=[GpuType.NVIDIA_L4, GpuGroup.ANY])
async def any_last():
    return 2

@Endpoint(name="types", gpu=[GpuType.NVIDIA_L4, GpuType.NVIDIA_A40], gpu_count=2)
async def types():
    return 3

@Endpoint(name="whole", gpu=[GpuType.NVIDIA_L4, GpuGroup.AMPERE_24])
async def whole():
    return 4

@Endpoint(name="default")
async def default():
    return 5
""",
    },
    "volumes_and_places": {
        "stored.py": """
from runpod_flash import DataCenter, Endpoint, GpuGroup, NetworkVolume

cache = NetworkVolume(name="cache", size=200, datacenter=DataCenter.US_CA_2)
second = NetworkVolume(name="second", datacenter=DataCenter.EU_RO_1)

@Endpoint(name="one-volume", gpu=GpuGroup.ADA_24, volume=cache)
async def one():
    return 1

@Endpoint(name="two-volumes", gpu=GpuGroup.ADA_24, volume=[cache, second],
          datacenter=[DataCenter.US_CA_2, "eu-ro-1"])
async def two():
    return 2

@Endpoint(name="by-id", gpu=GpuGroup.ADA_24, volume=NetworkVolume(id="vol_abc123"), datacenter="us_ks_2,".strip(","))
async def three():
    return 3
""".replace(
            'volume=NetworkVolume(id="vol_abc123"), datacenter="us_ks_2,".strip(",")',
            'volume=NetworkVolume(id="vol_abc123")',
        ),
    },
    "template_and_env": {
        "configured.py": """
from runpod_flash import Endpoint, GpuGroup, PodTemplate

PREFIX = "/models"
COMMON = {"env": {"A": "1", "PATH_OF_MODEL": f"{PREFIX}/large", "UMLAUT": "größe"}, "workers": (0, 2)}

@Endpoint(name="templated", gpu=GpuGroup.ADA_24,
          template=PodTemplate(containerDiskInGb=100, dockerArgs="--x", env=[{"key": "K", "value": "V"}]), **COMMON)
async def templated():
    return 1

@Endpoint(name="small-disk", cpu="cpu3c-1-2", template=PodTemplate(containerDiskInGb=5))
async def small_disk():
    return 2

@Endpoint(name="strings", gpu=GpuGroup.ADA_24, min_cuda_version="12.1", scaler_value=7, flashboot=False)
async def strings():
    return 3
""",
    },
    "clients": {
        "images.py": """
from runpod_flash import Endpoint, GpuType, NetworkVolume

vllm = Endpoint(name="vllm", image="vllm/vllm-openai:latest", gpu=GpuType.NVIDIA_A100_80GB_PCIe,
                env={"MODEL": "x"}, workers=3, idle_timeout=600)
small = Endpoint(name="a-cpu-image", image="me/tool:1", cpu="cpu3c-1-2")
existing = Endpoint(id="abc123")

@Endpoint(name="zz-worker", gpu=GpuType.NVIDIA_L4)
async def work(x: int):
    return await vllm.run({"x": x})
""",
    },
    "names": {
        "named.py": """
from runpod_flash import Endpoint

@Endpoint(name="whisper-fb")
async def whisper():
    return 1

@Endpoint(name="kept-fb", flashboot=False)
async def kept():
    return 2

@Endpoint(name="with space")
async def spaced():
    return 3

@Endpoint(name="größe")
async def umlaut():
    return 4
""",
    },
    "several_files": {
        "main.py": """
from runpod_flash import Endpoint
from config import CPU, DEPENDENCIES, NAME
from shared.volumes import cache

gateway: Endpoint = Endpoint(name=f"{NAME}-gateway", cpu=CPU, workers=(1, 2))

@gateway.get("/items/{item_id}")
def read_item(item_id: int):
    return item_id

@gateway.put("/items/{item_id}")
async def write_item(item_id: int, value: str):
    from workers.gpu.infer import infer
    return await infer(value)

@gateway.delete("/items/{item_id}")
async def delete_item(item_id: int):
    return None
""",
        "config.py": """
from runpod_flash import CpuInstanceType, GpuGroup
NAME = "shop"
CPU = CpuInstanceType.CPU5C_2_4
GPU = [GpuGroup.ADA_24, GpuGroup.AMPERE_24]
DEPENDENCIES = ["numpy"]
DEPENDENCIES += ["pandas"]
""",
        "shared/__init__.py": "",
        "shared/volumes.py": """
from runpod_flash import NetworkVolume
cache = NetworkVolume(name="shared-cache", size=20)
""",
        "workers/__init__.py": "",
        "workers/gpu/infer.py": """
import runpod_flash as rf
from runpod_flash import GpuType as G
from config import DEPENDENCIES, GPU, NAME
from shared.volumes import cache

@rf.Endpoint(name=NAME + "-infer", gpu=GPU, dependencies=DEPENDENCIES, volume=cache)
async def infer(text: str):
    return text

@rf.Endpoint(name="-".join([NAME, "second"]), gpu=G.NVIDIA_L4)
async def second(text: str):
    return await infer(text)
""",
        "README.md": "# shop",
        "NOTES.md": "not shipped",
        "data/table.csv": "1,2\n",
        ".gitignore": "secret.txt\n*.log\n",
        "secret.txt": "x",
        "run.log": "x",
        "tests/test_main.py": "def test_nothing(): pass\n",
    },
    "stacked_decorators": {
        "stacked.py": """
import functools
from runpod_flash import Endpoint, GpuGroup

def logged(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return await function(*args, **kwargs)
    return wrapper

@Endpoint(name="outer", gpu=GpuGroup.ADA_24, max_concurrency=3)
@logged
async def outer(x: int):
    return x

api = Endpoint(name="stacked-api", gpu=GpuGroup.AMPERE_16, max_concurrency=4)

@api.post("/work")
@logged
async def work(x: int):
    return await outer(x)

held = Endpoint(name="held", gpu=GpuGroup.ADA_24)

@held
async def by_variable(x: int):
    return x
""",
    },
    "two_apis_in_one_file": {
        "apis.py": """
from runpod_flash import Endpoint, GpuType

first = Endpoint(name="b-first", cpu="cpu3c-1-2")
second = Endpoint(name="a-second", gpu=GpuType.NVIDIA_L4, min_cuda_version="12.4", datacenter="US-KS-2")

@first.get("/z")
async def alpha():
    return 1

@second.patch("/y")
async def beta(x: int):
    return 2

@first.post("/x")
def gamma(x: int):
    return 3
""",
    },
    "no_endpoints": {"plain.py": "from runpod_flash import Endpoint\napi = Endpoint(name='empty', cpu='cpu3c-1-2')\n"},
}

OFFICIAL = """
import contextlib, json, os, shutil, sys
from pathlib import Path
from runpod_flash.cli.commands.build import compute_source_fingerprint, copy_project_files
from runpod_flash.cli.commands.build_utils.manifest import ManifestBuilder
from runpod_flash.cli.commands.build_utils.scanner import RuntimeScanner
from runpod_flash.cli.utils.ignore import get_file_tree, load_ignore_patterns

answers = {}
for root in map(Path, sys.argv[1:]):
    os.chdir(root)
    build = root / ".flash" / ".build"
    build.mkdir(parents=True)
    files = get_file_tree(root, load_ignore_patterns(root))
    copy_project_files(files, root, build)
    scanner = RuntimeScanner(build)
    found = scanner.discover_remote_functions()
    assert not scanner.import_errors, scanner.import_errors
    manifest = ManifestBuilder(root.name, found, scanner, build_dir=build).build()
    manifest["source_fingerprint"] = compute_source_fingerprint(root, files)
    answers[root.name] = manifest
Path(os.environ["ANSWER"]).write_text(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def manifests(
    official: Path,
    tmp_path_factory: pytest.TempPathFactory,
    session_environment: dict[str, str],
) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    """By app: our text, our manifest, the official manifest."""
    from support import FLASH

    folder = tmp_path_factory.mktemp("apps")
    for app, files in APPS.items():
        for path, text in files.items():
            (folder / app / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / app / path).write_text(text, encoding="utf-8")
    environment = session_environment | {"RUNPOD_FLASH_SILENCE_DEPRECATION": "1", "ANSWER": str(folder / "answers")}
    ours = {}
    for app in APPS:
        done = subprocess.run(
            [FLASH, "manifest", folder / app], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        ours[app] = done.stdout
    done = subprocess.run(
        [official, "-c", OFFICIAL, *(folder / app for app in APPS)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads((folder / "answers").read_text(encoding="utf-8"))
    return {app: (ours[app], json.loads(ours[app]), theirs[app]) for app in APPS}


def without_additions(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the keys that 1.21 writes, and the time of its making left out."""
    kept = {key: value for key, value in manifest.items() if key not in TOP_ADDITIONS | {"generated_at"}}
    kept["resources"] = {
        name: {
            key: (
                [{k: v for k, v in function.items() if k not in FUNCTION_ADDITIONS} for function in value]
                if key == "functions"
                else value
            )
            for key, value in resource.items()
            if key not in RESOURCE_ADDITIONS
        }
        for name, resource in manifest["resources"].items()
    }
    return kept


@pytest.mark.parametrize("app", APPS)
def test_manifest_of_an_app_equals_the_official_one(
    app: str, manifests: dict[str, tuple[str, dict[str, Any], dict[str, Any]]]
) -> None:
    _, ours, theirs = manifests[app]
    theirs.pop("generated_at", None)
    kept = without_additions(ours)
    assert kept == theirs
    # The same order as well: the files are compared and read by people.
    assert json.dumps(kept, indent=2) == json.dumps(theirs, indent=2)


def test_manifest_text_is_written_as_python_writes_json(
    manifests: dict[str, tuple[str, dict[str, Any], dict[str, Any]]],
) -> None:
    for text, ours, _ in manifests.values():
        assert text.rstrip("\n") == json.dumps(ours, indent=2)


def test_manifest_records_what_the_official_one_drops(
    manifests: dict[str, tuple[str, dict[str, Any], dict[str, Any]]],
) -> None:
    resource = manifests["class_with_options"][1]["resources"]["sd-model"]
    assert resource["executionTimeoutMs"] == 300000
    assert (resource["gpuCount"], resource["flashboot"]) == (1, True)
    assert (resource["dependencies"], resource["systemDependencies"]) == (["six"], ["ffmpeg"])
    assert manifests["gpu_lists"][1]["resources"]["types"]["gpuCount"] == 2
    assert manifests["names"][1]["resources"]["kept-fb"]["flashboot"] is False


def test_manifest_is_written_whole_and_its_fingerprint_follows_the_sources(
    flash: Callable[..., subprocess.CompletedProcess[str]], project: Callable[..., Any]
) -> None:
    root = project({"app.py": APPS["guide_queue"]["gpu_worker.py"]}).root
    output = root / "flash_manifest.json"
    first = flash("manifest", root, "--output", output)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    manifest = json.loads(output.read_text(encoding="utf-8"))
    assert manifest["project_name"] == "app"
    assert [path.name for path in root.iterdir() if path.name.startswith(".flash_manifest")] == []
    again = json.loads(flash("manifest", root).stdout)
    assert again["source_fingerprint"] == manifest["source_fingerprint"]
    (root / "data.txt").write_text("x")
    changed = json.loads(flash("manifest", root).stdout)
    assert changed["source_fingerprint"] != manifest["source_fingerprint"]


@pytest.mark.parametrize("computed", [False, True])
def test_secret_inside_an_env_value_never_reaches_the_manifest(
    flash: Callable[..., subprocess.CompletedProcess[str]], project: Callable[..., Any], computed: bool
) -> None:
    name = "''.join(sorted('ba'))" if computed else "'ab'"
    base = "'z/{}'.format(os.environ['TOKEN'])" if computed else "'z/' + os.environ['TOKEN']"
    root = project(
        {
            "app.py": f"""
import os
from runpod_flash import Endpoint, PodTemplate
from config import BASE
name = {name}
token = os.environ["TOKEN"]
@Endpoint(name=name, cpu="cpu3c-1-2", env={{
    "A": f"https://{{token}}@host", "B": "Bearer " + os.getenv("TOKEN"), "C": "x %s" % token,
    "E": BASE, "F": ",".join(["a", token]), "G": token.strip(), "H": token}},
    template=PodTemplate(containerDiskInGb=10, env=[{{"key": "K", "value": token}}]))
async def run(): ...
""",
            "config.py": f"import os\nBASE = {base}\n",
            ".env": "TOKEN=s3cret-value\n",
        }
    ).root
    done = flash("manifest", root)
    assert "s3cret" not in done.stdout + done.stderr
    resource = json.loads(done.stdout)["resources"]["ab"]
    assert resource["podTemplate"]["env"] == [{"key": "K", "value": "${TOKEN}"}]
    assert resource["env"] == {
        "A": "https://${TOKEN}@host",
        "B": "Bearer ${TOKEN}",
        "C": "x ${TOKEN}",
        "E": "z/${TOKEN}",
        "F": "a,${TOKEN}",
        "G": "${TOKEN}",
        "H": "${TOKEN}",
    }


def test_manifest_writes_variables_of_the_environment_by_name(
    flash: Callable[..., subprocess.CompletedProcess[str]], project: Callable[..., Any]
) -> None:
    root = project(
        {
            "app.py": """
import os
from runpod_flash import Endpoint
@Endpoint(name="a", cpu="cpu3c-1-2", workers=int(os.getenv("MOST", "3")),
          env={"TOKEN": os.environ["TOKEN"], "MODE": os.getenv("MODE", "fast"), "PLAIN": "x"})
async def f(): ...
""",
            ".env": "TOKEN=secret\nMOST=7\n",
        }
    ).root
    done = flash("manifest", root)
    assert "secret" not in done.stdout
    resource = json.loads(done.stdout)["resources"]["a"]
    assert resource["env"] == {"TOKEN": "${TOKEN}", "MODE": "${MODE}", "PLAIN": "x"}
    assert resource["workersMax"] == 7
