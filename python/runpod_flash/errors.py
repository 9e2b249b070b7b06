"""Exceptions of this package: one tree under :class:`FlashError`, each with a ``hint``."""

from __future__ import annotations

import json
from typing import Any


class FlashError(Exception):
    """Base of all errors of this package.

    ``hint`` says what to do about it, where that is known.
    """

    hint: str | None = None

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
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


class UnavailableError(FlashError, NotImplementedError):
    """Needs a part of Runpod that this release cannot reach."""


class RemoteExecutionError(FlashError, RuntimeError):
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
        return f"{message}\n\nremote traceback:\n{self.remote_traceback.rstrip()}"


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


def _unpickle(exception: bytes) -> BaseException | None:
    import pickle

    try:
        cause = pickle.loads(exception)
    except Exception:  # Its class is not importable here; the text says what it was.
        return None
    return cause if isinstance(cause, BaseException) else None
