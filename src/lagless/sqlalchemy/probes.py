"""The monitor's probes, connected as an engine connects, whatever listeners for do_connect make of it."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, __version__, event

from lagless.dialects.base import Row
from lagless.drivers.dbapi import DbapiProbe
from lagless.errors import ConfigurationError
from lagless.monitor import Probe

Arguments = tuple[list[Any], dict[str, Any]]
"""A driver's connect() arguments, by position and by name."""

_asked = threading.local()


CONNECT_SECONDS = 3
_TIMEOUTS = {
    "asyncpg": "timeout",
    **dict.fromkeys(
        ("psycopg", "psycopg_async", "psycopg2", "pymysql", "mysqldb", "aiomysql", "asyncmy"), "connect_timeout"
    ),
}
"""What drivers call the seconds that connecting may take."""


class _Told(Exception):
    """Carries a driver's connect() arguments out of a pool that was about to use them."""

    def __init__(self, arguments: Arguments) -> None:
        self.arguments = arguments


def let_ask(engine: Engine) -> None:
    """Make `arguments_of` work for an engine; call it once, after the application's own listeners were added."""
    event.listen(engine, "do_connect", _tell)


def arguments_of(engine: Engine) -> Arguments:
    """Return what the engine would pass to its driver right now: a password that rotates is the one of now.

    Raises ConfigurationError for an engine made with `creator`, which hides them.
    """
    _asked.now = True
    try:
        connection = engine.pool.recreate().connect()
    except _Told as told:
        return told.arguments
    finally:
        _asked.now = False
    connection.invalidate()
    raise ConfigurationError("an engine with `creator` hides how it connects; use a listener for do_connect instead")


def _tell(dialect: object, record: object, args: list[Any], params: dict[str, Any]) -> None:  # noqa: ARG001
    if getattr(_asked, "now", False):
        raise _Told((list(args), dict(params)))


def bound_connecting(engine: Engine, is_replica: Callable[[], bool]) -> None:
    """Have connections to a replica fail within a few seconds, unless the application says how long they may take.

    A frozen server takes a connection and never greets; drivers wait for minutes, or for ever.
    """
    name = _TIMEOUTS.get(engine.dialect.driver)
    if name is None or "PGCONNECT_TIMEOUT" in os.environ:
        return

    @event.listens_for(engine, "do_connect")
    def _connecting(dialect: object, record: object, args: list[Any], params: dict[str, Any]) -> None:  # noqa: ARG001
        if is_replica():
            params.setdefault(name, CONNECT_SECONDS)


def track(engine: Engine) -> None:
    """Have new connections keep what the answer to a commit says, where lagless knows how: MySQL's drivers."""
    match engine.dialect.driver:
        case "pymysql":
            from lagless.drivers.pymysql import TrackedConnection  # noqa: PLC0415

            event.listen(engine, "do_connect", lambda _, __, args, params: TrackedConnection(*args, **params))
        case "aiomysql":
            from lagless.drivers import aiomysql  # noqa: PLC0415

            _create_by(engine, aiomysql.connect)
        case "asyncmy":
            from lagless.drivers import asyncmy  # noqa: PLC0415

            _create_by(engine, asyncmy.connect)


_TAKES_CREATOR = [int(part) for part in re.findall(r"\d+", __version__)[:3]] >= [2, 0, 16]
"""Whether this SQLAlchemy lets asynchronous drivers connect by a function of ours."""


def _create_by(engine: Engine, connect: Callable[..., Any]) -> None:
    if not _TAKES_CREATOR:
        return

    @event.listens_for(engine, "do_connect")
    def _connecting(dialect: object, record: object, args: list[Any], params: dict[str, Any]) -> None:  # noqa: ARG001
        params.setdefault("async_creator_fn", connect)


def probe(engine: Engine) -> Probe:
    """Return the monitor's probe for an engine's server."""
    return FreshProbe(lambda: _over(engine, *arguments_of(engine)))


class FreshProbe:
    """A probe whose arguments are asked for anew whenever it connects."""

    def __init__(self, make: Callable[[], Probe]) -> None:
        self._make = make
        self._probe: Probe | None = None

    def ask(self, statements: Sequence[str], timeout: float) -> Row | None:
        """Ask, connecting first if need be."""
        if self._probe is None:
            self._probe = self._make()
        return self._probe.ask(statements, timeout)

    def fileno(self) -> int | None:
        """Return the socket to watch."""
        return self._probe.fileno() if self._probe else None

    def ended(self) -> bool:
        """Tell whether the server ended the connection."""
        return self._probe is None or self._probe.ended()

    def close(self) -> None:
        """Close the connection, and forget how it was made."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None


_BY_DRIVER = {
    "psycopg": ("psycopg", "PsycopgProbe"),
    "psycopg_async": ("psycopg", "PsycopgProbe"),
    "pymysql": ("pymysql", "PyMySQLProbe"),
    "mysqldb": ("mysqldb", "MySQLdbProbe"),
    "aiomysql": ("aiomysql", "AiomysqlProbe"),
    "asyncmy": ("asyncmy", "AsyncmyProbe"),
}
"""The modules of lagless.drivers by SQLAlchemy's name for a driver: imported where that driver is in use."""


def _over(engine: Engine, args: list[Any], params: dict[str, Any]) -> Probe:
    """Return a probe over the engine's own driver."""
    driver = engine.dialect.driver
    if driver in _BY_DRIVER:
        module, name = _BY_DRIVER[driver]
        made: Probe = getattr(import_module(f"lagless.drivers.{module}"), name)(params)
        return made
    if driver == "asyncpg":
        from lagless.drivers.asyncpg import AsyncpgProbe  # noqa: PLC0415 - only where asyncpg is the driver

        return AsyncpgProbe(args, params)
    if driver == "aiosqlite":  # a thread over the same library, and the same file
        return DbapiProbe(lambda: sqlite3.connect(*args, **_for_sqlite(params)))
    if engine.dialect.is_async:
        raise ConfigurationError(f"lagless has no probe for the asynchronous driver {driver!r}")
    return DbapiProbe(lambda: engine.dialect.connect(*args, **params))


def _for_sqlite(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "async_creator_fn"}
