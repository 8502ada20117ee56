"""Cursors that count writes on the primary, and run a replica's failed read again where it can succeed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.utils import CursorDebugWrapper, CursorWrapper

from lagless.context import current
from lagless.core.session import Footprint
from lagless.dialects.statements import may_write, needs_primary, relaxes_durability
from lagless.django.errors import as_django
from lagless.django.registry import Link
from lagless.django.router import refuse_in_replica_scope
from lagless.errors import LaglessError
from lagless.events import Kind
from lagless.tracking import tracked_footprint

Run = Callable[[], Any]

_GONE = ("08", "57P")
"""SQLSTATE classes that say that the server ends or refuses connections."""
_CONFLICT = ("40001", "40P01")
"""A standby cancelled the read because replay had to go on: another node can run it."""
_READ_ONLY = "25006"
_IN_RECOVERY = "0A000"


class _Routed(CursorWrapper):
    """What both kinds of cursor share."""

    second_try = False
    """Whether this cursor was opened to run again what another could not."""

    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        link: Link = self.db.link
        if link.is_primary:
            run = super()._execute  # type: ignore[misc]
            return self._on_primary(link, sql, lambda: run(sql, params))
        if needs_primary(sql if isinstance(sql, str) else self._text(sql)):
            return self._refer(link, lambda other: other._execute(sql, params))  # noqa: SLF001
        line = self.db.line
        line.busy = True
        try:
            result = super()._execute(sql, params)  # type: ignore[misc]
        except (DatabaseError, InterfaceError) as error:
            failure = error
        else:
            saw_replica(link)
            return result
        finally:
            line.busy = False
        return self._recover(link, failure, lambda other: other._execute(sql, params))  # noqa: SLF001

    def _executemany(self, sql: Any, param_list: Any, *ignored: Any) -> Any:
        link: Link = self.db.link
        run = super()._executemany  # type: ignore[misc]
        if link.is_primary:
            return self._on_primary(link, sql, lambda: run(sql, param_list))
        return self._elsewhere_if_refused(link, lambda: run(sql, param_list), "_executemany", sql, param_list)

    def callproc(self, procname: str, params: Any = None, kparams: Any = None) -> Any:
        """Call a procedure, which may write."""
        link: Link = self.db.link
        run = super().callproc
        if link.is_primary:
            return self._on_primary(link, f"call {procname}", lambda: run(procname, params, kparams))
        return self._elsewhere_if_refused(
            link, lambda: run(procname, params, kparams), "callproc", procname, params, kparams
        )

    def fetchone(self) -> Any:
        """Fetch, as one that can be cut: a server-side cursor asks the server."""
        return self._fetch(self.cursor.fetchone)

    def fetchmany(self, *args: Any) -> Any:
        """Fetch, as one that can be cut."""
        return self._fetch(self.cursor.fetchmany, *args)

    def fetchall(self) -> Any:
        """Fetch, as one that can be cut."""
        return self._fetch(self.cursor.fetchall)

    def _fetch(self, fetch: Callable[..., Any], *args: Any) -> Any:
        line = self.db.line
        line.busy = not self.db.link.is_primary
        try:
            with self.db.wrap_database_errors:
                return fetch(*args)
        finally:
            line.busy = False

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Copy as the driver does; COPY ... FROM is a write, counted when it is begun."""
        link: Link = self.db.link
        footprint = tracked_footprint(link.cluster) if link.is_primary else None
        if footprint is not None:
            footprint.begin_write()
            footprint.end_write()
        return self.cursor.copy(statement, *args, **kwargs)

    def _elsewhere_if_refused(self, link: Link, run: Run, method: str, *args: Any) -> Any:
        """Run what is hardly a read on a replica's connection; a standby's refusal sends it to the primary."""
        try:
            return run()
        except (DatabaseError, InterfaceError) as error:
            return self._recover(link, error, lambda other: getattr(other, method)(*args))

    # -- the primary

    def _on_primary(self, link: Link, sql: Any, run: Run) -> Any:
        held = current()
        if held is None:
            return run()
        text = sql if isinstance(sql, str) else self._text(sql)
        if held.scope is not None and may_write(text):
            refuse_in_replica_scope(link.cluster, held)
        footprint = tracked_footprint(link.cluster)
        if footprint is None:
            return run()
        return self._followed(link, footprint, text, run)

    def _followed(self, link: Link, footprint: Footprint, sql: str, run: Run) -> Any:
        """Run a statement on the primary and count what it was into the unit's footprint."""
        wrapper = self.db
        footprint.relaxed = footprint.relaxed or relaxes_durability(sql)
        alone = not wrapper.block_open
        counted = wrapper.writes.before(footprint, sql)
        try:
            result = run()
        except BaseException as error:
            self._failed_on_primary(link, error, alone=alone)
            raise
        wrapper.writes.after(
            footprint,
            counted=counted,
            wrote=wrapper.wrote(self.cursor, sql, counted=counted),
            showed_rows=self.cursor.description is not None,
            open_transaction=wrapper.in_transaction(),
        )
        return result

    def _failed_on_primary(self, link: Link, error: BaseException, *, alone: bool) -> None:
        """Outside a transaction a refused statement wrote nothing; one whose answer never came may have."""
        lost = _connection_lost(error)
        if alone:
            if lost or not isinstance(error, DatabaseError):
                self.db.writes.committed(in_doubt=True)
            else:
                self.db.writes.cancelled()
        if lost:
            link.cluster.failed(self.db.node, error)

    def _text(self, sql: Any) -> str:
        """Return the text of a statement that is not one: bytes, or a driver's composed SQL."""
        if isinstance(sql, bytes):
            return sql.decode(errors="replace")
        return str(sql.as_string(self.cursor)) if hasattr(sql, "as_string") else str(sql)

    # -- a replica

    def _refer(self, link: Link, again: Callable[[Any], Any]) -> Any:
        """Run on the primary what a standby would accept and must not get."""
        refuse_in_replica_scope(link.cluster, current())
        link.cluster.emit(Kind.NEEDS_PRIMARY, link.alias)
        return self._move(primary_alias(link), again)

    def _recover(self, link: Link, error: Exception, again: Callable[[Any], Any]) -> Any:
        """Run a read again where it can succeed: never inside a transaction, whose first half would be lost."""
        if self.db.in_atomic_block or not self.db.get_autocommit():
            raise error
        state = _sqlstate(error)
        if state == _READ_ONLY or (state == _IN_RECOVERY and "recovery" in str(error)):
            refuse_in_replica_scope(link.cluster, current())
            self._count_write(link)
            target = primary_alias(link)
        elif state in _CONFLICT:
            target = primary_alias(link)
        elif _connection_lost(error):
            target = self._reconnect(link) or forsake(link, self.db, error)
        else:
            raise error
        link.cluster.emit(Kind.READ_MOVED, link.alias, type(error).__name__)
        return self._move(target, again)

    def _reconnect(self, link: Link) -> str | None:
        """Drop a connection that was ended alone, or by a restart that is over: once, then the node is to blame."""
        if self.second_try or not link.cluster.topology.nodes[link.alias].alive:
            return None
        with contextlib.suppress(Exception):
            self.db.close()
        return link.alias

    @staticmethod
    def _count_write(link: Link) -> None:
        """A standby refused to write: what runs on the primary now is one, whatever its command tag says."""
        if footprint := tracked_footprint(link.cluster):
            footprint.begin_write()
            footprint.end_write()

    def _move(self, alias: str, again: Callable[[Any], Any]) -> Any:
        """Go on as a cursor of another connection."""
        name = getattr(self.cursor, "name", None)
        other: Any = connections[alias].chunked_cursor() if name else connections[alias].cursor()
        other.second_try = True
        result = again(other)
        with contextlib.suppress(Exception):  # it may be as dead as its server
            self.cursor.close()
        self.cursor, self.db = other.cursor, other.db
        return result


class RoutedCursor(_Routed):
    """The ordinary cursor."""


class RoutedDebugCursor(_Routed, CursorDebugWrapper):
    """The cursor that logs queries."""


def saw_replica(link: Link) -> None:
    """Note that a replica showed this unit of work something: it cannot be left for another without proof."""
    held = current()
    if held is not None and held.session is not None:
        footprint = held.session.footprints.get(link.cluster.name)
        if footprint is not None:
            footprint.read_replica = True


def primary_alias(link: Link) -> str:
    """Return the alias under which the link's cluster is written."""
    return link.cluster.config.primary.name


def forsake(link: Link, wrapper: Any, error: BaseException) -> str:
    """Drop the connection to a replica that failed, and return the alias that serves this unit instead."""
    link.cluster.failed(link.alias, error, time.monotonic())
    with contextlib.suppress(Exception):
        wrapper.close()
    return _instead(link)


def elsewhere(link: Link, name: str | None) -> CursorWrapper:
    """Return a cursor of another node for a read that this replica cannot serve."""
    link.cluster.emit(Kind.READ_MOVED, link.alias, "on connecting")
    wrapper = connections[_instead(link)]
    return wrapper.chunked_cursor() if name else wrapper.cursor()


def _instead(link: Link) -> str:
    held = current()
    footprint: Footprint | None = held.session.footprints.get(link.cluster.name) if held and held.session else None
    if footprint is not None and footprint.node == link.alias:
        footprint.abandon()
    try:
        node = link.cluster.read(held).node
    except LaglessError as error:
        raise as_django(error) from None
    return (
        node if node in connections and node not in (link.alias, link.cluster.topology.primary) else primary_alias(link)
    )


def _sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE of the driver's error behind Django's."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def _connection_lost(error: BaseException) -> bool:
    """Tell whether the connection is gone: no SQLSTATE at all means that the server had no chance to answer."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state = _sqlstate(error)
    return state is None or state.startswith(_GONE)
