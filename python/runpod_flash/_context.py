"""What a worker process knows of the call it is in; empty in any other process."""

from __future__ import annotations

from contextvars import ContextVar


class LoadStopped(BaseException):
    """Ends the loading of a script at a decorated call made while it loads.

    An unguarded ``asyncio.run(main())`` at the end of a file must not run again in a worker:
    the names bound so far are kept.
    """


#: True while a worker loads user code.
loading = False

#: ``(call_id, job_id, chain)`` of the call that runs in this context.
current_call: ContextVar[tuple[int, str | None, tuple[str, ...]] | None] = ContextVar("flash_call", default=None)
