"""Local modules that a live call brings: written to one folder, imported from there.

A helper that was edited is imported again, with all that may hold on to what it was before.
"""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import sys
import tempfile

from . import fresh


class Modules:
    """The folder of shipped modules; made when the first one comes."""

    def __init__(self) -> None:
        self._root = ""
        self._texts: dict[str, str] = {}

    def show(self, modules: dict[str, str]) -> None:
        """Make these importable, before anything else of their names."""
        changed = {path: text for path, text in modules.items() if self._texts.get(path) != text}
        if not changed:
            return
        root = self._folder()
        is_edited = any(path in self._texts for path in changed)
        for path, text in changed.items():
            file = _inside(root, path)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
            self._texts[path] = text
        if is_edited:
            for name, module in list(sys.modules.items()):
                if (getattr(module, "__file__", None) or "").startswith(root + os.sep):
                    del sys.modules[name]
        importlib.invalidate_caches()

    def _folder(self) -> str:
        if not self._root:
            self._root = os.path.realpath(tempfile.mkdtemp(prefix="flash_modules_"))
            atexit.register(shutil.rmtree, self._root, ignore_errors=True)
            fresh.watch(self._root)
            sys.path.insert(0, self._root)
        return self._root


def _inside(root: str, path: str) -> str:
    """Return the file of a module; a path that leads out of the folder is refused."""
    file = os.path.realpath(os.path.join(root, path))
    if "\0" in path or not file.startswith(root + os.sep):
        raise ValueError(f"the path of a local module leads out of its folder: {path!r}")
    return file
