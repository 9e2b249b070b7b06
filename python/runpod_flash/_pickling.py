"""cloudpickle with a file that collects memory instead of copying it."""

from __future__ import annotations

import sys
from typing import Any

import cloudpickle


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes to a sink, which also says how to reduce what would be copied otherwise."""

    def __init__(self, sink: Any) -> None:
        if "torch" in sys.modules:
            from ._tensors import reductions

            self.dispatch_table = {**cloudpickle.Pickler.dispatch_table, **reductions()}
        super().__init__(sink, protocol=5)
        self._reduce = sink.reduce

    def reducer_override(self, obj: Any) -> Any:
        """Ask the sink, then cloudpickle."""
        reduced = self._reduce(obj)
        return super().reducer_override(obj) if reduced is None else reduced
