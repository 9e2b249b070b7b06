"""Carries what user code prints to the parent, line by line, with the call that printed it.

Lines written below Python stay on the process's own descriptors.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runpod_flash import _context

#: A line longer than this (in characters) is sent in pieces.
LINE_LIMIT = 64 * 1024
#: Characters of a call's output that are kept for its answer; the first ones go.
CAPTURE_LIMIT = 4 << 20

#: What calls printed whose answers carry it, and how long that is.
_captured: dict[int, tuple[deque[str], list[int]]] = {}


class Lines(io.TextIOBase):
    """A text stream that sends whole lines; one partial line per call."""

    def __init__(self, link: Any, descriptor: int) -> None:
        self._link = link
        self._descriptor = descriptor
        self._partial: dict[int, tuple[str, str | None]] = {}
        self._lock = threading.RLock()
        self.buffer = _Bytes(self)
        self.mode = "w"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What cannot be encoded is escaped, never lost."""
        return "backslashreplace"

    @property
    def name(self) -> str:
        """As the stream that it replaces."""
        return "<stderr>" if self._descriptor == 2 else "<stdout>"

    def fileno(self) -> int:
        """Return the process's own descriptor, for what must write below Python."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return False: lines are carried, not shown."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def reconfigure(self, **_options: Any) -> None:
        """Accept what a text file accepts; lines are always sent whole, as UTF-8."""

    def write(self, text: str) -> int:
        """Send the whole lines of ``text``; keep what follows the last newline."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if not text:
            return 0
        call = _context.current_call.get()
        call_id, job = (call[0], call[1]) if call is not None else (0, None)
        with self._lock:
            *whole, rest = (self._partial.pop(call_id, ("", None))[0] + text).split("\n")
            for line in whole:
                self._send(call_id, job, line)
            while len(rest) > LINE_LIMIT:
                self._send(call_id, job, rest[:LINE_LIMIT])
                rest = rest[LINE_LIMIT:]
            if rest:
                self._partial[call_id] = (rest, job)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Write each."""
        for line in lines:
            self.write(line)

    def finish(self, call_id: int | None = None) -> None:
        """Send the unfinished line of one call, or of all."""
        with self._lock:
            for key in list(self._partial) if call_id is None else [call_id]:
                rest, job = self._partial.pop(key, ("", None))
                if rest:
                    self._send(key, job, rest)

    def _send(self, call_id: int, job: str | None, line: str) -> None:
        line = line.rstrip("\r")
        if "\r" in line:
            # A progress bar: what a terminal would still show.
            line = line[line.rindex("\r") + 1 :]
        for start in range(0, max(len(line), 1), LINE_LIMIT):
            _keep(call_id, line[start : start + LINE_LIMIT])
            data = line[start : start + LINE_LIMIT].encode("utf-8", "backslashreplace") + b"\n"
            try:
                self._link.output(call_id, job, self._descriptor == 2, data)
            except (ConnectionError, RuntimeError):
                os.write(self._descriptor, data)


class _Bytes(io.RawIOBase):
    """The binary side of a stream (``sys.stdout.buffer``)."""

    def __init__(self, text: Lines) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)


def install(link: Any) -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``, and send the rest of the lines at exit."""
    sys.stdout = Lines(link, 1)
    sys.stderr = Lines(link, 2)
    _carry_call_into_threads()
    # Registered first, so it runs last: user code's own handlers may still print.
    atexit.register(_close, link)


def capture(call_id: int) -> None:
    """Keep what a call prints, as well."""
    _captured[call_id] = (deque(), [0])


def captured(call_id: int) -> str:
    """Return what a call printed since it was captured, and keep no more of it."""
    finish_call(call_id)
    lines, _ = _captured.pop(call_id, (deque(), [0]))
    return "".join(f"{line}\n" for line in lines)


def _keep(call_id: int, line: str) -> None:
    found = _captured.get(call_id)
    if found is None:
        return
    lines, length = found
    lines.append(line)
    length[0] += len(line) + 1
    while length[0] > CAPTURE_LIMIT and len(lines) > 1:
        length[0] -= len(lines.popleft()) + 1


def log_to_stderr() -> None:
    """Print log records of user code, unless it has set logging up."""
    import logging

    level = logging.getLevelName(os.environ.get("LOG_LEVEL", "INFO").upper())
    logging.basicConfig(level=level if isinstance(level, int) else logging.INFO)


def finish_call(call_id: int) -> None:
    """Send what a call left without a newline."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Lines):
            stream.finish(call_id)


def forked(descriptor: int) -> None:
    """In a forked child: its output goes to its own descriptors, the connection is its parent's."""
    _restore()
    # An open copy would hide the worker's death from its supervisor.
    os.close(descriptor)


def _restore() -> None:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = io.FileIO(descriptor, "w", closefd=False)
        text = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, text)


def _close(link: Any) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Lines):
            stream.finish()
    _restore()
    link.close()


def _carry_call_into_threads() -> None:
    """Let threads that a call starts, and work it gives to a pool, print and call in its name."""
    start = threading.Thread.start
    submit = ThreadPoolExecutor.submit

    def start_in_call(self: threading.Thread) -> None:
        call = _context.current_call.get()
        # A pool's thread outlives the call whose work happened to start it.
        if call is not None and type(self).run is threading.Thread.run and not _is_pool_thread(self):
            run = self.run

            def run_in_call() -> None:
                _context.current_call.set(call)
                run()

            self.run = run_in_call  # type: ignore[method-assign]
        start(self)

    def submit_in_call(self: ThreadPoolExecutor, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _context.current_call.get()
        if call is None:
            return submit(self, function, *args, **kwargs)

        def run_in_call() -> Any:
            token = _context.current_call.set(call)
            try:
                return function(*args, **kwargs)
            finally:
                _context.current_call.reset(token)

        return submit(self, run_in_call)

    threading.Thread.start = start_in_call  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit_in_call  # type: ignore[assignment, method-assign]


def _is_pool_thread(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    return getattr(target, "__module__", None) == "concurrent.futures.thread"
