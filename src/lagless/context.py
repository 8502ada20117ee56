"""The session of the running unit of work, and the scopes that narrow routing.

One ContextVar, bound at the edge. Below it the Session is mutated, never bound again: a rebinding would be lost in
thread pools that copy the context. A scope is lexical, so it binds and restores the same variable around its block.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from lagless.core.consistency import Level, choice, number
from lagless.core.session import Session
from lagless.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Narrowing:
    """One scope's wish: a level, or replicas only. `clusters` None means all."""

    level: Level | None
    max_lag: float | None
    replica_only: bool
    clusters: frozenset[str] | None
    outer: Narrowing | None

    def within(self, cluster: str) -> Narrowing | None:
        """Return the innermost scope that concerns `cluster`."""
        if self.clusters is None or cluster in self.clusters:
            return self
        return self.outer.within(cluster) if self.outer else None


@dataclass(slots=True)  # not frozen: that makes it four times as slow to make, and one is made a request
class Frame:
    """What the context holds: the session, None outside a unit of work, and the innermost scope."""

    session: Session | None
    scope: Narrowing | None = None
    outer: Frame | None = None


frame: ContextVar[Frame | None] = ContextVar("lagless_frame", default=None)
current = frame.get
"""Return the frame of the running code, None outside sessions and scopes."""


class Scope:
    """A `with` block and a decorator, for functions and coroutines alike; nests; may be used again."""

    def __init__(
        self,
        *clusters: str,
        level: Level | None = None,
        max_lag: float | None = None,
        replica_only: bool = False,
    ) -> None:
        self._clusters = frozenset(clusters) or None
        self._level = level
        self._max_lag = max_lag
        self._replica_only = replica_only

    def __enter__(self) -> Self:
        held = frame.get()
        outer = held.scope if held else None
        narrowing = Narrowing(self._level, self._max_lag, self._replica_only, self._clusters, outer)
        # The way back lies in the frame, not in this object: one decorated function runs in many tasks at once.
        frame.set(Frame(held.session if held else None, narrowing, held))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = frame.get()
        frame.set(held.outer if held else None)

    def __call__(self, function: F) -> F:
        """Run each call of `function`, or of the coroutine function, inside this scope."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"{function.__qualname__} is a generator: its body runs between its caller's steps, where a scope "
                "would leak; use `with` around the statements inside it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def scoped(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)
        else:

            @functools.wraps(function)
            def scoped(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        return scoped  # type: ignore[return-value]


def primary(*clusters: str) -> Scope:
    """Read the primary inside the block or function; name clusters to narrow it to them."""
    return Scope(*_names(clusters), level=Level.STRONG)


def replica(*clusters: str) -> Scope:
    """Read replicas inside, whatever the session wrote; a write raises ReadOnlyViolation."""
    return Scope(*_names(clusters), level=Level.EVENTUAL, replica_only=True)


def consistency(level: Level | str, *clusters: str, max_lag: float | None = None) -> Scope:
    """Read at another level inside; `bounded` takes `max_lag`, in seconds. Raises ConfigurationError."""
    wanted = choice(Level, level, "consistency: level")
    if wanted is Level.BOUNDED and max_lag is None:
        raise ConfigurationError("consistency: 'bounded' needs max_lag, in seconds")
    if max_lag is not None:
        number(max_lag, "consistency: max_lag", above=0)
    return Scope(*_names(clusters), level=wanted, max_lag=max_lag)


def _names(clusters: tuple[object, ...]) -> tuple[str, ...]:
    for name in clusters:
        if not isinstance(name, str):
            raise ConfigurationError(f"a scope takes cluster names, not {name!r}; a decorator is written with ()")
    return clusters  # type: ignore[return-value]
