"""Calls in worker processes: values, failures, streams, threads, output, and the process's end."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time

import pytest
from worker_parent import (
    ANSWER,
    CALL,
    CANCEL,
    CHUNK,
    FROM_WORKER,
    READY,
    STOP,
    TIMEOUT,
    Worker,
    module,
    result_of,
)

BASICS = '''
import asyncio
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from pydantic import BaseModel

def add(a: int, b: int = 2) -> int:
    """Adds."""
    return a + b

async def later(x):
    await asyncio.sleep(0)
    return [x, x]

def where():
    return [threading.current_thread() is threading.main_thread(), asyncio.run(asyncio.sleep(0, "ran"))]

def twice(array):
    array *= 2
    return array, array.flags.writeable

def big(n):
    import numpy as np
    return np.ones(n, dtype=np.uint8)

class OwnError(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

def inner(x):
    raise ValueError(f"boom {x}")

def fails(x):
    print("about to fail")
    try:
        inner(x)
    except ValueError as error:
        raise KeyError("outer") from error

def raises(what):
    if what == "exit": sys.exit(3)
    if what == "interrupt": raise KeyboardInterrupt
    if what == "own": raise OwnError(4, "mine")
    if what == "cuda": raise RuntimeError("Found no NVIDIA driver on your system.")
    if what == "recursion": return raises(what)
    if what == "group": raise BaseExceptionGroup("many", [ValueError("a")])
    if what == "str":
        class Bad(Exception):
            def __str__(self): raise TypeError
        raise Bad
    if what == "stop": raise StopIteration
    if what == "surrogate": raise ValueError("\\ud800")

def gives(what):
    import numpy as np
    class Local: pass
    return {
        "nan": {"items": [{"score": 1.0}, {"score": float("nan")}]},
        "lock": threading.Lock(),
        "local": Local(),
        "array": {"a b": np.zeros(3)},
        "object": [1, object()],
        "function": {"f": gives},
        "surrogate": ["\\ud800"],
        "loop": None,
        "set": {3},
        "model": Thing(a=1),
        "keys": {1: 2, None: 3},
    }[what]

class Thing(BaseModel):
    a: int

def circle():
    value = []
    value.append(value)
    return value

def count(n):
    for index in range(n):
        yield index

async def acount(n):
    for index in range(n):
        await asyncio.sleep(0)
        yield {"i": index}

def slow_count():
    index = 0
    while True:
        time.sleep(0.005)
        yield index
        index += 1

async def forever():
    try:
        print("started")
        await asyncio.Event().wait()
    finally:
        print("cleaned up")

def prints(text):
    print(text)
    print("to stderr", file=sys.stderr)
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()
    with ThreadPoolExecutor() as pool:
        pool.submit(print, "from a pool").result()
    print("no newline", end="")

def logs():
    import logging
    logging.basicConfig()
    logging.getLogger("own").warning("logged")

def dies(how):
    print("last words")
    if how == "segfault":
        import ctypes
        ctypes.string_at(0)
    os._exit(int(how))

def forks():
    pid = os.fork()
    if pid == 0:
        print("child", flush=True)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def holds_the_lock():
    # A C function that never lets the interpreter's lock go.
    import ctypes
    print("holding", flush=True)
    ctypes.PyDLL(None).pause()

class Counter:
    def __init__(self, start: int = 0, step: int = 1):
        self.n = start
        self.step = step
        self.thread = threading.get_ident()
    def up(self, by: int = 1) -> int:
        self.n += by * self.step
        return self.n
    async def value(self):
        return self.n
    def _hidden(self):
        return 1

class Picky:
    def __init__(self):
        raise RuntimeError("cannot be made")
    def go(self): ...
'''
CALLABLES = [
    line.split()[2 if line.startswith("async") else 1].partition("(")[0].rstrip(":")
    for line in BASICS.splitlines()
    if line.startswith(("def ", "async def ", "class "))
    and not line.startswith(("class OwnError", "class Thing", "def inner"))
]


def start(folder, **more):
    worker = Worker()
    ready = worker.load(module(folder, "pkg.basics", BASICS), CALLABLES, **more)
    assert ready.kind == READY, ready
    return worker


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with start(tmp_path_factory.mktemp("shared")) as worker:
        yield worker


@pytest.fixture
def own(tmp_path):
    with start(tmp_path) as worker:
        yield worker


@pytest.fixture
def concurrent(tmp_path):
    with start(tmp_path, max_concurrency=4) as worker:
        yield worker


def wait_for(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# Values.


def test_sync_async_and_class_answer_by_python_and_json(shared):
    assert shared.python("add", 1, b=5) == 6
    assert shared.python("later", "x") == ["x", "x"]
    assert shared.json("add", {"a": "7"}) == 9
    assert shared.json("later", {"x": [1]}) == [[1], [1]]
    first = shared.python("Counter.up", 3)
    assert shared.python("Counter.value") == first
    assert shared.json("Counter.up", {"by": 2}) == first + 2
    assert shared.json("Counter", {"method": "value"}) == first + 2


def test_sync_function_runs_on_the_main_thread_and_may_run_a_loop(shared):
    assert shared.python("where") == [True, "ran"]


def test_instances_are_kept_by_constructor_key(shared):
    def up(key, *arguments):
        head = {"kind": "python", "constructor": {"key": key, "start": 1}, "function": None}
        buffers = [pickle.dumps(((1,), {}), 5), pickle.dumps((arguments, {"step": 10}), 5)]
        return result_of(shared.next(shared.start({"callable": "Counter.up", "input": head}, buffers)))

    assert [up("a", 100), up("a", 100), up("b", 0)] == [110, 120, 10]


def test_arrays_are_views_of_what_the_socket_delivered_and_leave_out_of_band(shared):
    np = pytest.importorskip("numpy")
    array = np.arange(200_000, dtype=np.float64)
    call = shared.start_python("twice", array)
    answer = shared.next(call)
    assert len(answer.buffers) == 2
    assert len(answer.buffers[0]) < 1000
    doubled, is_writeable = result_of(answer)
    assert (doubled == array * 2).all()
    assert is_writeable


def test_large_results_arrive_whole_while_others_are_answered(concurrent):
    calls = [concurrent.start_python("big", 30_000_000) for _ in range(3)]
    assert concurrent.python("add", 1) == 3
    for call in calls:
        assert result_of(concurrent.next(call)).sum() == 30_000_000


# Failures.


def test_exception_is_reported_with_the_user_s_frames_and_its_cause(shared):
    report = shared.python("fails", 1)
    assert (report["kind"], report["failure"], report["error_type"], report["message"]) == (
        "failed",
        "raised",
        "KeyError",
        "'outer'",
    )
    assert [frame["function"] for frame in report["frames"]] == ["fails"]
    assert report["frames"][0]["source"] == 'raise KeyError("outer") from error'
    assert "ValueError: boom 1" in report["traceback"]
    assert 'raise ValueError(f"boom {x}")' in report["traceback"]
    assert "runpod_flash" not in report["traceback"]
    assert isinstance(pickle.loads(report["exception"]), KeyError)


@pytest.mark.parametrize(
    ("what", "error_type", "message"),
    [
        ("exit", "SystemExit", "sys.exit(3)"),
        ("interrupt", "KeyboardInterrupt", ""),
        ("own", "pkg.basics.OwnError", "mine"),
        ("recursion", "RecursionError", "maximum recursion"),
        ("str", "pkg.basics.raises.<locals>.Bad", "no message"),
        ("stop", "StopIteration", ""),
        ("surrogate", "ValueError", "\\ud800"),
    ],
)
def test_whatever_is_raised_fails_that_call_alone(shared, what, error_type, message):
    for report in (shared.python("raises", what), shared.json("raises", {"what": what})):
        assert (report["failure"], report["error_type"]) == ("raised", error_type)
        assert message in report["message"]
    assert shared.python("add", 1) == 3


def test_cuda_error_carries_a_hint_where_there_is_no_gpu(shared):
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("this machine has a GPU")
    assert "no GPU" in shared.python("raises", "cuda")["hint"]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "`output.items[1].score` is nan"),
        ("array", "`output['a b']` is a `numpy.ndarray`"),
        ("object", "`output[1]` is a `object`"),
        ("function", "`output.f` is a `function`"),
        ("surrogate", "`output[0]` is text"),
    ],
)
def test_result_that_json_cannot_carry_fails_with_its_path(shared, what, message):
    report = shared.json("gives", {"what": what})
    assert report["failure"] == "unencodable"
    assert message in report["message"]
    assert report["hint"]


def test_result_that_contains_itself_fails(shared):
    report = shared.json("circle", {})
    assert report["failure"] == "unencodable"
    assert "contains itself" in report["message"]


def test_results_that_need_the_encoder_get_it(shared):
    assert shared.json("gives", {"what": "set"}) == [3]
    assert shared.json("gives", {"what": "model"}) == {"a": 1}
    assert shared.json("gives", {"what": "keys"}) == {"1": 2, "null": 3}


def test_result_that_pickle_refuses_goes_by_cloudpickle_or_fails_clearly(shared):
    assert type(shared.python("gives", "local")).__name__ == "Local"
    report = shared.python("gives", "lock")
    assert report["failure"] == "unencodable"
    assert "cannot be pickled" in report["message"]


def test_unknown_callables_methods_and_wrong_arguments_say_so(shared):
    assert "it serves `add`" in shared.python("nope")["message"]
    assert shared.json("nope", {})["failure"] == "not_found"
    assert "no public method `down`" in shared.python("Counter.down")["message"]
    assert shared.python("Counter._hidden")["failure"] == "not_found"
    assert "unexpected keyword argument 'z'" in shared.python("add", z=1)["message"]
    assert "method" in shared.json("Counter", {"by": 1})["detail"]
    assert "up, value" in shared.json("Counter", {"method": "nope"})["detail"]


@pytest.mark.parametrize("text", [b'{"a": "\\ud800"}', b'{"a": [1' + b"0" * 4000 + b"]}", b'{"a": [NaN, 1e999]}'])
def test_odd_values_in_a_refused_input_are_told_as_far_as_json_can(shared, text):
    report = shared.json("add", text)
    assert (report["failure"], report["detail"][0]["loc"]) == ("invalid_input", ["body", "input", "a"])


def test_constructor_that_raises_fails_the_call(shared):
    report = shared.json("Picky.go", {"__empty": True})
    assert (report["error_type"], report["message"]) == ("RuntimeError", "cannot be made")
    assert report["frames"][-1]["function"] == "__init__"


def test_arguments_that_cannot_be_unpickled_fail_the_call(shared):
    head = {"callable": "add", "input": {"kind": "python", "constructor": None, "function": None}}
    report = result_of(shared.next(shared.start(head, [b"\x80\x05cnowhere\nthing\n."])))
    assert "cannot be unpickled" in report["message"]
    assert shared.python("add", 1) == 3


# Generators.


@pytest.mark.parametrize(("name", "items"), [("count", [0, 1, 2]), ("acount", [{"i": 0}, {"i": 1}, {"i": 2}])])
def test_generator_gives_a_list_or_chunks(shared, name, items):
    assert shared.json(name, {"n": 3}) == items
    assert shared.python(name, 3) == items
    call = shared.start_json(name, {"n": 3}, stream=True)
    frames = [shared.next(call) for _ in range(4)]
    assert [frame.kind for frame in frames] == [CHUNK, CHUNK, CHUNK, ANSWER]
    assert frames[0].head == {"kind": "json"}
    assert frames[3].head == {"kind": "end"}


def test_sync_generator_stops_when_its_caller_is_gone(shared):
    call = shared.start_json("slow_count", {}, stream=True)
    assert shared.next(call).kind == CHUNK
    shared.send(CANCEL, call)
    while (frame := shared.next(call)).kind == CHUNK:
        pass
    assert frame.head["failure"] == "cancelled"


# Concurrency and cancelling.


def test_async_call_is_cancelled_and_cleans_up(shared):
    call = shared.start_json("forever", {})
    wait_for(lambda: "started" in shared.output())
    shared.send(CANCEL, call)
    assert shared.next(call).head["failure"] == "cancelled"
    assert "cleaned up" in shared.output()


def test_concurrent_endpoint_runs_async_calls_on_the_loop_and_sync_ones_in_threads(concurrent):
    waiting = [concurrent.start_json("forever", {}) for _ in range(3)]
    assert concurrent.python("where")[0] is False
    assert concurrent.python("later", 1) == [1, 1]
    assert concurrent.python("Counter.up") == 1
    for call in waiting:
        concurrent.send(CANCEL, call)
        assert concurrent.next(call).head["failure"] == "cancelled"


# Output.


def test_output_carries_the_call_that_wrote_it(shared):
    call = shared.start_json("prints", {"text": "one\ntwo"}, job="job-1")
    shared.next(call)
    assert [line for line in shared.lines if line[1] == call] == [
        ("stdout", call, "job-1", "one"),
        ("stdout", call, "job-1", "two"),
        ("stderr", call, "job-1", "to stderr"),
        ("stdout", call, "job-1", "from a thread"),
        ("stdout", call, "job-1", "from a pool"),
        ("stdout", call, "job-1", "no newline"),
    ]


def test_logging_and_long_lines_are_carried(shared):
    shared.python("logs")
    assert "WARNING:own:logged" in shared.output()
    call = shared.start_json("prints", {"text": "x" * 200_000})
    shared.next(call)
    pieces = [line[3] for line in shared.lines if line[1] == call and line[3].startswith("x")]
    assert max(map(len, pieces)) <= 64 * 1024
    assert sum(map(len, pieces)) == 200_000


NESTED = """
from runpod_flash import Endpoint

@Endpoint(name="own", cpu="cpu3c-1-2")
async def f(x):
    return [await g(x + 1), await g(x=x + 2)]

@Endpoint(name="other", cpu="cpu3c-1-2")
async def g(x):
    return x
"""


def test_nested_calls_go_up_the_socket_and_come_back(tmp_path):
    with Worker() as worker:
        assert worker.load(module(tmp_path, "app", NESTED), ["f"]).kind == READY
        call = worker.start_python("f", 1)
        for result in ("first", "second"):
            nested = worker.nested.get(timeout=TIMEOUT)
            assert (nested.kind, nested.head["endpoint"], nested.head["callable"]) == (CALL, "other", "g")
            assert nested.head["chain"] == ["own"]
            worker.send(ANSWER, nested.call_id, {"kind": "python"}, [pickle.dumps(result)], flags=FROM_WORKER)
        assert result_of(worker.next(call)) == ["first", "second"]


def test_nested_call_of_a_cancelled_call_is_cancelled(tmp_path):
    with Worker() as worker:
        assert worker.load(module(tmp_path, "app", NESTED), ["f"]).kind == READY
        call = worker.start_python("f", 1)
        nested = worker.nested.get(timeout=TIMEOUT)
        worker.send(CANCEL, call)
        cancel = worker.nested.get(timeout=TIMEOUT)
        assert (cancel.kind, cancel.call_id) == (CANCEL, nested.call_id)
        assert worker.next(call).head["failure"] == "cancelled"


def test_failed_nested_call_raises_in_the_caller(tmp_path):
    with Worker() as worker:
        assert worker.load(module(tmp_path, "app", NESTED), ["f"]).kind == READY
        call = worker.start_python("f", 1)
        nested = worker.nested.get(timeout=TIMEOUT)
        report = {
            "kind": "failed",
            "failure": "raised",
            "error_type": "ValueError",
            "message": "boom there",
            "traceback": "",
            "frames": [],
            "detail": None,
            "hint": None,
            "exception": None,
        }
        worker.send(ANSWER, nested.call_id, report, flags=FROM_WORKER)
        assert "boom there" in worker.next(call).head["message"]


def test_frames_of_calls_that_it_did_not_make_are_passed_over(shared):
    shared.send(ANSWER, 77, {"kind": "python"}, [b"x"], flags=FROM_WORKER)
    shared.send(CALL, 78, {"strange": True}, [], flags=FROM_WORKER)
    assert shared.python("add", 1) == 3


# The end of the process.


def test_stop_finishes_what_runs_and_exits_with_zero(own):
    call = own.start_json("acount", {"n": 50})
    own.send(STOP)
    assert len(result_of(own.next(call))) == 50
    assert own.process.wait(TIMEOUT) == 0


def test_exit_handlers_run_and_print(tmp_path):
    text = "import atexit\natexit.register(print, 'bye')\ndef f(): return 1\n"
    with Worker() as worker:
        worker.load(module(tmp_path, "app", text), ["f"])
        assert worker.stop() == 0
        assert worker.ended.wait(TIMEOUT)
        assert worker.output() == "bye"


@pytest.mark.parametrize(("how", "status"), [("7", 7), ("segfault", -signal.SIGSEGV)])
def test_last_words_before_a_crash_have_left_the_process(own, how, status):
    own.start_python("dies", how)
    assert own.process.wait(TIMEOUT) == status
    assert own.ended.wait(TIMEOUT)
    assert own.output() == "last words"


def test_forked_child_prints_and_leaves_the_connection_alone(own):
    assert own.python("forks") == 0
    assert own.python("add", 1) == 3
    assert own.stop() == 0
    assert own.process.stdout.read() == b"child\n"


@pytest.mark.parametrize("name", ["forever", "holds_the_lock"])
def test_worker_dies_when_its_parent_is_gone(own, name):
    own.start_python(name)
    wait_for(lambda: own.lines)
    own.socket.shutdown(2)
    assert own.process.wait(TIMEOUT) == -signal.SIGKILL


def test_idle_spare_worker_stops_and_dies_with_its_parent():
    with Worker() as worker:
        assert worker.stop() == 0
    with Worker() as worker:
        worker.socket.shutdown(2)
        assert worker.process.wait(TIMEOUT) in (-signal.SIGKILL, 1)


def test_malformed_frame_ends_the_worker_with_a_message(own):
    own.socket.sendall(b"this is no frame, and long enough for a header")
    assert own.process.wait(TIMEOUT) == 70
    assert b"not a frame" in own.process.stderr.read()


def test_worker_is_the_first_choice_under_memory_pressure(shared):
    with open(f"/proc/{shared.process.pid}/oom_score_adj") as stream:
        assert int(stream.read()) >= 500


def test_many_clients_at_once_get_their_own_answers(concurrent):
    failures = []

    def client(offset):
        wrong = [index for index in range(50) if concurrent.python("add", index, b=offset) != index + offset]
        failures.extend(wrong)

    threads = [threading.Thread(target=client, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
