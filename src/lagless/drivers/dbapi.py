"""Probes over any DB-API connection: waits as long as the driver does; a socket only where the driver shows it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from lagless.dialects.base import Row
from lagless.drivers.sockets import readable


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

    def fileno(self) -> int | None:
        """Return None: DB-API names no socket."""
        return None

    def ended(self) -> bool:
        """Never asked: there is no socket to wake up for."""
        return False

    def close(self) -> None:
        """Close the connection; what it says of that is no news."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None


class TimedProbe(DbapiProbe):
    """A probe over a driver that takes timeouts when it connects; each of its waits is bounded, and watched after.

    `connect` takes the timeout in seconds and returns a connection in autocommit, so that no old snapshot stays open.
    `socket` returns a connection's descriptor, None if it cannot be told.
    """

    def __init__(self, connect: Callable[[float], Any], socket: Callable[[Any], int | None]) -> None:
        super().__init__(lambda: connect(self._timeout))
        self._socket = socket
        self._timeout = 0.0

    def ask(self, statements: Sequence[str], timeout: float) -> Row | None:
        """Run statements, connecting first if need be. Raises TimeoutError, and whatever the driver raises in time."""
        if timeout != self._timeout:
            self.close()  # it would wait as long as it was told when it connected
        self._timeout = timeout
        deadline = time.monotonic() + timeout
        try:
            return self._ask(statements, deadline)
        except Exception as error:
            if time.monotonic() >= deadline:  # drivers have many words for it
                raise TimeoutError("no answer in time") from error
            raise

    def _ask(self, statements: Sequence[str], deadline: float) -> Row | None:
        if self._connection is None:
            self._connection = self._connect()
        row = None
        for statement in statements:
            row = first_row(self._connection, statement)
            if time.monotonic() >= deadline:
                raise TimeoutError("no answer in time")
        return row

    def fileno(self) -> int | None:
        """Return the socket to watch."""
        return None if self._connection is None else self._socket(self._connection)

    def ended(self) -> bool:
        """Tell whether the server ended the connection: to one that asks nothing it says nothing else."""
        fd = self.fileno()
        return fd is None or readable(fd)


def run(connection: Any, statement: str) -> Row | None:
    """Run one statement on a DB-API connection, commit, and return its first row as text, None if it has none."""
    row = first_row(connection, statement)
    connection.commit()
    return row


def first_row(connection: Any, statement: str) -> Row | None:
    """Run one statement on a DB-API connection and return its first row as text, None if it has none."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    finally:
        cursor.close()
    return None if row is None else as_text(row)


def ask(connection: Any, statements: Sequence[str]) -> Row | None:
    """Run statements on a DB-API connection as it is; return the last one's first row as text, None if it has none.

    They are lagless's own, not the application's to count or to log.
    """
    row = None
    for statement in statements:
        row = first_row(connection, statement)
    return row


def as_text(row: Sequence[object]) -> Row:
    """Return a driver's row with every value as text."""
    return [_text(value) for value in row]


def _text(value: object) -> str | None:
    if isinstance(value, bytes | bytearray):  # what MySQL's drivers make of text in the binary character set
        return value.decode()
    return None if value is None else str(value)
