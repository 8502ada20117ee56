"""Counts statements where the site hands them to SQLAlchemy and where the driver sends them.

It reaches into the drivers, in the demo's server processes only: a count that lagless itself kept would prove nothing
about lagless.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.orm import Session

from lagless.demo.instrument import CURRENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from lagless.demo.tally import Tally

_GONE = ("08", "57P")  # SQLSTATE classes that say goodbye
_CLIENT_ERRORS = range(2000, 3000)  # MySQL's numbers of what the server never said
_GOODBYES = (1053, 1927)
_TRANSACTION = ("BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION")

_places: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""Which server a driver's connection leads to, once it is made and in use."""


# -- What the site asks


class CountedSession(Session):
    """Counts what it is asked, once each: it stands before whatever routes a statement and runs it again."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Execute, and count."""
        with _question():
            return super().execute(*args, **options)

    def scalar(self, *args: Any, **options: Any) -> Any:
        """Return one value, and count."""
        with _question():
            return super().scalar(*args, **options)

    def scalars(self, *args: Any, **options: Any) -> Any:
        """Return values, and count."""
        with _question():
            return super().scalars(*args, **options)


def _question() -> AbstractContextManager[None]:
    tally = CURRENT.get()
    return nullcontext() if tally is None or tally.asked is not None else tally.statement()


def watch(engine: AsyncEngine, name: str) -> None:
    """Count what the engine's server, called `name`, answers; before anybody else listens to its connections."""
    _count(engine.dialect.driver)
    event.listen(engine.sync_engine, "before_cursor_execute", _name_statement)

    def in_use(connection: Any, _record: Any, _proxy: Any) -> None:
        _places[connection.driver_connection] = name

    event.listen(engine.sync_engine, "checkout", in_use)


def _name_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    if (tally := CURRENT.get()) is not None:
        tally.name(statement)


# -- What the servers answer


def _count(driver: str) -> None:
    """Wrap the driver's calls by which SQLAlchemy sends statements, once."""
    match driver:
        case "asyncpg":
            statements = import_module("asyncpg.prepared_stmt").PreparedStatement
            _wrap(statements, "fetch", lambda statement, *_: (statement._connection, statement.get_query()))  # noqa: SLF001
            _wrap(import_module("asyncpg").Connection, "execute", lambda connection, query, *_: (connection, query))
        case "aiomysql":
            cursors = import_module("aiomysql").Cursor
            _wrap(cursors, "execute", lambda cursor, query, *_: (cursor.connection, query))


def _wrap(kind: Any, method: str, told: Callable[..., tuple[Any, str]]) -> None:
    """Count a method's answers; `told` returns the connection and the statement from its arguments."""
    original: Callable[..., Awaitable[Any]] = getattr(kind, method)
    if hasattr(original, "counts"):
        return

    async def counted(*args: Any, **options: Any) -> Any:
        tally = CURRENT.get()
        if tally is None:
            return await original(*args, **options)
        connection, query = told(*args)
        try:
            answer = await original(*args, **options)
        except Exception as error:
            _book_error(tally, error)
            raise
        _book(tally, connection, query)
        return answer

    counted.counts = True  # type: ignore[attr-defined]
    setattr(kind, method, counted)


def _book(tally: Tally, connection: Any, query: str) -> None:
    if query.startswith(_TRANSACTION):
        return
    place = _places.get(connection)
    if place is None:
        tally.probes += 1
    else:
        tally.answer(query, place)


def _book_error(tally: Tally, error: Exception) -> None:
    if is_goodbye(error):
        tally.failed += 1
    else:
        tally.refuse()


def is_goodbye(error: Exception) -> bool:
    """Whether the connection broke; any other error of a driver is a server's answer."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_GONE)
    number = error.args[0] if error.args else None
    return not isinstance(number, int) or number in _CLIENT_ERRORS or number in _GOODBYES or isinstance(error, OSError)
