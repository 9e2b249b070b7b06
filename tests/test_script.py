"""Scripts, notebooks and tests that await decorated functions: each runs as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def script(run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> Script:
    """Write a script and run it with `python app.py`."""

    def write_and_run(
        text: str, *arguments: str, env: dict[str, str] | None = None, name: str = "app.py"
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / name).write_text(textwrap.dedent(text))
        return run(sys.executable, name, *arguments, cwd=tmp_path, env=env)

    return write_and_run


def lines(answer: subprocess.CompletedProcess[str]) -> list[str]:
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout.splitlines()


def test_unguarded_script_runs_its_main_once(script: Script, tmp_path: Path) -> None:
    answer = script(
        """
        import asyncio, os
        from runpod_flash import Endpoint, GpuType

        @Endpoint(name="hello-gpu", gpu=GpuType.NVIDIA_GEFORCE_RTX_4090)
        async def hello():
            return os.getpid()

        @Endpoint(name="other")
        def other():
            return 5

        async def main():
            first = await hello()
            print("elsewhere", first != os.getpid(), await hello() == first, await other())

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["elsewhere True True 5"]
    assert answer.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["app.py"]


def test_function_sees_its_whole_module(script: Script) -> None:
    answer = script(
        """
        import asyncio, functools
        from dataclasses import dataclass
        from runpod_flash import Endpoint

        FACTOR = 10

        @dataclass
        class Point:
            x: int

        def helper(value, default=FACTOR):
            return value * default

        def doubled(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return 2 * function(*args, **kwargs)
            return wrapper

        @Endpoint(name="a")
        @doubled
        def below(x):
            return helper(x)

        @Endpoint(name="b")
        def move(point: Point) -> Point:
            return Point(point.x + 1)

        def make(n):
            @Endpoint(name="c")
            def add(x):
                return x + n + FACTOR
            return add

        async def main():
            print(await below(1))
            moved = await move(Point(1))
            print(moved == Point(2), type(moved) is Point)
            print(await make(5)(1))
            print(await below(x=3))

        if __name__ == "__main__":
            asyncio.run(main())
        """
    )
    assert lines(answer) == ["20", "True True", "16", "60"]


def test_function_decorated_again_runs_what_was_decorated(script: Script) -> None:
    answer = script(
        """
        import asyncio, os
        from runpod_flash import Endpoint

        def tagged(function):
            async def wrapper(*args):
                return "outer", await function(*args)
            return wrapper

        @tagged
        @Endpoint(name="a")
        def plain(x):
            return x

        if __name__ == "__main__":
            print(asyncio.run(plain(3)))
        """
    )
    assert lines(answer) == ["('outer', 3)"]


def test_class_keeps_one_instance_for_equal_constructor_arguments(script: Script) -> None:
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint

        @Endpoint(name="counter")
        class Counter:
            def __init__(self, start, *, step=1):
                self.value = start
                self.step = step

            def next(self):
                self.value += self.step
                return self.value

            async def both(self, x):
                return self.value, x

            @staticmethod
            def three():
                return 3

            @property
            def current(self):
                return self.value

        async def main():
            counter = Counter(10, step=2)
            print(await counter.next(), await counter.next(), await Counter(10, step=2).next())
            print(await Counter(0).next(), await counter.both(x=1), await counter.three())
            for wrong in (lambda: Counter(), lambda: counter.missing, lambda: counter.current):
                try:
                    wrong()
                except (TypeError, AttributeError) as error:
                    print(type(error).__name__, error)
            print(Counter.__name__, Counter._wrapped_class.three(), Counter.local(5).next())

        asyncio.run(main())
        """
    )
    assert lines(answer) == [
        "12 14 16",
        "1 (16, 1) 3",
        "TypeError Counter() missing a required argument: 'start'",
        "AttributeError 'Counter' object has no attribute 'missing'",
        "AttributeError Counter.current is a property of the worker's instance; add a method that returns it",
        "Counter 3 6",
    ]


def test_generator_is_awaited_as_a_list_and_iterated_as_it_comes(script: Script) -> None:
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint

        @Endpoint(name="up")
        def up(n):
            yield from range(n)

        @Endpoint(name="down")
        async def down(n):
            while n:
                yield n
                n -= 1
            raise ValueError("empty")

        async def main():
            print(await up(3), [item async for item in up(2)])
            seen = []
            try:
                async for item in down(2):
                    seen.append(item)
            except Exception as error:
                print(seen, type(error).__name__, repr(error.__cause__))

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["[0, 1, 2] [0, 1]", "[2, 1] RemoteExecutionError ValueError('empty')"]


def test_remote_exception_is_the_cause_and_its_traceback_is_text(script: Script) -> None:
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint, FlashError, RemoteExecutionError

        class Mine(Exception):
            def __init__(self, code):
                super().__init__(f"code {code}")
                self.code = code

            def __reduce__(self):
                return Mine, (self.code,)

        @Endpoint(name="fails")
        def fails(code):
            raise Mine(code)

        async def main():
            try:
                await fails(7)
            except RemoteExecutionError as error:
                print(isinstance(error, FlashError), error.error_type.rpartition(".")[2], error.endpoint)
                print(type(error.__cause__) is Mine, error.__cause__.code)
                print("in fails" in error.remote_traceback, "runpod_flash" in error.remote_traceback)
            for call in (lambda: fails(), lambda: fails(1, 2), lambda: fails(cod=1)):
                try:
                    await call()
                except TypeError as error:
                    print(error)

        asyncio.run(main())
        """
    )
    assert lines(answer) == [
        "True Mine fails",
        "True 7",
        "True False",
        "fails() missing a required argument: 'code'",
        "fails() too many positional arguments",
        "fails() missing a required argument: 'code'",
    ]


def test_arrays_pass_both_ways_bit_for_bit(script: Script) -> None:
    pytest.importorskip("numpy")
    answer = script(
        """
        import asyncio
        import numpy as np
        from runpod_flash import Endpoint

        @Endpoint(name="echo")
        def echo(first, *, named):
            return named, first, first.flags.writeable

        async def main():
            generator = np.random.default_rng(1)
            big = generator.random((3000, 2000))
            arrays = [
                big,
                np.asfortranarray(big[:50, :30]),
                big[::7, ::3],
                generator.integers(0, 255, 1000, dtype=np.uint8),
                np.array([], dtype=np.float32),
                np.array(["a", "bc"]),
                np.float16(1.5),
                np.array([1, None], dtype=object),
            ]
            for array in arrays:
                named, first, writeable = await echo(array if array.shape else np.zeros(1), named=array)
                assert named.dtype == array.dtype and named.shape == array.shape
                assert named.tobytes() == array.tobytes() or array.dtype == object
                assert named.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc
                if named.shape and named.size:
                    assert writeable
                    named[0] = named[0]
            print("ok")
            print(len(await echo(big, named=b"x" * 9_000_000)))

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["ok", "3"]


def test_function_that_calls_another_endpoint_goes_through_its_workers(script: Script, tmp_path: Path) -> None:
    (tmp_path / "stages.py").write_text(
        textwrap.dedent(
            """
            import os
            from runpod_flash import Endpoint

            @Endpoint(name="clean")
            def clean(text):
                return text.strip(), os.getpid()
            """
        )
    )
    answer = script(
        """
        import asyncio, os
        from runpod_flash import Endpoint
        from stages import clean

        @Endpoint(name="loud")
        def loud(text):
            return text.upper()

        @Endpoint(name="pipeline")
        async def pipeline(text):
            text, process = await clean(text)
            return await loud(text), process == os.getpid()

        @Endpoint(name="round")
        async def around(n):
            return await back(n)

        @Endpoint(name="back")
        async def back(n):
            return await around(n)

        async def main():
            print(await pipeline("  hi "))
            try:
                await around(1)
            except Exception as error:
                print(type(error).__name__)

        asyncio.run(main())
        """
    )
    found = lines(answer)
    assert found[0] == "('HI', False)"
    assert found[1] in {"CallCycleError", "RemoteExecutionError"}


def test_endpoint_imported_in_a_body_is_reached(script: Script, tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "gpu.py").write_text(
        "from runpod_flash import Endpoint\n@Endpoint(name='triple')\ndef triple(x):\n    return 3 * x\n"
    )
    (tmp_path / "broken.py").write_text("import runpod_flash\nraise RuntimeError('no')\n")
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint

        @Endpoint(name="pipeline", cpu="cpu3c-1-2")
        async def pipeline(x):
            from stages.gpu import triple
            try:
                import broken
            except RuntimeError as error:
                return await triple(x), str(error)

        if __name__ == "__main__":
            print(asyncio.run(pipeline(2)))
        """
    )
    assert lines(answer) == ["(6, 'no')"]


def test_program_run_as_a_module_keeps_its_relative_imports(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "base.py").write_text("BASE = 5\n")
    (package / "program.py").write_text(
        textwrap.dedent(
            """
            import asyncio
            from runpod_flash import Endpoint
            from .base import BASE

            class Point:
                def __init__(self, x):
                    self.x = x

            @Endpoint(name="move")
            def move(point):
                from .base import BASE as again
                return Point(point.x + BASE + again)

            if __name__ == "__main__":
                print(asyncio.run(move(Point(1))).x)
            """
        )
    )
    assert lines(run(sys.executable, "-m", "pack.program")) == ["11"]


def test_imported_module_runs_in_a_worker_from_any_script(script: Script, tmp_path: Path) -> None:
    package = tmp_path / "work" / "jobs"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("BASE = 40\n")
    (package / "gpu.py").write_text(
        "from runpod_flash import Endpoint\n"
        "from .constants import BASE\n"
        "@Endpoint(name='answer')\n"
        "def answer(x):\n    return BASE + x, __name__\n"
    )
    answer = script(
        """
        import asyncio, sys
        sys.path.insert(0, "work")
        from jobs.gpu import answer
        print(asyncio.run(answer(2)))
        """
    )
    assert lines(answer) == ["(42, 'jobs.gpu')"]


def test_scripts_own_search_path_reaches_the_modules_it_imports(script: Script, tmp_path: Path) -> None:
    for name, text in {
        "work/jobs.py": (
            "from runpod_flash import Endpoint\n"
            "@Endpoint(name='answer')\n"
            "def answer():\n    import late\n    return late.VALUE\n"
        ),
        "library/late.py": "VALUE = 'found'\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    answer = script(
        """
        import asyncio, sys
        sys.path[:0] = ["work", "library"]
        from jobs import answer
        print(asyncio.run(answer()))
        """
    )
    assert lines(answer) == ["found"]


def test_cells_without_a_file_go_by_value(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    program = textwrap.dedent(
        """
        import asyncio
        cells = [
            "from runpod_flash import Endpoint",
            "FACTOR = 3",
            "class Box:\\n    def __init__(self, x): self.x = x",
            "@Endpoint(name='cell')\\ndef triple(box): return Box(box.x * FACTOR)",
            "import asyncio; print(asyncio.run(triple(Box(2))).x)",
            "@Endpoint(name='cell')\\ndef triple(box): return Box(box.x + FACTOR)",
            "print(asyncio.run(triple(Box(2))).x)",
        ]
        for cell in cells:
            exec(compile(cell, '<cell>', 'exec'), globals())
        """
    )
    assert lines(run(sys.executable, "-c", program)) == ["6", "5"]
    assert lines(run(sys.executable, "-", stdin=program)) == ["6", "5"]


def test_two_functions_of_one_name_are_both_reached(script: Script) -> None:
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint

        @Endpoint(name="same")
        def first(x):
            return "first", x

        @Endpoint(name="same")
        def second(x):
            return "second", x

        before = second

        @Endpoint(name="same")
        def second(x):
            return "again", x

        async def main():
            print(await first(1), await second(2), await before(3))

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["('first', 1) ('again', 2) ('second', 3)"]


def test_one_name_for_different_endpoints_is_refused_at_their_calls_alone(script: Script, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "from runpod_flash import Endpoint\n@Endpoint(name='files')\ndef there():\n    return 'there'\n"
    )
    answer = script(
        """
        import asyncio
        from other import there
        from runpod_flash import Endpoint

        @Endpoint(name="settings", workers=1)
        def first(): return "first"

        @Endpoint(name="settings", workers=2)
        def second(): return "second"

        @Endpoint(name="files")
        def here(): return "here"

        @Endpoint(name="alone")
        def alone(): return "alone"

        async def main():
            for function in (first, second, here, there, alone):
                try:
                    print(await function())
                except ValueError as error:
                    print(error)

        asyncio.run(main())
        """
    )
    found = answer.stdout.replace("\n\nhint: give each endpoint a name of its own", "").splitlines()
    settings = (
        "name: 'settings' is the name of endpoints with different settings: `first` (app.py:6) and `second` (app.py:9)"
    )
    files = "name: 'files' is the name of endpoints in different files: `there` (other.py:2) and `here` (app.py:12)"
    assert found == [settings, settings, files, files, "alone"], answer.stdout + answer.stderr


def test_route_handler_runs_in_place(script: Script) -> None:
    answer = script(
        """
        import asyncio, os
        from runpod_flash import Endpoint

        api = Endpoint(name="api", cpu="cpu3c-1-2")

        @api.get("/health")
        async def health():
            return os.getpid()

        print(asyncio.run(health()) == os.getpid())
        """
    )
    assert lines(answer) == ["True"]
