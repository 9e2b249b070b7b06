"""Sessions of other HTTP packages with Runpod's key in their headers."""

import importlib
import platform
from typing import Any

from .. import __version__, _official

#: No key was given, as opposed to ``None``: send none.
UNSET: Any = object()


def needed(package: str) -> Any:
    """Import a package that this one does not bring."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"this needs the package `{package}`, which runpod-flash does not install: run `pip install {package}`",
            name=error.name,
        ) from None


def get_user_agent() -> str:
    """Return how this package calls itself."""
    system = f"{platform.system()} {platform.release()}; {platform.machine()}"
    return f"Runpod Flash/{__version__} (Python {platform.python_version()}; {system})"


def get_authenticated_httpx_client(timeout: float | None = None, api_key_override: str | object | None = UNSET) -> Any:
    """Return an ``httpx.AsyncClient``; ``timeout`` in seconds, 30 where not given."""
    return needed("httpx").AsyncClient(timeout=30.0 if timeout is None else timeout, headers=_headers(api_key_override))


def get_authenticated_requests_session(api_key_override: str | object | None = UNSET) -> Any:
    """Return a ``requests.Session``."""
    session = needed("requests").Session()
    session.headers.update(_headers(api_key_override))
    return session


def get_authenticated_aiohttp_session(
    timeout: float = 300.0,
    api_key_override: str | object | None = UNSET,
    use_threaded_resolver: bool = True,
) -> Any:
    """Return an ``aiohttp.ClientSession``, inside a running loop; ``timeout`` in seconds."""
    aiohttp = needed("aiohttp")
    resolver = aiohttp.ThreadedResolver() if use_threaded_resolver else None
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout),
        headers=_headers(api_key_override),
        connector=aiohttp.TCPConnector(resolver=resolver),
    )


def _headers(api_key_override: str | object | None) -> dict[str, str]:
    headers = {"User-Agent": get_user_agent(), "Content-Type": "application/json"}
    if api_key_override is UNSET:
        from .credentials import get_api_key

        api_key_override = get_api_key()
    if isinstance(api_key_override, str) and api_key_override.strip():
        headers["Authorization"] = f"Bearer {api_key_override}"
    return headers


_official.adopt("legacy.http")
