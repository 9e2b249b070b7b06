"""More programs as in `ship_programs.py`: decorators, functions as values, and state at the top of a file."""

FUNCTIONS = """
# decorator that does not say what it wraps
def twice(function):
    def wrapper(*args): return function(*args) * FACTOR
    return wrapper
FACTOR = 2
@ENDPOINT
@twice
def f(x): return x + 1
#> f(4) == 10

# two of them, the second with arguments
def add(n):
    def decorate(function):
        def inner(x): return function(x) + n
        return inner
    return decorate
def twice(function):
    def wrapper(x): return function(x) * 2
    return wrapper
TEN = 10
@ENDPOINT
@add(TEN)
@twice
def f(x): return x
#> f(1) == 12

# one that says it above one that does not
import functools
def good(function):
    @functools.wraps(function)
    def wrapper(x): return function(x) + 1
    return wrapper
def bad(function):
    def wrapper(x): return function(x) * 2
    return wrapper
@ENDPOINT
@good
@bad
@good
def f(x): return x
#> f(1) == 5

# the same decorator on several functions of one endpoint
from tools import logged
from runpod_flash import Endpoint
shared = Endpoint(name="shared", cpu="cpu3c-1-2")
@shared
@logged
def g(x): return x + 1
@shared
@logged
def f(x): return x + 2
#== tools.py
CALLS = []
def logged(function):
    def wrapper(*args, **kwargs):
        CALLS.append(function.__name__)
        return function(*args, **kwargs), CALLS[-1]
    return wrapper
#> f(1) == (3, "f")

# decorator that is a class
class Counted:
    def __init__(self, function): self.function, self.calls = function, 0
    def __call__(self, x):
        self.calls += 1
        return self.function(x), self.calls
@ENDPOINT
@Counted
def f(x): return x * STEP
STEP = 3
#> f(2) == (6, 1) and f(2) == (6, 2)

# decorated in a function
def outer(n):
    def plus(function):
        def wrapper(x): return function(x) + n
        return wrapper
    @ENDPOINT
    @plus
    def f(x): return x * n
    return f
f = outer(3)
#> f(2) == 9

# decorators above and below
import functools
def below(function):
    @functools.wraps(function)
    def wrapper(x): return function(x) + 1
    return wrapper
def plain(function): return function
@plain
@ENDPOINT
@below
@plain
def f(x): return x
#> f(1) == 2

# a cached function as the endpoint itself
import functools
@ENDPOINT
@functools.lru_cache
def f(x): return BASE ** x
BASE = 2
#> f(3) == 8 and f.cache_info().currsize == 1

# decorator that collects a generator
def collected(function):
    def wrapper(*args): return "".join(function(*args))
    return wrapper
@collected
def letters(n):
    for i in range(n): yield chr(97 + i)
@ENDPOINT
def f(n): return letters(n)
#> f(3) == "abc"

# closures over loop variables
ADDERS = []
for n in range(3):
    ADDERS.append(lambda x, n=n: x + n)
LATE = [lambda x: x + n for n in range(2)]
@ENDPOINT
def f(x): return [add(x) for add in ADDERS], LATE[0](x)
#> f(1) == ([1, 2, 3], 2)

# counters with global, and a lock beside them
import threading
_count = 0
_lock = threading.Lock()
def bump(by=1):
    global _count
    with _lock:
        _count += by
    return _count
@ENDPOINT
def f():
    global _count
    bump()
    _count += 1
    return bump(by=10)
#> f() == 12

# partial, methodcaller, attrgetter and operators as constants
import functools, operator
from functools import partial, reduce
def power(base, exponent): return base ** exponent
square = partial(power, exponent=2)
split = operator.methodcaller("split", ",")
first = operator.itemgetter(0)
COMPOSED = functools.partial(square)
@ENDPOINT
def f(x): return COMPOSED(x), reduce(operator.add, map(int, split("1,2,3"))), first("ab")
#> f(3) == (9, 6, "a")

# lambdas in tables, and lambdas that call each other
OPS = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b + offset()}
offset = lambda: OFFSET
OFFSET = 1
pipeline = [lambda x: OPS["add"](x, 1), lambda x: OPS["mul"](x, 2)]
@ENDPOINT
def f(x):
    for step in pipeline: x = step(x)
    return x
#> f(2) == 7

# walrus at the top, in conditions and in comprehensions
import re
if (found := re.match(r"([0-9]+)", "42x")) is not None:
    NUMBER = int(found[1])
SQUARES = [last := n * n for n in range(4)]
def parse(text): return m[0] if (m := PATTERN.search(text)) else None
PATTERN = re.compile("b+")
@ENDPOINT
def f(text): return NUMBER, SQUARES, last, parse(text), (y := len(text)) + y
#> f("abb") == (42, [0, 1, 4, 9], 9, "bb", 6)

# f-strings with names, formats, nested quotes and self-documenting ones
WIDTH, PRECISION = 8, 2
NAMES = {"k": "v"}
def tag(name, *, sep=":"): return f"{name}{sep}"
@ENDPOINT
def f(value): return f"{value:{WIDTH}.{PRECISION}f}|{NAMES['k']!r:>4}|{WIDTH=}|{tag('a', sep='-')}{{}}"
#> f(3.14159) == "    3.14| 'v'|WIDTH=8|a-{}"

# decorators with arguments, on methods, stacked, and optional arguments
import functools
def retry(function=None, *, times=2):
    if function is None: return functools.partial(retry, times=times)
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        for attempt in range(times):
            try: return function(*args, **kwargs)
            except ERRORS: TRIES.append(attempt)
        return None
    return wrapper
ERRORS = (ValueError, KeyError)
TRIES = []
class Flaky:
    @retry
    def one(self): raise ValueError
    @retry(times=3)
    def two(self): raise KeyError
@ENDPOINT
@retry(times=4)
def f():
    Flaky().one(); Flaky().two()
    return list(TRIES)
#> f() == [0, 1, 0, 1, 2]

# generators that send, delegate and clean up
def inner(n):
    try:
        got = yield n
        while got is not None: got = yield got * SCALE
    finally:
        CLOSED.append(n)
    return "end"
SCALE, CLOSED = 3, []
def outer(n):
    result = yield from inner(n)
    yield result
@ENDPOINT
def f():
    made = outer(1)
    found = [next(made), made.send(2), made.send(None)]
    return found, CLOSED, sum(i for i in range(SCALE))
#> f() == ([1, 6, "end"], [1], 3)

# single dispatch and overloads
from functools import singledispatch
from typing import overload
@singledispatch
def show(value): return "any"
@show.register
def _(value: int): return "int"
@show.register(list)
def _(value): return [show(item) for item in value]
@overload
def twice(x: int) -> int: ...
@overload
def twice(x: str) -> str: ...
def twice(x): return x * 2
@ENDPOINT
def f(value): return show(value), twice("a")
#> f([1, "a"]) == (["int", "any"], "aa")

# try and with at the top that define helpers
import contextlib
with contextlib.suppress(ImportError):
    import no_such_module_at_all
    FOUND = True
try:
    LIMIT = int("12")
except ValueError as problem:
    LIMIT = 0
finally:
    CHECKED = True
while LIMIT > 10:
    LIMIT -= 5
@ENDPOINT
def f(): return LIMIT, CHECKED, globals().get("FOUND")
#> f() == (7, True, None)

# attributes of functions as their memory
def slow(x):
    slow.calls += 1
    return x
slow.calls = 10
@ENDPOINT
def f(x):
    f.seen.append(slow(x))
    return f.seen, slow.calls
f.seen = [0]
f.unused = f(1) if False else None
#> f(5) == ([0, 5], 11)
"""
