"""What is measured: one function per figure, each on the same app for both packages."""

from __future__ import annotations

import subprocess
import textwrap
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from figure import Bench, Figure
from measure import Package, alternating, descendants, first_line, resident, run_program, serving

APP = """
    from runpod_flash import CpuInstanceType, Endpoint


    @Endpoint(name="{name}", cpu=CpuInstanceType.CPU3G_1_4)
    async def {name}(text: str) -> dict:
        return {{"words": len(text.split())}}
"""
SCRIPT = """
    import asyncio

    from runpod_flash import CpuInstanceType, Endpoint


    @Endpoint(name="count", cpu=CpuInstanceType.CPU3G_1_4)
    async def count(text: str) -> dict:
        return {"words": len(text.split())}


    if __name__ == "__main__":
        print("answer", asyncio.run(count("one two three")), flush=True)
"""
NUMPY_APP = """
    from runpod_flash import CpuInstanceType, Endpoint


    @Endpoint(name="norm", cpu=CpuInstanceType.CPU3G_1_4, dependencies=["numpy"])
    async def norm(values: list[float]) -> float:
        import numpy

        return float(numpy.linalg.norm(numpy.asarray(values)))
"""
PLAIN = """
    import json
    import math

    LIMIT_{number} = {number}


    class Shape{number}:
        def __init__(self, width: float, height: float) -> None:
            self.width = width
            self.height = height

        def area(self) -> float:
            return self.width * self.height


    def total(shapes: list[Shape{number}]) -> float:
        return math.fsum(shape.area() for shape in shapes if shape.area() > LIMIT_{number})


    def dump(shapes: list[Shape{number}]) -> str:
        return json.dumps([vars(shape) for shape in shapes])
"""
#: Why a cell is empty.
NEEDS_ACCOUNT = "needs an account"


def start(bench: Bench) -> list[Figure]:
    """First 200 after the start of the server."""
    roots = [bench.app({"words.py": APP.format(name="words")}) for _ in range(2)]

    def once(package: Package, root: Path) -> float:
        with serving(package, root) as server:
            return server.ready_after

    ours, official = alternating(bench.runs, lambda: once(bench.ours, roots[0]), lambda: once(bench.official, roots[1]))
    met = ours <= 0.25 and official / ours >= 15
    return [Figure("flash run: first 200 after the start", ours, official, "≤ 0.25 s, ≥ 15×", met)]


def _first_answer(package: Package, root: Path, path: str, body: dict[str, object]) -> float:
    with serving(package, root) as server:
        return server.until(lambda status, text: status == 200 and '"COMPLETED"' in text, "POST", path, {"input": body})


def answer(bench: Bench) -> list[Figure]:
    """First answer of a user's function, from the start of the command."""
    root = bench.app({"words.py": APP.format(name="words")})
    script = bench.app({"app.py": SCRIPT})
    python = str(bench.ours.python)
    by_server, by_script = alternating(
        bench.runs,
        lambda: _first_answer(bench.ours, root, "/words/runsync", {"text": "one two three"}),
        lambda: first_line(bench.ours, python, "app.py", folder=script, wanted="'words': 3"),
    )
    return [
        Figure("flash run: first answer of a function", by_server, NEEDS_ACCOUNT, "≤ 0.5 s", by_server <= 0.5),
        Figure("python app.py: first answer", by_script, NEEDS_ACCOUNT, "≤ 0.5 s", by_script <= 0.5),
    ]


def numpy(bench: Bench) -> list[Figure]:
    """First answer of a function with numpy among its dependencies, its environment being cached."""
    root = bench.app({"norm.py": NUMPY_APP})

    def once() -> float:
        return _first_answer(bench.ours, root, "/norm/runsync", {"values": [3.0, 4.0]})

    once()  # makes the environment
    (ours,) = alternating(bench.runs, once)
    return [Figure("flash run: first answer, numpy, cached", ours, NEEDS_ACCOUNT, "≤ 0.8 s", ours <= 0.8)]


def save(bench: Bench) -> list[Figure]:
    """A new file's route answers after the save."""
    roots = [bench.app({"words.py": APP.format(name="words")}) for _ in range(2)]
    with serving(bench.ours, roots[0]) as ours, serving(bench.official, roots[1]) as official:
        ours.until(lambda status, text: '"COMPLETED"' in text, "POST", "/words/runsync", {"input": {"text": "a"}})

        def once(server_index: int) -> float:
            server, root = ((ours, roots[0]), (official, roots[1]))[server_index]
            name = f"new_{uuid.uuid4().hex[:8]}"
            text = textwrap.dedent(APP.format(name=name)).lstrip()
            saved = time.perf_counter()
            (root / f"{name}.py").write_text(text)
            # Without an account the official route answers 200 with an error inside: the route is there.
            path, body = f"/{name}/runsync", {"input": {"text": "a b"}}
            server.until(lambda status, _: status == 200, "POST", path, body)
            return time.perf_counter() - saved

        own, other = alternating(bench.runs, lambda: once(0), lambda: once(1))
    return [Figure("a new file's route answers after the save", own, other, "≤ 0.3 s", own <= 0.3)]


def start_up(bench: Bench) -> list[Figure]:
    """What an import and `--help` cost beyond a bare Python."""
    folder = bench.app({"empty.txt": ""})
    code = "from runpod_flash import Endpoint, GpuType"
    packages = (bench.ours, bench.official)

    def bare(package: Package) -> Callable[[], float]:
        return lambda: run_program(package, str(package.python), "-c", "pass", folder=folder)

    def imports(package: Package) -> Callable[[], float]:
        return lambda: run_program(package, str(package.python), "-c", code, folder=folder)

    def helps(package: Package) -> Callable[[], float]:
        return lambda: run_program(package, package.flash, "--help", folder=folder)

    actions = [action(package) for package in packages for action in (bare, imports, helps)]
    alternating(1, *actions)  # writes the bytecode
    own_bare, own_import, own_help, other_bare, other_import, other_help = alternating(3 * bench.runs, *actions)
    other_import, other_help = other_import - other_bare, other_help - other_bare
    imported, helped = max(own_import - own_bare, 1e-4), max(own_help - own_bare, 1e-4)
    return [
        Figure("import Endpoint, GpuType, over bare Python", imported, other_import, "≤ 8 ms", imported <= 0.008),
        Figure("flash --help, over bare Python", helped, other_help, "≤ 30 ms", helped <= 0.030),
        _modules(bench, folder),
    ]


def _modules(bench: Bench, folder: Path) -> Figure:
    code = "import sys; b = {*sys.modules}; from runpod_flash import Endpoint, GpuType; print(*{*sys.modules} - b)"

    def loaded(package: Package) -> set[str]:
        command = [str(package.python), "-c", code]
        ended = subprocess.run(command, cwd=folder, env=package.environment, capture_output=True, text=True, check=True)
        return set(ended.stdout.split())

    ours, official = loaded(bench.ours), loaded(bench.official)
    heavy = {"asyncio", "logging", "inspect", "numpy", "pydantic"} & ours
    return Figure(
        "modules loaded by that import",
        float(len(ours)),
        float(len(official)),
        "none of asyncio, logging, inspect, numpy, pydantic",
        not heavy,
        unit="",
    )


def scan(bench: Bench) -> list[Figure]:
    """Read a project of 2,000 files, one endpoint in every twentieth."""
    files = {f"package{n % 40}/plain{n}.py": PLAIN.format(number=n) for n in range(1900)}
    files |= {f"workers/words{n}.py": APP.format(name=f"words{n}") for n in range(100)}
    root = bench.app(files)
    (ours,) = alternating(bench.runs, lambda: run_program(bench.ours, bench.ours.flash, "manifest", folder=root))
    # The official one has no command that only reads; its build reads by importing every file.
    official = run_program(bench.official, bench.official.flash, "build", "--no-deps", folder=root, check=False)
    return [Figure("2,000 files read (official: flash build --no-deps)", ours, official, "< 1 s", ours < 1)]


def memory(bench: Bench) -> list[Figure]:
    """Resident memory of the server, without workers."""
    root = bench.app({"words.py": APP.format(name="words")})
    with serving(bench.ours, root) as server:
        ours = resident(server.process.pid)
    root = bench.app({"words.py": APP.format(name="words")})
    with serving(bench.official, root) as server:
        tree = [server.process.pid, *descendants(server.process.pid)]
        official = sum(resident(process) for process in tree)
    return [Figure("server memory, no workers (resident)", ours, official, "< 40 MB", ours < 40, unit="MB")]


CASES: dict[str, Callable[[Bench], list[Figure]]] = {
    "start": start,
    "answer": answer,
    "numpy": numpy,
    "save": save,
    "start_up": start_up,
    "scan": scan,
    "memory": memory,
}
