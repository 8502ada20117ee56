"""Probes over asyncmy, and a connection of asyncmy's that keeps what the server says of its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asyncmy.connection import Connection
from asyncmy.cursors import Cursor

from lagless.dialects.base import Row
from lagless.drivers.aio import LoopProbe, first_row
from lagless.drivers.tracking import changes_of, with_session_track

_NOT_OURS = frozenset({"async_creator_fn", "async_fallback", "cursor_cls", "connect_timeout", "read_timeout"})
"""What SQLAlchemy takes out, or would change what a probe reads and how long it waits."""


class AsyncmyProbe(LoopProbe[Any]):
    """A probe connection made from asyncmy's connection parameters."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__()
        given = {k: v for k, v in params.items() if k not in _NOT_OURS}
        self._params = {"program_name": "lagless", **given, "autocommit": True}

    async def _connect(self) -> Any:
        connection = Connection(**self._params)  # type: ignore[no-untyped-call]
        await connection.connect()
        return connection

    async def _run(self, connection: Any, statement: str) -> Row | None:
        return await first_row(connection.cursor(_Silent), statement)

    async def _leave(self, connection: Any) -> None:
        await connection.ensure_closed()


class TrackedConnection(Connection):
    """A connection that keeps the session's state changes of its last answer."""

    @property
    def state_changes(self) -> bytes | None:
        """What the last answer's OK packet holds after the warning count; None if it told of no change.

        A statement that was answered with warnings tells of none, if its cursor asks for them.
        """
        return changes_of(getattr(self, "_result", None))

    async def commit(self) -> None:
        """Commit by a query: its answer is kept, that of asyncmy's own commit is not."""
        await self.query("COMMIT")  # type: ignore[no-untyped-call]


async def connect(**params: Any) -> TrackedConnection:
    """Return a new tracked connection; takes what asyncmy.connect() takes. SQLAlchemy's `async_creator_fn`."""
    connection = TrackedConnection(**with_session_track(params))  # type: ignore[no-untyped-call]
    await connection.connect()
    return connection


class _Silent(Cursor):
    """A cursor that does not ask for warnings, a round trip and a line in the log each."""

    async def _show_warnings(self, conn: Any) -> None:
        pass
