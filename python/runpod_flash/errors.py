"""Exceptions of this package: one tree under :class:`FlashError`, each with a ``hint``."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

_TRACEBACK = "\n\nremote traceback:\n"


class FlashError(Exception):
    """Base of all errors of this package.

    ``hint`` says what to do about it, where that is known.
    """

    hint: str | None = None

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        # Not `super()`: a class of httpx beside it would ask for more.
        Exception.__init__(self, message)
        self.hint = hint

    def __str__(self) -> str:
        message = self._text()
        return f"{message}\n\nhint: {self.hint}" if self.hint else message

    def _text(self) -> str:
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class ConfigurationError(FlashError, ValueError):
    """Arguments of ``Endpoint(...)``, a route or a use of it that cannot work; lists all problems."""


class TargetError(FlashError, RuntimeError):
    """``FLASH_TARGET`` cannot be followed."""


class FlashRuntimeError(FlashError, RuntimeError):
    """Base of what goes wrong while something runs; the name is 1.21's."""


class RunpodError(FlashError):
    """Runpod did not do what was asked, or could not be asked.

    ``endpoint``, ``job_id`` and ``request_id`` (Runpod's own, for its support) say what it was about,
    ``status_code`` and ``body`` what Runpod answered, ``last_status`` how a job that has not ended was last
    seen, ``retry_after`` how many seconds Runpod asked to wait; each is ``None`` where it is not known.
    """

    endpoint: str = ""
    job_id: str | None = None
    request_id: str | None = None
    request: Any = None
    status_code: int | None = None
    body: str | None = None
    last_status: str | None = None
    retry_after: float | None = None

    def _text(self) -> str:
        # A traceback shows no attributes.
        message, sign, rest = super()._text().partition(_TRACEBACK)
        named = {"endpoint": self.endpoint, "job": self.job_id, "request": self.request_id}
        missing = [f"{word} {value}" for word, value in named.items() if value and f"`{value}`" not in message]
        return (f"{message} ({', '.join(missing)})" if missing else message) + sign + rest


class AuthenticationError(RunpodError, PermissionError):
    """There is no API key, or Runpod does not accept it."""


class RunpodAPIKeyError(AuthenticationError):
    """No API key was found."""

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(_NO_KEY if message is None else message, hint=hint)


_NO_KEY = """no Runpod API key found; set one with

  flash login
  export RUNPOD_API_KEY=your-key
  echo 'RUNPOD_API_KEY=your-key' >> .env

keys are made at https://docs.runpod.io/get-started/api-keys"""


class NotFoundError(RunpodError, RuntimeError, LookupError):
    """There is no such endpoint, app or route."""


class JobNotFoundError(NotFoundError):
    """There is no such job: it expired, was purged, or never was."""


class RateLimitError(RunpodError):
    """Too many requests, also after the waits that the deadline allowed."""


class InvalidRequestError(RunpodError, ValueError):
    """Runpod refused the request as it is."""


class ServiceUnavailableError(RunpodError):
    """Runpod failed, also when it was asked again where that was safe."""


class ConnectionFailedError(RunpodError, ConnectionError):
    """There was no connection, or it broke."""


class DeadlineExceededError(RunpodError, TimeoutError, RuntimeError):
    """The time that the caller gave has passed; the job, if there is one, goes on."""


class MalformedAnswerError(RunpodError):
    """An answer that is not what Runpod's protocol says."""


class ShipmentError(RunpodError, RuntimeError):
    """The code of a function cannot be shipped; nothing was sent."""


class ProvisioningError(RunpodError, RuntimeError):
    """An endpoint could not be made, changed or removed."""


class SerializationError(FlashRuntimeError):
    """A value cannot be sent or read; the name is 1.21's."""


class ArgumentEncodingError(SerializationError, TypeError, ValueError):
    """An argument has no form in JSON, which jobs and calls of deployed endpoints carry; nothing was sent."""


class PayloadTooLargeError(RunpodError, SerializationError, ValueError):
    """More bytes than Runpod takes; nothing was sent."""


class RemoteExecutionError(FlashRuntimeError):
    """A call failed in its worker.

    ``error_type`` is the class of the remote exception, ``remote_traceback`` its traceback as text
    (the user's frames only), ``endpoint`` where it happened. Where the remote exception can be
    unpickled here, it is this one's ``__cause__``.
    """

    error_type: str = ""
    remote_traceback: str = ""
    endpoint: str = ""
    detail: Any = None

    def _text(self) -> str:
        message = super()._text()
        if not self.remote_traceback:
            return message
        return f"{message}{_TRACEBACK}{self.remote_traceback.rstrip()}"


class InvalidInputError(RemoteExecutionError, ValueError):
    """The input does not fit the signature; ``detail`` lists the fields, as FastAPI does."""


class ResultEncodingError(RemoteExecutionError, ValueError):
    """The result cannot be sent back."""


class WorkerLoadError(RemoteExecutionError):
    """The worker could not load the code."""


class EnvironmentSetupError(RemoteExecutionError):
    """The endpoint's dependencies could not be installed."""


class WorkerDiedError(RemoteExecutionError):
    """The worker process ended while it held the call."""


class ExecutionTimeoutError(RemoteExecutionError, TimeoutError):
    """The call ran longer than ``execution_timeout_ms``."""


class CallCancelledError(RemoteExecutionError):
    """The call was cancelled, or its endpoint is stopping."""


class EndpointNotFoundError(RemoteExecutionError, LookupError):
    """There is no such endpoint or function."""


class CallCycleError(RemoteExecutionError, RecursionError):
    """A chain of calls came back to an endpoint that waits for it, or is too deep."""


class InternalError(RemoteExecutionError):
    """A fault of this package."""


class JobError(RunpodError, RemoteExecutionError):
    """A job on Runpod ended without a result; ``output`` is what it left."""

    endpoint: str = ""
    output: Any = None


class JobFailedError(JobError):
    """The job ended ``FAILED``."""


class JobTimedOutError(JobError, ExecutionTimeoutError):
    """The job ran or waited longer than it may."""


class JobCancelledError(JobError, CallCancelledError):
    """The job was cancelled."""


class DeserializeTimeoutError(SerializationError):
    """Reading a value took too long; the name is 1.21's, nothing here raises it."""


class GraphQLError(FlashRuntimeError):
    """A GraphQL request failed; the name is 1.21's."""


class GraphQLMutationError(GraphQLError):
    """A GraphQL mutation failed."""


class GraphQLQueryError(GraphQLError):
    """A GraphQL query failed."""


class ManifestServiceUnavailableError(FlashRuntimeError):
    """The name is 1.21's, nothing here raises it."""


class LocalModuleResolutionError(ShipmentError):
    """An import of a local module cannot be followed; the name is 1.21's."""


class LocalModulePayloadTooLargeError(ShipmentError):
    """The local modules of a function are too large to be shipped; the name is 1.21's."""


class FlashAppError(FlashError):
    """Something about an app is wrong; the name is 1.21's."""


class FlashAppNotFoundError(FlashAppError, LookupError):
    """There is no such app."""


class FlashEnvironmentNotFoundError(FlashAppError, LookupError):
    """The app has no such environment."""


def _restore(cls: type[FlashError], args: tuple[Any, ...], state: dict[str, Any]) -> FlashError:
    error = cls(*args)
    error.__dict__.update(state)
    return error


def remote(
    class_name: str,
    message: str,
    *,
    hint: str | None,
    endpoint: str,
    error_type: str,
    remote_traceback: str,
    exception: bytes | None,
    detail: str | None,
) -> RemoteExecutionError:
    """Make the exception of a failed call; called by the core."""
    cls: type[RemoteExecutionError] = globals()[class_name]
    text = message
    if cls is RemoteExecutionError and error_type:
        text = f"{error_type}: {message}" if message else error_type
    error = cls(text, hint=hint)
    error.error_type = error_type
    error.remote_traceback = remote_traceback
    error.endpoint = endpoint
    error.detail = None if detail is None else json.loads(detail)
    if exception is not None:
        error.__cause__ = _unpickle(exception)
    return error


def runpod(
    class_name: str,
    message: str,
    *,
    hint: str | None,
    endpoint: str | None,
    job_id: str | None,
    request_id: str | None,
    request: str | None,
    status_code: int | None,
    body: str | None,
    last_status: str | None,
    retry_after: float | None,
    output: str | None,
    error_type: str | None,
    remote_traceback: str | None,
) -> RunpodError:
    """Make the exception of a request or job that failed; called by the core."""
    cls: type[RunpodError] = globals()[class_name]
    error: RunpodError = _as_httpx(cls, status_code, request, body)(message, hint=hint)
    error.endpoint = endpoint or ""
    error.job_id = job_id
    error.request_id = request_id
    if error.request is None:
        error.request = request
    error.status_code = status_code
    error.body = body
    error.last_status = last_status
    error.retry_after = retry_after
    if isinstance(error, JobError):
        error.output = _json(output)
        error.error_type = error_type or ""
        error.remote_traceback = remote_traceback or ""
        error.__cause__ = _of_builtin(error_type, message)
    return error


def _as_httpx(cls: type[RunpodError], status: int | None, request: str | None, body: str | None) -> Any:
    """Return the class, as one of httpx's where the program uses that: 1.21 raised its errors."""
    httpx = sys.modules.get("httpx")
    if status is None or httpx is None or not hasattr(httpx, "HTTPStatusError"):
        return cls
    made = _with_httpx.get(cls)
    if made is None:
        # The name and the module stay, so that tracebacks and reports do.
        namespace = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
        made = type(cls.__name__, (cls, httpx.HTTPStatusError), namespace | {"__reduce__": _reduce_plain})
        _with_httpx[cls] = made
    method, _, url = (request or "GET http://unknown").partition(" ")

    def make(message: str, *, hint: str | None) -> RunpodError:
        error: Any = made.__new__(made, message)
        FlashError.__init__(error, message, hint=hint)
        error._request = httpx.Request(method, url or "http://unknown")
        error.response = httpx.Response(status, text=body or "", request=error._request)
        error.request = error._request
        return cast("RunpodError", error)

    return make


_with_httpx: dict[type[RunpodError], Any] = {}


def _reduce_plain(self: FlashError) -> tuple[Any, ...]:
    state = {name: value for name, value in self.__dict__.items() if name not in ("_request", "response", "request")}
    plain = next(base for base in type(self).__mro__[1:] if base.__name__ == type(self).__name__)
    return _restore, (plain, self.args, state)


def _of_builtin(error_type: str | None, message: str) -> BaseException | None:
    """Return the remote exception where its class is one of Python's own, or of a module that is loaded here."""
    module, _, name = (error_type or "").rpartition(".")
    return rebuilt(getattr(sys.modules.get(module or "builtins"), name, None), error_type or "", message)


def rebuilt(cls: Any, error_type: str, message: str) -> BaseException | None:
    """Make the remote exception again; ``None`` where ``cls`` is no exception or takes no single text."""
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        return None
    text: Any = message.partition(f"{error_type}: ")[2] or message
    if issubclass(cls, KeyError):  # Its text is the key's `repr`.
        text = _literal(text)
    try:
        return cls(text)
    except Exception:  # Its constructor wants something else; the text says what it was.
        return None


def _literal(text: str) -> Any:
    import ast

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _unpickle(exception: bytes) -> BaseException | None:
    import pickle

    try:
        cause = pickle.loads(exception)
    except Exception:  # Its class is not importable here; the text says what it was.
        return None
    return cause if isinstance(cause, BaseException) else None
