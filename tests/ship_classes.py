"""More programs as in `ship_programs.py`: classes, enums, models, and what is looked up in them."""

CLASSES = """
# frozen dataclasses, slots, order, post-init and a field that is computed
from dataclasses import dataclass, field, replace
from functools import cached_property
DEFAULT = (1, 2)
@dataclass(frozen=True, order=True)
class Size:
    width: int = DEFAULT[0]
    height: int = field(default=DEFAULT[1], compare=False)
@dataclass
class Box:
    size: Size
    area: int = field(init=False)
    def __post_init__(self): self.area = self.size.width * self.size.height
    @cached_property
    def double(self): return self.area * 2
@ENDPOINT
def f(): return Box(replace(Size(), width=5)).double, Size(1) < Size(2)
#> f() == (20, True)

# enums with methods, flags and auto
from enum import Enum, Flag, IntEnum, auto
class Level(IntEnum):
    LOW = auto()
    HIGH = auto()
    @classmethod
    def default(cls): return cls.HIGH
class Access(Flag):
    READ = auto()
    WRITE = auto()
    BOTH = READ | WRITE
class Planet(Enum):
    EARTH = (1.0, "e")
    def __init__(self, mass, short): self.mass, self.short = mass, short
TABLE = {Level.LOW: "l", Level.HIGH: "h"}
@ENDPOINT
def f(): return TABLE[Level.default()], Access.READ in Access.BOTH, Planet.EARTH.short
#> f() == ("h", True, "e")

# a singleton that is built by a call, and changed after
class Registry:
    def __init__(self): self.items = {}
    def add(self, name): self.items[name] = len(self.items); return self
    @classmethod
    def shared(cls): return _shared
_shared = Registry()
_shared.add("a")
_shared.add("b").add("c")
def get(): return Registry.shared()
@ENDPOINT
def f(): return get().items
#> f() == {"a": 0, "b": 1, "c": 2}

# pydantic models that name each other
from __future__ import annotations
from typing import Optional, Annotated
from pydantic import BaseModel, Field, field_validator
LIMIT = 10
class Base(BaseModel):
    name: str
class Node(Base):
    size: Annotated[int, Field(le=LIMIT)] = 1
    next: Optional[Node] = None
    kind: Kind | None = None
    @field_validator("name")
    @classmethod
    def upper(cls, value: str) -> str: return shout(value)
class Kind(BaseModel):
    tag: str
def shout(text): return text.upper()
Node.model_rebuild()
@ENDPOINT
def f(value: dict) -> dict: return Node.model_validate(value).model_dump(exclude_none=True)
#> f({"name": "a", "next": {"name": "b", "size": 2}, "kind": {"tag": "t"}}) == {"name": "A", "size": 1, "next": {"name": "B", "size": 2}, "kind": {"tag": "t"}}

# cached helpers and cached properties
import functools
from functools import cache, lru_cache as memo
@cache
def load(): return {"made": make()}
@memo(maxsize=2)
def make(): return SEED + 1
SEED = 4
class Holder:
    @functools.cached_property
    def value(self): return load()["made"]
@ENDPOINT
def f(): return Holder().value, load() is load()
#> f() == (5, True)

# async context managers, async iteration, async comprehensions
import asyncio, contextlib
class Session:
    async def __aenter__(self): OPEN.append(self); return self
    async def __aexit__(self, *problem): OPEN.pop()
OPEN = []
@contextlib.asynccontextmanager
async def opened():
    async with Session() as session:
        yield session
async def numbers(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i
@ENDPOINT
async def f(n):
    async with opened() as session, Session():
        assert isinstance(session, Session)
        return [i async for i in numbers(n)], len(OPEN)
#> f(3) == ([0, 1, 2], 2)

# the endpoint is a class with a base in this file and one elsewhere
from shapes import Shape
class Scaled:
    FACTOR = 2
@ENDPOINT
class f(Scaled, Shape):
    def __init__(self, side=1): self.side = side
    def area(self): return super().area() * self.FACTOR
#== shapes.py
class Shape:
    side = 0
    def area(self): return self.side ** 2
#> f(3).area() == 18

# properties, static and class methods, dunder methods
class Money:
    UNIT = "EUR"
    __slots__ = ("_cents",)
    def __init__(self, cents): self._cents = cents
    @property
    def euros(self): return self._cents / SCALE
    @euros.setter
    def euros(self, value): self._cents = int(value * SCALE)
    @staticmethod
    def zero(): return Money(0)
    @classmethod
    def of(cls, euros): made = cls.zero(); made.euros = euros; return made
    def __add__(self, other): return Money(self._cents + other._cents)
    def __repr__(self): return f"{self.euros:.2f} {self.UNIT}"
SCALE = 100
@ENDPOINT
def f(): return repr(Money.of(1.5) + Money(50))
#> f() == "2.00 EUR"

# metaclass, and one that registers
class Meta(type):
    made = {}
    def __new__(mcs, name, bases, space, **options):
        cls = super().__new__(mcs, name, bases, space)
        mcs.made[name] = options
        return cls
    def __len__(cls): return SIZE
SIZE = 7
class Base(metaclass=Meta): ...
class Sub(Base, flag=True): ...
@ENDPOINT
def f(): return len(Sub), Meta.made["Sub"]
#> f() == (7, {"flag": True})

# descriptors
class Typed:
    def __init__(self, kind): self.kind = kind
    def __set_name__(self, owner, name): self.name = "_" + name
    def __get__(self, instance, owner): return self if instance is None else getattr(instance, self.name)
    def __set__(self, instance, value):
        if not isinstance(value, self.kind): raise TypeError(MESSAGE % self.kind.__name__)
        setattr(instance, self.name, value)
MESSAGE = "wants %s"
class Item:
    size = Typed(int)
@ENDPOINT
def f(value):
    item = Item()
    try:
        item.size = value
    except TypeError as error:
        return str(error)
    return item.size
#> f(3) == 3 and f("x") == "wants int"

# annotations as strings that are evaluated at run time
import typing
class Config:
    size: "int"
    parent: "typing.Optional[Config]"
    kinds: "list[Kind]"
class Kind: ...
def hints(cls): return {name: str(kind) for name, kind in typing.get_type_hints(cls).items()}
@ENDPOINT
def f() -> "dict[str, Kind]": return sorted(hints(Config)), typing.get_type_hints(Config)["kinds"].__args__[0] is Kind
#> f() == (["kinds", "parent", "size"], True)

# context variables, weak references and named tuples made by calls
import contextvars, weakref
from collections import namedtuple, ChainMap
Point = namedtuple("Point", "x y", defaults=(0,))
CURRENT = contextvars.ContextVar("current", default=Point(1))
SEEN = weakref.WeakSet()
SETTINGS = ChainMap({"a": 1}, {"b": 2})
@ENDPOINT
def f(): return CURRENT.get()._replace(y=5), len(SEEN), SETTINGS["b"]
#> f() == ((1, 5), 0, 2)

# exception groups of functions: chained, with notes and context
class AppError(Exception):
    code = CODE = 7
    def __str__(self): return f"{type(self).__name__}:{self.code}:{super().__str__()}"
class Inner(AppError): code = AppError.CODE + 1
def fail(n):
    try:
        raise Inner(n)
    except AppError as error:
        raise AppError("outer") from error
@ENDPOINT
def f(n):
    try: fail(n)
    except AppError as error: return str(error), str(error.__cause__)
#> f(1) == ("AppError:7:outer", "Inner:8:1")

# class with nested classes that name the outer, and a class body that runs code
LIMIT = 2
class Outer:
    LIMITS = [1, 2]
    total = 0
    for limit in LIMITS: total += limit
    class Inner:
        def outer(self): return Outer.total + Outer.Inner.size()
        @staticmethod
        def size(): return len(Outer.LIMITS)
    if total > LIMIT: kind = "big"
    else: kind = "small"
@ENDPOINT
def f(): return Outer.Inner().outer(), Outer.kind, Outer.total
#> f() == (5, "big", 3)
"""
