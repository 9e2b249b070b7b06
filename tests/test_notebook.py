"""Notebooks: a real Jupyter kernel, whose cells define functions and call them, here and on Runpod."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
from platform_support import Platform
from support import MARK, end_marked

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Notebook:
    """One kernel; each cell is run to its end."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._manager = KernelManager(ip="127.0.0.1")
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self._manager._kernel_spec = KernelSpec(argv=command, display_name="Python", language="python")
        self._manager.connection_file = str(folder / "kernel.json")
        self._manager.start_kernel(env={**environment, MARK: str(id(self))}, cwd=str(folder))
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, cell: str) -> str:
        """Run a cell; return what it shows, without colours: its value, or its traceback."""
        shown: list[str] = []

        def show(message: dict[str, object]) -> None:
            content: dict[str, object] = message["content"]  # type: ignore[assignment]
            if message["msg_type"] == "error":
                shown.append("\n".join(content["traceback"]))  # type: ignore[call-overload]
            elif message["msg_type"] == "execute_result":
                shown.append(content["data"]["text/plain"])  # type: ignore[index]
            elif message["msg_type"] == "stream" and content["name"] == "stdout":
                shown.append(str(content["text"]))

        self._client.execute_interactive(cell, timeout=60, output_hook=show)
        return COLOURS.sub("", "".join(shown)).strip()

    def close(self) -> None:
        """End the kernel; nothing that it started may be left."""
        self._client.stop_channels()
        self._manager.shutdown_kernel()
        self._manager.cleanup_resources()
        left = end_marked(str(id(self)), within=5)
        assert not left, f"left behind by a kernel that ended: {left}"


@pytest.fixture
def notebook_environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment in which IPython writes to the test's folder alone."""
    home = tmp_path / "home"
    home.mkdir()
    return {**environment, "HOME": str(home), "IPYTHONDIR": str(home), "JUPYTER_RUNTIME_DIR": str(home)}


@pytest.fixture
def local(notebook_environment: dict[str, str], tmp_path: Path) -> Iterator[Notebook]:
    """A notebook whose functions run in workers of this machine."""
    notebook = Notebook(tmp_path, notebook_environment)
    yield notebook
    notebook.close()


@pytest.fixture
def live(notebook_environment: dict[str, str], tmp_path: Path, platform: Platform) -> Iterator[Notebook]:
    """A notebook whose functions are sent to live endpoints."""
    variables = {**platform.variables, "FLASH_IS_LIVE_PROVISIONING": "true"}
    notebook = Notebook(tmp_path, {**notebook_environment, **variables})
    yield notebook
    notebook.close()


CELLS = (
    "from runpod_flash import Endpoint\nFACTOR = 3",
    "def helper(x):\n    if x < 0:\n        raise ValueError(f'negative: {x}')\n    return x * FACTOR",
    "@Endpoint(name='notebook', cpu='cpu3c-1-2')\ndef triple(x):\n    # Why it is so.\n    return helper(x)",
)


def check(notebook: Notebook) -> None:
    """Define functions, call them, change them, and call them again."""
    for cell in CELLS:
        assert notebook.run(cell) == ""
    assert notebook.run("await triple(2)") == "6"
    assert notebook.run("FACTOR = 5\nawait triple(2)") == "10"
    assert notebook.run(CELLS[1].replace("* FACTOR", "* FACTOR + 1")) == ""
    assert notebook.run("await triple(2)") == "11"
    assert notebook.run(CELLS[2].replace("helper(x)", "-helper(x)")) == ""
    assert notebook.run("await triple(2)") == "-11"
    assert notebook.run("import asyncio\nawait asyncio.gather(*(triple(n) for n in range(3)))") == "[-1, -6, -11]"
    cell = (
        "def plus(f):\n    def wrapper(*args): return f(*args) + 1\n    return wrapper\n"
        "@Endpoint(name='notebook-plus', cpu='cpu3c-1-2')\n@plus\ndef more(x): return helper(x)"
    )
    assert notebook.run(cell) == ""
    assert notebook.run("await more(1)") == "7"
    cell = (
        "@Endpoint(name='notebook-model', cpu='cpu3c-1-2')\nclass Model:\n"
        "    def __init__(self, start): self.value = start\n"
        "    def add(self, x):\n        self.value += helper(x)\n        return self.value"
    )
    assert notebook.run(cell) == ""
    assert notebook.run("model = Model(100)\nawait model.add(0), await model.add(1)") == "(101, 107)"


def fails_with_its_lines(notebook: Notebook) -> None:
    """Have a call fail in a helper of another cell."""
    shown = notebook.run("await triple(-1)")
    assert re.search(
        r'File "Cell In\[8\]", line 4, in triple\n +return -helper\(x\)\n(.*\n)?'
        r""" +File "Cell In\[6\]", line 3, in helper\n +raise ValueError\(f'negative: \{x\}'\)\nValueError: negative: -1""",
        shown,
    ), shown


def test_cells_run_on_this_machine_and_fail_with_their_lines(local: Notebook) -> None:
    check(local)
    fails_with_its_lines(local)


def test_cells_travel_to_live_endpoints_and_fail_with_their_lines(live: Notebook) -> None:
    check(live)
    fails_with_its_lines(live)
