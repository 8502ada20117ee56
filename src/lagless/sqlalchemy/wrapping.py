"""What is put around the methods of an engine's dialect: each statement and each end of a transaction passes there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from sqlalchemy import Connection

from lagless.sqlalchemy import raw
from lagless.sqlalchemy.held import Held


class Follower(Protocol):
    """Whoever wants to know of statements."""

    def before(self, statement: str, context: Any) -> Held | None:
        """Prepare for a statement; return its connection, None if it is none of the application's."""

    def after(self, held: Held, context: Any) -> None:
        """Note that it ran."""

    def failed(self, held: Held, context: Any, *, ends: bool) -> None:
        """Note that it failed; `ends` if the connection is gone with it."""


def follow_dialect(dialect: Any, follower: Follower) -> None:
    """Let the statements and the ends of transactions of a dialect pass by a follower."""
    kind: Any = type(dialect)
    dialect.lagless, dialect.__class__ = follower, _followed(kind)


@functools.cache
def _followed(base: Any) -> type:
    """Return a dialect's class that is followed; of one base, because only such a one a dialect that exists can get."""
    return type(
        base.__name__,
        (base,),
        {
            "supports_statement_cache": base.supports_statement_cache,  # SQLAlchemy wants each class to say it
            "do_execute": _statement(base.do_execute),
            "do_executemany": _statement(base.do_executemany),
            "do_execute_no_params": _statement(base.do_execute_no_params),
            "do_commit": _commit(base.do_commit),
            "do_rollback": _rollback(base.do_rollback),
            "do_commit_twophase": _commit(base.do_commit_twophase),
            "do_rollback_twophase": _rollback(base.do_rollback_twophase),
        },
    )


def _statement(run: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(run)
    def followed(dialect: Any, cursor: Any, statement: str, *rest: Any) -> None:
        context, follower = rest[-1], dialect.lagless
        held = follower.before(statement, context)
        if held is None:
            return run(dialect, cursor, statement, *rest)
        held.guard.acquire()
        try:
            run(dialect, cursor, statement, *rest)
        except BaseException as error:
            follower.failed(held, context, ends=_ends(dialect, error, context.root_connection.connection))
            raise
        finally:
            held.guard.release()
        follower.after(held, context)
        return None

    return followed


def _commit(run: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(run)
    def followed(dialect: Any, connection: Any, *rest: Any, **options: Any) -> None:
        held = _known(connection)
        if held is not None and held.routed:
            return _leave_replica(held, dialect, connection, partial(run, dialect, connection, *rest, **options))
        if held is None or held.committing:  # two-phase commits may come by twice
            return run(dialect, connection, *rest, **options)
        held.told = {footprint: footprint.primary_reads for footprint in held.writes.writers}
        held.committing = True
        held.guard.acquire()
        try:
            run(dialect, connection, *rest, **options)
        except BaseException as error:
            _refused(held, in_doubt=_ends(dialect, error, _pooled(connection)))
            raise
        finally:
            held.guard.release()
            held.committing = False
        held.stands = False
        return held.writes.committed()

    return followed


def _rollback(run: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(run)
    def followed(dialect: Any, connection: Any, *rest: Any, **options: Any) -> None:
        held = _known(connection)
        if held is None or held.committing:  # PostgreSQL rolls back after COMMIT PREPARED
            return run(dialect, connection, *rest, **options)
        if held.routed:
            return _leave_replica(held, dialect, connection, partial(run, dialect, connection, *rest, **options))
        held.guard.acquire()
        try:
            return run(dialect, connection, *rest, **options)
        finally:
            held.guard.release()
            held.undone()

    return followed


def _leave_replica(held: Held, dialect: Any, connection: Any, end: Callable[[], None]) -> None:
    """End a session's transaction on a replica: what was read is read, whether the server is still there or not."""
    if held.line is not None:
        held.line.busy = True  # a frozen server would hang this, too
    try:
        end()
    except Exception as error:
        if not _ends(dialect, error, _pooled(connection)):
            raise
        held.dead = True
    finally:
        if held.line is not None:
            held.line.busy = False


def _pooled(connection: Any) -> Any:
    return connection.connection if isinstance(connection, Connection) else connection


def _ends(dialect: Any, error: BaseException, connection: Any) -> bool:
    """Tell whether a failure ended a connection, so that nobody knows what the server made of what it was sent."""
    return not isinstance(error, dialect.loaded_dbapi.Error) or bool(dialect.is_disconnect(error, connection, None))


def _known(connection: Any) -> Held | None:
    """Return what is known of a pooled connection; None for the one on which SQLAlchemy asks its first questions."""
    try:
        held: Held | None = connection.info.get(raw.KEY)
    except (AttributeError, NotImplementedError):
        return None
    return held


def _refused(held: Held, *, in_doubt: bool) -> None:
    """A commit failed: nobody knows whether it came through, or the server refused it and rolled back."""
    held.told = {}
    if in_doubt:
        held.writes.committed(in_doubt=True)
    else:
        held.undone()
