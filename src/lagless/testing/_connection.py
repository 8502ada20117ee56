"""A connection that is kept, for the many small questions a test asks."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lagless.errors import ConfigurationError

try:
    import psycopg
except ImportError as error:
    raise ConfigurationError('psycopg is not installed: pip install "lagless[testing]"') from error

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]


class KeptConnection:
    """One autocommit connection, opened when needed, opened anew when the server has hung up; for any thread."""

    def __init__(self, opener: Callable[[], psycopg.Connection[Row]]) -> None:
        self._open = opener
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Row] | None = None

    def execute(self, sql: str, params: Parameters | None = None) -> list[Row]:
        """Run a statement and return its rows; none for a statement that has no result."""
        with self._lock:
            cursor = self._live().execute(sql.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        """Close the connection; the next statement opens another."""
        with self._lock:
            self._close()

    def _live(self) -> psycopg.Connection[Row]:
        # Asked before the statement is sent rather than retried after: it may be a write.
        if self._connection is not None and hung_up(self._connection):
            self._close()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def hung_up(connection: psycopg.Connection[Row]) -> bool:
    """Whether an idle connection is over: what a server says unasked is goodbye, or news that a new one knows."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def answers(opener: Callable[[], psycopg.Connection[Row]]) -> bool:
    """Whether a new connection is taken right now."""
    try:
        opener().close()
    except psycopg.OperationalError:
        return False
    return True
