"""Helpers of 1.21 around the source of a class."""

import ast
import hashlib
import inspect
import textwrap
import uuid
from typing import Any

from .. import _official

_cache: dict[str, str] = {}


def extract_class_code_simple(cls: type) -> str:
    """Return the source of a class without its decorators."""
    source = textwrap.dedent(inspect.getsource(cls))
    node = ast.parse(source).body[0]
    return "\n".join(source.splitlines()[node.lineno - 1 :])


def get_class_cache_key(cls: type, constructor_args: tuple[Any, ...], constructor_kwargs: dict[str, Any]) -> str:
    """Return a key of a class and its constructor's arguments."""
    import cloudpickle

    try:
        arguments = hashlib.sha256(cloudpickle.dumps((constructor_args, constructor_kwargs))).hexdigest()[:16]
        code = hashlib.sha256(extract_class_code_simple(cls).encode()).hexdigest()[:16]
    except Exception:  # Neither need be possible for a key that is only this object's.
        return f"{cls.__name__}_{uuid.uuid4().hex[:8]}"
    return f"{cls.__name__}_{code}_{arguments}"


def get_or_cache_class_data(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], cache_key: str) -> str:
    """Return the source of a class, kept under a key."""
    if cache_key not in _cache:
        _cache[cache_key] = extract_class_code_simple(cls)
    return _cache[cache_key]


_official.adopt("legacy.classes")
