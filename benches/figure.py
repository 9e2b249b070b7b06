"""One figure of the table, and where it is measured."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from measure import Package


@dataclass
class Figure:
    """One line of the table; times in seconds, memory in MB."""

    what: str
    ours: float
    other: float | str
    target: str
    is_met: bool = True
    unit: str = "s"
    #: What the other figure is of.
    beside: str = "official 1.21"

    @property
    def ratio(self) -> str:
        """How many times smaller ours is."""
        return f"{self.other / self.ours:.1f}×" if isinstance(self.other, float) and self.ours > 0 else "–"


@dataclass
class Bench:
    """Both packages and a scratch folder."""

    ours: Package
    official: Package
    folder: Path
    runs: int
    _made: int = field(default=0)

    def app(self, files: dict[str, str]) -> Path:
        """Write an app into a folder of its own."""
        self._made += 1
        root = self.folder / f"app{self._made}"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip())
        return root
