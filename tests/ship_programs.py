"""Programs whose function ``f`` has to give the same on a worker that has nothing but its text.

Each begins with a line ``# name``; further files begin with ``#== path``. The last line says what
``f`` is called with and what it gives.
"""

PROGRAMS = '''
# global constant
LIMIT = 3
@ENDPOINT
def f(x): return x * LIMIT
#> f(2) == 6

# helper of a helper
def inner(x): return x + OFFSET
def outer(x): return inner(x) * 2
OFFSET = 10
@ENDPOINT
def f(x): return outer(x)
#> f(1) == 22

# import at the top, with alias
import json as j, math, os.path
from collections import OrderedDict as OD, defaultdict
@ENDPOINT
def f(x): return j.dumps(OD(a=math.floor(x))) + os.path.sep
#> f(1.5) == '{"a": 1}/'

# import in try
try:
    import no_such_module_at_all as fast
except ImportError:
    import json as fast
@ENDPOINT
def f(x): return fast.dumps(x)
#> f([1]) == "[1]"

# constants that depend on each other, and an augmented one
import math
A = 2
B = A * 3
B += 1
C, (D, *REST) = B, (4, 5, 6)
@ENDPOINT
def f(): return C, D, REST, round(math.pi)
#> f() == (7, 4, [5, 6], 3)

# condition at the top
import sys
if sys.platform == "no such":
    def helper(): return 1
elif True:
    def helper(): return 2
else:
    helper = None
@ENDPOINT
def f(): return helper()
#> f() == 2

# decorator of its own below
import functools
def twice(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args) * FACTOR
    return wrapper
FACTOR = 2
@ENDPOINT
@twice
def f(x): return x
#> f(4) == 8

# decorator with arguments over several lines, and comments
import functools
def add(n, *,
        times=1):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(x): return function(x) + n * times
        return wrapper
    return decorate
@ENDPOINT
# a comment between
@add(
    3,
    times=2,  # twice
)
# and another
def f(x):
    """Text with
  odd indentation."""
    return x
#> f(1) == 7

# defaults name globals
BASE = {"k": 1}
def default(): return 5
@ENDPOINT
def f(a=BASE["k"], *, b=default()): return a + b
#> f() == 6

# annotations are lazy
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from no_such_package import Thing
import no_such_thing_guard as numpyish
@ENDPOINT
def f(x: Thing, y: numpyish.array = None) -> "Other": return x
#== no_such_thing_guard.py
array = list
#> f(1) == 1

# annotations are evaluated
from typing import Optional
class Item: pass
@ENDPOINT
def f(x: Optional[Item] = None) -> "list[Item]": return x is None
#> f() is True

# dataclass with a base and a mixin
import dataclasses
from dataclasses import dataclass, field
class Mixin:
    def total(self): return sum(self.parts) + EXTRA
EXTRA = 1
@dataclass
class Base:
    name: str = "n"
@dataclass
class Item(Base, Mixin):
    parts: list = field(default_factory=list)
@ENDPOINT
def f(): return Item(parts=[1, 2]).total(), dataclasses.asdict(Item())
#> f() == (4, {"name": "n", "parts": []})

# enum, named tuple and typed dict
import enum
from typing import NamedTuple, TypedDict
class Color(enum.Enum):
    RED = 1
    BLUE = 2
class Pair(NamedTuple):
    left: int
    right: int = 2
class Row(TypedDict, total=False):
    color: Color
@ENDPOINT
def f(name): return Color[name].value, Pair(1).right, Row(color=1)
#> f("BLUE") == (2, 2, {"color": 1})

# a registry that is filled by decorators
HANDLERS = {}
def register(name):
    def decorate(function):
        HANDLERS[name] = function
        return function
    return decorate
@register("a")
def handle_a(x): return x + 1
@register("b")
def handle_b(x): return handle_a(x) * 2
@ENDPOINT
def f(name, x): return HANDLERS[name](x), sorted(HANDLERS)
#> f("b", 1) == (4, ["a", "b"])

# a table that is changed after it was made
TABLE = {"a": 1}
TABLE["b"] = 2
TABLE.update(c=3)
for letter in "de":
    TABLE[letter] = ord(letter)
del TABLE["a"]
def fill(): TABLE["z"] = 26
fill()
@ENDPOINT
def f(): return sorted(TABLE)
#> f() == ["b", "c", "d", "e", "z"]

# subclasses that register themselves
class Plugin:
    known = []
    def __init_subclass__(cls): Plugin.known.append(cls.__name__)
class One(Plugin): pass
class Two(One): pass
@ENDPOINT
def f(): return Plugin.known
#> f() == ["One", "Two"]

# global statement
COUNT = 1
def bump():
    global COUNT
    COUNT += 1
    return COUNT
@ENDPOINT
def f():
    bump()
    return bump()
#> f() == 3

# names of nested functions and comprehensions
SCALE = 2
def used(v): return v
def shadowed(v): return v
@ENDPOINT
def f(values):
    shadowed = 5
    def inner(v, scale=SCALE):
        nonlocal shadowed
        shadowed += 1
        return [used(v * scale) for v in [v] for _ in range(1)]
    return [inner(v)[0] for v in values], shadowed, {k: v for k, v in zip("ab", map(lambda n: n + SCALE, values))}
#> f([1, 2]) == ([2, 4], 7, {"a": 3, "b": 4})

# match statement and walrus
class Point:
    __match_args__ = ("x", "y")
    def __init__(self, x, y): self.x, self.y = x, y
ORIGIN = 0
class Names: ZERO = 0
@ENDPOINT
def f(kind):
    value = {"point": Point(1, 2), "list": [1, 2, 3], "dict": {"k": 1, "r": 2}}[kind]
    match value:
        case Point(x, y): return x + y + ORIGIN
        case [first, *rest]: return first, rest
        case {"k": k, **rest}: return k, rest
#> f("point") == 3 and f("list") == (1, [2, 3]) and f("dict") == (1, {"r": 2})

# f-strings
WIDTH = 5
NAME = "x"
def show(v): return f"<{v}>"
@ENDPOINT
def f(v): return f"{show(v):>{WIDTH}}{NAME!r}"
#> f(1) == "  <1>'x'"

# lambda at the top
square = lambda x: x * x + ONE
ONE = 1
@ENDPOINT
def f(x): return square(x)
#> f(3) == 10

# class with a header over several lines, decorated, with class state
import abc
def tagged(cls):
    cls.tag = TAG
    return cls
TAG = "t"
class Root(
    abc.ABC,
):
    @abc.abstractmethod
    def go(self): ...
@tagged
class Impl(
    Root,
    metaclass=abc.ABCMeta,
):
    LIMIT = len(TAG)
    def go(self): return self.tag, Impl.LIMIT, super().__class__.__name__
@ENDPOINT
def f(): return Impl().go()
#> f() == ("t", 1, "super")

# exception classes
class Odd(ValueError):
    def __init__(self, n): super().__init__(f"odd: {n}")
class Worse(Odd): ...
@ENDPOINT
def f(n):
    try:
        raise Worse(n)
    except Odd as error:
        return str(error)
#> f(3) == "odd: 3"

# import inside the body, of a local package
@ENDPOINT
def f(x):
    from pkg.util import double
    import pkg.more as more
    return double(x) + more.ONE
#== pkg/__init__.py
from . import base
#== pkg/base.py
TWO = 2
#== pkg/util.py
from .base import TWO
from .sub import deep
def double(x): return x * TWO + deep.ZERO
#== pkg/more.py
ONE = 1
#== pkg/sub/__init__.py
from . import deep
#== pkg/sub/deep.py
ZERO = 0
#> f(4) == 9

# import of a local module at the top, and everything of another
from helpers import triple as t
from constants import *
import importlib
@ENDPOINT
def f(x): return t(x) + NINE + importlib.import_module("late").LATE
#== helpers.py
from constants import NINE
def triple(x): return x * 3
#== constants.py
NINE = 9
__all__ = ["NINE"]
#== late.py
LATE = 100
#> f(1) == 112

# generator function
STEP = 2
@ENDPOINT
def f(n):
    for i in range(n):
        yield i * STEP
#> list(f(3)) == [0, 2, 4]

# async function
import asyncio
async def wait(x):
    await asyncio.sleep(0)
    return x
@ENDPOINT
async def f(x): return await asyncio.gather(*(wait(i) for i in range(x)))
#> f(2) == [0, 1]

# parameters that are called like ours
@ENDPOINT
def f(func, env=1, *, app=2, dependencies=3, method=4, name=5): return func, env, app, dependencies, method, name
#> f(0, dependencies=9) == (0, 1, 2, 9, 4, 5)

# type variables and aliases
from typing import TypeVar, Generic, Union
T = TypeVar("T")
Number = Union[int, float]
class Box(Generic[T]):
    def __init__(self, value: T): self.value = value
@ENDPOINT
def f(x: Number) -> "Box[Number]": return Box[int](x).value
#> f(1) == 1

# strings with lines and odd indentation
TEXT = """a
  b
	c"""
@ENDPOINT
def f():
    return TEXT + """
x
"""
#> f() == "a\\n  b\\n\\tc\\nx\\n"

# a variable that only the main program sets
def main():
    global CONFIG
    CONFIG = {"made": "here"}
CONFIG = None
main()
@ENDPOINT
def f(): return CONFIG
#> f() == {"made": "here"}

# a file that only this machine has
import os
HERE = os.path.basename(__file__)
with open(__file__) as stream:
    SIZE = len(stream.read()) > 10
@ENDPOINT
def f(): return HERE, SIZE
#> f() == ("app.py", True)

# globals made by code
globals()["MADE"] = [1, 2]
exec("BUILT = 5")
@ENDPOINT
def f(): return MADE, BUILT
#> f() == ([1, 2], 5)

# a closure over values and functions
def make(n):
    import math
    def helper(x): return x + n
    def f(x): return helper(x) * math.floor(2.5) + n
    return f
f = ENDPOINT(make(10))
#> f(1) == 32

# a nested function with text of several lines
def make():
    text = "k"
    class Local:
        value = 3
    @ENDPOINT
    def f(x):
        t = """
    keep
"""
        return t, text * x, Local.value
    return f
f = make()
#> f(2) == ("\\n    keep\\n", "kk", 3)

# semicolons and one-line definitions
a = 1; b = a + 1; c = b + 1
def one(): return a;
@ENDPOINT
def f(): x = one(); return x + c
#> f() == 4

# unicode names
größe = 2
def 平方(x): return x ** größe
@ENDPOINT
def f(x): return 平方(x), "\N{GRINNING FACE}é"
#> f(3) == (9, "\N{GRINNING FACE}é")

# recursion and mutual recursion
def even(n): return True if n == 0 else odd(n - 1)
def odd(n): return False if n == 0 else even(n - 1)
@ENDPOINT
def f(n): return n if n < 2 else f(n - 1) + f(n - 2)
#> f(6) == 8

# what is not needed stays away
import no_such_module_guarded as unneeded
HUGE = unneeded.explode
@ENDPOINT
def f(x): return x
#== no_such_module_guarded.py
explode = 1
#> f(1) == 1 and "explode" not in globals() and "HUGE" not in globals()

# a module-level logger, lock and cache
import functools, logging, threading
log = logging.getLogger(__name__)
lock = threading.Lock()
@functools.lru_cache(maxsize=None)
def slow(x):
    with lock:
        log.debug("slow %s", x)
        return x * 2
@ENDPOINT
def f(x): return slow(x) + slow(x)
#> f(2) == 8

# endpoint by a variable, a factory, and partial
import functools
from runpod_flash import Endpoint as EP
shared = EP(name="shared", cpu=1 and "cpu3c-1-2")
def cpu(name): return EP(name=name, cpu="cpu3c-1-2")
@cpu("made")
def other(x): return x
@shared
def f(x): return x + 1
#> f(1) == 2

# star-args, positional only
def join(*parts, sep="-", **rest): return sep.join(map(str, parts)) + str(rest)
@ENDPOINT
def f(a, /, b, *args, c=3, **kwargs): return join(a, b, *args, c, **kwargs)
#> f(1, 2, 4, c=5, z=6) == "1-2-4-5{'z': 6}"

# a helper with a route
from runpod_flash import Endpoint
api = Endpoint(name="api", cpu="cpu3c-1-2")
@api.get("/x")
def helper(): return 7
@ENDPOINT
def f(): return helper()
#> f() == 7

# class as context manager, and class attribute lookups
import contextlib
VALUE = 1
class Thing:
    VALUE = VALUE
    other = [VALUE for _ in range(2)]
    def get(self): return VALUE + self.VALUE
@contextlib.contextmanager
def opened():
    yield Thing()
@ENDPOINT
def f():
    with opened() as thing:
        return thing.get(), thing.other
#> f() == (2, [1, 1])
'''
