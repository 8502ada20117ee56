"""Counts statements where Django hands them over and where the driver sends them.

It reaches into Django and psycopg, in the demo's server processes only: a count that lagless itself kept would prove
nothing about lagless.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from lagless.demo.instrument import CURRENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from lagless.demo.tally import Tally

_execute = psycopg.Cursor.execute
_connect = BaseDatabaseWrapper.connect


def install() -> None:
    """Count from now on."""
    psycopg.Cursor.execute = _counted_execute  # type: ignore[assignment,method-assign]
    BaseDatabaseWrapper.connect = _marked_connect  # type: ignore[assignment,method-assign]
    connection_created.connect(_wrap)


def _wrap(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if _count_statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count_statement)


def _count_statement(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001 - Django's signature
    tally = CURRENT.get()
    # A statement that runs inside another one is the backend's second try of it, on another connection.
    if tally is None or tally.asked is not None or tally.connecting:
        return execute(sql, params, many, context)
    with tally.statement(sql):
        return execute(sql, params, many, context)


def _counted_execute(cursor: psycopg.Cursor[Any], query: Any, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
    tally = CURRENT.get()
    try:
        done = _execute(cursor, query, *args, **kwargs)
    except psycopg.Error as error:
        if tally is not None:
            _book_error(tally, error)
        raise
    if tally is not None:
        tally.answer(query, _place(cursor))
    return done


def _book_error(tally: Tally, error: psycopg.Error) -> None:
    # Without an SQLSTATE, or with one that says goodbye, the connection broke; any other refusal is an answer.
    if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
        tally.failed += 1
    else:
        tally.refuse()


def _marked_connect(wrapper: BaseDatabaseWrapper) -> None:
    tally = CURRENT.get()
    if tally is None:
        return _connect(wrapper)
    before, tally.connecting = tally.connecting, True
    try:
        return _connect(wrapper)
    finally:
        tally.connecting = before


def _place(cursor: psycopg.Cursor[Any]) -> str:
    return _places()[int(cursor.connection.pgconn.port)]


@cache
def _places() -> dict[int, str]:
    ports = {int(database["PORT"]): alias for alias, database in settings.DATABASES.items()}
    return {port: "primary" if alias == "default" else alias for port, alias in ports.items()}
