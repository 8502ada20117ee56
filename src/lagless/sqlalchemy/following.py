"""Follows what runs on a cluster's engines: writes and their commits, reads in flight, servers that changed.

It stands below the engine rather than in the ORM, so that Core, raw SQL and bulk statements are seen as well: the
engine's dialect, through whose methods each statement and the end of each transaction pass, gets them overridden. An
engine's own events would do the same at several times the cost, because one listener makes each Connection slower.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, event

from lagless.cluster import Asker, Cluster
from lagless.context import Frame, current
from lagless.core.topology import Role
from lagless.dialects.base import Row
from lagless.dialects.statements import may_write, relaxes_durability, rolls_back
from lagless.drivers.dbapi import ask
from lagless.greeting import greet
from lagless.sqlalchemy import raw
from lagless.sqlalchemy.engines import Engines, ask_on
from lagless.sqlalchemy.errors import ReadOnlyViolation
from lagless.sqlalchemy.held import Flag, Guard, Held
from lagless.sqlalchemy.probes import bound_connecting, let_ask, track
from lagless.sqlalchemy.wrapping import follow_dialect
from lagless.tracking import tracked_footprint

INSIDE_REPLICA = "a write inside replica(); move it out of the block or open primary() around it"


class Elsewhere(Exception):
    """A statement must not run on the replica that was chosen for it."""

    class Why(Enum):
        """What is wrong with it."""

        WRITES = auto()
        """It is the primary's business, by its text."""
        NOT_CHOSEN = auto()
        """The replica is not what it was when it was chosen."""

    def __init__(self, why: Why) -> None:
        self.why = why


def follow(engines: Engines) -> None:
    """Follow a cluster's engines, for as long as the cluster lives."""
    for engine, node in engines.nodes.items():
        follower = getattr(engine.dialect, "lagless", None) or Follower(engine)
        follower.serve(engines, node)


def held_by(connection: Connection) -> Held:
    """Return what is known of the physical connection under a Connection."""
    follower: Follower = connection.dialect.lagless  # type: ignore[attr-defined]
    return follower.held(connection)


def asker(engines: Engines, connection: Connection, held: Held) -> Asker:
    """Return what asks the primary on a connection that a session holds open, unless that is busy: then on another."""

    def ask(statement: str) -> tuple[Row | None, str | None]:
        if held.streaming or not held.guard.acquire(blocking=False):
            return engines.ask(statement)
        try:
            return ask_on(connection, statement)
        finally:
            held.guard.release()

    return ask


class Follower:
    """What is done around an engine's statements, on behalf of the clusters in which it has a part: mostly one."""

    def __init__(self, engine: Engine) -> None:
        self._served: tuple[tuple[weakref.ref[Engines], str], ...] = ()
        self._guard: Callable[[], Guard] = Flag if engine.dialect.is_async else threading.RLock
        let_ask(engine)
        bound_connecting(engine, self._is_replica)
        track(engine)
        event.listen(engine, "connect", self._connect)
        event.listen(engine, "checkin", self._checkin)
        follow_dialect(engine.dialect, self)

    def serve(self, engines: Engines, node: str) -> None:
        """Follow for one more cluster; the newest of a name counts."""
        others = [(ref, at) for ref, at in self._served if (one := ref()) is not None and one.name != engines.name]
        self._served = ((weakref.ref(engines), node), *others)

    def _places(self) -> Iterator[tuple[Cluster, str]]:
        for ref, node in self._served:
            if (engines := ref()) is not None:
                yield engines.cluster, node

    def _is_replica(self) -> bool:
        return any(node != cluster.config.primary.name for cluster, node in self._places())

    # -- connections

    def _connect(self, connection: Any, record: Any) -> None:
        """Probe a new physical connection, before it serves anything."""
        record.info[raw.KEY] = held = self._hold(record)
        self._greet(held, partial(raw.ask_idle, connection))
        self._have_commits_told(connection)
        if not isinstance(getattr(connection, "autocommit", None), bool):
            connection.rollback()  # asking may have begun a transaction, and with it a snapshot

    def _have_commits_told(self, connection: Any) -> None:
        """Ask the primary to name a commit's GTID in its answer, where the driver keeps that."""
        if not hasattr(getattr(connection, "driver_connection", connection), "state_changes"):
            return
        for cluster, node in self._places():
            statement = cluster.dialect.tracking_statement()
            if statement is not None and node == cluster.topology.primary:
                raw.ask_idle(connection, [statement])

    def _hold(self, record: Any) -> Held:
        was_promoted = raw.promotion_of(record.driver_connection)
        for cluster, node in self._places():
            line = cluster.in_flight.open(node, partial(_fileno, weakref.ref(record)))
            return Held(line, self._guard(), was_promoted)
        return Held(None, self._guard(), was_promoted)

    def _greet(self, held: Held, ask: Any) -> None:
        for cluster, node in self._places():
            identity = greet(cluster, node, ask)
            held.system, held.greeted = identity.system if identity else None, True

    def held(self, connection: Connection) -> Held:
        """Return what is known of a connection; one that was made before anybody followed is probed now."""
        held: Held | None = connection.info.get(raw.KEY)
        if held is None:
            held = Held(None, self._guard(), raw.promotion_of(connection.connection.driver_connection))
            connection.info[raw.KEY] = held
        if not held.greeted:
            self._greet(held, partial(ask, connection.connection.dbapi_connection))
        return held

    def _checkin(self, connection: Any, record: Any) -> None:
        held: Held | None = record.info.get(raw.KEY)
        if held is not None:
            held.undone()  # the pool rolled back what was left open
            held.let_go()
            if held.line is not None:
                held.line.busy = False
            if held.dead:
                held.dead = False
                record.invalidate(soft=True)

    # -- statements

    def before(self, statement: str, context: Any) -> Held | None:
        """Prepare for a statement; return its connection, None if it is none of the application's."""
        if context is None:
            return None
        connection = context.root_connection
        try:
            held: Held | None = connection.info.get(raw.KEY)
        except NotImplementedError:  # SQLAlchemy's own first questions
            return None
        if held is None or not held.greeted:
            held = self.held(connection)
        frame = current()
        for ref, node in self._served:
            if (engines := ref()) is None:
                continue
            cluster = engines.cluster
            if node != cluster.topology.primary:
                _before_read(cluster, node, frame, held, statement)
            elif frame is not None:
                _before_write(cluster, frame, held, statement)
        options = context.execution_options
        if options.get("stream_results") or options.get("yield_per"):
            held.streaming = True
        return held

    def after(self, held: Held, context: Any) -> None:
        """Note what a statement that ran means for the unit of work."""
        if held.line is not None:
            held.line.busy = False
        if held.shown is not None:
            held.shown.rows = True
        frame = current()
        if frame is None or frame.session is None:
            return
        for cluster, node in self._places():
            footprint = tracked_footprint(cluster)
            if footprint is None:
                continue
            if node != cluster.topology.primary:
                footprint.read_replica = True
            elif not held.counted:
                footprint.saw_primary()
        if held.counted and raw.autocommits(context.root_connection.connection.dbapi_connection):
            held.writes.committed()

    def failed(self, held: Held, context: Any, *, ends: bool) -> None:
        """Decide what a failure means for a write that commits by itself; a transaction's come with its end.

        One that failed may have committed a part: a procedure, for one. So it ends like any other.
        """
        if held.line is not None:
            held.line.busy = False
        if held.counted and raw.autocommits(context.root_connection.connection.dbapi_connection):
            held.writes.committed(in_doubt=ends)


def _before_read(cluster: Cluster, node: str, frame: Frame | None, held: Held, statement: str) -> None:
    """See that a statement on a replica is none of the primary's, and that the replica is what it was taken for."""
    if held.running is not None and held.running():
        if may_write(statement):
            raise Elsewhere(Elsewhere.Why.WRITES)
        if held.was_promoted() and cluster.topology.nodes[node].role is Role.REPLICA:
            if cluster.monitor is not None:
                cluster.monitor.hurry()
            raise Elsewhere(Elsewhere.Why.NOT_CHOSEN)
        if held.is_new and not _still_chosen(cluster, node, held):
            raise Elsewhere(Elsewhere.Why.NOT_CHOSEN)
    elif frame is not None and frame.scope is not None:
        _refuse_in_replica_scope(cluster, frame, statement)
    if held.line is not None:
        held.line.busy = True


def _before_write(cluster: Cluster, frame: Frame, held: Held, statement: str) -> None:
    """Count a statement on the primary that may write, before it is sent."""
    held.counted = False
    _refuse_in_replica_scope(cluster, frame, statement)
    footprint = tracked_footprint(cluster)
    if footprint is None:
        return
    footprint.relaxed = footprint.relaxed or relaxes_durability(statement)
    held.counted = may_write(statement)
    held.stands = held.stands or not rolls_back(statement)
    if held.counted:
        held.writes.count(footprint)


def _refuse_in_replica_scope(cluster: Cluster, frame: Frame, statement: str) -> None:
    scope = frame.scope.within(cluster.name) if frame.scope else None
    if scope is not None and scope.replica_only and may_write(statement):
        raise ReadOnlyViolation(INSIDE_REPLICA)


def _still_chosen(cluster: Cluster, node: str, held: Held) -> bool:
    """Tell whether a read may still go to this replica, now that its new connection was probed."""
    held.is_new = False
    found = cluster.explain()
    return found.node != cluster.topology.primary and node not in found.refused


def _fileno(record: weakref.ref[Any]) -> int:
    """Return the descriptor of a pooled connection's socket. Raises where there is none."""
    found = None if (held := record()) is None else raw.fileno(held.driver_connection)
    if found is None:
        raise OSError("no socket")
    return found
