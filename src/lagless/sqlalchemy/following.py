"""Follows what runs on a cluster's engines: writes and their commits, reads in flight, servers that changed.

It stands below the engine rather than in the ORM, so that Core, raw SQL and bulk statements are seen as well: the
engine's dialect, through whose methods each statement and the end of each transaction pass, gets them overridden. An
engine's own events would do the same at several times the cost, because one listener makes each Connection slower.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
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
    """What is known of one physical connection, kept in its `info`.

    `was_promoted` tells what the connection itself knows of its server; `told` are the units of work whose writes the
    last commit held, and how often each had read the primary when it was sent.
    """

    __slots__ = (
        *(
            "committing",
            "counted",
            "dead",
            "greeted",
            "is_new",
            "line",
            "routed",
            "shown",
            "streaming",
            "system",
            "told",
        ),
        *("was_promoted", "writes"),
    )

    def __init__(self, line: Line | None, was_promoted: Callable[[], bool]) -> None:
        self.writes = Writes()
        self.line = line
        self.was_promoted = was_promoted
        self.system: str | None = None
        self.told: dict[Footprint, int] = {}
        self.is_new = True
        self.greeted = self.dead = False
        self.routed = self.shown = self.streaming = self.committing = self.counted = False


def follow(engines: Engines) -> None:
    """Follow a cluster's engines, for as long as the cluster lives."""
    for engine, node in engines.nodes.items():
        follower = getattr(engine.dialect, "lagless", None) or Follower(engine)
        follower.serve(engines, node)


def held_by(connection: Connection) -> Held:
    """Return what is known of the physical connection under a Connection."""
    follower: Follower = connection.dialect.lagless  # type: ignore[attr-defined]
    return follower.held(connection)


# -- what is put around a dialect's methods


def _follow_dialect(dialect: Any, follower: Follower) -> None:
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
        try:
            run(dialect, cursor, statement, *rest)
        except BaseException as error:
            follower.failed(
                held, context, ends=held is not None and _ends(dialect, error, context.root_connection.connection)
            )
            raise
        follower.after(held, context)

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
        try:
            run(dialect, connection, *rest, **options)
        except BaseException as error:
            _ended_badly(held, in_doubt=_ends(dialect, error, _pooled(connection)))
            raise
        finally:
            held.committing = False
        return held.writes.committed()

    return followed


def _rollback(run: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(run)
    def followed(dialect: Any, connection: Any, *rest: Any, **options: Any) -> None:
        held = _known(connection)
        if held is not None and held.routed:
            return _leave_replica(held, dialect, connection, partial(run, dialect, connection, *rest, **options))
        try:
            return run(dialect, connection, *rest, **options)
        finally:
            if held is not None and not held.committing:  # PostgreSQL rolls back after COMMIT PREPARED
                held.writes.cancelled()

    return followed


def _leave_replica(held: Held, dialect: Any, connection: Any, end: Callable[[], None]) -> None:
    """End a session's transaction on a replica: what was read is read, whether the server is still there or not."""
    try:
        end()
    except Exception as error:
        if not _ends(dialect, error, _pooled(connection)):
            raise
        held.dead = True


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


class Follower:
    """What is done around an engine's statements, on behalf of the clusters in which it has a part: mostly one."""

    def __init__(self, engine: Engine) -> None:
        self._served: tuple[tuple[weakref.ref[Engines], str], ...] = ()
        let_ask(engine)
        track(engine)
        event.listen(engine, "connect", self._connect)
        event.listen(engine, "checkin", self._checkin)
        _follow_dialect(engine.dialect, self)

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
            return Held(cluster.in_flight.open(node, partial(_fileno, weakref.ref(record))), was_promoted)
        return Held(None, was_promoted)

    def _greet(self, held: Held, ask: Any) -> None:
        for cluster, node in self._places():
            identity = greet(cluster, node, ask)
            held.system, held.greeted = identity.system if identity else None, True

    def held(self, connection: Connection) -> Held:
        """Return what is known of a connection; one that was made before anybody followed is probed now."""
        held: Held | None = connection.info.get(raw.KEY)
        if held is None:
            held = Held(None, raw.promotion_of(connection.connection.driver_connection))
            connection.info[raw.KEY] = held
        if not held.greeted:
            self._greet(held, partial(raw.ask, connection.connection.dbapi_connection))
        return held

    def _checkin(self, connection: Any, record: Any) -> None:
        held: Held | None = record.info.get(raw.KEY)
        if held is not None:
            held.writes.cancelled()  # the pool rolled back what was left open
            held.routed = held.shown = held.streaming = False
            if held.dead:
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
                _before_read(cluster, node, held, statement, context)
            elif frame is not None:
                _before_write(cluster, frame, held, statement)
        return held

    def after(self, held: Held | None, context: Any) -> None:
        """Note what a statement that ran means for the unit of work."""
        if held is None:
            return
        if held.line is not None:
            held.line.busy = False
        frame = current()
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
        if held.counted and raw.autocommits(context.root_connection.connection.dbapi_connection):
            held.writes.committed()

    def failed(self, held: Held | None, context: Any, *, ends: bool) -> None:
        """Decide what a failure means for the writes of its connection; `ends` if that is gone."""
        if held is None:
            return
        if held.line is not None:
            held.line.busy = False
        if held.counted and raw.autocommits(context.root_connection.connection.dbapi_connection):
            _ended_badly(held, in_doubt=ends)
        elif ends and not held.committing:
            held.writes.cancelled()  # the server rolls back what was not committed


def _before_read(cluster: Cluster, node: str, held: Held, statement: str, context: Any) -> None:
    """See that a statement on a replica is none of the primary's, and that the replica is what it was taken for."""
    if held.routed:
        if may_write(statement):
            raise Elsewhere(Elsewhere.Why.WRITES)
        if held.was_promoted() and cluster.topology.nodes[node].role is Role.REPLICA:
            if cluster.monitor is not None:
                cluster.monitor.hurry()
            raise Elsewhere(Elsewhere.Why.NOT_CHOSEN)
        if held.is_new and not _still_chosen(cluster, node, held):
            raise Elsewhere(Elsewhere.Why.NOT_CHOSEN)
    options = context.execution_options
    if options.get("stream_results") or options.get("yield_per"):
        held.streaming = True
    if held.line is not None:
        held.line.busy = True


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
    held.is_new = False
    frame = current()
    footprint = frame.session.footprints.get(cluster.name) if frame and frame.session else None
    if footprint is None or footprint.node != node:
        return True  # named by hand
    return cluster.read(frame).node == node


def _ended_badly(held: Held, *, in_doubt: bool) -> None:
    """A commit failed: nobody knows whether it came through, or the server refused it and rolled back."""
    held.told = {}
    if in_doubt:
        held.writes.committed(in_doubt=True)
    else:
        held.writes.cancelled()


def _fileno(record: weakref.ref[Any]) -> int:
    """Return the descriptor of a pooled connection's socket. Raises where there is none."""
    found = None if (held := record()) is None else raw.fileno(held.driver_connection)
    if found is None:
        raise OSError("no socket")
    return found
