"""More programs as in `ship_programs.py`: names, imports, packages and their data."""

MODULES = '''
# conditional imports, and a flag that says which was found
try:
    import no_such_fast_json as codec
    HAS_FAST = True
except ImportError:
    import json as codec
    HAS_FAST = False
else:
    codec = None
finally:
    DONE = True
@ENDPOINT
def f(x): return codec.dumps(x), HAS_FAST, DONE
#> f([1]) == ("[1]", False, True)

# imports that depend on the version
import sys
if sys.version_info >= (3, 8):
    from collections.abc import Mapping as Kind
else:
    from collections import Mapping as Kind
@ENDPOINT
def f(x): return isinstance(x, Kind)
#> f({}) is True

# everything of a local module that has everything of another
from one import *
from json import *
@ENDPOINT
def f(x): return dumps(double(x)) + LETTER
#== one.py
from two import *
from two import _hidden
def double(x): return x * TWO + _hidden
#== two.py
TWO = 2
LETTER = "l"
_hidden = 1
#> f(3) == "7l"

# guard with a name in front, and what is defined in it
RESULT = None
if __name__ == "__main__":
    RESULT = 5
if __name__ != "__main__":
    OTHER = 6
@ENDPOINT
def f(): return RESULT, OTHER
#> f() == (None, 6)

# protocol, typed dict, and a type guard
from typing import Protocol, TypedDict, runtime_checkable, get_type_hints
@runtime_checkable
class Sized(Protocol):
    def size(self) -> int: ...
class Row(TypedDict):
    name: str
    count: int
class Thing:
    def size(self) -> int: return 3
@ENDPOINT
def f() -> Row: return Row(name="a", count=Thing().size()), isinstance(Thing(), Sized), sorted(get_type_hints(Row))
#> f() == ({"name": "a", "count": 3}, True, ["count", "name"])

# imports for types alone
from __future__ import annotations
import typing
if typing.TYPE_CHECKING:
    from no_such_package_of_types import Model, Other as Alias
    from helper import Kind
else:
    Alias = list
@ENDPOINT
def f(x: Model, y: Alias | Kind | None = None) -> dict[str, Model]: return Alias(x)
#== helper.py
class Kind: ...
#> f("ab") == ["a", "b"]

# a class that inherits across modules
from models.base import Root
from models import mixins as mix
class Leaf(mix.Named, Root, label="leaf"):
    def go(self): return super().go() + 1, self.name(), Root.known
@ENDPOINT
def f(): return Leaf().go()
#== models/__init__.py
#== models/base.py
from .mixins import Counting
class Root(Counting):
    known = []
    def __init_subclass__(cls, label="", **more):
        super().__init_subclass__(**more)
        cls.known.append(label)
    def go(self): return self.count()
#== models/mixins.py
class Named:
    def name(self): return type(self).__name__
class Counting:
    def count(self): return START
START = 40
#> f() == (41, "Leaf", ["leaf"])

# match with classes, guards, enums and dotted names
import enum
from dataclasses import dataclass
class Kind(enum.Enum):
    A = 1
    B = 2
@dataclass
class Shape:
    kind: Kind
    sides: list
LIMIT = 2
class const: FOUR = 4
def big(n): return n > LIMIT
@ENDPOINT
def f(value):
    match value:
        case Shape(kind=Kind.A, sides=[only]): return "one", only
        case Shape(kind=Kind.B, sides=[first, *rest]) if big(len(rest)): return "many", first
        case {"n": const.FOUR as found}: return "four", found
        case str() | bytes(): return "text"
        case _: return "other"
#> f(1) == "other" and f("x") == "text" and f({"n": 4}) == ("four", 4) and f(Shape(Kind.A, [5])) == ("one", 5) and f(Shape(Kind.B, [1, 2, 3, 4])) == ("many", 1)

# relative imports in packages, several levels
from pkg.inner.deep import value
@ENDPOINT
def f(): return value(), __import__("pkg.inner.side", fromlist=["x"]).x
#== pkg/__init__.py
"""A package."""
TOP = 1
#== pkg/config.py
from . import TOP
NUMBER = TOP + 1
#== pkg/inner/__init__.py
from .. import config
from . import side
#== pkg/inner/side.py
x = "x"
#== pkg/inner/deep.py
from ..config import NUMBER
from .. import config as c
from .side import x
def value():
    from ..late import LATE
    return NUMBER + c.NUMBER, x, LATE
#== pkg/late.py
LATE = "late"
#> f() == ((4, "x", "late"), "x")

# names that shadow builtins, modules and parameters
def list(*args): return ("mine", *args)
id = 5
import json
type = "t"
def sum(values, start=id): return start + len(values)
@ENDPOINT
def f(json, max=3): return list(json, max), id, type, sum([1]), [str for str in "ab"], (lambda id: id)(1)
#> f(2) == (("mine", 2, 3), 5, "t", 6, ["a", "b"], 1)

# a name that is bound again and again
value = 1
value = value + 1
def value_of(): return value
value = value * 10
for value in (value, value + 1): pass
def helper(): return 1
_first = helper
def helper(): return _first() + 1
@ENDPOINT
def f(): return value_of(), helper()
#> f() == (21, 2)

# mutual recursion of classes and functions across modules
from tree import build
class Leaf:
    def depth(self): return 0
class Branch:
    def __init__(self, children): self.children = children
    def depth(self): return 1 + max(child.depth() for child in self.children)
def make(n): return Leaf() if n == 0 else Branch(build(make, n))
@ENDPOINT
def f(n): return make(n).depth()
#== tree.py
def build(make, n): return [make(i) for i in range(n)]
#> f(4) == 4

# attributes of modules of modules
import os.path as path, xml.etree.ElementTree
import deep.er.est
import deep.er as er
@ENDPOINT
def f(): return path.join("a", "b"), xml.etree.ElementTree.fromstring("<a/>").tag, deep.er.est.value(), er.est.VALUE
#== deep/__init__.py
#== deep/er/__init__.py
#== deep/er/est.py
VALUE = 5
def value(): return VALUE
#> f() == ("a/b", "a", 5, 5)

# data files of a package
from importlib import resources
from importlib.resources import files
import pkgutil
def table(): return files("data").joinpath("table.csv").read_text()
@ENDPOINT
def f(): return table(), (resources.files("data") / "more" / "words.txt").read_text().split(), pkgutil.get_data("data", "table.csv")
#== data/__init__.py
#== data/table.csv
a,b
#== data/more/words.txt
one two
#> f() == ("a,b\\n", ["one", "two"], b"a,b\\n")

# environment and paths read at the top
import os
from pathlib import Path
HOME = os.environ.get("NO_SUCH_VARIABLE_HERE", "unset")
ROOT = Path("/srv") / "models"
CACHE = os.path.join(os.sep, "cache", HOME)
@ENDPOINT
def f(): return HOME, ROOT.name, CACHE
#> f() == ("unset", "models", "/cache/unset")

# data files beside the module that reads them
from pkg.reader import words, more
@ENDPOINT
def f(): return words(), more()
#== pkg/__init__.py
#== pkg/reader.py
import importlib.resources
from importlib.resources import files as open_package
import pkg.tables
def words(): return importlib.resources.files(__package__).joinpath("words.txt").read_text().split()
def more(): return importlib.resources.files(pkg.tables).joinpath("more.txt").read_text()
#== pkg/words.txt
a b
#== pkg/tables/__init__.py
#== pkg/tables/more.txt
c
#> f() == (["a", "b"], "c\\n")
'''
