"""The life of a worker process: wait for ``Load``, load, serve calls, stop.

User code lives on the main thread. The event loop runs there, and is paused while code runs that
must not see a running loop: modules, constructors, and sync functions of an endpoint that takes
one call at a time (so that ``asyncio.run`` works in them, as it does when deployed).
"""

from __future__ import annotations

import asyncio
import importlib
import os
import queue
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from runpod_flash._core import WorkerLink

from . import output, report

#: Exit status after code that could not be loaded.
LOAD_FAILED = 1
#: Exit status when the connection carried something unreadable (EX_SOFTWARE).
BROKEN = 70

#: What a spare worker imports, in order, where `FLASH_WORKER_PRELOAD` does not say it.
PRELOAD = "runpod_flash.worker.calls,runpod_flash.worker.loader,pydantic"
#: Seconds without work after which a worker takes itself for a spare one.
SPARE_AFTER = 0.02

Frame = tuple[str, int, Any, list[bytearray]]


def run(descriptor: int) -> int:
    """Serve the connection on ``descriptor`` until it says stop; returns the exit status."""
    link = WorkerLink(descriptor)
    output.install(link)
    if os.environ.get("LOG_LEVEL"):
        from runpod_flash.legacy.logs import setup_logging

        setup_logging(stream=sys.stdout)
    os.register_at_fork(after_in_child=lambda: output.forked(descriptor))
    return Worker(link).live()


class Worker:
    """One worker process: its inbox, its loop, and what is to run on the main thread."""

    def __init__(self, link: WorkerLink) -> None:
        self.link = link
        self.inbox: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.main_jobs: deque[Callable[[], None]] = deque()
        self.calls: Any = None
        self.is_stopping = False
        self.is_finished = False
        link.start(self.deliver)

    def deliver(self, kind: str, call_id: int, head: Any, buffers: list[bytearray]) -> None:
        """Take a frame; called from the reader's thread."""
        if kind == "broken":
            os.write(2, f"worker: {head}\n".encode())
            os._exit(BROKEN)
        if kind == "cancel" and self.calls is not None:
            # At once: a sync generator on the main thread looks at the flag between two items.
            self.calls.mark_cancelled(call_id)
        self.inbox.put((kind, call_id, head, buffers))
        loop = self.loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._drain)

    def live(self) -> int:
        """Wait for the code to serve, load it, and serve it; returns the exit status."""
        head = self._wait_for_load()
        if head is None:
            return 0
        from . import calls, loader

        if head["source"]["kind"] in ("live", "artifact"):
            from .packages import bring_bundled

            bring_bundled(self.link)
        started = time.perf_counter()
        try:
            program = loader.load(head)
        except loader.LoadError as error:
            self.link.load_failed(report.clean(error.report))
            return LOAD_FAILED
        load_ms = int((time.perf_counter() - started) * 1000)
        loop = asyncio.new_event_loop()
        self.calls = calls.Calls(self, self.link, program, loop)
        try:
            ready = self.calls.describe(load_ms)
        except BaseException as error:
            # Describing evaluates the user's annotations.
            self.link.load_failed(report.clean(report.load_failure(error)))
            return LOAD_FAILED
        self.link.ready(report.clean(ready))
        self.loop = loop
        loop.call_soon(self._drain)
        self._serve(loop)
        return 0

    def post(self, job: Callable[[], None]) -> None:
        """Run ``job`` on the main thread with the loop paused; jobs do not raise."""
        self.main_jobs.append(job)
        if self.loop is not None:
            self.loop.stop()

    def check_finished(self) -> None:
        """End the loop once a stop was asked for and nothing runs."""
        if self.is_stopping and not self.is_finished and self.calls.is_idle():
            self.is_finished = True
            if self.loop is not None:
                self.loop.stop()

    def _wait_for_load(self) -> dict[str, Any] | None:
        names = os.environ.get("FLASH_WORKER_PRELOAD", PRELOAD).split(",")
        while True:
            try:
                # A worker that is started for work gets it at once; a spare one uses the time.
                kind, _, head, _ = self.inbox.get(timeout=SPARE_AFTER if names else None)
            except queue.Empty:
                preload(names.pop(0))
                continue
            if kind == "load":
                loaded: dict[str, Any] = head
                return loaded
            if kind == "stop":
                return None

    def _drain(self) -> None:
        while True:
            try:
                kind, call_id, head, buffers = self.inbox.get_nowait()
            except queue.Empty:
                return
            if kind == "call":
                self.calls.start(call_id, head, buffers)
            elif kind == "cancel":
                self.calls.cancel(call_id)
            elif kind == "stop":
                self.is_stopping = True
                self.check_finished()

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self.is_finished:
            # `asyncio.run` in a job leaves the thread without a current loop.
            asyncio.set_event_loop(loop)
            loop.run_forever()
            while self.main_jobs:
                self.main_jobs.popleft()()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        self.calls.close()


def preload(name: str) -> None:
    """Import ``name`` and what a worker uses of it; a missing package shows when it is needed."""
    try:
        module = importlib.import_module(name) if name else None
        for lazy in ("create_model", "TypeAdapter", "FastAPI"):
            getattr(module, lazy, None)
    except Exception as error:
        print(f"worker: cannot preload {name}: {error}", file=sys.stderr)
