"""Runs source that each call brings: the worker of a live endpoint (``wire.md`` 1.2 to 1.10, 2.1).

A call's input is a FunctionRequest, its output a FunctionResponse, as the official worker images
have them. Only a worker that was started for it gets here.
"""

from __future__ import annotations

import asyncio
import contextvars
import linecache
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from .._core import dump_text, load_text
from . import encoding, output, report
from .functions import is_async, outcome
from .modules import Modules
from .packages import Packages
from .report import RefusedError, failure

if TYPE_CHECKING:
    from .calls import Call, Calls

#: Instances kept for their next call; the client keeps as many.
INSTANCES_KEPT = 1000
#: Said of a name that the source does not define.
ONLY_THE_TEXT = (
    "only the text of the function travels to a live endpoint: import modules and define names inside it, "
    "or move them to a local module that it imports"
)


class FunctionRequest:
    """What a call brings; absent fields have the official defaults."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict) or not ("function_code" in value or "class_code" in value):
            raise refused("it has neither `function_code` nor `class_code`")
        self.is_class = _field(value, "execution_type", str, "function") == "class"
        kind = "class" if self.is_class else "function"
        self.name: str = _field(value, f"{kind}_name", str, "")
        self.code: str = _field(value, f"{kind}_code", str, "")
        if not self.name or not self.code:
            raise refused(f'`execution_type` "{kind}" needs `{kind}_name` and `{kind}_code`')
        self.args: list[Any] = _field(value, "args", list, [])
        self.kwargs: dict[str, Any] = _field(value, "kwargs", dict, {})
        self.constructor_args: list[Any] = _field(value, "constructor_args", list, [])
        self.constructor_kwargs: dict[str, Any] = _field(value, "constructor_kwargs", dict, {})
        self.method: str = _field(value, "method_name", str, "__call__")
        self.instance_id: str = _field(value, "instance_id", str, "")
        self.is_new_instance: bool = _field(value, "create_new_instance", bool, True)
        self.modules: dict[str, str] = _field(value, "modules", dict, {})
        self.dependencies: list[str] = _field(value, "dependencies", list, [])
        self.system_dependencies: list[str] = _field(value, "system_dependencies", list, [])
        self.is_json: bool = _field(value, "serialization_format", str, "cloudpickle") == "json"
        #: The generator function or method whose items the caller reads as they come. Official
        #: clients send no such field, and official workers ignore it: for them the request also names
        #: a function that makes a list of the items.
        self.stream: str = _field(value, "stream", str, "")
        #: Whether the response is to have all items as well.
        self.keeps_items: bool = _field(value, "keep_items", bool, False)

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of the function or method."""
        return self._read(self.args), self._read(self.kwargs)

    def constructor(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of the constructor."""
        return self._read(self.constructor_args), self._read(self.constructor_kwargs)

    def _read(self, values: Any) -> Any:
        if isinstance(values, dict):
            return {name: self._value(value) for name, value in values.items()}
        return [self._value(value) for value in values]

    def _value(self, value: Any) -> Any:
        if self.is_json:
            return value
        try:
            return load_text(value)
        except Exception as error:
            raise UnreadableError(f"an argument cannot be read: {report.message_of(error)}") from error


class UnreadableError(Exception):
    """An argument is not what the client should have sent, or needs a module that is not here."""


class Instance:
    """An object of a shipped class, kept for its next call."""

    def __init__(self, code: str, value: Any) -> None:
        self.code = code
        self.value = value
        self.created = self.used = datetime.now(timezone.utc)
        self.calls = 0

    def note_call(self) -> None:
        """Count one call."""
        self.calls += 1
        self.used = datetime.now(timezone.utc)


class Live:
    """Executes FunctionRequests one by one or, where the endpoint takes several, side by side."""

    def __init__(self, calls: Calls) -> None:
        program = calls.program
        self._calls = calls
        self._packages = Packages(calls.link)
        self._modules = Modules()
        self._instances: dict[str, Instance] = {}
        self._lock = threading.RLock()
        self._told: set[str] = set()
        self._has_main = program.max_concurrency == 1 and program.kind == "queue"
        output.log_to_stderr()

    async def respond(self, call: Call, value: Any) -> dict[str, Any]:
        """Return the FunctionResponse to what ``value`` asks for; raises `RefusedError` where it is no request."""
        request = FunctionRequest(value)
        response: dict[str, Any] = {
            "success": False,
            "result": None,
            "json_result": None,
            "error": None,
            "stdout": None,
            "instance_id": None,
            "instance_info": None,
        }
        output.capture(call.id)
        try:
            items = Items(self._calls, call, request) if request.stream and call.head["stream"] else None
            result = await self._execute(request, response, items)
            response.update(encoded(request, result), success=True)
            if items is not None and items.have_come:
                response.update(streamed=items.count)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            response["error"] = error_text(error)
        finally:
            response["stdout"] = output.captured(call.id)
        return response

    async def _execute(self, request: FunctionRequest, response: dict[str, Any], items: Items | None) -> Any:
        self._warn_of_system_packages(request.system_dependencies)
        if request.dependencies:
            await asyncio.to_thread(self._packages.require, request.dependencies)
        if items is not None:
            request.method, request.name = (
                (request.stream, request.name) if request.is_class else (request.method, request.stream)
            )
        function = await self._aside(partial(self._prepare, request, response))
        if items is not None:
            return await self._stream(function, items)
        if is_async(function):
            result = function()
        else:
            result = await self._aside(partial(_collected, function))
        if hasattr(result, "__await__"):
            result = await result
        if hasattr(result, "__aiter__"):
            return [item async for item in result]
        return await self._aside(partial(_collected, lambda: result)) if hasattr(result, "__next__") else result

    async def _stream(self, function: Callable[[], Any], items: Items) -> Any:
        """Send what a generator yields as it comes; return those that are kept, or another result as it is."""
        result = function() if is_async(function) else await self._aside(function)
        if hasattr(result, "__await__"):
            result = await result
        if hasattr(result, "__aiter__"):
            items.have_come = True
            try:
                async for item in result:
                    items.send(item)
            finally:
                await result.aclose()
        elif hasattr(result, "__next__"):
            items.have_come = True
            await self._aside(partial(items.send_all, result))
        else:
            return result
        return items.kept

    async def _aside(self, job: Callable[[], Any]) -> Any:
        """Run ``job`` where no event loop runs: on the main thread, or in a thread of its own."""
        context = contextvars.copy_context()

        def run() -> tuple[Any, BaseException | None]:
            return context.run(outcome, job)

        loop = asyncio.get_running_loop()
        if self._has_main:
            future = loop.create_future()

            def settle() -> None:
                outcome = run()
                if not future.done():
                    future.set_result(outcome)

            self._calls.worker.post(settle)
            result, error = await future
        else:
            result, error = await loop.run_in_executor(self._calls.executor(), run)
        if error is not None:
            raise error
        return result

    def _prepare(self, request: FunctionRequest, response: dict[str, Any]) -> Callable[[], Any]:
        with self._lock:
            self._modules.show(request.modules)
            target = self._method(request, response) if request.is_class else defined(request)
            positional, named = request.arguments()
        return partial(target, *positional, **named)

    def _method(self, request: FunctionRequest, response: dict[str, Any]) -> Callable[..., Any]:
        key = request.instance_id
        instance = None if request.is_new_instance else self._instances.get(key)
        if instance is None or instance.code != request.code:
            positional, named = request.constructor()
            instance = Instance(request.code, defined(request)(*positional, **named))
            if key:
                self._instances.pop(key, None)
                self._instances[key] = instance
                while len(self._instances) > INSTANCES_KEPT:
                    self._instances.pop(next(iter(self._instances)))
        method = getattr(instance.value, request.method, None)
        if not callable(method):
            raise AttributeError(f"`{request.name}` has no method `{request.method}`")
        instance.note_call()
        response["instance_id"] = key or None
        response["instance_info"] = {
            "class_name": request.name,
            "created_at": instance.created.isoformat(),
            "method_calls": instance.calls,
            "last_used": instance.used.isoformat(),
        }
        found: Callable[..., Any] = method
        return found

    def _warn_of_system_packages(self, packages: list[str]) -> None:
        new = [package for package in packages if package not in self._told]
        if new:
            self._told.update(new)
            print(
                f"flash: system packages are not installed on this machine: {', '.join(new)} "
                "(install them yourself, if they are missing)"
            )


class Items:
    """The items of one call, as chunks of its job: each a pickle as base64 text."""

    def __init__(self, calls: Calls, call: Call, request: FunctionRequest) -> None:
        self._calls = calls
        self._call = call
        self.count = 0
        self.have_come = False
        self.kept: list[Any] | None = [] if request.keeps_items else None

    def send(self, item: Any) -> None:
        """Send one."""
        self._calls.link.chunk(self._call.id, "json", [encoding.to_json(picklable("item", item))])
        self.count += 1
        if self.kept is not None:
            self.kept.append(item)

    def send_all(self, items: Any) -> None:
        """Send all of an iterator, until nobody wants them any more."""
        for item in items:
            if self._call.is_cancelled:
                items.close()
                raise RefusedError(failure("cancelled", "CancelledError", "the call was cancelled"))
            self.send(item)


class LiveServer:
    """What a live load-balanced endpoint answers: ``GET /ping`` and ``POST /execute``."""

    def __init__(self, calls: Calls, live: Live) -> None:
        self._calls = calls
        self._live = live

    def is_idle(self) -> bool:
        """Return whether nothing runs beside the calls."""
        return True

    async def serve(self, call: Call) -> None:
        """Answer one request."""
        try:
            status, content = await self._answer(call)
            body = encoding.to_json(content)
            link = self._calls.link
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            link.http_start(call.id, status, headers)
            link.http_chunk(call.id, body)
            self._calls.finish(call, lambda: link.answer(call.id, "http", []))
        except BaseException as error:
            self._calls.fail_with(call, error)
        finally:
            self._calls.worker.check_finished()

    async def _answer(self, call: Call) -> tuple[int, Any]:
        head = call.head["input"]
        body, call.buffers = bytes(call.buffers[0]) if call.buffers else b"", []
        allowed = {"/ping": ("GET", "HEAD"), "/execute": ("POST",)}.get(head["path"])
        if allowed is None:
            return 404, {"detail": "Not Found"}
        if head["method"] not in allowed:
            return 405, {"detail": "Method Not Allowed"}
        if head["path"] == "/ping":
            return 200, {"status": "healthy"}
        from .validation import parse_json

        try:
            value = parse_json(body)
            if isinstance(value, dict) and isinstance(value.get("input"), dict):
                value = value["input"]
            return 200, await self._live.respond(call, value)
        except RefusedError as refused:
            return 200, {"success": False, "error": refused.report["message"]}


def defined(request: FunctionRequest) -> Any:
    """Execute the source and return the function or class that it was sent for."""
    file = f"<{request.name} of a live call>"
    linecache.cache[file] = (len(request.code), None, request.code.splitlines(keepends=True), file)
    # Pickle takes what `__main__` has by value: the client has none of these objects.
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    # Futures of this file are not those of the source.
    exec(compile(request.code, file, "exec", dont_inherit=True), namespace)
    target = namespace.get(request.name)
    if not callable(target):
        raise LookupError(f"the source that was sent defines no `{request.name}`")
    return target


def encoded(request: FunctionRequest, result: Any) -> dict[str, Any]:
    """Return the field of the response that carries a result."""
    if request.is_json:
        encoding.to_json(result)
        return {"json_result": result}
    return {"result": picklable("result", result)}


def picklable(which: str, value: Any) -> Any:
    """Return a value's pickle as base64 text; raises `RefusedError` where it has none."""
    try:
        return dump_text(value)
    except Exception as error:
        text = f"the {which} ({type(value).__name__}) cannot be pickled: {report.message_of(error)}"
        raise RefusedError(failure("unencodable", "PicklingError", text)) from None


def error_text(error: BaseException) -> str:
    """Return what the client shows: the message, the traceback of the user's frames, a hint."""
    found = error.report if isinstance(error, RefusedError) else report.raised(error)
    if isinstance(error, SystemExit):
        found["message"] = f"the function called sys.exit({error.code!r})"
    text: str = found["message"]
    if found["traceback"]:
        text = f"{text}\n{found['traceback'].rstrip()}"
    hint = found["hint"]
    if hint is None and isinstance(error, NameError) and not isinstance(error, UnboundLocalError):
        hint = ONLY_THE_TEXT
    elif hint is None and isinstance(error, ModuleNotFoundError):
        hint = report.load_failure(error)["hint"]
    return f"{text}\nhint: {hint}" if hint else text


def refused(reason: str) -> RefusedError:
    """Return the end of a call whose input is no FunctionRequest."""
    return RefusedError(
        failure(
            "invalid_input",
            "ValueError",
            f"the input is no call of a live endpoint: {reason}",
            hint="a live endpoint runs source that Flash sends with each call; "
            "deploy the app to call its functions by JSON",
        )
    )


def _field(value: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    found = value.get(name)
    if found is None:
        return default
    if not isinstance(found, kind):
        raise refused(f"`{name}` is {type(found).__name__}, not {kind.__name__}")
    return found


def _collected(function: Callable[[], Any]) -> Any:
    """Return a result that can be pickled: the items of a generator, in place of it."""
    result = function()
    return list(result) if hasattr(result, "__next__") and hasattr(result, "send") else result
