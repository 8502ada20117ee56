"""Probes over psycopg's libpq: every wait is ours and bounded, so a frozen server costs one thread one second."""

from __future__ import annotations

import select
import time
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from lagless.dialects.base import Row
from lagless.drivers.sockets import readable

_CLIENT_SIDE = frozenset(
    {"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"}  # psycopg's
    | {"async_creator_fn", "async_fallback"}  # SQLAlchemy's
)
"""Arguments of connect() that libpq does not know."""


class PsycopgProbe:
    """A probe connection made from psycopg's connection parameters."""

    def __init__(self, params: Mapping[str, object]) -> None:
        given = {k: v for k, v in params.items() if k not in _CLIENT_SIDE and v is not None}
        given.setdefault("fallback_application_name", "lagless")
        self._conninfo = make_conninfo("", **given).encode()  # type: ignore[arg-type]
        self._connection: pq.abc.PGconn | None = None

    def ask(self, statements: Sequence[str], timeout: float) -> Row | None:
        """Run statements within `timeout` seconds, connecting first if need be. Raises psycopg.Error, TimeoutError."""
        deadline = time.monotonic() + timeout
        if self._connection is None:
            self._connection = self._connect(deadline)
        row: Row | None = None
        for statement in statements:
            row = self._run(self._connection, statement, deadline)
        return row

    def fileno(self) -> int | None:
        """Return the socket to watch."""
        if self._connection is None or self._connection.status != pq.ConnStatus.OK:
            return None
        return self._connection.socket

    def ended(self) -> bool:
        """Read what came unasked; tell whether it was the end: what can still be read then is nothing else."""
        if self._connection is None:
            return True
        try:
            self._connection.consume_input()
        except psycopg.Error:
            return True
        fd = self.fileno()
        return fd is None or readable(fd)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.finish()
            self._connection = None

    def _connect(self, deadline: float) -> pq.abc.PGconn:
        connection = pq.PGconn.connect_start(self._conninfo)
        try:
            while (status := connection.connect_poll()) != pq.PollingStatus.OK:
                if status == pq.PollingStatus.FAILED:
                    raise psycopg.OperationalError("cannot connect")
                _wait(connection.socket, deadline, writing=status == pq.PollingStatus.WRITING)
        except BaseException:
            connection.finish()
            raise
        connection.nonblocking = 1
        return connection

    def _run(self, connection: pq.abc.PGconn, statement: str, deadline: float) -> Row | None:
        connection.send_query(statement.encode())
        while connection.flush():
            _wait(connection.socket, deadline, writing=True)
        row, failure = None, None
        while (result := _next_result(connection, deadline)) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                failure = psycopg.errors.error_from_result(result)
            elif result.ntuples:
                row = [_text(result.get_value(0, column)) for column in range(result.nfields)]
        if failure is not None:
            raise failure
        return row


def install(conninfo: str, statements: Sequence[str]) -> None:
    """Run setup statements in one transaction. Raises psycopg.Error, and then nothing was installed."""
    with psycopg.connect(conninfo, connect_timeout=10) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _next_result(connection: pq.abc.PGconn, deadline: float) -> pq.abc.PGresult | None:
    while connection.is_busy():
        _wait(connection.socket, deadline)
        connection.consume_input()
    return connection.get_result()


def _wait(fd: int, deadline: float, *, writing: bool = False) -> None:
    left = deadline - time.monotonic()
    poll = select.poll()  # not select(): descriptors above 1023 are common in a busy server
    poll.register(fd, select.POLLOUT if writing else select.POLLIN)
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError("no answer in time")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
