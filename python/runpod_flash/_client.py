"""What a client endpoint (``id=`` or ``image=``) sends; loaded at its first request."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from . import _core, _encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._job import EndpointJob
    from .endpoint import Endpoint

#: What may stand beside ``input`` in the body of a job.
_FIELDS = frozenset({"input", "webhook", "policy", "s3Config"})


def shown(endpoint: Endpoint) -> str:
    """Return what errors call an endpoint."""
    return str(endpoint.id if endpoint.id is not None else endpoint.name)


def job(data: dict[str, Any], endpoint: Endpoint) -> EndpointJob[Any]:
    """Return the job that an answer is about."""
    from ._job import EndpointJob

    return EndpointJob(data, endpoint)


def known(endpoint: Endpoint, *, balanced: bool = False) -> tuple[str, ...] | None:
    """Return how the core addresses an endpoint whose ID is known."""
    made = endpoint._balanced_id if balanced else endpoint._endpoint_id
    found = endpoint.id if endpoint.id is not None else made
    return None if found is None else (str(found),)


async def reference(
    endpoint: Endpoint, route: str = "run", body: Sequence[bytes] = (), sizes: Sequence[tuple[str, int]] = ()
) -> tuple[str, ...]:
    """Return how the core addresses an endpoint: ``(id,)``, or app, environment and name.

    An ID always counts. An image becomes an endpoint at its first request, a load-balanced one for the route
    ``balanced`` and a queue-based one for jobs; in a worker on Runpod it is the one that was deployed with the
    app. None is made for a body that its route does not take.
    """
    balanced = route == "balanced"
    if (found := known(endpoint, balanced=balanced)) is not None:
        return found
    if os.environ.get("RUNPOD_ENDPOINT_ID") or os.environ.get("RUNPOD_POD_ID"):
        from . import _deployed

        return _deployed.address(endpoint)
    _core.check_size(str(endpoint.name), route, list(body), list(sizes))
    made = await _provision(endpoint, balanced)
    if balanced:
        endpoint._balanced_id = made
    else:
        endpoint._endpoint_id = made
    return (made,)


async def _provision(endpoint: Endpoint, balanced: bool) -> str:
    if os.environ.get("FLASH_TARGET", "").strip().lower() == "local":
        from .errors import TargetError

        raise TargetError(
            f"Endpoint(image={endpoint.image!r}) runs on Runpod, and FLASH_TARGET=local allows this machine only",
            hint="leave FLASH_TARGET unset, or use Endpoint(id=...) with an endpoint that exists",
        )
    from . import _light
    from .legacy import cloud, declared

    config = endpoint._build_resource_config()
    resource = declared.balanced_resource(endpoint, config.name) if balanced else _light.resource_of(config)
    return await cloud.provision(resource)


def body(
    input_data: Any,
    webhook: str | None,
    policy: Mapping[str, Any] | None,
    s3_config: Mapping[str, Any] | None,
) -> tuple[list[bytes], list[tuple[str, int]]]:
    """Return a job's body, as pieces of JSON text.

    A dict that has ``input`` and nothing but fields of a job is such a body already; anything else is
    the input.
    """
    fields: dict[str, Any] = {"input": input_data}
    if isinstance(input_data, dict) and "input" in input_data and input_data.keys() <= _FIELDS:
        fields = dict(input_data)
    for name, value in (("webhook", webhook), ("policy", policy), ("s3Config", s3_config)):
        if value is not None:
            fields[name] = value
    text = _encode.encode(fields.pop("input"), "input")
    rest = "".join(f',"{name}":{_encode.encode(value, name).decode()}' for name, value in fields.items())
    return [b'{"input":', text, rest.encode() + b"}"], [("input", len(text))]


async def request(
    endpoint: Endpoint,
    method: str,
    path: str,
    data: Any,
    *,
    timeout: float | None = 60.0,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Any:
    """Send a request to a load-balanced endpoint and return what its answer says."""
    sent = {str(name): str(value) for name, value in (headers or {}).items()}
    pieces: list[bytes] = []
    if isinstance(data, (bytes, bytearray, memoryview)):
        pieces = [bytes(data)]
        if not any(name.lower() == "content-type" for name in sent):
            sent["Content-Type"] = "application/octet-stream"
    elif data is not None:
        pieces = [_encode.encode(data, "data")]
    query = [(str(name), text) for name, value in (params or {}).items() for text in _texts(value)]
    sizes = [("data", len(piece)) for piece in pieces]
    where = await reference(endpoint, "balanced", pieces, sizes)
    _, kind, answer = await _core.balanced_request(where, method, path, query, sent, pieces, sizes, timeout)
    return _read(kind, answer)


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def _read(kind: str, answer: bytes) -> Any:
    """Return JSON as values, other text as text, and anything else as it came; ``None`` for nothing."""
    if not answer:
        return None
    kind = kind.partition(";")[0].strip().lower()
    if kind.startswith("text/"):
        return answer.decode("utf-8", "replace")
    if kind and not (kind.endswith("json") or kind == "application/octet-stream"):
        return answer
    try:
        return json.loads(answer)
    except RecursionError as error:
        from .errors import MalformedAnswerError

        raise MalformedAnswerError(f"the endpoint's answer cannot be read: it is nested too deeply: {error}") from error
    except ValueError:
        if kind.endswith("json"):
            raise
        return answer
