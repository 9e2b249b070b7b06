"""Types of what the decorators return; loaded by type checkers only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])
R_co = TypeVar("R_co", covariant=True)
L_co = TypeVar("L_co", covariant=True)


class _Decorated(Protocol, Generic[P, L_co]):
    """What every decorated function has: its plain self, under two names, and what it was told."""

    __name__: str
    __qualname__: str
    __module__: str
    __doc__: str | None
    __remote_config__: dict[str, Any]

    def local(self, *args: P.args, **kwargs: P.kwargs) -> L_co:
        """Call the plain function, here."""
        ...

    def __wrapped__(self, *args: P.args, **kwargs: P.kwargs) -> L_co:
        """Call the plain function, here."""
        ...


class RemoteFunction(_Decorated[P, L_co], Protocol, Generic[P, R_co, L_co]):
    """A decorated function: called, it runs where its endpoint runs; ``local`` runs it here."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the function where its endpoint runs."""
        ...


class Verb(Coroutine[Any, Any, Any]):
    """What ``.get(path)`` and its kin give: a decorator of routes; on a client, a request."""

    @abstractmethod
    def __call__(self, function: F) -> F:
        """Register a handler; the function stays what it is."""


class Generation(Protocol[T]):
    """A call of a generator function: ``await`` gives the list, ``async for`` the items."""

    def __await__(self) -> Generator[Any, Any, list[T]]:
        """Collect all items."""
        ...

    def __aiter__(self) -> AsyncIterator[T]:
        """Take items as they come."""
        ...


class RemoteGeneratorFunction(_Decorated[P, L_co], Protocol, Generic[P, T, L_co]):
    """A decorated generator function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Generation[T]:
        """Call the function where its endpoint runs."""
        ...


class QueueDecorator:
    """``Endpoint(...)``, and what ``remote(...)`` gives for a queue-based resource.

    A class stays its own type: its constructor and its async methods are typed exactly, it can annotate
    parameters, and mypy never applies a class decorator anyway. See "Types" in docs/sdk.md.
    """

    @overload
    def __call__(self, func_or_class: type[C]) -> type[C]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(
        self, func_or_class: Callable[P, Coroutine[Any, Any, T]]
    ) -> RemoteFunction[P, T, Coroutine[Any, Any, T]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, func_or_class: Callable[P, AsyncIterator[T]]
    ) -> RemoteGeneratorFunction[P, T, AsyncIterator[T]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, func_or_class: Callable[P, Iterator[T]]
    ) -> RemoteGeneratorFunction[P, T, Iterator[T]]: ...
    @overload
    def __call__(self, func_or_class: Callable[P, T]) -> RemoteFunction[P, T, T]: ...
    def __call__(self, func_or_class: Any) -> Any:
        """Make a function or class a queue-based endpoint."""
        raise NotImplementedError


class KeepingDecorator(Protocol):
    """What ``remote(...)`` gives for a route, or with ``local=True``: the function stays what it is."""

    def __call__(self, function: F) -> F:
        """Mark the function."""
        ...
