"""Describes failures: type, message, and the traceback of the user's frames only.

The result is the dict form of the wire's ``ErrorReport``.
"""

from __future__ import annotations

import os
import pickle
import sys
import sysconfig
import traceback
from types import TracebackType
from typing import Any

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
LIBRARIES = tuple(
    {
        os.path.realpath(path) + os.sep
        for key in ("stdlib", "platstdlib", "purelib", "platlib")
        if (path := sysconfig.get_paths().get(key))
    }
)
MACHINERY = ("<frozen importlib", "<frozen runpy")
#: A chain of exceptions longer than this is cut.
CHAIN_LIMIT = 20
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")


class RefusedError(Exception):
    """Ends a call with a report that is already made."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(report["message"])
        self.report = report


def failure(
    kind: str,
    error_type: str,
    message: str,
    *,
    detail: Any = None,
    hint: str | None = None,
) -> dict[str, Any]:
    """Return a report without traceback; ``kind`` is a ``Failure`` in snake case."""
    return {
        "failure": kind,
        "error_type": error_type,
        "message": message,
        "traceback": "",
        "frames": [],
        "detail": detail,
        "hint": hint,
        "exception": None,
    }


def raised(error: BaseException, kind: str = "raised") -> dict[str, Any]:
    """Return the report of an exception that user code raised."""
    summary = traceback.TracebackException.from_exception(error)
    _drop_repeated_causes(summary, error)
    frames = _keep_user_frames(summary)
    found = failure(kind, type_name(type(error)), message_of(error), hint=_hint(error))
    found["traceback"] = "".join(summary.format())
    found["frames"] = frames
    found["exception"] = _pickled(error)
    return found


def of(error: BaseException) -> dict[str, Any]:
    """Return the report of what a call raised, or of how it was refused."""
    if isinstance(error, RefusedError):
        return error.report
    found = raised(error)
    if isinstance(error, SystemExit):
        found["message"] = f"the function called sys.exit({error.code!r})"
    return found


def load_failure(error: BaseException) -> dict[str, Any]:
    """Return the report of code that could not be loaded."""
    found = raised(error, "load")
    if isinstance(error, SystemExit):
        found["message"] = f"the module called sys.exit({error.code!r}) while it was loaded"
        found["hint"] = 'put it under `if __name__ == "__main__":`'
    elif isinstance(error, ModuleNotFoundError) and error.name and not found["hint"]:
        found["hint"] = (
            f"add the package that has `{error.name.partition('.')[0]}` to the endpoint's `dependencies`, "
            "or import it inside the function"
        )
    return found


def clean(value: Any) -> Any:
    """Return a report whose texts UTF-8 can carry and whose numbers fit, when it could not be sent."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 1e300 else None
    if isinstance(value, dict):
        return {clean(key): clean(part) for key, part in value.items()}
    if isinstance(value, list):
        return [clean(part) for part in value]
    return value


def type_name(cls: type) -> str:
    """Return an exception's class, qualified unless it is built in."""
    if cls.__module__ in ("builtins", "__main__"):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def message_of(error: BaseException) -> str:
    """Return the exception's text; a broken ``__str__`` must not hide it."""
    try:
        if isinstance(error, KeyError) and len(error.args) == 1:
            return repr(error.args[0])
        if _is_flash_error(error) and error.args:
            # Its text has the traceback and the hint as well, which a report carries beside the message.
            return str(error.args[0])
        return str(error)
    except Exception as broken:
        return f"<no message: its __str__ raised {type(broken).__name__}>"


def innermost_user_frame(trace: TracebackType | None) -> tuple[str, int] | None:
    """Return file and line of the innermost frame of user code."""
    found = None
    while trace is not None:
        if _is_user_file(trace.tb_frame.f_code.co_filename):
            found = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _is_flash_error(error: BaseException, name: str = "FlashError") -> bool:
    # Most workers never import that module, and then have none of its errors.
    errors = sys.modules.get("runpod_flash.errors")
    return errors is not None and isinstance(error, getattr(errors, name))


def _drop_repeated_causes(summary: traceback.TracebackException, error: BaseException) -> None:
    """Leave out what a failed call's remote traceback says already.

    With both, the text would double with every worker that an error passes through.
    """
    pending: list[tuple[traceback.TracebackException | None, BaseException | None]] = [(summary, error)]
    for _ in range(CHAIN_LIMIT):
        if not pending:
            return
        described, current = pending.pop()
        if described is None or current is None:
            continue
        remote: str = getattr(current, "remote_traceback", "")
        if remote and _is_flash_error(current, "RemoteExecutionError"):
            described.__cause__ = None
            continue
        pending.append((described.__cause__, current.__cause__))
        pending.append((described.__context__, current.__context__))


def _is_ours(file: str) -> bool:
    return file.startswith(PACKAGE) or file.startswith(MACHINERY)


def _is_user_file(file: str) -> bool:
    if _is_ours(file) or file.startswith("<frozen "):
        return False
    if f"{os.sep}site-packages{os.sep}" in file or f"{os.sep}dist-packages{os.sep}" in file:
        return False
    return not os.path.realpath(file).startswith(LIBRARIES)


def _keep_user_frames(summary: traceback.TracebackException) -> list[dict[str, Any]]:
    """Cut every traceback of the chain down to user frames; returns those of the first."""
    pending: list[traceback.TracebackException | None] = [summary]
    seen = 0
    while pending and seen < CHAIN_LIMIT:
        current = pending.pop()
        if current is None:
            continue
        seen += 1
        kept = [frame for frame in current.stack if _is_user_file(frame.filename)]
        if not kept:
            # Raised by a library without user code in between: better its frames than none.
            kept = [frame for frame in current.stack if not _is_ours(frame.filename)]
            if current is not summary or not any(_is_outside(frame.filename) for frame in kept):
                kept = []
        current.stack = traceback.StackSummary.from_list(kept)
        pending += [current.__cause__, current.__context__]
        pending += getattr(current, "exceptions", None) or []
    frames = [
        {
            "file": frame.filename,
            "line": frame.lineno or 1,
            "function": frame.name,
            "source": (frame.line or "").strip(),
        }
        for frame in summary.stack
    ]
    syntax = getattr(summary, "filename", None)
    if syntax is not None and getattr(summary, "lineno", None):
        frames.append(
            {
                "file": syntax,
                "line": int(summary.lineno or 1),
                "function": "<module>",
                "source": (summary.text or "").strip(),
            }
        )
    return frames


def _is_outside(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file


def _hint(error: BaseException) -> str | None:
    text = message_of(error)
    is_cuda = "NVIDIA driver" in text or "CUDA" in text or "No CUDA GPUs" in text
    if _is_flash_error(error):
        return getattr(error, "hint", None)
    if is_cuda and isinstance(error, (RuntimeError, AssertionError, ImportError, OSError)) and not has_gpu():
        return (
            "this machine has no GPU, so the function runs on the CPU here; choose the device with "
            '`"cuda" if torch.cuda.is_available() else "cpu"`'
        )
    return None


def has_gpu() -> bool:
    """Return whether this machine shows an NVIDIA device."""
    return any(os.path.exists(path) for path in GPU_DEVICES)


def _pickled(error: BaseException) -> bytes | None:
    try:
        return pickle.dumps(error, protocol=5)
    except Exception:
        pass
    try:
        import cloudpickle

        by_value: bytes = cloudpickle.dumps(error, protocol=5)
        return by_value
    except Exception:
        # Its text is in the report.
        return None
