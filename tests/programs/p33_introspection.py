"""What tools read from decorated objects."""

import inspect
import sys

from runpod_flash import Endpoint

api = Endpoint(name="p33-api", cpu="cpu3c-1-2")


@Endpoint(name="p33", cpu="cpu3c-1-2", system_dependencies=["ffmpeg"])
def function(a: int, b: str = "x") -> str:
    """Join."""
    return f"{a}{b}"


@Endpoint(name="p33-class", cpu="cpu3c-1-2")
class Thing:
    """A thing."""

    def go(self, x: int) -> int:
        return x


@api.get("/route")
def route(a: int = 1):
    return a


async def main():
    config = function.__remote_config__
    assert config["resource_config"].name.endswith("p33")
    assert config.get("method") is None
    assert config["system_dependencies"] == ["ffmpeg"]
    assert str(inspect.signature(function)) == "(a: int, b: str = 'x') -> str"
    assert function.__doc__ == "Join."
    assert inspect.iscoroutinefunction(function)
    assert function.__wrapped__(1) == "1x"
    assert Thing._wrapped_class.__name__ == "Thing"  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    made = Thing.__remote_config__  # mypy: attr-defined  pyright: reportAttributeAccessIssue
    assert made["resource_config"].name.endswith("p33-class")
    assert route.__is_lb_route_handler__ is True  # mypy: attr-defined  pyright: reportFunctionMemberAccess
    assert route.__remote_config__["method"] == "GET"  # mypy: attr-defined  pyright: reportFunctionMemberAccess
    assert route() == 1
    module = sys.modules[__name__]
    endpoints = [value for value in vars(module).values() if isinstance(value, Endpoint)]
    assert [(each.is_load_balanced, each.is_client) for each in endpoints] == [(True, False)]
    (entry,) = api._routes
    assert (entry["method"], entry["path"], entry["function"]) == ("GET", "/route", route)
