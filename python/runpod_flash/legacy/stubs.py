"""``stub_resource``: a callable that runs functions on a resource."""

from collections.abc import Callable
from typing import Any

from .. import _official
from .remote import remote
from .serverless import ServerlessResource


def stub_resource(resource: ServerlessResource) -> Callable[..., Any]:
    """Return ``async (function, dependencies, system_dependencies, accelerate_downloads, *args, **kwargs)``."""

    async def stub(
        func: Any,
        dependencies: list[str] | None,
        system_dependencies: list[str] | None,
        accelerate_downloads: bool,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        any_resource: Any = resource
        decorated = remote(any_resource, dependencies, system_dependencies, accelerate_downloads, _internal=True)(func)
        return await decorated(*args, **kwargs)

    return stub


_official.adopt("legacy.stubs")
