"""Module paths of 1.21 that programs import, served from one table.

``import runpod_flash.core.resources.gpu`` has no file behind it: the finder that the package
registers asks :func:`spec`, and a name is looked up where it really is when it is touched.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_PACKAGE = "runpod_flash"

_ENUMS = "CPU_DATACENTERS CpuInstanceType CudaVersion DataCenter GpuGroup GpuType ServerlessScalerType ServerlessType"

#: Module path, then where its names come from: a module of this package ("" is the package itself,
#: which makes the enums), and the names.
MODULES: dict[str, dict[str, str]] = {
    "client": {"legacy.remote": "remote _normalize_resource_name _reject_unknown_kwargs _should_execute_locally"},
    "config": {"legacy.paths": "FlashPaths get_paths"},
    "core": {},
    "core.api": {"legacy.api": "RunpodGraphQLClient RunpodRestClient"},
    "core.api.runpod": {"legacy.api": "RunpodGraphQLClient RunpodRestClient", "legacy.urls": "GRAPHQL_URL"},
    "core.credentials": {
        "legacy.credentials": ("check_and_migrate_legacy_credentials get_api_key get_credentials_path save_api_key")
    },
    "core.deployment": {"legacy.health": "DeploymentResult DeploymentStatus"},
    "core.exceptions": {
        "errors": "LocalModulePayloadTooLargeError LocalModuleResolutionError RunpodAPIKeyError",
    },
    "core.resources": {
        "": _ENUMS,
        "legacy.app": "FlashApp",
        "legacy.balanced": "CpuLoadBalancerSlsResource LoadBalancerSlsResource",
        "legacy.base": "BaseResource DeployableResource",
        "legacy.gpu": "GpuTypeDetail",
        "legacy.health": "JobOutput",
        "legacy.live": "CpuLiveLoadBalancer CpuLiveServerless LiveLoadBalancer LiveServerless",
        "legacy.manager": "ResourceManager",
        "legacy.serverless": "CpuServerlessEndpoint ServerlessEndpoint ServerlessResource",
        "legacy.template": "PodTemplate",
        "legacy.volume": "NetworkVolume",
    },
    "core.resources.app": {"legacy.app": "FlashApp FlashAppError FlashAppNotFoundError FlashEnvironmentNotFoundError"},
    "core.resources.base": {"legacy.base": "BaseResource DeployableResource"},
    "core.resources.constants": {
        "legacy.constants": (
            "CPU_PYTHON_VERSIONS DEFAULT_LB_STUB_TIMEOUT DEFAULT_PYTHON_VERSION DEFAULT_WORKERS_MAX "
            "DEFAULT_WORKERS_MIN FLASH_CPU_LB_IMAGE FLASH_IMAGE_TAG GPU_BASE_IMAGE_PYTHON_VERSION "
            "GPU_PYTHON_VERSIONS GZIP_MAGIC_BYTES MAX_TARBALL_SIZE_MB SUPPORTED_PYTHON_VERSIONS "
            "TARBALL_CONTENT_TYPE UPLOAD_BACKOFF_BASE_SECONDS UPLOAD_BACKOFF_MAX_SECONDS "
            "UPLOAD_MAX_RETRIES UPLOAD_TIMEOUT_SECONDS VALID_TARBALL_EXTENSIONS WORKER_PYTHON_VERSION "
            "get_image_name validate_python_version"
        )
    },
    "core.resources.cpu": {
        "": "CpuInstanceType",
        "legacy.cpu": "CPU_INSTANCE_DISK_LIMITS calculate_max_disk_size get_max_disk_size_for_instances",
    },
    "core.resources.datacenter": {"": "CPU_DATACENTERS DataCenter"},
    "core.resources.gpu": {
        "": "GpuGroup GpuType",
        "legacy.gpu": "GpuLowestPrice GpuTypeDetail GpuTypeModel POOLS_TO_TYPES",
    },
    "core.resources.live_serverless": {
        "legacy.constants": "DEFAULT_PYTHON_VERSION",
        "legacy.live": ("CpuLiveLoadBalancer CpuLiveServerless LiveLoadBalancer LiveServerless LiveServerlessMixin"),
    },
    "core.resources.load_balancer_sls_resource": {
        "legacy.balanced": "CpuLoadBalancerSlsResource LoadBalancerSlsResource",
        "legacy.urls": "ENDPOINT_DOMAIN",
    },
    "core.resources.network_volume": {"": "DataCenter", "legacy.volume": "NetworkVolume"},
    "core.resources.request_logs": {"legacy.health": "QBRequestLogPhase"},
    "core.resources.resource_manager": {"legacy.manager": "ResourceManager"},
    "core.resources.serverless": {
        "": "CPU_DATACENTERS CudaVersion ServerlessScalerType ServerlessType",
        "legacy.constants": "DEFAULT_RUNSYNC_TIMEOUT_S DEFAULT_WORKERS_MAX DEFAULT_WORKERS_MIN LIVE_PREFIX",
        "legacy.health": "JobOutput JobsHealth ServerlessHealth Status WorkersHealth",
        "legacy.serverless": "ServerlessEndpoint ServerlessResource",
        "legacy.urls": "CONSOLE_URL",
    },
    "core.resources.serverless_cpu": {
        "legacy.cpu": "CPU_INSTANCE_DISK_LIMITS CpuEndpointMixin",
        "legacy.serverless": "CpuServerlessEndpoint",
    },
    "core.resources.template": {"legacy.template": "KeyValuePair PodTemplate"},
    "core.urls": {
        "legacy.urls": (
            "CONSOLE_URL DEFAULT_API_URL DEFAULT_CONSOLE_URL DEFAULT_ENDPOINT_URL DEFAULT_HAPI_URL "
            "DEFAULT_REST_API_URL ENDPOINT_DOMAIN GRAPHQL_URL RUNPOD_API_URL "
            "RUNPOD_CONSOLE_URL RUNPOD_ENDPOINT_URL RUNPOD_HAPI_URL RUNPOD_REST_API_URL"
        )
    },
    "core.utils": {},
    "core.utils.backoff": {"legacy.backoff": "BackoffStrategy get_backoff_delay"},
    "core.utils.http": {
        "legacy.http": (
            "get_authenticated_aiohttp_session get_authenticated_httpx_client get_authenticated_requests_session"
        )
    },
    "core.utils.user_agent": {"legacy.http": "get_user_agent"},
    "core.validation": {"legacy.credentials": "validate_api_key validate_api_key_with_context"},
    "execute_class": {
        "legacy.remote": "create_remote_class",
        "legacy.classes": "extract_class_code_simple get_class_cache_key get_or_cache_class_data",
    },
    "flash_context": {"legacy.paths": "DEFAULT_ENV get_flash_app get_flash_context"},
    "logger": {"legacy.logs": "SensitiveDataFilter setup_logging"},
    "protos": {},
    "protos.remote_execution": {"legacy.protocol": "FunctionRequest FunctionResponse RemoteExecutorStub"},
    "rules": {"legacy.agents": "install_agent_files"},
    "runtime": {},
    "runtime.config": {"legacy.serialization": "DESERIALIZE_TIMEOUT_SECONDS MAX_PAYLOAD_SIZE"},
    "runtime.context": {"legacy.paths": "is_deployed_container is_local_development"},
    "runtime.exceptions": {
        "errors": (
            "DeserializeTimeoutError FlashRuntimeError GraphQLError GraphQLMutationError GraphQLQueryError "
            "ManifestServiceUnavailableError PayloadTooLargeError RemoteExecutionError SerializationError"
        )
    },
    "runtime.resource_provisioner": {"legacy.provisioner": "create_resource_from_manifest"},
    "runtime.serialization": {
        "legacy.serialization": (
            "deserialize_arg deserialize_args deserialize_kwargs serialize_arg serialize_args serialize_kwargs"
        )
    },
    "stubs": {"legacy.stubs": "stub_resource"},
    "stubs.load_balancer_sls": {"legacy.stubs": "LoadBalancerSlsStub"},
    "stubs.registry": {"legacy.stubs": "stub_resource"},
}


def spec(full_name: str) -> ModuleSpec | None:
    """Return how to make one of the modules, ``None`` for another name."""
    name = full_name[len(_PACKAGE) + 1 :]
    if name not in MODULES:
        return None
    is_package = any(other.startswith(f"{name}.") for other in MODULES)
    loader: Any = _Loader()
    return ModuleSpec(full_name, loader, origin=f"{_PACKAGE}._official", is_package=is_package)


def names_of(name: str) -> dict[str, str]:
    """Return the names of a module, each with the module that has it."""
    return {entry: source for source, entries in MODULES[name].items() for entry in entries.split()}


def adopt(module: str) -> None:
    """Let the classes and functions of a module say that they are from where 1.21 has them.

    Pickles then name the same places in both packages.
    """
    here = sys.modules[f"{_PACKAGE}.{module}"]
    for path, sources in MODULES.items():
        for name in sources.get(module, "").split():
            value = vars(here).get(name)
            # The longest path is the one that defines it: `core.resources` only gathers names.
            if getattr(value, "__module__", None) == here.__name__ and _defines(path, module, name):
                value.__module__ = f"{_PACKAGE}.{path}"
                __import__(value.__module__)


def _defines(path: str, module: str, name: str) -> bool:
    return not any(
        other.startswith(f"{path}.") and name in sources.get(module, "").split() for other, sources in MODULES.items()
    )


class _Loader:
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Give a module its names, each of which is loaded when it is touched."""
        name = module.__name__[len(_PACKAGE) + 1 :]
        sources = names_of(name)

        def find(attribute: str) -> Any:
            source = sources.get(attribute)
            if source is None:
                raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")
            where = f"{_PACKAGE}.{source}" if source else _PACKAGE
            return getattr(__import__(where, fromlist=(attribute,)), attribute)

        module.__doc__ = f"Names of ``{module.__name__}`` as 1.21 has them."
        namespace: dict[str, Any] = module.__dict__
        namespace["__all__"] = [attribute for attribute in sources if not attribute.startswith("_")]
        namespace["__getattr__"] = find
        namespace["__dir__"] = lambda: sorted({*namespace, *sources})
