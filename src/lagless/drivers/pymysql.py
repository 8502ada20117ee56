"""Probes over PyMySQL, and a connection of PyMySQL's that keeps what the server says of its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymysql.connections import Connection  # type: ignore[import-untyped]

from lagless.drivers.dbapi import TimedProbe
from lagless.drivers.tracking import changes_of, with_session_track

_NOT_OURS = frozenset({"cursorclass", "defer_connect"})
"""Arguments of connect() that would change what a probe reads, or when it connects."""


class PyMySQLProbe(TimedProbe):
    """A probe connection made from PyMySQL's connection parameters.

    Every wait is bounded by the timeout of `ask()`. A server that is late at each step of connecting, but never as
    late as that, can take a few times as long.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        given = {"program_name": "lagless", **{k: v for k, v in params.items() if k not in _NOT_OURS}}
        super().__init__(lambda timeout: Connection(**{**given, **_bounds(timeout)}), _fileno)


class TrackedConnection(Connection):  # type: ignore[misc]
    """A connection that keeps the session's state changes of its last answer; made like PyMySQL's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **with_session_track(kwargs))

    @property
    def state_changes(self) -> bytes | None:
        """What the last answer's OK packet holds after the warning count; None if it told of no change."""
        return changes_of(getattr(self, "_result", None))

    def commit(self) -> None:
        """Commit by a query: its answer is kept, that of PyMySQL's own commit is not."""
        self.query("COMMIT")


def _bounds(timeout: float) -> dict[str, Any]:
    timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), timeout)
    return {**timeouts, "autocommit": True}


def _fileno(connection: Connection) -> int | None:
    socket = getattr(connection, "_sock", None)  # private: without it a probe is heard only when asked
    return None if socket is None else int(socket.fileno())
