"""Imports of the project's own files, always from their text.

Python's bytecode cache tells files apart by size and whole seconds: a second save within one
second, of equal length, would run the code before it.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import PathEntryFinder


class FreshLoader(SourceFileLoader):
    """Compiles a file at each import, and writes no cache."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the file as it is now."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def watch(root: str) -> None:
    """Load what lies below ``root`` by `FreshLoader`; an environment in it keeps its cache."""
    top = os.path.realpath(root)
    make = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (FreshLoader, SOURCE_SUFFIXES))

    def hook(path: str) -> PathEntryFinder:
        real = os.path.realpath(path or os.getcwd())
        is_own = real == top or real.startswith(top + os.sep)
        if not is_own or "site-packages" in real or "dist-packages" in real:
            raise ImportError(path)
        return make(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
