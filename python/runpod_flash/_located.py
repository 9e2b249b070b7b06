"""Says in the traceback of a live call where its lines are written: in files and cells here, not in what was sent."""

from __future__ import annotations

import linecache
import os
import re
from typing import TYPE_CHECKING

from . import _by_value

if TYPE_CHECKING:
    from ._shipment import Shipment

#: A frame as workers write it, with the line of source that our own ones have, and marks below that.
_FRAME = re.compile(
    r"""^(?P<indent>\ *)File\ "(?P<file>[^"\n]+)",\ line\ (?P<line>\d+)(?P<rest>,\ in\ [^\n]*)
    (?P<source>(?:\n(?P=indent)\ \ [^\n]*){0,2})""",
    re.MULTILINE | re.VERBOSE,
)
#: What workers call the source of a call: the official one, ours.
_SENT = re.compile(r"<string>|<\w+ of a live call>")
#: The folder that workers write local modules to: a new one each time.
_FOLDER = "/flash_modules_"


def located(traceback: str, shipment: Shipment) -> str:
    """Return the traceback of a call with the files and lines of this machine."""

    def frame(found: re.Match[str]) -> str:
        module = _module(shipment, found["file"])
        place = (module, int(found["line"])) if module is not None else None
        if _SENT.fullmatch(found["file"]):
            place = _place(shipment, int(found["line"]))
        if place is None:
            return found[0]
        file, line = place
        source = found["source"]
        if not source and (text := linecache.getline(file, line).strip()):
            source = f"\n{found['indent']}  {text}"
        return f'{found["indent"]}File "{_by_value.label(file)}", line {line}{found["rest"]}{source}'

    return _FRAME.sub(frame, traceback)


def _module(shipment: Shipment, file: str) -> str | None:
    """Return the file here of a local module that was sent along."""
    if _FOLDER not in file and os.path.exists(file):
        return None
    sent = [path for path in shipment.modules if file.endswith("/" + path)]
    return next((known for path in sent for known in shipment.files if known.endswith("/" + path)), None)


def _place(shipment: Shipment, line: int) -> tuple[str, int] | None:
    """Return file and line of a line of what was sent, whose end the parts of a shipment are."""
    first = shipment.sent.count("\n") + 2
    for index in range(len(shipment.codes) - 1, -1, -1):
        first -= shipment.codes[index].count("\n") + 1
        file, parts = shipment.places.get(index, ("", []))
        for part in parts:
            within = line - (first - 1) - part["shipped"]
            if 0 <= within < part["count"]:
                return file, part["source"] + within
    return None
