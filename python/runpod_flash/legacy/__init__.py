"""What 1.21 has beside ``Endpoint``: resource classes, ``remote``, ``FlashApp`` and helpers.

Loaded when it is touched, by the names of the package or by a path of ``_official``.
"""

from typing import Any


def endpoint_input(resource: Any) -> dict[str, Any]:
    """Return what Runpod is to be told of a resource, as the core takes it."""
    from . import cloud

    return cloud.endpoint_input(resource)
