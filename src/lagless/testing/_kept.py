"""A connection that is kept, for the many small questions a test asks."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]


class Closeable(Protocol):
    """A driver's connection."""

    def close(self) -> None:
        """End it."""


_Connection = TypeVar("_Connection", bound=Closeable)
_Result = TypeVar("_Result")


class KeptConnection(Generic[_Connection]):
    """One autocommit connection, opened when needed, opened anew when `over()`; for any thread."""

    def __init__(self, opener: Callable[[], _Connection], over: Callable[[_Connection], bool]) -> None:
        self._open = opener
        self._over = over
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def use(self, action: Callable[[_Connection], _Result]) -> _Result:
        """Return what `action` makes of the connection, which is its alone meanwhile."""
        with self._lock:
            return action(self._live())

    def drop(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            self._close()

    def _live(self) -> _Connection:
        # Asked before the statement is sent rather than retried after: it may be a write.
        if self._connection is not None and self._over(self._connection):
            self._close()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def readable(descriptor: int) -> bool:
    """Whether an idle connection says something: what a server says unasked is goodbye, or news a new one knows."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
