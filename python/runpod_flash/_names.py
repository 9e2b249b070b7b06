"""Which endpoints of a process share a name: one that was declared again, or two that differ."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from . import _sources

if TYPE_CHECKING:
    from .endpoint import Endpoint


def declarations(endpoints: list[Endpoint]) -> tuple[list[tuple[Any, ...]], dict[str, Exception]]:
    """Return one declaration per name, as the core takes them, and the names that cannot be served.

    A function that was decorated again (a notebook cell run twice, a module reloaded) replaces its
    earlier self. Different functions share a name where one worker can serve them all.
    """
    groups: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint._normalized_name(endpoint.name or ""), []).append(endpoint)
    found: list[tuple[Any, ...]] = []
    refused: dict[str, Exception] = {}
    for name, group in groups.items():
        current = _without_replaced(group)
        descriptions = [_sources.description(endpoint) for endpoint in current]
        # What goes by value brings its own code, wherever the worker's comes from.
        named = [description for description in descriptions if description[2] != _sources.VALUE]
        problem = _problem(named)
        if problem is not None:
            refused[name] = _refusal(name, [description[0] for description in named], problem)
            continue
        endpoint, _, place, path, _ = (named or descriptions)[-1]
        callables = [callable_name for description in named for callable_name in description[4]]
        found.append((endpoint, name, place, path, callables))
    return found, refused


def _without_replaced(group: list[Endpoint]) -> list[Endpoint]:
    """Leave out endpoints all of whose functions were declared again by later ones."""
    kept: list[Endpoint] = []
    later: set[tuple[Any, ...]] = set()
    for endpoint in reversed(group):
        own = {(_file(target), qualname) for qualname, (target, _) in endpoint._targets.items()}
        if not own <= later:
            kept.append(endpoint)
        later |= own
    return kept[::-1]


def _problem(named: list[tuple[Any, ...]]) -> str | None:
    for first, other in itertools.pairwise(named):
        if other[2] != first[2]:
            return "in different files"
        if _settings(other[0]) != _settings(first[0]):
            return "with different settings"
    return None


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    # Those of one `@remote` resource may have dependencies of their own each, which add up.
    found: dict[str, Any] = getattr(endpoint, "_settings", endpoint._arguments)
    return found


def _refusal(name: str, endpoints: list[Endpoint], problem: str) -> Exception:
    from .errors import ConfigurationError

    targets = [target for endpoint in endpoints for target, _ in endpoint._targets.values()]
    places = " and ".join(f"`{target.__qualname__}` ({_line(target)})" for target in targets)
    return ConfigurationError(
        f"name: {name!r} is the name of endpoints {problem}: {places}",
        hint="give each endpoint a name of its own",
    )


def _file(target: Any) -> str | None:
    code = _sources.code_of(target)
    return None if code is None else os.path.abspath(code.co_filename)


def _line(target: Any) -> str:
    code = _sources.code_of(target)
    if code is None:
        return str(target.__module__)
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
