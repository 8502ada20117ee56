"""What is needed of PyMySQL, imported when the first connection is."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from lagless.errors import ConfigurationError
from lagless.testing._kept import Parameters, Row, readable


def pymysql() -> ModuleType:
    """The driver; ConfigurationError when it is not installed."""
    try:
        return import_module("pymysql")
    except ImportError as error:
        raise ConfigurationError('PyMySQL is not installed: pip install "lagless[testing]"') from error


def connect(**options: Any) -> Any:
    """Open a connection; an autocommit one that takes several statements at once, unless `options` say otherwise."""
    several = pymysql().constants.CLIENT.MULTI_STATEMENTS
    return pymysql().connect(**{"autocommit": True, "client_flag": several, "connect_timeout": 10, **options})


def run(connection: Any, sql: str, params: Parameters | None) -> list[Row]:
    """Run one or several statements and return the rows of the last; none for one that has no result."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows = cursor.fetchall()
        while cursor.nextset():  # an error of a later statement is told only here
            rows = cursor.fetchall()
    return list(rows)


def run_named(connection: Any, sql: str) -> list[dict[str, Any]]:
    """Run a statement and return its rows by the names of their columns."""
    with connection.cursor(pymysql().cursors.DictCursor) as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def hung_up(connection: Any) -> bool:
    """Whether an idle connection is over."""
    return not connection.open or readable(connection._sock.fileno())  # noqa: SLF001 - there is no public way
