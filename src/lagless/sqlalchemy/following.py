"""Follows what runs on a cluster's engines: writes and their commits, reads in flight, servers that changed.

It listens to the engine rather than to the ORM, so that Core, raw SQL and bulk statements are seen as well.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from enum import Enum, auto
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, event

from lagless.cluster import Cluster
from lagless.context import Frame, current
from lagless.core.session import Footprint
from lagless.core.topology import Role
from lagless.dialects.statements import may_write, relaxes_durability
from lagless.greeting import greet
from lagless.inflight import Line
from lagless.sqlalchemy import raw
from lagless.sqlalchemy.engines import Engines
from lagless.sqlalchemy.errors import ReadOnlyViolation
from lagless.sqlalchemy.probes import let_ask, track
from lagless.tracking import Writes, tracked_footprint

_STREAMS = ("stream_results", "yield_per")


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


class Held:
    """What is known of one physical connection, kept in its `info`."""

    __slots__ = (
        *("committing", "counted", "is_new", "line", "reads", "routed", "shown", "streaming", "system", "writes"),
    )

    def __init__(self, line: Line | None) -> None:
        self.writes = Writes()
        self.line = line
        self.system: str | None = None
        self.is_new = True
        self.reads: dict[Footprint, int] = {}  # of the primary, when the commit was sent
        self.routed = self.shown = self.streaming = self.committing = self.counted = False


def follow(engines: Engines) -> None:
    """Listen to a cluster's engines, for as long as the cluster lives."""
    for engine, node in engines.nodes.items():
        follower = _followers.get(engine)
        if follower is None:
            _followers[engine] = follower = Follower(engine)
        follower.serve(engines, node)


_followers: weakref.WeakKeyDictionary[Engine, Follower] = weakref.WeakKeyDictionary()


class Follower:
    """The listeners of one engine, on behalf of the clusters in which it has a part: one, outside test suites."""

    def __init__(self, engine: Engine) -> None:
        self._served: tuple[tuple[weakref.ref[Engines], str], ...] = ()
        self._postgresql = engine.dialect.name == "postgresql"
        let_ask(engine)
        track(engine)
        for name in (
            *("before_cursor_execute", "after_cursor_execute", "handle_error"),
            *("connect", "checkin", "begin", "commit", "rollback"),
            *("commit_twophase", "rollback_twophase"),
        ):
            event.listen(engine, name, getattr(self, f"_{name}"))

    def serve(self, engines: Engines, node: str) -> None:
        """Follow for one more cluster; the newest of a name counts."""
        others = [(ref, at) for ref, at in self._served if (one := ref()) is not None and one.name != engines.name]
        self._served = ((weakref.ref(engines), node), *others)

    def _places(self) -> Iterator[tuple[Cluster, str]]:
        for ref, node in self._served:
            if (engines := ref()) is not None:
                yield engines.cluster, node

    # -- connections

    def _connect(self, connection: Any, record: Any) -> None:
        """Probe a new physical connection, before it serves anything."""
        record.info[raw.KEY] = held = self._hold(record)
        self._greet(held, lambda statements: raw.ask_idle(connection, statements))
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
        for cluster, node in self._places():
            return Held(cluster.in_flight.open(node, partial(_fileno, weakref.ref(record))))
        return Held(None)

    def _greet(self, held: Held, ask: Any) -> None:
        for cluster, node in self._places():
            identity = greet(cluster, node, ask)
            held.system = identity.system if identity else None

    def held(self, connection: Connection) -> Held:
        """Return what is known of a connection; one that was made before anybody listened is probed now."""
        held: Held | None = connection.info.get(raw.KEY)
        if held is None:
            connection.info[raw.KEY] = held = Held(None)
            self._greet(held, lambda statements: raw.ask(connection.connection.dbapi_connection, statements))
        return held

    def _checkin(self, connection: Any, record: Any) -> None:
        held: Held | None = record.info.get(raw.KEY)
        if held is None:
            return
        _end(held)
        held.writes.cancelled()  # the pool rolls back what was left open
        held.routed = held.shown = held.streaming = False

    # -- statements

    def _before_cursor_execute(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: Any
    ) -> None:
        held_frame, held = current(), self.held(connection)
        for cluster, node in self._places():
            if node == cluster.topology.primary:
                if held_frame is not None:
                    _before_write(cluster, held_frame, held, statement)
            else:
                self._before_read(cluster, node, held, connection, statement)
                held.streaming = held.streaming or any(context.execution_options.get(name) for name in _STREAMS)

    def _before_read(self, cluster: Cluster, node: str, held: Held, connection: Connection, statement: str) -> None:
        if held.routed:
            if may_write(statement):
                raise Elsewhere(Elsewhere.Why.WRITES)
            if self._was_promoted(cluster, node, connection) or not _still_chosen(cluster, node, held):
                raise Elsewhere(Elsewhere.Why.NOT_CHOSEN)
        if held.line is not None:
            held.line.busy = True

    def _was_promoted(self, cluster: Cluster, node: str, connection: Connection) -> bool:
        """Tell whether the connection itself says that its server is no standby any more: news, at no cost."""
        if not self._postgresql or cluster.topology.nodes[node].role is not Role.REPLICA:
            return False
        if raw.is_standby(connection.connection.driver_connection) is not False:
            return False
        if cluster.monitor is not None:
            cluster.monitor.hurry()
        return True

    def _after_cursor_execute(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: Any
    ) -> None:
        frame = current()
        held: Held = connection.info[raw.KEY]
        if held.line is not None:
            held.line.busy = False
        if frame is None or frame.session is None:
            return
        for cluster, node in self._places():
            footprint = tracked_footprint(cluster)
            if footprint is None:
                continue
            if node != cluster.topology.primary:
                footprint.read_replica = held.shown = True
            elif not held.counted:
                footprint.saw_primary()
        if held.counted and raw.autocommits(connection.connection.dbapi_connection):
            held.writes.committed()

    # -- transactions

    def _begin(self, connection: Connection) -> None:
        if (held := connection.info.get(raw.KEY)) is not None:
            _end(held)

    def _commit(self, connection: Connection) -> None:
        """Note that a commit is on its way; what comes next on this connection tells that it arrived."""
        if (held := connection.info.get(raw.KEY)) is not None:
            held.committing = True
            held.reads = {footprint: footprint.primary_reads for footprint in held.writes.writers}

    def _rollback(self, connection: Connection) -> None:
        if (held := connection.info.get(raw.KEY)) is not None:
            held.writes.cancelled()

    def _commit_twophase(self, connection: Connection, xid: Any, is_prepared: Any) -> None:
        self._commit(connection)

    def _rollback_twophase(self, connection: Connection, xid: Any, is_prepared: Any) -> None:
        self._rollback(connection)

    def _handle_error(self, failure: Any) -> None:
        """Decide what a failure means for the writes of its connection."""
        connection: Connection | None = failure.connection
        if connection is None or connection.closed or connection.invalidated:
            return
        held: Held | None = connection.info.get(raw.KEY)
        if held is None:
            return
        if held.line is not None:
            held.line.busy = False
        alone = held.counted and raw.autocommits(connection.connection.dbapi_connection)
        if held.committing or alone:
            _ended_badly(held, in_doubt=failure.is_disconnect)
        elif failure.is_disconnect:
            held.writes.cancelled()  # the server rolls back what was not committed


def _fileno(record: weakref.ref[Any]) -> int:
    """Return the descriptor of a pooled connection's socket. Raises where there is none."""
    found = None if (held := record()) is None else raw.fileno(held.driver_connection)
    if found is None:
        raise OSError("no socket")
    return found


def _before_write(cluster: Cluster, frame: Frame, held: Held, statement: str) -> None:
    """Count a statement on the primary that may write, before it is sent."""
    held.counted = False
    scope = frame.scope.within(cluster.name) if frame.scope else None
    if scope is not None and scope.replica_only and may_write(statement):
        raise ReadOnlyViolation("a write inside replica(); move it out of the block or open primary() around it")
    footprint = tracked_footprint(cluster)
    if footprint is None:
        return
    footprint.relaxed = footprint.relaxed or relaxes_durability(statement)
    held.counted = may_write(statement)
    if held.counted:
        held.writes.count(footprint)


def _still_chosen(cluster: Cluster, node: str, held: Held) -> bool:
    """Tell whether a read that chose this replica would choose it again, now that its new connection was probed."""
    if not held.is_new:
        return True
    held.is_new = False
    frame = current()
    footprint = frame.session.footprints.get(cluster.name) if frame and frame.session else None
    if footprint is None or footprint.node != node:
        return True  # named by hand
    return cluster.read(frame).node == node


def _end(held: Held) -> None:
    """A commit that was on its way has arrived."""
    if held.committing:
        held.committing = False
        held.writes.committed()


def _ended_badly(held: Held, *, in_doubt: bool) -> None:
    """A commit failed: nobody knows whether it came through, or the server refused it and rolled back."""
    held.committing = False
    if in_doubt:
        held.writes.committed(in_doubt=True)
    else:
        held.writes.cancelled()


def committed(held: Held) -> dict[Footprint, int]:
    """Say that the transaction of a connection was committed.

    Returns the footprints that wrote in it, and how often each had read the primary when the commit was sent.
    """
    writers = held.reads if held.writes.pending else {}
    held.committing = False
    held.writes.committed()
    return writers


def held(connection: Connection) -> Held:
    """Return what is known of the physical connection under a Connection."""
    return _followers[connection.engine].held(connection)
