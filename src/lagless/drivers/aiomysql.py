"""Probes over aiomysql, and a connection of aiomysql's that keeps what the server says of its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiomysql import Connection, Cursor  # type: ignore[import-untyped]

from lagless.dialects.base import Row
from lagless.drivers.aio import LoopProbe, first_row
from lagless.drivers.tracking import changes_of, with_session_track

_NOT_OURS = frozenset({"async_creator_fn", "async_fallback", "loop", "cursorclass", "connect_timeout"})
"""What SQLAlchemy takes out, what belongs to a user's loop, or would change what a probe reads and how it waits."""


class AiomysqlProbe(LoopProbe[Any]):
    """A probe connection made from aiomysql's connection parameters."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__()
        given = {k: v for k, v in params.items() if k not in _NOT_OURS}
        self._params = {"program_name": "lagless", **given, "autocommit": True}

    async def _connect(self) -> Any:
        return await _connected(Connection(**self._params))

    async def _run(self, connection: Any, statement: str) -> Row | None:
        return await first_row(await connection.cursor(_Silent), statement)

    async def _leave(self, connection: Any) -> None:
        try:
            await connection.ensure_closed()
        finally:  # where the server is gone, the goodbye fails, and aiomysql leaves it open
            connection.close()


class TrackedConnection(Connection):  # type: ignore[misc]
    """A connection that keeps the session's state changes of its last answer."""

    @property
    def state_changes(self) -> bytes | None:
        """What the last answer's OK packet holds after the warning count; None if it told of no change.

        A statement that was answered with warnings tells of none, if its cursor asks for them.
        """
        return changes_of(getattr(self, "_result", None))

    async def commit(self) -> None:
        """Commit by a query: its answer is kept, that of aiomysql's own commit is not."""
        await self.query("COMMIT")


async def connect(**params: Any) -> TrackedConnection:
    """Return a new tracked connection; takes what aiomysql.connect() takes. SQLAlchemy's `async_creator_fn`."""
    connection: TrackedConnection = await _connected(TrackedConnection(**with_session_track(params)))
    return connection


async def _connected(connection: Any) -> Any:
    """Return the connection, connected. ping() connects one that never was; it is public, _connect() is not."""
    try:
        await connection.ping(reconnect=True)
    except BaseException:  # cancelled while TLS begins, aiomysql leaves it half open
        connection.close()
        raise
    return connection


class _Silent(Cursor):  # type: ignore[misc]
    """A cursor that does not ask for warnings, a round trip and a Python warning each."""

    async def _show_warnings(self, conn: Any) -> None:
        pass
