"""A script as a process: output, environment, threads, fork, signals and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
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


def test_dead_worker_fails_its_call_and_the_next_one_works(script: Script) -> None:
    answer = script(
        """
        import asyncio, os
        from runpod_flash import Endpoint, RemoteExecutionError

        @Endpoint(name="mortal")
        def mortal(die):
            if die:
                os._exit(3)
            return "alive"

        async def main():
            print(await mortal(False))
            try:
                await mortal(True)
            except RemoteExecutionError as error:
                print(type(error).__name__, "3" in str(error))
            print(await mortal(False))

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["alive", "WorkerDiedError True", "alive"]


def test_output_of_workers_is_the_scripts_own(script: Script) -> None:
    answer = script(
        """
        import asyncio, sys
        from runpod_flash import Endpoint

        @Endpoint(name="talks")
        def talks(x):
            print("out", x)
            print("err", x, file=sys.stderr)

        async def main():
            print("before")
            await talks(1)
            print("between")
            await talks(2)

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["before", "out 1", "between", "out 2"]
    assert answer.stderr.splitlines() == ["err 1", "err 2"]


def test_command_line_reaches_the_module_level_of_a_worker(script: Script) -> None:
    answer = script(
        """
        import asyncio, sys
        from runpod_flash import Endpoint
        WORD = sys.argv[1]

        @Endpoint(name="word")
        def word():
            return WORD

        print(asyncio.run(word()))
        """,
        "hello",
    )
    assert lines(answer) == ["hello"]


def test_threads_with_loops_of_their_own_share_the_workers(script: Script) -> None:
    answer = script(
        """
        import asyncio, threading
        from runpod_flash import Endpoint

        @Endpoint(name="square", max_concurrency=8)
        async def square(x):
            await asyncio.sleep(0.01)
            return x * x

        async def many():
            return await asyncio.gather(*(square(i) for i in range(4)))

        if __name__ == "__main__":
            found = []
            threads = [threading.Thread(target=lambda: found.append(asyncio.run(many()))) for _ in range(6)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            print(found == [[0, 1, 4, 9]] * 6)
        """
    )
    assert lines(answer) == ["True"]


def test_forked_child_makes_calls_of_its_own(script: Script) -> None:
    answer = script(
        """
        import asyncio, os, sys
        from runpod_flash import Endpoint

        @Endpoint(name="one")
        def one():
            return 1

        if __name__ == "__main__":
            print(asyncio.run(one()), flush=True)
            child = os.fork()
            if child == 0:
                print("child", asyncio.run(one()))
                sys.exit(0)
            print(os.waitpid(child, 0)[1], asyncio.run(one()))
        """
    )
    assert lines(answer) == ["1", "child 1", "0 1"]


def test_forked_child_lets_go_of_its_parents_workers(tmp_path: Path, environment: dict[str, str]) -> None:
    text = """
        import asyncio, os, signal, stat, sys
        from runpod_flash import Endpoint

        @Endpoint(name="one")
        def one():
            return os.getpid()

        def sockets():
            found = 0
            for number in range(3, 256):
                try:
                    found += stat.S_ISSOCK(os.fstat(number).st_mode)
                except OSError:
                    pass
            return found

        if __name__ == "__main__":
            worker = asyncio.run(one())
            held = sockets()
            if os.fork():
                os.kill(os.getpid(), signal.SIGKILL)
            print(worker, held - sockets(), flush=True)
            sys.stdin.read()
    """
    (tmp_path / "app.py").write_text(textwrap.dedent(text))
    script = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert script.stdin is not None
    assert script.stdout is not None
    with script, script.stdin, script.stdout:
        worker, *said = script.stdout.readline().split()
        assert said == ["1"]
        status = Path(f"/proc/{worker}/status")
        deadline = time.monotonic() + 10
        while status.exists() and "State:\tZ" not in status.read_text():
            assert time.monotonic() < deadline, "the worker outlives its parent"
            time.sleep(0.01)
        assert script.wait() == -signal.SIGKILL


def test_exit_with_calls_in_flight_is_quick_and_clean(script: Script) -> None:
    started = time.monotonic()
    answer = script(
        """
        import asyncio, os
        from runpod_flash import Endpoint

        @Endpoint(name="slow", max_concurrency=50)
        async def slow(started):
            open(started, "w").close()
            await asyncio.sleep(60)

        async def main():
            calls = [asyncio.ensure_future(slow("started")) for _ in range(20)]
            while not os.path.exists("started"):
                await asyncio.sleep(0.01)
            print("leaving")

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["leaving"]
    assert answer.stderr == ""
    assert time.monotonic() - started < 30


def test_cancelled_call_leaves_the_endpoint_working(script: Script) -> None:
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint

        @Endpoint(name="sleeps")
        async def sleeps(seconds):
            await asyncio.sleep(seconds)
            return "done"

        async def main():
            await sleeps(0)
            try:
                await asyncio.wait_for(sleeps(60), 0.2)
            except asyncio.TimeoutError:
                print("cancelled")
            print(await sleeps(0))

        asyncio.run(main())
        """
    )
    assert lines(answer) == ["cancelled", "done"]


def test_interrupt_ends_the_script_and_its_workers(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text(
        textwrap.dedent(
            """
            import asyncio, os
            from runpod_flash import Endpoint

            @Endpoint(name="waits")
            async def waits():
                print("worker", os.getpid(), flush=True)
                await asyncio.sleep(60)

            if __name__ == "__main__":
                asyncio.run(waits())
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "app.py"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    worker = int(process.stdout.readline().split()[1])
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert process.returncode in (-signal.SIGINT, 130, 1)
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("moon", "TargetError FLASH_TARGET must be `local` or `runpod`, got `moon`"),
    ],
)
def test_target_that_cannot_be_followed_is_an_error(script: Script, target: str, expected: str) -> None:
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint

        @Endpoint(name="a")
        def a():
            return 1

        try:
            asyncio.run(a())
        except Exception as error:
            print(type(error).__name__, error.args[0], error.hint is not None)
        """,
        env={"FLASH_TARGET": target},
    )
    assert lines(answer) == [f"{expected} True"]


def test_key_that_is_found_is_mentioned_once(script: Script) -> None:
    answer = script(
        """
        import asyncio
        from runpod_flash import Endpoint

        @Endpoint(name="a")
        def a():
            return 1

        async def main():
            print(await a(), await a())

        asyncio.run(main())
        """,
        env={"RUNPOD_API_KEY": "rpa_secret", "FLASH_TARGET": "local"},
    )
    assert lines(answer) == ["1 1"]
    assert answer.stderr == "flash: calls run on this machine; the Runpod API key in RUNPOD_API_KEY is not used\n"


def test_worker_has_the_endpoints_environment_and_folder(script: Script, tmp_path: Path) -> None:
    answer = script(
        """
        import asyncio, os
        from runpod_flash import Endpoint

        @Endpoint(name="env", env={"MODE": "fast"})
        def env():
            return os.environ["MODE"], os.environ["SHELL_SAYS"], os.getcwd(), "RUNPOD_API_KEY" in os.environ

        print(asyncio.run(env()))
        """,
        env={"SHELL_SAYS": "hi", "RUNPOD_API_KEY": "x", "FLASH_TARGET": "local"},
    )
    assert lines(answer) == [str(("fast", "hi", os.path.realpath(tmp_path), False))]
