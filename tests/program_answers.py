"""What the programs in `programs/` give: calls with their results, requests with their answers, what is built."""

from __future__ import annotations

from typing import Any

#: Queue-based calls by program: function, input, output. The same ones go over HTTP and to the plain function.
CALLS: dict[str, list[tuple[str, dict[str, Any], Any]]] = {
    "p00_readme": [("hello", {}, {"gpu": "none here"})],
    "p01_minimal": [("process", {"input_data": {"a": 1}}, {"got": {"a": 1}})],
    "p02_sync": [("gpu_matrix_multiply", {"size": 2}, {"size": 2, "sum": 8.0})],
    "p03_gather": [("double", {"number": 4}, 8), ("negate", {"number": 4}, -4)],
    "p04_cpu": [("by_list", {"a": 1}, 4)],
    "p05_gpu": [("mixed", {}, "mixed")],
    "p06_workers": [("three", {}, 3)],
    "p07_idle": [("short", {}, 3)],
    "p08_dependencies": [("fetch", {"url": "a"}, "A")],
    "p09_scaler": [("by_delay", {"text": "ab"}, "ba")],
    "p10_nameless": [("p10_named_by_function", {"x": 3}, 3)],
    "p12_limits": [("many", {"x": 3}, 3)],
    "p13_template": [("disk", {"x": 3}, 3)],
    "p14_datacenter": [("by_string", {}, 2)],
    "p15_volumes": [("two", {}, 2)],
    "p16_volume_gpu": [("write_model", {"name": "a"}, "/runpod-volume/a")],
    "p20_several": [("third", {"x": 2}, 6), ("fourth", {"x": 2}, 8)],
    "p22_cpu_worker": [("preprocess_text", {"text": "a b"}, {"words": ["a", "b"]})],
    "p25_siblings": [("tidy", {"text": " a  b"}, "A B")],
    "p25a_gpu_worker": [("run_inference", {"prompt": "abc"}, {"length": 3})],
    "p25b_keywords": [
        ("generate_image", {"prompt": "cat", "num_steps": 2}, ["cat", "", 2, 7.5]),
        (
            "names",
            {"input": 1, "data": 2, "config": 3, "payload": 4, "url": 5, "method": "6"},
            [1, 2, 3, 4, 5, "6", "e", "a", "f", "n"],
        ),
    ],
    "p30_remote": [("on_gpu", {"x": 1}, 2), ("on_cpu", {"x": 1}, 3)],
    "p33_introspection": [("function", {"a": 1}, "1x")],
    "p35_own_worker": [
        ("own", {"x": 1}, {"own is plain": True, "other is not": True, "called": 2, "warned": []}),
    ],
}

#: Queue-based calls that need a worker of their own: another endpoint, its environment.
WORKER_CALLS: dict[str, list[tuple[str, dict[str, Any], Any]]] = {
    "p11_env": [("environment", {}, {"HF_TOKEN": "from-dotenv", "MODE": "test"})],
    "p23_stacked": [("outer", {"x": 1}, 24), ("inner", {"x": 1, "times": 3}, 6)],
    "p24_class": [("multiply", {"x": 2}, 6), ("add", {"x": 2.0}, 6.0)],
    "p24_constructor": [("predict", {"x": 2.0, "scale": 3.0}, 6.0)],
    "p31_remote_class": [("generate", {"prompt": "cat"}, "oil: cat")],
    "p25d_orchestrator": [("classify", {"text": "a b c"}, {"label": "long"})],
    "p26_client": [("asks", {"text": "a"}, {"status": "COMPLETED", "output": {"got": {"prompt": "a"}}})],
    "p27_client_routes": [("asks", {"text": "a"}, {"text": "a!"})],
}

#: Requests to routes: method, path, what to send, the answer.
ROUTES: dict[str, list[tuple[str, str, dict[str, Any], Any]]] = {
    "p16_volume_api": [("GET", "/models", {}, {"root": "/runpod-volume"})],
    "p17_routes": [
        ("GET", "/health", {}, {"status": "ok"}),
        ("POST", "/process", {"json": {"data": {"b": 1, "a": 2}}}, {"keys": ["a", "b"]}),
        ("POST", "/generate", {"json": {"prompt": "a"}}, {"text": "a!"}),
        ("POST", "/sum", {"json": {"numbers": [1, 2.5]}}, {"sum": 3.5}),
        ("POST", "/transform", {"json": {"text": "a"}}, {"text": "A"}),
    ],
    "p18_parameters": [
        ("GET", "/items/3?detail=true", {}, {"id": 3, "detail": True}),
        ("POST", "/items", {"json": {"name": "a", "price": 2}}, {"name": "a", "double": 4.0}),
        ("POST", "/upload", {"files": {"data": b"\x00\xff12"}}, {"size": 4}),
        ("PUT", "/items/4", {"json": {"name": "b"}}, {"id": 4, "name": "b"}),
        ("PATCH", "/items/5", {"json": {"price": 1.5}}, {"id": 5, "price": 1.5}),
        ("DELETE", "/items/6", {}, {"deleted": 6}),
    ],
    "p19_gpu_routes": [("GET", "/gpu", {}, {"package": "numpy"})],
    "p20_several": [("GET", "/first", {}, "first"), ("GET", "/second", {}, "second")],
    "p21_direct": [("POST", "/validate", {"json": {"text": " "}}, {"valid": False})],
    "p22_pipeline": [("POST", "/classify", {"json": {"text": "a b"}}, {"count": 2})],
    "p25c_route_keywords": [
        ("POST", "/summarize", {"json": {"text": "abcd", "max_length": 3}}, {"summary": "abc"}),
        ("POST", "/login", {"json": {"api_key": "abc"}}, {"length": 3}),
    ],
    "p30_remote": [("POST", "/x", {"json": {"x": 2}}, {"x": 2})],
}

ALL_GPUS = (
    "ADA_24,ADA_32_PRO,ADA_48_PRO,ADA_80_PRO,AMPERE_16,AMPERE_24,AMPERE_48,AMPERE_80,"
    "BLACKWELL_180,BLACKWELL_96,HOPPER_141"
)
CACHE = {"name": "model-cache", "size": 100, "dataCenterId": "US-CA-2"}
SHARED = {"name": "p16-shared", "size": 100, "dataCenterId": "EU-RO-1"}

#: What is built: fields of endpoints.
BUILT: dict[str, dict[str, dict[str, Any]]] = {
    "p02_sync": {"p02": {"gpuIds": ALL_GPUS, "workersMin": 0, "workersMax": 3, "idleTimeout": 300}},
    "p04_cpu": {
        "p04-enum": {"instanceIds": ["cpu3c-1-2"]},
        "p04-string": {"instanceIds": ["cpu5c-4-8"]},
        "p04-list": {"instanceIds": ["cpu3c-1-2", "cpu3c-2-4"]},
    },
    "p05_gpu": {
        "p05-group": {"gpuIds": "ADA_24"},
        "p05-type": {"gpuIds": "AMPERE_80,-NVIDIA A100-SXM4-80GB"},
        "p05-groups": {"gpuIds": "ADA_24,AMPERE_80"},
        "p05-types": {"gpuIds": "AMPERE_24,HOPPER_141,-NVIDIA GeForce RTX 3090,-NVIDIA RTX A5000"},
        "p05-mixed": {"gpuIds": ALL_GPUS},
        "p05-none": {"gpuIds": ALL_GPUS},
    },
    "p06_workers": {
        "p06-five": {"workersMin": 0, "workersMax": 5},
        "p06-three": {"workersMin": 0, "workersMax": 3},
        "p06-one": {"workersMin": 1, "workersMax": 10},
        "p06-default": {"workersMin": 0, "workersMax": 1},
    },
    "p07_idle": {f"p07-{seconds}": {"idleTimeout": seconds} for seconds in (1, 3, 300, 600)},
    "p08_dependencies": {
        "p08": {
            "dependencies": ["requests==2.32.3", "Pillow>=10.0.0", "python-dateutil<3.0.0", "httpx"],
            "systemDependencies": ["ffmpeg", "libgl1"],
            "accelerateDownloads": False,
        }
    },
    "p09_scaler": {
        "p09-delay": {"scalerType": "QUEUE_DELAY", "scalerValue": 4},
        "p09-count": {"scalerType": "REQUEST_COUNT", "scalerValue": 3},
    },
    "p10_nameless": {"p10_named_by_function": {"gpuIds": ALL_GPUS}},
    "p12_limits": {
        "p12-many": {"gpuCount": 4, "executionTimeoutMs": 300_000, "flashboot": False, "minCudaVersion": "12.4"},
        "p12-cuda": {"minCudaVersion": "12.0", "max_concurrency": 5},
    },
    "p13_template": {
        "p13": {
            "podTemplate": {"containerDiskInGb": 100, "env": [{"key": "PYTHONPATH", "value": "/workspace"}]},
        }
    },
    "p14_datacenter": {
        "p14-enum": {"locations": "EU-RO-1"},
        "p14-string": {"locations": "US-CA-2"},
        "p14-list": {"locations": "EU-RO-1,US-CA-2"},
        "p14-cpu": {"locations": "EU-RO-1"},
    },
    "p15_volumes": {
        "p15-one": {"networkVolumes": [CACHE]},
        "p15-two": {"networkVolumes": [CACHE, {"name": "model-cache-eu", "size": 50, "dataCenterId": "EU-RO-1"}]},
    },
    "p16_volume_gpu": {"p16-gpu": {"networkVolumes": [SHARED], "is_load_balanced": False}},
    "p16_volume_api": {"p16-api": {"networkVolumes": [SHARED], "is_load_balanced": True}},
    "p30_remote": {
        "p30-gpu": {"gpuIds": "ADA_24", "workersMax": 3, "dependencies": ["requests"]},
        "p30-api": {"is_load_balanced": True},
    },
    "p19_gpu_routes": {"p19": {"is_load_balanced": True, "workersMin": 1, "dependencies": ["numpy"]}},
}
