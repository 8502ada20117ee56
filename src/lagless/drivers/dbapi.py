"""Probes over any DB-API connection: waits as long as the driver does, and cannot watch a socket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from lagless.dialects.base import Row


class DbapiProbe:
    """A probe over connections from `connect`, which should bound its own waits."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: Any = None

    def ask(self, statements: Sequence[str], timeout: float) -> Row | None:
        """Run statements, each in its own transaction; return the last one's first row."""
        if self._connection is None:
            self._connection = self._connect()
        row = None
        for statement in statements:
            row = run(self._connection, statement)
        return row

    def fileno(self) -> None:
        """Return None: DB-API names no socket."""

    def ended(self) -> bool:
        """Never asked: there is no socket to wake up for."""
        return False

    def close(self) -> None:
        """Close the connection; what it says of that is no news."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None


def run(connection: Any, statement: str) -> Row | None:
    """Run one statement on a DB-API connection, commit, and return its first row as text, None if it has none."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    finally:
        cursor.close()
    connection.commit()
    return None if row is None else as_text(row)


def as_text(row: Sequence[object]) -> Row:
    """Return a driver's row with every value as text."""
    return [None if value is None else str(value) for value in row]
