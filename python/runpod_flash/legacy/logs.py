"""Logging as 1.21 sets it up, for programs that ask for it; importing this package sets up nothing."""

import logging
import re
import sys
from typing import Any, TextIO

from .. import _official

_HIDDEN = "***REDACTED***"
_NAMES = r"(?:runpod[_-]?)?api[_-]?key|password|passwd|pwd|[a-z_]*secret(?:[_-]?key)?|[a-z_]*token|authorization"
_PATTERNS = (
    re.compile(r"(bearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE),
    re.compile(rf"""((?:{_NAMES})["']?\s*[:=]\s*["']?)(?!bearer\b)[^\s"',;}}]+""", re.IGNORECASE),
    re.compile(r"()\brpa_[A-Za-z0-9]{8,}"),
    re.compile(r"((?:sk-|key_|api_)[A-Za-z0-9_-]{0,4})[A-Za-z0-9_-]{24,}"),
)


class SensitiveDataFilter(logging.Filter):
    """Takes keys, tokens and passwords out of records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the finished message and the traceback, so that nothing slips through between the two."""
        try:
            record.msg, record.args = _redact(record.getMessage()), None
        except Exception:  # A broken format string is the handler's to report.
            return True
        if record.exc_info:
            record.exc_text = _redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


def setup_logging(level: int | str = logging.INFO, stream: TextIO = sys.stdout, fmt: str | None = None) -> None:
    """Log to a stream where nothing is set up yet, without secrets."""
    import os

    name = os.environ.get("LOG_LEVEL")
    if name:
        level = getattr(logging, name.upper(), logging.INFO)
    root = logging.getLogger()
    if not root.handlers:
        handler: logging.Handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter(fmt or "%(asctime)s | %(levelname)-5s | %(message)s"))
        root.addHandler(handler)
    for handler in root.handlers:
        if not any(isinstance(known, SensitiveDataFilter) for known in handler.filters):
            handler.addFilter(SensitiveDataFilter())
    root.setLevel(level)
    for noisy in ("httpcore", "httpx", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _redact(text: Any) -> str:
    found = str(text)
    for pattern in _PATTERNS:
        found = pattern.sub(rf"\1{_HIDDEN}", found)
    return found


_official.adopt("legacy.logs")
