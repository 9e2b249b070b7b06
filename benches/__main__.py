"""Measures this package beside the official one, on the same apps, in one run: `make bench`.

`make bench BENCH="--runs 3 start save"` takes fewer runs of some cases.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import cases
import client
import jobs
import payload
from figure import Bench, Figure
from measure import Package, environment

CASES = cases.CASES | jobs.CASES | client.CASES | payload.CASES
REPOSITORY = Path(__file__).resolve().parent.parent


def shown(value: float | str, unit: str) -> str:
    """Write a value with its unit: milliseconds below a tenth of a second."""
    if isinstance(value, str):
        return value
    if unit == "s":
        return f"{value * 1000:.{1 if value >= 0.001 else 3}f} ms" if value < 0.1 else f"{value:.2f} s"
    return f"{value:.0f} {unit}".strip()


def table(figures: list[Figure]) -> str:
    """Lay the figures out in columns."""
    rows = [("", "ours", "other", "ratio", "beside", "target", "")]
    rows += [
        (
            figure.what,
            shown(figure.ours, figure.unit),
            shown(figure.other, figure.unit),
            figure.ratio,
            figure.beside,
            figure.target,
            "met" if figure.is_met else "MISSED",
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main() -> int:
    """Run the cases that were asked for and print the table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)} (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median counts (default: 5)")
    parser.add_argument("--official", type=Path, default=REPOSITORY / ".venv-official" / "bin" / "python")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - set(CASES):
        parser.error(f"unknown case: {', '.join(sorted(unknown))}")
    figures: list[Figure] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="flash-bench-") as scratch:
        home, cache = Path(scratch, "home"), Path(scratch, "cache")
        home.mkdir()
        clean = environment(home, cache)
        bench = Bench(
            Package("ours", Path(sys.executable), clean),
            Package("official", arguments.official, clean),
            Path(scratch),
            arguments.runs,
        )
        for name in arguments.cases or CASES:
            print(f"… {name}", file=sys.stderr, flush=True)
            try:
                figures += CASES[name](bench)
            except (RuntimeError, OSError) as error:
                failed = True
                print(f"{name} failed: {error}", file=sys.stderr)
    print(f"medians of {arguments.runs} runs in turns; {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    print(table(figures))
    return 1 if failed or not all(figure.is_met for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
