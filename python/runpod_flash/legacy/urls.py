"""Addresses of Runpod's APIs, read from the environment when they are touched."""

import os
from typing import Any
from urllib.parse import urlsplit

#: Name, variable, what stands where the variable is unset.
_ADDRESSES = {
    "RUNPOD_API_URL": ("RUNPOD_API_BASE_URL", "https://api.runpod.io"),
    "RUNPOD_ENDPOINT_URL": ("RUNPOD_ENDPOINT_BASE_URL", "https://api.runpod.ai/v2"),
    "RUNPOD_REST_API_URL": ("RUNPOD_REST_API_URL", "https://rest.runpod.io/v1"),
    "RUNPOD_HAPI_URL": ("RUNPOD_HAPI_URL", "https://hapi.runpod.net"),
    "RUNPOD_CONSOLE_URL": ("RUNPOD_CONSOLE_URL", "https://console.runpod.io"),
}


def _read(name: str) -> str:
    variable, default = _ADDRESSES[name]
    value = os.environ.get(variable, "").strip().rstrip("/")
    if not value and variable == "RUNPOD_CONSOLE_URL":
        value = os.environ.get("CONSOLE_BASE_URL", "").strip().rstrip("/")
    if not value:
        return default
    parts = urlsplit(value)
    try:
        parts.port  # noqa: B018
    except ValueError as error:
        raise ValueError(f"{variable}={value!r} has a malformed port") from error
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{variable}={value!r} is not a valid http/https URL (such as {default})")
    return value


def balanced(endpoint: str) -> str:
    """Return the address of a load-balanced endpoint."""
    parts = urlsplit(_read("RUNPOD_ENDPOINT_URL"))
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1"):
        port = f":{parts.port}" if parts.port else ""
        return f"http://{endpoint}.api.localhost{port}"  # A platform on this machine.
    return f"{parts.scheme}://{endpoint}.{parts.netloc}"


def __getattr__(name: str) -> Any:
    if name in _ADDRESSES:
        return _read(name)
    if name.startswith("DEFAULT_") and f"RUNPOD_{name[len('DEFAULT_') :]}" in _ADDRESSES:
        return _ADDRESSES[f"RUNPOD_{name[len('DEFAULT_') :]}"][1]
    if name == "GRAPHQL_URL":
        return f"{_read('RUNPOD_API_URL')}/graphql"
    if name == "CONSOLE_URL":
        return f"{_read('RUNPOD_CONSOLE_URL')}/serverless/user/endpoint/%s"
    if name == "ENDPOINT_DOMAIN":
        return urlsplit(_read("RUNPOD_ENDPOINT_URL")).netloc
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
