"""Follows what runs on a cluster's engines: writes and their commits, reads in flight, servers that changed.

It stands below the engine rather than in the ORM, so that Core, raw SQL and bulk statements are seen as well: the
engine's dialect, through whose methods each statement and the end of each transaction pass, gets them overridden. An
engine's own events would do the same at several times the cost, because one listener makes each Connection slower.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, event

from lagless.cluster import Asker, Cluster
from lagless.context import Frame, current
from lagless.core.session import Footprint
from lagless.core.topology import Role
from lagless.dialects.base import Row
from lagless.dialects.statements import may_write, relaxes_durability, rolls_back
from lagless.greeting import greet
from lagless.inflight import Line
from lagless.sqlalchemy import raw
from lagless.sqlalchemy.engines import Engines, ask_on
from lagless.sqlalchemy.errors import ReadOnlyViolation
from lagless.sqlalchemy.probes import let_ask, track
from lagless.tracking import Writes, tracked_footprint

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


class Guard(Protocol):
    """Lets one at a time use a connection."""

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as a lock has it
        """Take it; False if it is taken, and that was not to be waited for."""

    def release(self) -> None:
        """Give it back."""


class Flag:
    """A guard among the tasks of one event loop, whose drivers keep statements apart by themselves."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = False

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as a lock has it
        """Take it, whoever has it, unless that is to be respected."""
        if self._taken and not blocking:
            return False
        self._taken = True
        return True

    def release(self) -> None:
        """Give it back."""
        self._taken = False


def _never() -> bool:
    return False


class Held:
    """What is known of one physical connection, kept in its `info`.

    `guard` is taken while a statement runs; `was_promoted` tells what the connection itself knows of its server;
    `running` tells whether the session that chose this replica can run a statement elsewhere; `stands` says that
    something was done that no rollback undoes; `told` are the units of work whose writes the last commit held, and how
    often each had read the primary when it was sent.
    """

    __slots__ = (
        *("committing", "counted", "dead", "greeted", "guard", "is_new", "line", "routed", "running", "shown"),
        *("stands", "streaming", "system", "told", "was_promoted", "writes"),
    )

    def __init__(self, line: Line | None, guard: Guard, was_promoted: Callable[[], bool] = _never) -> None:
        self.writes = Writes()
        self.line = line
        self.guard = guard
        self.was_promoted = was_promoted
        self.running: Callable[[], bool] | None = None
        self.system: str | None = None
        self.told: dict[Footprint, int] = {}
        self.is_new = True
        self.greeted = self.dead = False
        self.committing = self.counted = False
        self.let_go()

    def let_go(self) -> None:
        """Forget what belonged to a transaction."""
        self.routed = self.shown = self.streaming = self.stands = False
        self.running = None

    def undone(self) -> None:
        """Say that the transaction was rolled back. What stands all the same is settled like any write."""
        if self.stands:
            self.writes.committed()
        else:
            self.writes.cancelled()
        self.stands = False


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


class Follower:
    """What is done around an engine's statements, on behalf of the clusters in which it has a part: mostly one."""

    def __init__(self, engine: Engine) -> None:
        self._served: tuple[tuple[weakref.ref[Engines], str], ...] = ()
        self._guard: Callable[[], Guard] = Flag if engine.dialect.is_async else threading.RLock
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
            self._greet(held, partial(raw.ask, connection.connection.dbapi_connection))
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
        held.shown = held.shown or held.routed
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


def _refused(held: Held, *, in_doubt: bool) -> None:
    """A commit failed: nobody knows whether it came through, or the server refused it and rolled back."""
    held.told = {}
    if in_doubt:
        held.writes.committed(in_doubt=True)
    else:
        held.undone()


def _fileno(record: weakref.ref[Any]) -> int:
    """Return the descriptor of a pooled connection's socket. Raises where there is none."""
    found = None if (held := record()) is None else raw.fileno(held.driver_connection)
    if found is None:
        raise OSError("no socket")
    return found
