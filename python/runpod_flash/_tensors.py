"""PyTorch's tensors in pickles without copies, where the program has imported torch.

torch pickles a tensor as its storage, offset, shape and strides, and a storage as the bytes of ``torch.save``, which
are a copy. Here the storage is ``torch.frombuffer(bytearray)`` instead, whose memory the pickler takes from where it
lies. Only functions of torch 2 and of the standard library are named: who reads it needs nothing of ours.
"""

from __future__ import annotations

import copyreg
import functools
import io
import operator
import pickle
import sys
from collections.abc import Callable, Mapping
from typing import Any


def reductions() -> dict[type, Callable[[Any], Any]]:
    """Return how one pickling reduces the classes of torch; nothing where torch is not loaded.

    Tensors that share memory share it again where they are read, except those that use less than half of it: of these
    only what they use is sent.
    """
    torch = sys.modules.get("torch")
    storage = getattr(torch, "storage", None)
    # A module that is being imported has not all names yet.
    if not all(hasattr(torch, name) for name in ("Tensor", "UntypedStorage", "frombuffer", "uint8")):
        return {}
    if not hasattr(storage, "TypedStorage"):
        return {}
    return _Reducer(torch).table()


def dumps(
    value: Any, module: Any, *, protocol: int, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None
) -> bytes:
    """Pickle by ``pickle`` or ``cloudpickle``; memory of tensors goes to the callback, as that of arrays does."""
    table = reductions()
    if not table:
        pickled: bytes = module.dumps(value, protocol=protocol, buffer_callback=buffer_callback)
        return pickled
    file = io.BytesIO()
    found = getattr(module.Pickler, "dispatch_table", None)
    known = found if isinstance(found, Mapping) else copyreg.dispatch_table
    pickler = _pickler(module)(file, {**known, **table}, protocol=protocol, buffer_callback=buffer_callback)
    pickler.dump(value)
    return file.getvalue()


@functools.cache
def _pickler(module: Any) -> Any:
    """Return the module's pickler with a table of its own: that must be there before the pickler is set up."""

    class Pickler(module.Pickler):  # type: ignore[misc]
        def __init__(self, file: Any, table: dict[type, Any], **options: Any) -> None:
            self.dispatch_table = table
            super().__init__(file, **options)

    return Pickler


class _Reduced:
    """Stands for what is not made here: pickled as a call of a function."""

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


class _Reducer:
    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._make = functools.partial(torch.frombuffer, dtype=torch.uint8)
        self._storage_of = operator.methodcaller("untyped_storage")
        #: What stands for memory, by its storage's address, first byte and length; and the memory, which it keeps.
        self._known: dict[tuple[int, int, int], tuple[_Reduced, Any]] = {}

    def table(self) -> dict[type, Callable[[Any], Any]]:
        torch = self._torch
        return {
            torch.Tensor: self._tensor,
            torch.storage.TypedStorage: self._typed,
            torch.UntypedStorage: self._untyped,
        }

    def _tensor(self, tensor: Any) -> Any:
        reduced = tensor.__reduce_ex__(5)
        if reduced[0].__name__ not in ("_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            return reduced
        storage, offset, shape, strides, *rest = reduced[1]
        untyped = getattr(storage, "_untyped_storage", storage)
        if (memory := self._memory(untyped)) is None:
            return reduced
        start, size = 0, tensor.element_size()
        used = (1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))) * size
        if 0 not in shape and used * 2 < memory.nbytes:
            start, offset = offset * size, 0
            memory = memory[start : start + used]
        # The function for newer dtypes takes any typed storage, and no other.
        dtype = self._torch.uint8 if storage is untyped else storage.dtype
        typed = _Reduced(*self._wrapped(self._part(untyped, memory, start), dtype))
        return reduced[0], (typed, offset, shape, strides, *rest)

    def _typed(self, storage: Any) -> Any:
        untyped = storage._untyped_storage
        if (memory := self._memory(untyped)) is None:
            return storage.__reduce_ex__(5)
        return self._wrapped(self._part(untyped, memory, 0), storage.dtype)

    def _untyped(self, storage: Any) -> Any:
        if (memory := self._memory(storage)) is None:
            return storage.__reduce_ex__(5)
        return self._part(storage, memory, 0).__reduce__()

    def _part(self, storage: Any, memory: Any, start: int) -> _Reduced:
        key = storage._cdata, start, memory.nbytes
        if key not in self._known:
            tensor = _Reduced(self._make, (pickle.PickleBuffer(memory),))
            self._known[key] = _Reduced(self._storage_of, (tensor,)), storage
        return self._known[key][0]

    def _wrapped(self, untyped: _Reduced, dtype: Any) -> tuple[Any, ...]:
        make = self._torch.storage.TypedStorage
        return functools.partial(make, wrap_storage=untyped, dtype=dtype, _internal=True), ()

    def _memory(self, storage: Any) -> Any:
        """Return an array over a storage, which cannot be resized from then on; ``None`` where there is none."""
        if storage.device.type != "cpu" or storage.nbytes() == 0:
            return None
        try:
            return self._torch.empty(0, dtype=self._torch.uint8, device="cpu").set_(storage).numpy()
        except (RuntimeError, TypeError, NotImplementedError):  # Without numpy, or of a kind that is not there yet.
            return None
