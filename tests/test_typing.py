"""What type checkers see: right programs pass, each wrong call has the error that its comment names.

Runs of each checker over `typing/`, the examples, a `flash init` project and `programs/`, laid out in one folder.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import FLASH

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
#: Folders of the layout; each is a root that modules are imported from, as when its programs run.
ROOTS = ("examples", "project", "typing")
#: Programs as people write them, without annotations: checked, but not strictly.
LOOSE = "programs"

Findings = set[tuple[str, int, str]]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory, session_environment: dict[str, str]) -> Path:
    """A folder with all that is checked."""
    root = tmp_path_factory.mktemp("types")
    leave_out = shutil.ignore_patterns(".flash", "__pycache__", ".mypy_cache")
    shutil.copytree(REPOSITORY / "examples", root / "examples", ignore=leave_out)
    for folder in ("typing", LOOSE):
        shutil.copytree(HERE / folder, root / folder, ignore=leave_out)
    subprocess.run([FLASH, "init", "project"], cwd=root, env=session_environment, check=True, capture_output=True)
    return root


def expected(checker: str, *folders: str) -> Findings:
    """Return what the comments say about a checker."""
    return {
        (f"{path.parent.name}/{path.name}", number, found[1])
        for folder in folders
        for path in (HERE / folder).glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := re.search(rf"# .*\b{checker}: (\S+)", line))
    }


def agree(found: Findings, wanted: Findings) -> None:
    """Fail with what was found beside what the comments say, and with what was not found."""
    assert (sorted(found - wanted), sorted(wanted - found)) == ([], [])


def run(*command: str | Path, cwd: Path) -> str:
    ended = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.xdist_group("typing")
def test_mypy_strict_accepts_right_programs_and_names_each_wrong_call(layout: Path) -> None:
    (layout / "mypy.ini").write_text(
        "[mypy]\nstrict = true\npython_version = 3.10\nexplicit_package_bases = true\n"
        f"mypy_path = {':'.join(f'$MYPY_CONFIG_FILE_DIR/{root}' for root in ROOTS)}\n"
        "[mypy-numpy.*]\nignore_missing_imports = true\nfollow_imports = skip\n"
    )
    agree(mypy(layout, *ROOTS), expected("mypy", "typing"))


@pytest.mark.xdist_group("typing")
def test_mypy_accepts_programs_without_annotations(layout: Path) -> None:
    (layout / "mypy.ini").write_text(
        "[mypy]\ncheck_untyped_defs = true\npython_version = 3.10\n"
        "[mypy-numpy.*,cloudpickle.*]\nignore_missing_imports = true\nfollow_imports = skip\n"
    )
    programs = sorted(f"{LOOSE}/{path.name}" for path in (layout / LOOSE).glob("p*.py"))
    agree(mypy(layout, *programs), expected("mypy", LOOSE))


def mypy(layout: Path, *what: str) -> Findings:
    """Return what mypy finds."""
    output = run(sys.executable, "-m", "mypy", "--no-pretty", "--cache-dir=.mypy_cache", *what, cwd=layout)
    lines = re.findall(r"^(\S+?):(\d+): error: .*\[([\w-]+)\]$", output, re.MULTILINE)
    assert lines or "Success" in output, output
    return {(path, int(line), code) for path, line, code in lines}


@pytest.mark.xdist_group("typing")
def test_pyright_accepts_right_programs_and_names_each_wrong_call(layout: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed (Debian: apt-get install nodejs)")
    settings = {
        "include": (*ROOTS, LOOSE),
        "executionEnvironments": [{"root": root} for root in (*ROOTS, LOOSE)],
        "pythonVersion": "3.10",
        "typeCheckingMode": "standard",
    }
    (layout / "pyrightconfig.json").write_text(json.dumps(settings))
    command = (sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable)
    report = json.loads(run(*command, cwd=layout))
    root = layout.resolve()
    found = {
        (
            Path(finding["file"]).resolve().relative_to(root).as_posix(),
            finding["range"]["start"]["line"] + 1,
            finding.get("rule", finding["message"]),
        )
        for finding in report["generalDiagnostics"]
    }
    assert report["summary"]["filesAnalyzed"] > 8
    agree(found, expected("pyright", "typing", LOOSE))
