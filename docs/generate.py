"""Writes what is made from the core's tables: ``docs/configuration.md`` and the enums' type stub.

Run it after a change to ``src/catalog/`` or ``src/endpoint/parameters.rs``; a test runs it with
``--check``, which changes nothing and fails where a file is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from runpod_flash import _core

REPOSITORY = Path(__file__).resolve().parent.parent
ENUMS = (
    "GpuGroup",
    "GpuType",
    "CpuInstanceType",
    "CudaVersion",
    "DataCenter",
    "ServerlessScalerType",
    "ServerlessType",
)
METHODS = {
    "GpuGroup": """\
    @classmethod
    def all(cls) -> list[GpuGroup]: ...
    @classmethod
    def to_gpu_ids_str(cls, gpus: Sequence[GpuGroup | GpuType]) -> str: ...
    @classmethod
    def normalize_gpu_ids_str(cls, gpu_ids: str) -> str: ...
    @classmethod
    def from_gpu_ids_str(cls, gpu_ids: str) -> list[GpuGroup | GpuType]: ...
""",
    "GpuType": """\
    @classmethod
    def all(cls) -> list[GpuType]: ...
    @classmethod
    def is_gpu_type(cls, value: str) -> bool: ...
""",
    "DataCenter": """\
    @classmethod
    def all(cls) -> list[DataCenter]: ...
    @classmethod
    def from_string(cls, text: str) -> DataCenter: ...
""",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """Return text as Markdown code; nothing for nothing."""
    return f"`{text}`" if text else ""


def configuration() -> str:
    """Return ``docs/configuration.md``."""
    hardware = _core.hardware_tables()
    parameters = ((code(name), accepts, default, doc) for name, accepts, default, doc in _core.parameter_table())
    cuda = ", ".join(code(value) for _, value in _core.enum_table("CudaVersion")[2])
    return f"""\
<!-- Made by docs/generate.py from the tables in src/catalog and src/endpoint/parameters.rs. -->

# Configuration

All arguments of `Endpoint(...)` are checked when it is constructed, and all problems are reported at
once, each with the value, the nearest right one and what to do. The same checks run when `flash`
reads a project without importing it.

## Parameters

`name` may be given by position; all others are keywords.

{table(("Parameter", "Accepts", "Default", "Meaning"), parameters)}
## GPU types

Members of `GpuType`. A type asks Runpod for its pool without the pool's other types. Members and
values are those of the official 1.21.

{
        table(
            ("Member", "Value", "Pool", "VRAM (GB)", "Architecture"),
            ((code(a), code(b), code(c), d, e) for a, b, c, d, e in hardware["gpu_type"]),
        )
    }
## GPU pools

Members of `GpuGroup`.

{
        table(
            ("Member", "Value", "VRAM (GB)", "GPU types"),
            ((code(a), code(b), c, d) for a, b, c, d in hardware["gpu_group"]),
        )
    }
## CPU instances

Members of `CpuInstanceType`; their values are accepted as strings. The container disk of an endpoint
(`PodTemplate(containerDiskInGb=...)`) cannot be larger than the smallest of its instances allows.

{
        table(
            ("Member", "Value", "vCPU", "RAM (GB)", "Largest disk (GB)"),
            ((code(a), code(b), c, d, e) for a, b, c, d, e in hardware["cpu"]),
        )
    }
## Data centers

Members of `DataCenter`; their values are accepted as strings, in any case, with `_` or `-`. Those
marked as default are where a GPU endpoint may run that names none (`DataCenter.all()`); the others
are named by Runpod's documentation and used only where they are given.

{
        table(
            ("Member", "Value", "CPU endpoints", "Default"),
            ((code(a), code(b), c, d) for a, b, c, d in hardware["data_center"]),
        )
    }
## CUDA versions

Values of `CudaVersion`, accepted as strings; the member of `12.8` is `V12_8`: {cuda}.
"""


def stub() -> str:
    """Return the type stub of the enums."""
    parts = [
        "# Made by docs/generate.py from the tables in src/catalog.\n# ruff: noqa: PYI053\n",
        "from collections.abc import Sequence\nfrom enum import Enum\nfrom typing import Any\n\n",
        "def build(name: str) -> Any: ...\ndef enum_class(name: str) -> Any: ...\n\n",
        "CPU_DATACENTERS: frozenset[DataCenter]\n",
    ]
    for name in ENUMS:
        is_str, _, members = _core.enum_table(name)
        parts.append(f"\nclass {name}({'str, ' if is_str else ''}Enum):\n")
        parts += [f'    {member} = "{value}"\n' for member, value in members]
        parts.append(METHODS.get(name, ""))
    return "".join(parts)


def main() -> int:
    """Write the files, or check them; returns the exit status."""
    is_check = "--check" in sys.argv[1:]
    stale = []
    for path, text in (
        (REPOSITORY / "docs/configuration.md", configuration()),
        (REPOSITORY / "python/runpod_flash/_enums.pyi", stub()),
    ):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(REPOSITORY).as_posix())
        if not is_check:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'not current; run python docs/generate.py' if is_check else 'written'}")
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
