"""Dialects: what to ask a server and how to read its answer. Pure; no driver is imported."""

from __future__ import annotations

from lagless.dialects.base import Dialect
from lagless.dialects.heartbeat import Heartbeat
from lagless.dialects.mariadb import MariaDB
from lagless.dialects.mysql import MySQL
from lagless.dialects.mysql_family import MySQLFamily
from lagless.dialects.postgresql import PostgreSQL
from lagless.errors import ConfigurationError

__all__ = ["Dialect", "Heartbeat", "MariaDB", "MySQL", "MySQLFamily", "PostgreSQL", "dialect_named"]


def dialect_named(name: str) -> Dialect:
    """Return the dialect called `name`; ConfigurationError if there is none."""
    match name:
        case "postgresql":
            return PostgreSQL()
        case "mysql":
            return MySQL()
        case "mysql_family":
            return MySQLFamily()
        case "mariadb":
            return MariaDB()
        case "heartbeat":
            return Heartbeat()
    raise ConfigurationError(
        f"dialect {name!r} is unknown; choose one of heartbeat, mariadb, mysql, mysql_family, postgresql"
    )
