"""What lagless does with a driver's connection below SQLAlchemy: ask without a transaction, watch, look for the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from lagless.dialects import session_track
from lagless.dialects.base import Row
from lagless.drivers.dbapi import ask

KEY = "lagless"
"""Where a physical connection keeps what is known of it, in its `info`."""


def ask_idle(connection: Any, statements: Sequence[str]) -> Row | None:
    """Run statements outside any transaction on a connection that is in none: one round trip each, no BEGIN."""
    if getattr(connection, "autocommit", None) is not False:  # a method (MySQL), a number (SQLite), or on already
        return ask(connection, statements)
    connection.autocommit = True
    try:
        return ask(connection, statements)
    finally:
        connection.autocommit = False


def own_gtid(connection: Connection) -> str | None:
    """Return the GTID that the answer to a commit named, None where the driver or the server does not say."""
    changes = getattr(connection.connection.driver_connection, "state_changes", None)
    return session_track.own_gtid(changes) if changes else None


def autocommits(connection: Any) -> bool:
    """Tell whether a DB-API connection commits each statement by itself."""
    setting = getattr(connection, "autocommit", None)
    if isinstance(setting, bool):
        return setting
    asked = getattr(getattr(connection, "driver_connection", connection), "get_autocommit", None)
    if asked is not None:
        return bool(asked())
    return getattr(connection, "isolation_level", "") is None  # sqlite3


def fileno(driver: Any) -> int | None:
    """Return the descriptor of a driver's socket; None where the driver does not tell."""
    if callable(told := getattr(driver, "fileno", None)):
        return int(told())
    transport = getattr(driver, "_transport", None) or getattr(getattr(driver, "_writer", None), "transport", None)
    held = transport.get_extra_info("socket") if transport is not None else getattr(driver, "_sock", None)
    return None if held is None else int(held.fileno())


def promotion_of(driver: Any) -> Callable[[], bool]:
    """Return what tells, at no cost, that the server of a connection is no standby any more.

    PostgreSQL reports it on each connection since version 14; elsewhere it is never told.
    """
    if (libpq := getattr(driver, "pgconn", None)) is not None:
        return lambda: bool(libpq.parameter_status(b"in_hot_standby") == b"off")
    if (settings := getattr(driver, "get_settings", None)) is not None:  # asyncpg keeps them up to date
        told = settings()
        return lambda: getattr(told, "in_hot_standby", None) == "off"
    return lambda: False


def isolation(connection: Connection) -> str | None:
    """Return the isolation level of a Connection, as far as it is known without asking the server."""
    chosen = connection.get_execution_options().get("isolation_level")
    told = chosen or getattr(connection.dialect, "_on_connect_isolation_level", None)
    return told or connection.dialect.default_isolation_level
