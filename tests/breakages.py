"""Ways to break an app, as tables: what is in the file, what is sent, and what a person must be told.

Each way is a file of one project; `test_break.py` serves them all from one server, beside endpoints that must
never notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEAD = "import runpod_flash\nfrom runpod_flash import CpuInstanceType, Endpoint\n\n"
CPU = "cpu=CpuInstanceType.CPU3G_1_4"


@dataclass(frozen=True)
class Way:
    """One way to break an app."""

    name: str
    #: The body of the file after `HEAD`; `@ENDPOINT` stands for the decorator with this way's name.
    source: str
    #: A regular expression that the answer's error must match; `None` where it must work.
    error: str | None = None
    #: What a working one returns.
    output: Any = None
    send: Mapping[str, Any] = field(default_factory=lambda: {"value": 1})
    options: str = ""

    @property
    def text(self) -> str:
        """The whole file."""
        decorator = f'@Endpoint(name="{self.name.replace("_", "-")}", {CPU}{self.options})'
        return HEAD + self.source.strip("\n").replace("@ENDPOINT", decorator) + "\n"


def body(*lines: str) -> str:
    """Return the source of an endpoint whose function has these lines."""
    inner = "\n".join(f"    {line}" for line in lines)
    return f"@ENDPOINT\nasync def act(value: int = 1):\n{inner}\n"


def at_import(*lines: str) -> str:
    """Return the source of a module that runs these lines when a worker imports it."""
    return "\n".join(lines) + "\n\n\n" + body("return value")


#: The worker cannot load the file, though it can be read: the first call says why.
AT_IMPORT = [
    Way("module_missing", at_import("import no_such_module_anywhere"), r"No module named 'no_such_module_anywhere'"),
    Way("name_missing", at_import("from json import no_such_name"), r"cannot import name 'no_such_name'"),
    Way(
        "loop_one", at_import("from loop_two import other", "mine = 1"), r"(circular import|cannot import name 'mine')"
    ),
    Way("exit_at_import", at_import("import sys", "sys.exit(3)"), r"(SystemExit|exit).*3"),
    Way("hard_exit_at_import", at_import("import os", "os._exit(4)"), r"\b4\b"),
    Way("segfault_at_import", at_import("import ctypes", "ctypes.string_at(0)"), r"(SIGSEGV|signal 11|segmentation)"),
    Way("raises_at_import", at_import("1 / 0"), r"ZeroDivisionError"),
    Way(
        "base_exception_at_import",
        at_import("class Stop(BaseException):", "    pass", "", "raise Stop('not an Exception')"),
        r"not an Exception",
    ),
    Way("interrupt_at_import", at_import("raise KeyboardInterrupt"), r"KeyboardInterrupt"),
    Way("annotation_missing", "@ENDPOINT\nasync def act(value: NoSuchType = 1):\n    return value\n", r"NoSuchType"),
    Way("rlimit_at_import", at_import("data = bytearray(1 << 50)"), r"MemoryError"),
    Way("recursion_at_import", at_import("def f(): return f()", "f()"), r"RecursionError"),
]

#: The file does something rude when it is imported, and works all the same.
RUDE_AT_IMPORT = [
    Way("changes_folder", at_import("import os", "os.chdir('/')"), output=1),
    Way("stdout_is_none", at_import("import sys", "sys.stdout = sys.stderr = None"), output=1),
    Way("stdout_closed", at_import("import sys", "sys.stdout.close()"), output=1),
    Way("descriptor_one_closed", at_import("import os", "os.close(1)"), output=1),
    Way("binary_garbage", at_import("import os", "os.write(1, bytes(range(256)) * 40)"), output=1),
    Way("endless_line", at_import("print('x' * 3_000_000, end='', flush=True)"), output=1),
    Way("signals_ignored", at_import("import signal", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"), output=1),
    Way("logging_broken", at_import("import logging", "logging.basicConfig(stream=None, level=0)"), output=1),
    Way(
        "hooks_replaced",
        at_import("import sys, builtins", "sys.excepthook = builtins.print = lambda *a, **k: 1 / 0"),
        output=1,
    ),
    Way("warnings_are_errors", at_import("import warnings", "warnings.simplefilter('error')"), output=1),
    Way("unguarded_main", at_import("import asyncio") + "\n\nasyncio.run(act(5))\n", output=1),
]

#: The function ends badly, and its worker lives on.
CALLS = [
    Way("raises", body("raise ValueError('boom')"), r"ValueError: boom"),
    Way("base_exception", "class Stop(BaseException):\n    pass\n\n\n" + body("raise Stop('odd')"), r"Stop: odd"),
    Way(
        "exception_without_text",
        "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError('no')\n\n\n" + body("raise Mute()"),
        r"Mute",
    ),
    Way("exception_with_lock", "import threading\n\n\n" + body("raise OSError(threading.Lock())"), r"OSError"),
    Way("exception_group", body("raise BaseException('group-like', [ValueError(1)])"), r"group-like"),
    Way("system_exit", "import sys\n\n\n" + body("sys.exit('enough')"), r"(SystemExit|exit).*enough"),
    Way("recursion", "def down(n):\n    return down(n + 1)\n\n\n" + body("return down(0)"), r"RecursionError"),
    Way(
        "memory_limit",
        "import resource\n\n\n"
        + body(
            "resource.setrlimit(resource.RLIMIT_AS, (6 << 30, resource.RLIM_INFINITY))",
            "return len(bytearray(64 << 30))",
        ),
        r"MemoryError",
    ),
    Way("returns_nan", body("return {'scores': [1.0, float('nan')]}"), r"scores.*1|nan"),
    Way("returns_infinity", body("return [float('inf')]"), r"(?i)(inf|out of range|\[0\])"),
    Way("returns_lock", "import threading\n\n\n" + body("return {'lock': threading.Lock()}"), r"lock"),
    Way("returns_object", body("return {'deep': [object()]}"), r"deep.*0"),
    Way("returns_itself", body("ring = []", "ring.append(ring)", "return ring"), r"(?i)(circular|recurs|cycl|deep)"),
    Way(
        "returns_deep",
        body("deep = []", "for _ in range(100_000):", "    deep = [deep]", "return deep"),
        r"(?i)(deep|recurs|nest)",
    ),
    Way("returns_surrogate", body("return '\\ud800'"), r"(?i)(surrogate|utf|unicode)"),
    Way("returns_bytes_that_are_no_text", body("return b'\\xff\\xfe'"), r"(?i)(utf|bytes|decode)"),
    Way("returns_huge_number", body("return 10 ** 6000"), r"(?i)(digits|number|int|large)"),
    Way("returns_module", "import json\n\n\n" + body("return json"), r"(?i)(module|json)"),
    Way("awaits_nothing", body("await None"), r"TypeError"),
    Way("name_unknown", body("return no_such_name"), r"NameError.*no_such_name"),
    Way("generator_raises", body("yield 1", "raise ValueError('half way')"), r"ValueError: half way"),
    Way("assertion_without_text", body("assert not value"), r"AssertionError"),
]

#: The worker dies, or has to be ended; the next call finds a new one.
DEATHS = [
    Way("hard_exit", "import os\n\n\n" + body("os._exit(9)"), r"(?i)(exit|status|code).*9"),
    Way("segfault", "import ctypes\n\n\n" + body("ctypes.string_at(0)"), r"(?i)(SIGSEGV|signal 11|segmentation)"),
    Way("abort", "import os\n\n\n" + body("os.abort()"), r"(?i)(SIGABRT|signal 6|abort)"),
    Way(
        "kills_itself",
        "import os, signal\n\n\n" + body("os.kill(os.getpid(), signal.SIGKILL)"),
        r"(?i)(SIGKILL|signal 9|killed)",
    ),
    Way(
        "kills_its_group",
        "import os, signal\n\n\n" + body("os.killpg(0, signal.SIGKILL)"),
        r"(?i)(SIGKILL|signal 9|killed)",
    ),
    Way(
        "closes_descriptors",
        "import os\n\n\n" + body("os.closerange(0, 256)", "return value"),
        r"(?i)(worker|connection|exit|died|gone|descriptor)",
    ),
    Way(
        "hangs_awaiting",
        "import asyncio\n\n\n" + body("await asyncio.sleep(3600)"),
        r"(?i)(time|execution_timeout)",
        options=", execution_timeout_ms=300",
    ),
    Way(
        "hangs_in_a_loop",
        body("while True:", "    pass"),
        r"(?i)(time|execution_timeout)",
        options=", execution_timeout_ms=300",
    ),
    Way(
        "hangs_in_c",
        "import re\n\n\n" + body("re.match(r'(a+)+$', 'a' * 40 + 'b')"),
        r"(?i)(time|execution_timeout)",
        options=", execution_timeout_ms=300",
    ),
    Way(
        "yields_for_ever",
        "import asyncio\n\n\n" + body("while True:", "    yield value", "    await asyncio.sleep(0.01)"),
        r"(?i)(time|execution_timeout)",
        options=", execution_timeout_ms=300",
    ),
]

#: The function leaves something behind, or does what it should not, and answers.
LEFTOVERS = [
    Way("forks", "import os, time\n\n\n" + body("if os.fork() == 0:", "    time.sleep(600)", "return value"), output=1),
    Way(
        "starts_program",
        "import subprocess\n\n\n" + body("subprocess.Popen(['sleep', '600'])", "return value"),
        output=1,
    ),
    Way(
        "starts_thread",
        "import threading, time\n\n\n"
        + body("threading.Thread(target=time.sleep, args=(600,)).start()", "return value"),
        output=1,
    ),
    Way(
        "starts_task",
        "import asyncio\n\n\n" + body("asyncio.get_running_loop().create_task(asyncio.sleep(600))", "return value"),
        output=1,
    ),
    Way(
        "prints_garbage",
        "import os, sys\n\n\n" + body("os.write(2, b'\\xff\\x00\\x1b[2J' * 2000)", "print('\\udcff')", "return value"),
        output=1,
    ),
    Way("closes_stdout", "import os, sys\n\n\n" + body("sys.stdout.close()", "os.close(2)", "return value"), output=1),
    Way("returns_much", body("return 'x' * 30_000_000"), output="x" * 30_000_000),
    Way("returns_odd_keys", body("return {1: 'a', None: 'b', True: {2.5: ()}}"), output={"1": "a", "null": "b"} | {}),
    Way(
        "removes_itself",
        "import pathlib\n\n\n" + body("pathlib.Path(__file__).unlink()", "return value"),
        output=1,
    ),
    Way("clears_environment", "import os\n\n\n" + body("os.environ.clear()", "return value"), output=1),
    Way(
        "catches_everything",
        body("try:", "    raise SystemExit", "except BaseException:", "    return value"),
        output=1,
    ),
]

BY_CALL = AT_IMPORT + RUDE_AT_IMPORT + CALLS + DEATHS + LEFTOVERS

#: Helpers that some ways import; no endpoint is in them.
HELPERS = {"loop_two.py": "from loop_one import mine\n\nother = 2\n"}


def endpoint(name: str, inner: str = "return value", options: str = CPU) -> str:
    """Return a file with one endpoint."""
    return f'{HEAD}\n@Endpoint(name="{name}", {options})\nasync def act(value: int = 1):\n    {inner}\n'


#: Files that cannot be read as they are: name, content, and what the console must say beside the file's name.
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "syntax_error.py": (
        HEAD + "\n@Endpoint(name='s', cpu='cpu3g-1-4')\nasync def act(value: int = 1\n    return value\n",
        "",
    ),
    "indent_error.py": (HEAD + "\n@Endpoint(name='i', cpu='cpu3g-1-4')\nasync def act():\nreturn 1\n", "(?i)indent"),
    "half_a_string.py": (HEAD + 'TEXT = "unfinished\n' + endpoint("half"), ""),
    "null_bytes.py": (endpoint("null").encode() + b"x = '\x00'\n\x00", ""),
    "not_utf8.py": (endpoint("latin").encode() + b"NAME = 'caf\xe9'\n", "(?i)utf-?8"),
    "unknown_encoding.py": (b"# -*- coding: klingon -*-\n" + endpoint("klingon").encode(), "klingon"),
    "endless_brackets.py": (endpoint("brackets") + "x = " + "(" * 50_000 + "\n", ""),
    "endless_minus.py": (endpoint("minus") + "x = " + "-" * 200_000 + "1\n", "(?i)(deep|nest|recurs|large|complex)"),
    "ten_megabytes.py": (endpoint("ten") + "DATA = '''\n" + ("x" * 99 + "\n") * 100_000 + "'''\n", "(?i)(large|big)"),
    "unknown_gpu.py": (endpoint("gpu", options="gpu='NVIDIA_H1OO'"), "NVIDIA_H1OO"),
    "gpu_and_cpu.py": (endpoint("both", options="gpu='ANY', cpu='cpu3g-1-4'"), "(?i)gpu.*cpu|cpu.*gpu"),
    "bad_workers.py": (endpoint("crew", options=CPU + ", workers=(5, 1)"), "(?i)workers"),
    "misspelt.py": (endpoint("typo", options=CPU + ", idle_timout=5"), "(?i)idle_timeout"),
    "raises_when_read.py": (
        HEAD + "import os\n\n\nSIZE = int(os.environ['NO_SUCH_VARIABLE'])\n\n\n"
        "@Endpoint(name='dynamic', cpu='cpu3g-1-4', workers=SIZE)\nasync def act(value: int = 1):\n    return value\n",
        "(?i)KeyError.*NO_SUCH_VARIABLE|NO_SUCH_VARIABLE",
    ),
    "exits_when_read.py": (
        HEAD + "import sys\n\nSIZE = sys.exit(7)\n\n\n"
        "@Endpoint(name='quits', cpu='cpu3g-1-4', workers=SIZE)\nasync def act(value: int = 1):\n    return value\n",
        "(?i)(exit|7)",
    ),
    "crashes_when_read.py": (
        HEAD + "import ctypes\n\nSIZE = ctypes.string_at(0)\n\n\n"
        "@Endpoint(name='dies', cpu='cpu3g-1-4', workers=SIZE)\nasync def act(value: int = 1):\n    return value\n",
        "(?i)(SIGSEGV|signal|crash)",
    ),
    "twice_a.py": (endpoint("twice"), "twice"),
    "twice_b.py": (endpoint("twice"), "twice"),
    "two_routes.py": (
        HEAD
        + "api = Endpoint(name='doubled', cpu='cpu3g-1-4')\n\n\n@api.get('/x')\nasync def one():\n    return 1\n\n\n"
        "@api.get('/x')\nasync def two():\n    return 2\n",
        "/x",
    ),
    "reserved.py": (
        HEAD
        + "api = Endpoint(name='kept', cpu='cpu3g-1-4')\n\n\n@api.post('/execute')\nasync def one():\n    return 1\n",
        "/execute",
    ),
    "no_constructor.py": (
        HEAD
        + "@Endpoint(name='built', cpu='cpu3g-1-4')\nclass Model:\n    def __init__(self, path):\n        self.path = path\n\n"
        "    def act(self, value: int = 1):\n        return value\n",
        "path",
    ),
}

#: Files that look broken and are not: name, content, output of their endpoint.
ODD: dict[str, tuple[bytes, Any]] = {
    "latin1.py": (
        b"# -*- coding: latin-1 -*-\n" + endpoint("latin1", "return 'caf\xe9'").encode("latin-1"),
        "caf\xe9",
    ),
    "with_bom.py": (b"\xef\xbb\xbf" + endpoint("with-bom").encode(), 1),
    "carriage_returns.py": (endpoint("carriage").replace("\n", "\r\n").encode(), 1),
    "form_feed.py": (endpoint("form-feed").replace("\n\n@", "\n\x0c\n@").encode(), 1),
    "class.py": (endpoint("keyword").encode(), 1),
    "9lives.py": (endpoint("nine-lives").encode(), 1),
    "na\u00efve.py": (endpoint("naive").encode(), 1),
    "with space.py": (endpoint("with-space").encode(), 1),
    "many_lines.py": (b"\n" * 200_000 + endpoint("many-lines").encode(), 1),
    "same_as_standard/random.py": (endpoint("own-random").encode(), 1),
}
