"""Our names beside those of the official package: each difference is listed here, with its reason."""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROBE = Path(__file__).with_name("surface_probe.py")

#: What differs on purpose: a pattern of what the probe describes, and why.
DIFFERENCES: dict[str, str] = {
    # Names and members.
    "CudaVersion.V11_*": "versions that the documentation names, which 1.21 does not have",
    "DataCenter.*": "data centers that the documentation names, which 1.21 does not have",
    "*.payload": "what Runpod gets of a resource, for programs that look",
    "Endpoint.datacenter": "read from the arguments, so that an endpoint without one names them all",
    "NetworkVolume.datacenter": "reads the data center; it is always None in 1.21",
    "NetworkVolume field datacenter": "a property here",
    "ResourceManager bases": "a singleton without a base class for it",
    "NetworkVolume.model_post_init": "pydantic's own",
    "RunpodGraphQLClient.create_flash_auth_request": "`flash login` asks Runpod itself",
    "RunpodGraphQLClient.get_flash_auth_request_status": "as above",
    "RunpodGraphQLClient.get_*_stock_status": "1.21 only uses it for its own diagnostics",
    "*.validate_cpu_container_disk_size": "a validator's inside",
    "try validate_api_key()": "other words for the same three ways",
    "RunpodGraphQLClient.*_template": "templates are changed together with their endpoint",
    "Endpoint.run": "takes the policy and the storage of a job, too",
    "Endpoint.runsync": "as above, and the webhook",
    "Endpoint.status": "asks for a job by its ID",
    "Endpoint.retry": "queues a job once more",
    "Endpoint.stream": "yields what a job sends while it runs",
    "Endpoint.health": "counters of jobs and workers",
    "Endpoint.requests": "the jobs that came last",
    "Endpoint.purge_queue": "drops what waits",
    "Endpoint*.blocking": "the same without an event loop",
    "EndpointJob.result": "the output without an event loop",
    "EndpointJob.retry": "queues it once more",
    "EndpointJob.stream": "yields what it sends while it runs",
    "EndpointJob.delay_time": "a field of the answer",
    "EndpointJob.execution_time": "a field of the answer",
    "EndpointJob.retries": "a field of the answer",
    "EndpointJob.worker_id": "a field of the answer",
    # Defects of 1.21 that are mended.
    "try NetworkVolume(name='v', datacenter='us-ca-2')": "any spelling, as `Endpoint(datacenter=...)` takes it",
    "try NetworkVolume(name='v', datacenter='nowhere')": "lists the data centers",
    "try *DataCenter.US_CA_2).datacenter": "reads the data center; it is always None in 1.21",
    "try *NetworkVolume(name='v').get_resource_key()": "volumes of one name in two data centers are two",
    "try PodTemplate*": "a template keeps its name until it belongs to an endpoint",
    "try LiveServerless(name='a', gpuIds=*": "`gpus` says the same as `gpuIds`",
    "try create_resource_from_manifest('gpu'*": "GPU count and timeout are kept, and `gpus` says the same as `gpuIds`",
    "try CpuLiveLoadBalancer(*containerDiskInGb=11))": "the disk limit counts for load-balanced endpoints, too",
    "try CpuLiveServerless(name='a').config_hash ==*": "workers and instances of CPU endpoints are drift, too",
    "try *PodTemplate(dockerArgs='x')).config_hash": "a template's settings are drift, too",
    "try LiveServerless(name='a', id='e1').endpoint_url*": "needs no `runpod` package, and no key",
    "try pickle.loads(*": "a copy is equal: what is computed on the way is no part of it",
    "try remote(*method='get'*": "methods in a fixed order",
    "try deserialize_arg('!')": "other words",
}


def describe(interpreter: str | Path, folder: Path) -> dict[str, Any]:
    unset = ("FLASH_", "RUNPOD_", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    environment |= {"HOME": str(folder), "PYTHONHASHSEED": "0"}
    folder.mkdir()
    ended = subprocess.run(
        [interpreter, PROBE], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout[ended.stdout.index('{"') :])
    return found


def is_same(key: str, theirs: Any, ours: Any) -> bool:
    """Return whether ours is theirs, or has more bases or annotations."""
    if key.endswith(" bases") and theirs is not None and ours is not None:
        return set(theirs) <= set(ours)
    if isinstance(theirs, str) and isinstance(ours, str) and theirs.replace(":", "") == ours.replace(":", ""):
        return theirs.count(":") <= ours.count(":")
    return bool(theirs == ours)


def test_surface_differs_from_1_21_only_where_it_is_listed(official: Path, tmp_path: Path) -> None:
    theirs = describe(official, tmp_path / "app")
    (tmp_path / "app").rename(tmp_path / "theirs")
    ours = describe(sys.executable, tmp_path / "app")
    assert len(theirs) > 500
    different = {key for key in theirs.keys() | ours.keys() if not is_same(key, theirs.get(key), ours.get(key))}
    known = {pattern: fnmatch.filter(different, pattern) for pattern in DIFFERENCES}
    unlisted = sorted(different - {key for keys in known.values() for key in keys})
    shown = "\n".join(f"{key}\n  1.21: {theirs.get(key)}\n  ours: {ours.get(key)}" for key in unlisted)
    assert not unlisted, f"differences that are not listed:\n{shown}"
    gone = [pattern for pattern, keys in known.items() if not keys]
    assert not gone, f"listed differences that are none: {gone}"
