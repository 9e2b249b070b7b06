"""`flash init`: what it writes, what it refuses, and that what it prints works without a network."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Serve, free_port

Run = Callable[..., "subprocess.CompletedProcess[str]"]

FILES = {
    "gpu_worker.py",
    "lb_worker.py",
    "tests/test_workers.py",
    "pyproject.toml",
    "README.md",
    ".env.example",
    ".gitignore",
    "AGENTS.md",
}
#: A proxy that refuses: whatever tried to reach out would fail.
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9") | {"UV_OFFLINE": "1"}


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_init_without_name_prints_help(flash: Run) -> None:
    result = flash("init")
    assert result.returncode == 0
    assert "flash init" in result.stdout
    assert "--force" in result.stdout


def test_init_name_writes_the_template(flash: Run, tmp_path: Path) -> None:
    result = flash("init", "my-app", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert files_below(tmp_path / "my-app") == FILES
    for name in FILES:
        assert name in result.stderr
        assert "{{" not in (tmp_path / "my-app" / name).read_text()
    assert 'name = "my-app"' in (tmp_path / "my-app" / "pyproject.toml").read_text()


def test_init_dot_uses_the_current_folder_and_prints_no_cd(flash: Run, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    result = flash("init", ".", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert files_below(folder) == FILES
    assert "cd " not in result.stderr
    assert 'name = "here"' in (folder / "pyproject.toml").read_text()


def test_init_over_a_project_lists_conflicts_and_writes_nothing(flash: Run, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "gpu_worker.py").write_text("mine")
    (tmp_path / "app" / "notes.txt").write_text("mine")
    result = flash("init", "app", cwd=tmp_path)
    assert result.returncode == 1
    assert "gpu_worker.py" in result.stderr
    assert "notes.txt" not in result.stderr
    assert "--force" in result.stderr
    assert files_below(tmp_path / "app") == {"gpu_worker.py", "notes.txt"}
    assert (tmp_path / "app" / "gpu_worker.py").read_text() == "mine"

    assert flash("init", "app", "-f", cwd=tmp_path).returncode == 0
    assert files_below(tmp_path / "app") == FILES | {"notes.txt"}
    assert (tmp_path / "app" / "gpu_worker.py").read_text() != "mine"


@pytest.mark.parametrize(("name", "suggestion"), [("we ird$", "we-ird"), ("_app", "app"), ("name;rm", "name-rm")])
def test_init_name_that_no_project_can_have_is_refused(flash: Run, tmp_path: Path, name: str, suggestion: str) -> None:
    result = flash("init", name, cwd=tmp_path)
    assert result.returncode == 1
    assert f"`{name}`" in result.stderr
    assert f"flash init {suggestion}" in result.stderr
    assert not (tmp_path / name).exists()


def test_init_printed_cd_is_quoted_for_the_shell(flash: Run, tmp_path: Path) -> None:
    (tmp_path / "it's odd").mkdir()
    result = flash("init", "it's odd/app", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (command,) = re.findall(r"^  (cd .*)$", result.stderr, re.MULTILINE)
    where = subprocess.run(["sh", "-c", f"{command} && pwd"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(where.stdout.strip()).resolve() == (tmp_path / "it's odd" / "app").resolve()


def test_init_where_a_file_is_in_the_way_says_so(flash: Run, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("a file")
    result = flash("init", "app", cwd=tmp_path)
    assert result.returncode == 1
    assert "cannot write" in result.stderr
    assert (tmp_path / "app").read_text() == "a file"


def test_init_project_passes_its_own_tests_without_network(flash: Run, run: Run, tmp_path: Path) -> None:
    assert flash("init", "app", cwd=tmp_path).returncode == 0
    result = run(sys.executable, "-m", "pytest", "-q", cwd=tmp_path / "app", env=NO_NETWORK)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\b4 passed\b", result.stdout), result.stdout


def test_init_worker_answers_a_script_without_network(flash: Run, run: Run, tmp_path: Path) -> None:
    assert flash("init", "app", cwd=tmp_path).returncode == 0
    result = run(sys.executable, "gpu_worker.py", cwd=tmp_path / "app", env=NO_NETWORK)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "called from Python" in result.stdout


def test_init_printed_commands_work_without_network(flash: Run, serve: Serve, tmp_path: Path) -> None:
    printed = flash("init", "app", cwd=tmp_path).stderr
    commands = re.findall(r"^  ((?:cd|flash|curl) .*)$", printed, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["cd", "flash", "curl"]
    # `flash run` as printed, but on a free port, so that tests can run side by side.
    port = free_port()
    server = serve(tmp_path / "app", *shlex.split(commands[1])[2:], "--port", str(port), env=NO_NETWORK)
    call = commands[2].replace("localhost:8888", f"127.0.0.1:{server.port}")
    answer = subprocess.run(["sh", "-c", f"{call} -s"], capture_output=True, text=True, check=True, timeout=60)
    assert '"words":1' in answer.stdout.replace(" ", ""), answer.stdout
    counted = server.post("/lb_worker/process", {"text": "one two two"})
    assert counted.json() == {"words": 3, "most_common": {"two": 2, "one": 1}}
    assert server.get("/lb_worker/health").json() == {"status": "healthy"}
    assert not (set(os.listdir(tmp_path / "app")) - {Path(name).parts[0] for name in FILES} - {".flash", "__pycache__"})
