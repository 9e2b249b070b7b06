"""Every call that the examples print in their docstrings, against the real server and real workers."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Server

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

#: What each call answers, in the order of the docstrings: the output of queue-based calls, the body of others.
EXPECTED: dict[str, list[Any]] = {
    "one_queue/gpu_worker.py": [
        {"words": 6, "distinct": 4, "most_common": {"to": 2, "be": 2, "or": 1}, "mean_length": 2.17}
    ],
    "two_queues/gpu_worker.py": [
        {"rows": [[0.0, 0.0], [1.0, 1.0]]},
        {"classes": [2, 2], "shares": [[0.212, 0.316, 0.472], [0.033, 0.162, 0.805]]},
    ],
    "load_balanced/lb_worker.py": [
        {"text": "the cat sat on the mat", "words": 6},
        {"translated": "guten Morgen Welt", "known": 3},
        {"status": "healthy"},
    ],
    "mixed/mixed_api_worker.py": [
        {"size": 64, "result": {"trace": -40.201, "norm": 498.256}},
    ],
    "routes_added/lb_worker.py": [
        {"created": True},
        {"names": ["milk"]},
        {"name": "milk", "text": "two bottles", "tags": ["shop"]},
        {"changed": True},
        {"deleted": True},
    ],
    "endpoint_added/gpu_worker.py": [{"text": "hello again", "vector": ...}],
    "endpoint_added/cpu_worker.py": [{"text": "hello again", "removed": 8}],
    "hardware/workers.py": [[2, 2, 2, 3, 3, 5], [5.0, 5.0, 5.0], {"total": 5}],
}


def commands_of(path: Path) -> list[str]:
    """Return the curl commands in a module's docstring."""
    documentation = ast.get_docstring(ast.parse(path.read_text())) or ""
    return re.findall(r"^ +(curl .*)$", documentation, re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, session_environment: dict[str, str]) -> Iterator[Server]:
    """`flash run` in a copy of `examples/`, so that the repository stays as it is."""
    root = tmp_path_factory.mktemp("examples") / "examples"
    shutil.copytree(EXAMPLES, root, ignore=shutil.ignore_patterns(".flash", "__pycache__"))
    serving = Server(root, environment=session_environment)
    yield serving
    serving.stop()


def test_examples_all_have_calls_and_expectations() -> None:
    with_calls = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py") if commands_of(path)}
    assert with_calls == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_example_calls_answer_as_their_docstrings_say(server: Server, name: str) -> None:
    commands = commands_of(EXAMPLES / name)
    assert len(commands) == len(EXPECTED[name])
    for command, expected in zip(commands, EXPECTED[name], strict=True):
        call = command.replace("localhost:8888", f"127.0.0.1:{server.port}")
        result = subprocess.run(["sh", "-c", f"{call} -sS"], capture_output=True, text=True, timeout=90, check=False)
        assert result.returncode == 0, result.stderr
        answer = json.loads(result.stdout)
        if "/runsync" in command:
            assert answer["status"] == "COMPLETED", answer
            answer = answer["output"]
        if isinstance(expected, dict) and ... in expected.values():
            assert answer.keys() == expected.keys()
            kept = {key for key, value in expected.items() if value is not ...}
            assert {key: answer[key] for key in kept} == {key: expected[key] for key in kept}
        else:
            assert answer == expected


def test_first_call_is_one_of_the_examples() -> None:
    first = (EXAMPLES / "first-call.txt").read_text().strip()
    assert first in commands_of(EXAMPLES / "one_queue" / "gpu_worker.py")
