"""What is needed of psycopg."""

from __future__ import annotations

from collections.abc import Callable

from lagless.errors import ConfigurationError
from lagless.testing._kept import Parameters, Row, readable

try:
    import psycopg
except ImportError as error:
    raise ConfigurationError('psycopg is not installed: pip install "lagless[testing]"') from error


def run(connection: psycopg.Connection[Row], sql: str, params: Parameters | None) -> list[Row]:
    """Run a statement and return its rows; none for a statement that has no result."""
    cursor = connection.execute(sql.encode(), params)
    return cursor.fetchall() if cursor.description else []


def hung_up(connection: psycopg.Connection[Row]) -> bool:
    """Whether an idle connection is over."""
    return connection.closed or readable(connection.fileno())


def answers(opener: Callable[[], psycopg.Connection[Row]]) -> bool:
    """Whether a new connection is taken right now."""
    try:
        opener().close()
    except psycopg.OperationalError:
        return False
    return True
