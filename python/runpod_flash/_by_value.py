"""Functions and classes that go to a local worker by value, with the place of their code in its tracebacks.

cloudpickle leaves the file of code out. What a worker cannot read from disk (the cell of a notebook) brings its
text along, once.
"""

from __future__ import annotations

import io
import linecache
import os
import sys
from types import CodeType
from typing import Any

import cloudpickle


def dumps(function: Any) -> bytes:
    """Pickle a function or class by value."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(function)
    return stream.getvalue()


def located(code: CodeType, file: str, text: str | None) -> CodeType:
    """Return code that tracebacks show with its file and lines; called while a worker loads a function."""
    if text is not None:
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    return code.replace(co_filename=file)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._places: dict[str, tuple[str, str | None]] = {}

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is not CodeType:
            return super().reducer_override(obj)
        file = obj.co_filename
        if file not in self._places:
            self._places[file] = _place(file)
        return located, (_Code(obj), *self._places[file])


class _Code:
    """Code as cloudpickle reduces it."""

    def __init__(self, code: CodeType) -> None:
        self._code = code

    def __reduce__(self) -> Any:
        return _Pickler.dispatch_table[CodeType](self._code)


def _place(file: str) -> tuple[str, str | None]:
    """Return how tracebacks name a file, and its text where a worker cannot read it."""
    if os.path.isabs(file) and os.path.isfile(file):
        return file, None
    return label(file), "".join(linecache.getlines(file)) or None


def label(file: str) -> str:
    """Return what IPython calls a cell in its own tracebacks, ``Cell In[3]``; any other file as it is."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    try:
        named = shell.compile.format_code_name(file)
    except AttributeError:  # No IPython, or one before 8.
        named = None
    return file if named is None else " ".join(named)
