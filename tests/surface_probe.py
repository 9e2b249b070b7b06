"""Describes the installed `runpod_flash` as one JSON object; run by the interpreter of either package."""

from __future__ import annotations

import contextlib
import enum
import importlib
import inspect
import io
import json
import re
import sys
import warnings
from typing import Any

#: Module paths and their names that users, docs, examples and generated code import.
MODULES = {
    "core.resources": (
        "BaseResource CpuInstanceType CpuLiveLoadBalancer CpuLiveServerless CpuLoadBalancerSlsResource "
        "CpuServerlessEndpoint CudaVersion CPU_DATACENTERS DataCenter DeployableResource GpuGroup GpuType "
        "GpuTypeDetail JobOutput LiveLoadBalancer LiveServerless LoadBalancerSlsResource NetworkVolume PodTemplate "
        "ResourceManager ServerlessEndpoint ServerlessResource ServerlessScalerType ServerlessType FlashApp"
    ),
    "core.resources.gpu": "GpuGroup GpuType GpuLowestPrice GpuTypeModel GpuTypeDetail POOLS_TO_TYPES",
    "core.resources.cpu": (
        "CpuInstanceType CPU_INSTANCE_DISK_LIMITS calculate_max_disk_size get_max_disk_size_for_instances"
    ),
    "core.resources.base": "BaseResource DeployableResource",
    "core.resources.datacenter": "CPU_DATACENTERS DataCenter",
    "core.resources.serverless": (
        "ServerlessResource ServerlessEndpoint JobOutput Status WorkersHealth JobsHealth ServerlessHealth "
        "LIVE_PREFIX DEFAULT_RUNSYNC_TIMEOUT_S CudaVersion ServerlessScalerType ServerlessType"
    ),
    "core.resources.serverless_cpu": "CpuServerlessEndpoint CpuEndpointMixin CPU_INSTANCE_DISK_LIMITS",
    "core.resources.live_serverless": (
        "CpuLiveLoadBalancer CpuLiveServerless LiveLoadBalancer LiveServerless LiveServerlessMixin"
    ),
    "core.resources.load_balancer_sls_resource": ("CpuLoadBalancerSlsResource LoadBalancerSlsResource ENDPOINT_DOMAIN"),
    "core.resources.network_volume": "NetworkVolume",
    "core.resources.template": "PodTemplate KeyValuePair",
    "core.resources.resource_manager": "ResourceManager",
    "core.resources.request_logs": "QBRequestLogPhase",
    "core.resources.app": "FlashApp FlashAppError FlashAppNotFoundError FlashEnvironmentNotFoundError",
    "core.resources.constants": (
        "WORKER_PYTHON_VERSION GPU_BASE_IMAGE_PYTHON_VERSION DEFAULT_PYTHON_VERSION GPU_PYTHON_VERSIONS "
        "CPU_PYTHON_VERSIONS SUPPORTED_PYTHON_VERSIONS FLASH_IMAGE_TAG FLASH_CPU_LB_IMAGE DEFAULT_WORKERS_MIN "
        "DEFAULT_WORKERS_MAX TARBALL_CONTENT_TYPE MAX_TARBALL_SIZE_MB VALID_TARBALL_EXTENSIONS GZIP_MAGIC_BYTES "
        "UPLOAD_TIMEOUT_SECONDS UPLOAD_MAX_RETRIES UPLOAD_BACKOFF_BASE_SECONDS UPLOAD_BACKOFF_MAX_SECONDS "
        "DEFAULT_LB_STUB_TIMEOUT get_image_name validate_python_version"
    ),
    "core.credentials": "get_api_key save_api_key get_credentials_path check_and_migrate_legacy_credentials",
    "core.deployment": "DeploymentStatus DeploymentResult",
    "core.exceptions": "RunpodAPIKeyError LocalModuleResolutionError LocalModulePayloadTooLargeError",
    "core.validation": "validate_api_key validate_api_key_with_context",
    "core.urls": (
        "RUNPOD_API_URL RUNPOD_ENDPOINT_URL RUNPOD_REST_API_URL RUNPOD_HAPI_URL RUNPOD_CONSOLE_URL GRAPHQL_URL "
        "CONSOLE_URL ENDPOINT_DOMAIN DEFAULT_API_URL DEFAULT_ENDPOINT_URL "
        "DEFAULT_REST_API_URL DEFAULT_HAPI_URL DEFAULT_CONSOLE_URL"
    ),
    "core.utils.http": (
        "get_authenticated_httpx_client get_authenticated_requests_session get_authenticated_aiohttp_session"
    ),
    "core.utils.backoff": "BackoffStrategy get_backoff_delay",
    "core.utils.user_agent": "get_user_agent",
    "core.api": "RunpodGraphQLClient RunpodRestClient",
    "runtime.exceptions": (
        "FlashRuntimeError RemoteExecutionError SerializationError PayloadTooLargeError DeserializeTimeoutError "
        "GraphQLError GraphQLMutationError GraphQLQueryError ManifestServiceUnavailableError"
    ),
    "runtime.serialization": (
        "serialize_arg serialize_args serialize_kwargs deserialize_arg deserialize_args deserialize_kwargs"
    ),
    "runtime.context": "is_deployed_container is_local_development",
    "runtime.config": "MAX_PAYLOAD_SIZE DESERIALIZE_TIMEOUT_SECONDS",
    "runtime.resource_provisioner": "create_resource_from_manifest",
    "flash_context": "get_flash_context get_flash_app DEFAULT_ENV",
    "protos.remote_execution": "FunctionRequest FunctionResponse RemoteExecutorStub",
    "stubs": "stub_resource",
    "execute_class": "create_remote_class get_class_cache_key extract_class_code_simple get_or_cache_class_data",
    "client": "remote _should_execute_locally _normalize_resource_name",
    "rules": "install_agent_files",
    "config": "FlashPaths get_paths",
    "logger": "SensitiveDataFilter setup_logging",
    "endpoint": "Endpoint EndpointJob",
}

#: What is tried in both: an expression, whose value or error is compared.
INPUTS = [
    "LiveServerless(name='a')",
    "LiveServerless(name='a', env={'A': '1'}, workersMax=3, idleTimeout=5)",
    "LiveServerless(name='a-fb-fb')",
    "LiveServerless(name='a-fb', flashboot=False)",
    "LiveServerless(name='a', flashboot='no')",
    "LiveServerless(name='a', gpus=[GpuGroup.ADA_24, GpuType.NVIDIA_L4])",
    "LiveServerless(name='a', gpus=['ADA_24', 'NVIDIA L4'])",
    "LiveServerless(name='a', gpus=['any'])",
    "LiveServerless(name='a', gpus=['nothing'])",
    "LiveServerless(name='a', gpus=[])",
    "LiveServerless(name='a', gpuIds='AMPERE_24')",
    "LiveServerless(name='a', gpuIds=' b,-c, A ')",
    "LiveServerless(name='a', gpuCount=0)",
    "LiveServerless(name='a', idleTimeout=0)",
    "LiveServerless(name='a', idleTimeout=3601)",
    "LiveServerless(name='a', idleTimeout='5')",
    "LiveServerless(name='a', idleTimeout=1.5)",
    "LiveServerless(name='a', idleTimeout=None)",
    "LiveServerless(name='a', env={'A': 1})",
    "LiveServerless(name='a', env=['A'])",
    "LiveServerless(name='a', env={})",
    "LiveServerless(name='a', workersMin=2, workersMax=1)",
    "LiveServerless(name='a', workersMin=-1)",
    "LiveServerless(name='a', datacenter='us-ca-2')",
    "LiveServerless(name='a', datacenter=['US_CA_2', DataCenter.EU_RO_1])",
    "LiveServerless(name='a', datacenter='nowhere')",
    "LiveServerless(name='a', datacenter=('US-CA-2',))",
    "LiveServerless(name='a', datacenter=5)",
    "LiveServerless(name='a', minCudaVersion='12.4')",
    "LiveServerless(name='a', minCudaVersion='12.99')",
    "LiveServerless(name='a', minCudaVersion=12.4)",
    "LiveServerless(name='a', minCudaVersion=None)",
    "LiveServerless(name='a', cudaVersions=[CudaVersion.V12_4, CudaVersion.V12_8])",
    "LiveServerless(name='a', allowedCudaVersions='12.4,12.8')",
    "LiveServerless(name='a', allowedCudaVersions='9.9')",
    "LiveServerless(name='a', python_version='3.11')",
    "LiveServerless(name='a', python_version='3.9')",
    "LiveServerless(name='a', imageName='mine:1')",
    "LiveServerless(name='a', template=PodTemplate(containerDiskInGb=100))",
    "LiveServerless(name='a', template=PodTemplate(env=[{'key': 'A', 'value': 'b'}]))",
    "LiveServerless(name='a', env={'C': 'd'}, template=PodTemplate(env=[{'key': 'A', 'value': 'b'}]))",
    "LiveServerless(name='a', env={}, template=PodTemplate(env=[{'key': 'A', 'value': 'b'}]))",
    "LiveServerless(name='a', templateId='t1')",
    "LiveServerless(name='a', worker_max=3)",
    "LiveServerless()",
    "LiveServerless(name=5)",
    "LiveServerless(name='a', networkVolume=NetworkVolume(name='v'))",
    "LiveServerless(name='a', networkVolume=NetworkVolume(id='v1'))",
    "LiveServerless(name='a', networkVolumes=[NetworkVolume(name='v'), NetworkVolume(name='w')])",
    "LiveServerless(name='a', datacenter='US-CA-2', networkVolume=NetworkVolume(name='v'))",
    "LiveServerless(name='a', instanceIds=['cpu3c-1-2'], template=PodTemplate(containerDiskInGb=11))",
    "LiveServerless(name='a', scalerType='REQUEST_COUNT', scalerValue=9)",
    "LiveServerless(name='a', type='LB')",
    "LiveServerless(name='a') == LiveServerless(name='a')",
    "CpuLiveServerless(name='a')",
    "CpuLiveServerless(name='a', instanceIds=[CpuInstanceType.CPU3C_1_2, 'cpu5c-4-8'])",
    "CpuLiveServerless(name='a', instanceIds=['cpu'])",
    "CpuLiveServerless(name='a', instanceIds=[])",
    "CpuLiveServerless(name='a', instanceIds=['cpu3c-1-2'], template=PodTemplate(containerDiskInGb=11))",
    "CpuLiveServerless(name='a', datacenter='US-CA-2')",
    "CpuLiveServerless(name='a', datacenter='EU-RO-1')",
    "LiveLoadBalancer(name='a')",
    "LiveLoadBalancer(name='a', type='QB', scalerType='QUEUE_DELAY')",
    "CpuLiveLoadBalancer(name='a', instanceIds=['cpu3c-1-2'])",
    "CpuLiveLoadBalancer(name='a', instanceIds=['cpu3c-1-2'], template=PodTemplate(containerDiskInGb=11))",
    "ServerlessEndpoint(name='a')",
    "ServerlessEndpoint(name='a', imageName='mine:1')",
    "ServerlessEndpoint(name='a', templateId='t1')",
    "CpuServerlessEndpoint(name='a', imageName='mine:1')",
    "LoadBalancerSlsResource(name='a', imageName='mine:1')",
    "CpuLoadBalancerSlsResource(name='a', imageName='mine:1')",
    "ServerlessResource(name='a')",
    "NetworkVolume(name='v')",
    "NetworkVolume(id='v1')",
    "NetworkVolume()",
    "NetworkVolume(name=' ')",
    "NetworkVolume(name='v', size=9)",
    "NetworkVolume(name='v', size=4097)",
    "NetworkVolume(name='v', size=None)",
    "NetworkVolume(name='v', datacenter=DataCenter.US_CA_2)",
    "NetworkVolume(name='v', datacenter='US-CA-2')",
    "NetworkVolume(name='v', datacenter='us-ca-2')",
    "NetworkVolume(name='v', datacenter='nowhere')",
    "NetworkVolume(name='v', colour='red')",
    "NetworkVolume(name='v', datacenter=DataCenter.US_CA_2).datacenter",
    "NetworkVolume(name='v').resource_id, NetworkVolume(id='v1').resource_id",
    "str(NetworkVolume(id='v1')), NetworkVolume(id='v1').is_created, NetworkVolume(id='v1').url",
    "NetworkVolume(name='v').url",
    "PodTemplate()",
    "PodTemplate(name='n').name",
    "PodTemplate(env={'a': 'b'})",
    "PodTemplate(colour='red')",
    "KeyValuePair.from_dict({'a': 'b'})",
    "KeyValuePair.from_dict([])",
    "str(LiveServerless(name='a', id='e1')), LiveServerless(name='a', id='e1').url",
    "LiveServerless(name='a', id='e1').endpoint_url, LiveLoadBalancer(name='a', id='e1').endpoint_url",
    "LiveServerless(name='a').url",
    "LiveServerless(name='a').endpoint_url",
    "LiveServerless(name='a').resource_id, LiveServerless(name='a').config_hash",
    "CpuLiveServerless(name='a').resource_id",
    "LiveServerless(name='a').get_resource_key(), NetworkVolume(name='v').get_resource_key()",
    "LiveServerless(name='a').config_hash == LiveServerless(name='a', workersMax=2).config_hash",
    "LiveServerless(name='a').config_hash == LiveServerless(name='a', env={}).config_hash",
    "CpuLiveServerless(name='a').config_hash == CpuLiveServerless(name='a', workersMax=2).config_hash",
    "CpuLiveServerless(name='a').config_hash == CpuLiveServerless(name='a', instanceIds=['cpu3c-1-2']).config_hash",
    "CpuLiveLoadBalancer(name='a').config_hash == CpuLiveLoadBalancer(name='a', workersMax=2).config_hash",
    "LiveServerless(name='a').config_hash == LiveServerless(name='a', template=PodTemplate(dockerArgs='x')).config_hash",
    "setattr(LiveServerless(name='a'), 'idleTimeout', 99999)",
    "setattr(LiveServerless(name='a'), 'nothing', 1)",
    "pickle.loads(pickle.dumps(LiveServerless(name='a'))) == LiveServerless(name='a')",
    "LiveServerless.__module__, ServerlessResource.__module__, CpuLoadBalancerSlsResource.__module__",
    "JobOutput(id='j', workerId='w', status='COMPLETED', delayTime=1, executionTime=2)",
    "JobOutput(id='j')",
    "WorkersHealth(idle=0, initializing=1, ready=0, running=0, throttled=1, unhealthy=1).status.value",
    "WorkersHealth(idle=0, initializing=0, ready=0, running=0, throttled=0, unhealthy=0).status.value",
    "FunctionRequest(function_name='f')",
    "FunctionRequest()",
    "FunctionRequest(execution_type='class')",
    "FunctionResponse(success=True)",
    "get_image_name('gpu', '3.12'), get_image_name('lb-cpu', '3.10', tag='x')",
    "get_image_name('tpu', '3.12')",
    "get_image_name('gpu', '3.9')",
    "validate_python_version('3.13')",
    "GpuGroup.all()",
    "GpuType.all() == [t for t in GpuType if t.name != 'ANY']",
    "GpuGroup.to_gpu_ids_str([GpuType.NVIDIA_L4, GpuType.NVIDIA_A40])",
    "GpuGroup.from_gpu_ids_str('AMPERE_24,-NVIDIA L4,ADA_24')",
    "calculate_max_disk_size(CpuInstanceType.CPU5C_4_8), get_max_disk_size_for_instances(None)",
    "_normalize_resource_name('live-live-a-fb-fb')",
    "deserialize_args(serialize_args((1, 'a', None, [2.5])))",
    "deserialize_kwargs(serialize_kwargs({'a': {1: 2}}))",
    "deserialize_arg('!')",
    "remote(LiveServerless(name='a'), dependancies=[])",
    "remote(LiveServerless(name='a'), worker=1, colour='red')",
    "remote(LiveLoadBalancer(name='a'), _internal=True)(handler)",
    "remote(LiveLoadBalancer(name='a'), method='get', path='/x', _internal=True)(handler)",
    "remote(LiveLoadBalancer(name='a'), method='GET', path='x', _internal=True)(handler)",
    "remote(LiveLoadBalancer(name='a'), method='GET', path='/x', _internal=True)(handler) is handler",
    "sorted(remote(LiveLoadBalancer(name='a'), method='PUT', path='/y', _internal=True)(handler).__remote_config__)",
    "sorted(remote(LiveServerless(name='b'), _internal=True)(fresh()).__remote_config__)",
    "remote(LiveServerless(name='b'), local=True, _internal=True)(plain) is plain, plain.__flash_local__",
    "inspect.iscoroutinefunction(remote(LiveServerless(name='b'), _internal=True)(fresh()))",
    "remote(LiveServerless(name='b'), _internal=True)(Plain)._wrapped_class is Plain",
    "create_resource_from_manifest('gpu', MANIFEST, flash_app_name='app', flash_env_name='prod')",
    "create_resource_from_manifest('api', {'resource_type': 'CpuLiveLoadBalancer', 'instanceIds': ['cpu3c-1-2']})",
    "create_resource_from_manifest('x', {'resource_type': 'Nope'})",
    "get_flash_app(), get_flash_context(), is_deployed_container(), is_local_development()",
    "ResourceManager() is ResourceManager(), ResourceManager().list_all_resources()",
    "ResourceManager().find_resources_by_name('a'), ResourceManager().find_resources_by_provider_id('a')",
    "asyncio.run(ResourceManager().undeploy_resource('LiveServerless:a'))",
    "asyncio.run(FlashApp.delete())",
    "asyncio.run(FlashApp('a').upload_build('nothing.tar.gz'))",
    "asyncio.run(NetworkVolume(name='v').undeploy())",
    "asyncio.run(LiveServerless(name='a').run({'input': {}}))",
    "asyncio.run(LiveServerless(name='a').is_deployed())",
    "get_api_key()",
    "validate_api_key()",
]

MANIFEST = {
    "resource_type": "LiveServerless",
    "imageName": "runpod/flash:latest",
    "gpuIds": "AMPERE_24",
    "workersMin": 0,
    "workersMax": 3,
    "idleTimeout": 5,
    "gpuCount": 2,
    "executionTimeoutMs": 99,
    "env": {"A": "1"},
}


async def plain(x: int) -> int:
    return x


def handler(x: int) -> int:
    return x


def fresh() -> Any:
    def function(x: int, y: int = 2) -> int:
        return x + y

    return function


class Plain:
    def method(self) -> int:
        return 1


def text(value: Any) -> str:
    """Return a value as text that is the same in both packages."""
    if type(value).__name__ == "PosixPath":
        return "a path"
    return re.sub(r"<(function|object object|class|class ')[^>]*>", r"<\1>", repr(value))


def signature(function: Any) -> str:
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        default = "" if parameter.default is parameter.empty else f"={text(parameter.default)}"
        annotated = "" if parameter.annotation is parameter.empty else ":"
        parameters.append(f"{parameter.kind.name[:3]} {parameter.name}{annotated}{default}")
    return ", ".join(parameters)


def is_model(value: type) -> bool:
    return hasattr(value, "model_fields")


def describe_class(key: str, value: type, found: dict[str, Any]) -> None:
    ours = ("runpod_flash", "builtins")
    found[f"{key} bases"] = sorted(
        {
            base.__name__
            for base in value.__mro__[1:]
            if base.__module__.partition(".")[0] in ours or base.__name__ in {"BaseModel", "Enum", "ABC"}
        }
        - {"object"}
    )
    if issubclass(value, enum.Enum):
        for name, member in value.__members__.items():
            found[f"{key}.{name}"] = text(member.value)
        return
    if issubclass(value, BaseException):
        return
    if is_model(value):
        for name, field in value.model_fields.items():  # type: ignore[attr-defined]
            default = "required" if field.is_required() else text(field.get_default(call_default_factory=True))
            found[f"{key} field {name}"] = default
    else:
        with contextlib.suppress(TypeError, ValueError):
            found[f"{key} constructor"] = signature(value)
    decorators = getattr(value, "__pydantic_decorators__", None)
    inner = {name for kind in type(decorators).__slots__ for name in getattr(decorators, kind)} if decorators else set()
    for name in dir(value):
        if name.startswith("_") or name in inner or (is_model(value) and name in dir(inspect.getmro(value)[-2])):
            continue
        raw = inspect.getattr_static(value, name)
        if inspect.isdatadescriptor(raw):
            found[f"{key}.{name}"] = "property"
        elif callable(getattr(value, name)):
            is_async = "async " if inspect.iscoroutinefunction(getattr(value, name)) else ""
            found[f"{key}.{name}"] = f"{is_async}{signature(getattr(value, name))}"


def describe_names(found: dict[str, Any], names: dict[str, Any]) -> None:
    done: dict[int, str] = {}
    for module_name, entries in MODULES.items():
        try:
            module = importlib.import_module(f"runpod_flash.{module_name}")
        except ImportError as error:
            found[f"module {module_name}"] = str(error)
            continue
        found[f"module {module_name}"] = "there"
        for name in entries.split():
            key = f"{module_name}:{name}"
            try:
                value = getattr(module, name)
            except AttributeError:
                found[key] = "missing"
                continue
            names[name] = value
            if id(value) in done and (inspect.isclass(value) or inspect.isfunction(value)):
                found[key] = f"is {done[id(value)]}"
                continue
            done[id(value)] = name
            if inspect.isclass(value):
                found[key] = "class"
                describe_class(name, value, found)
            elif inspect.isfunction(value):
                is_async = "async " if inspect.iscoroutinefunction(value) else ""
                found[key] = f"{is_async}function({signature(value)})"
            else:
                found[key] = text(value)


def describe_public(found: dict[str, Any]) -> None:
    import runpod_flash

    found["__all__"] = list(runpod_flash.__all__)[:25]
    for name in found["__all__"]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(runpod_flash, name)
        found[f"touch {name}"] = [
            f"{warning.category.__name__}: {warning.message}"
            for warning in caught
            if warning.filename == __file__ and warning.category is DeprecationWarning
        ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from runpod_flash.client import remote
        from runpod_flash.core.resources import LiveServerless

        remote(LiveServerless(name="w"))
    found["call remote"] = [f"{warning.category.__name__}: {warning.message}" for warning in caught]


def outcome(expression: str, names: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            value = eval(expression, names)
    except Exception as error:
        errors = getattr(error, "errors", None)
        if type(error).__name__ == "ValidationError" and errors:
            return ["ValidationError", *(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in errors())]
        kinds = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
        return [kinds[0], str(error).partition("\n")[0]]
    if is_model(type(value)):
        return json.loads(value.model_dump_json(exclude_none=True))
    return text(value)


def main() -> None:
    import asyncio
    import pickle

    warnings.simplefilter("ignore")
    found: dict[str, Any] = {}
    names: dict[str, Any] = {
        "asyncio": asyncio,
        "pickle": pickle,
        "inspect": inspect,
        "MANIFEST": MANIFEST,
        "plain": plain,
        "handler": handler,
        "fresh": fresh,
        "Plain": Plain,
    }
    describe_public(found)
    describe_names(found, names)
    for expression in INPUTS:
        found[f"try {expression}"] = outcome(expression, names)
    json.dump(found, sys.__stdout__)


if __name__ == "__main__":
    main()
