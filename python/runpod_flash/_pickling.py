"""cloudpickle with a file that collects memory instead of copying it."""

from __future__ import annotations

import sys
from pickle import PickleBuffer
from typing import Any

import cloudpickle

#: Smaller memory is copied into the pickle by the pickler itself.
_LARGE = 64 * 1024


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes to a sink, which also says how to reduce what would be copied otherwise."""

    def __init__(self, sink: Any) -> None:
        super().__init__(sink, protocol=5)
        self._reduce = sink.reduce
        #: How objects of these very classes are reduced.
        self._ways: dict[type, Any] = {}
        if (module := sys.modules.get("array")) is not None:
            self._ways[module.array] = _array
        if (block := getattr(sys.modules.get("pandas.core.internals.blocks"), "NumpyBlock", None)) is not None:
            self._ways[block] = _block
        if "torch" in sys.modules:
            from ._tensors import reductions

            self._ways.update(reductions())

    def reducer_override(self, obj: Any) -> Any:
        """Ask for ways that need no copy, then cloudpickle."""
        way = self._ways.get(type(obj))
        if way is not None:
            return way(obj)
        reduced = _bytearray(obj) if isinstance(obj, bytearray) else self._reduce(obj)
        return super().reducer_override(obj) if reduced is None else reduced


def _array(value: Any) -> Any:
    """Reduce an ``array.array`` as it does itself, without the copy of its items."""
    memory = memoryview(value)
    function, arguments, *state = type(value)(value.typecode).__reduce_ex__(5)
    if memory.nbytes < _LARGE or arguments[-1] != b"":
        return value.__reduce_ex__(5)
    return function, (*arguments[:-1], PickleBuffer(memory.toreadonly())), *state


def _block(value: Any) -> Any:
    """Reduce columns of a frame by pandas' own ``__reduce__``, where its ``__reduce_ex__`` would copy strided ones."""
    flags = getattr(value.values, "flags", None)
    is_strided = flags is not None and not (flags.c_contiguous or flags.f_contiguous)
    return value.__reduce__() if is_strided else value.__reduce_ex__(5)


def _bytearray(value: bytearray) -> Any:
    """Reduce a subclass's instance as bytearray does, without the copy; ``None`` where it has ways of its own."""
    kind = type(value)
    if len(value) < _LARGE or (kind.__reduce_ex__, kind.__reduce__) != (bytearray.__reduce_ex__, bytearray.__reduce__):
        return None
    get_state = getattr(value, "__getstate__", None)  # Objects have it from Python 3.11 on.
    state = getattr(value, "__dict__", None) if get_state is None else get_state()
    return kind, (PickleBuffer(memoryview(value).toreadonly()),), state
