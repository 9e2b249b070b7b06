"""The ``flash`` console script."""

import sys

from . import _core


def main() -> int:
    """Run one ``flash`` command; returns the exit status."""
    return _core.cli_main(sys.argv)
