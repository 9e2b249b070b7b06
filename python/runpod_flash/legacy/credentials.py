"""The API key: where it is found and kept."""

from pathlib import Path

from .. import _core, _official
from ..errors import RunpodAPIKeyError


def get_api_key() -> str | None:
    """Return the key: ``RUNPOD_API_KEY``, else that of the credentials file."""
    return _core.api_key()


def save_api_key(api_key: str) -> Path:
    """Keep a key in the credentials file, which only its owner can read; return the file."""
    return Path(_core.save_api_key(api_key))


def get_credentials_path() -> Path:
    """Return the credentials file."""
    return Path.home() / ".runpod" / "config.toml"


def check_and_migrate_legacy_credentials() -> bool:
    """Take over the key of ``~/.config/runpod/credentials.toml`` where there is no other."""
    return _core.migrate_api_key()


def validate_api_key() -> str:
    """Return the key, or say how to get one."""
    key = get_api_key()
    if key is None:
        raise RunpodAPIKeyError
    return key


def validate_api_key_with_context(operation: str) -> str:
    """Return the key, or say what needs one."""
    try:
        return validate_api_key()
    except RunpodAPIKeyError as error:
        raise RunpodAPIKeyError(f"Cannot {operation}: {error}") from None


_official.adopt("legacy.credentials")
