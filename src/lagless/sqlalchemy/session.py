"""The session: where each of its transactions runs, and what happens when a replica cannot go on."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin

from lagless.cluster import Cluster
from lagless.context import Frame, current
from lagless.core.selection import Reason
from lagless.core.session import Footprint
from lagless.errors import LaglessError
from lagless.events import Kind
from lagless.settling import settle, settle_own
from lagless.sqlalchemy import raw
from lagless.sqlalchemy.engines import Engines, ask_on
from lagless.sqlalchemy.errors import ReadOnlyViolation, as_sqlalchemy
from lagless.sqlalchemy.failures import Failure, judge
from lagless.sqlalchemy.following import Elsewhere, Held, held_by
from lagless.sqlalchemy.reading import is_read

_ATTEMPTS = 8
"""How often a read is run again, with as many replicas failing one after the other."""
_KEPT = 32
"""How many sessions of one unit of work are remembered before those that are gone are sorted out."""

_INSIDE_REPLICA = "a write inside replica(); move it out of the block or open primary() around it"
_AFTER_READ = (
    "a write after a replica was read in the same transaction, in strict mode: what was read may be old; "
    "open primary() before the first read"
)


class Stay:
    """Where a running transaction is, in one cluster: the node of its connection, and whether that is the primary."""

    __slots__ = ("connection", "held", "node", "on_primary", "reads_committed")

    def __init__(self, node: str, connection: Connection, held: Held, *, on_primary: bool) -> None:
        self.node = node
        self.connection = connection
        self.held = held
        self.on_primary = on_primary
        self.reads_committed = raw.isolation(connection) == "READ COMMITTED"


class Kept(NamedTuple):
    """A session's last answer to get_bind, and what it rests on."""

    frame: Frame | None
    footprint: Footprint
    answer: tuple[object, object, str]
    cluster: Cluster
    engine: Engine
    reading: tuple[Engines, str] | None


class RoutingSession(Session):
    """A Session whose transactions read a replica until they write, and keep what one server promises.

    `routes` holds the clusters by the engine of their declared primary; `sessionmaker()` passes it. Reads of a
    transaction stay on one replica; its first write moves it to the primary for good.
    """

    def __init__(self, bind: Any = None, *, routes: Mapping[Engine, Engines] | None = None, **options: Any) -> None:
        super().__init__(bind=bind, **options)
        self.routes: Mapping[Engine, Engines] = routes or {}
        self._sole = next(iter(self.routes.values())) if len(self.routes) == 1 and not options.get("binds") else None
        self._stays: dict[Engines, Stay] = {}
        self._reading: tuple[Engines, str] | None = None
        self._referred: dict[Engines, bool] = {}  # and whether the text tells that it is a write
        self._changing = 0
        self._kept: Kept | None = None
        for engines in self.routes.values():
            _introduce(self, engines)

    # -- where to

    def get_bind(self, mapper: Any = None, clause: Any = None, bind: Any = None, **others: Any) -> Any:
        """Return the engine for an operation: SQLAlchemy asks before each one. No I/O, so it serves both colours."""
        kept = self._kept
        if kept is not None and type(clause) is Select and bind is None and not self._flushing and not self._changing:
            # Flat and without calls, because it runs before each query: while nothing changed, nor does the answer.
            answer = kept.footprint.cached
            if (
                answer is kept.answer
                and answer[0] is kept.cluster.topology
                and current() is kept.frame
                and clause._for_update_arg is None  # noqa: SLF001 - the one place where with_for_update() shows
            ):
                self._reading = kept.reading
                return kept.engine
        if bind is not None:
            self._reading = None
            return getattr(bind, "sync_engine", bind)
        engines = self._sole
        if engines is None:
            home = super().get_bind(mapper, clause=clause, **others)
            engines = self.routes.get(home)  # type: ignore[arg-type]
            if engines is None:
                self._reading = None
                return home
        if clause is None or self._flushing or self._changing or self.twophase or not is_read(clause):
            return self._bind_for_write(engines, maybe_a_read=clause is None and not self._flushing)
        return self._bind_for_read(engines)

    def _bind_for_read(self, engines: Engines) -> Engine:
        held = current()
        stay = self._stays.get(engines)
        if stay is not None and stay.on_primary and not _only_replicas(held, engines.name):
            self._reading = None
            return engines.by_node[stay.node]
        node = _known(engines.cluster, held) or _choose(engines.cluster, held)
        if engines in self._referred or (stay is not None and not stay.on_primary and stay.node != node):
            node = self._primary(engines)  # one transaction reads one replica; where it must leave that, the primary
        self._reading = None if node == engines.cluster.topology.primary else (engines, node)
        self._keep(engines, held, node)
        return engines.by_node[node]

    def _keep(self, engines: Engines, held: Frame | None, node: str) -> None:
        """Keep an answer that holds until the picture, the scope, the unit of work or the transaction changes."""
        footprint = held.session.footprints.get(engines.name) if held and held.session else None
        answer = footprint.cached if footprint is not None else None
        if footprint is not None and answer is not None and engines is self._sole and answer[2] == node:
            self._kept = Kept(held, footprint, answer, engines.cluster, engines.by_node[node], self._reading)

    def _bind_for_write(self, engines: Engines, *, maybe_a_read: bool) -> Engine:
        """Return the primary's engine. Raises ReadOnlyViolation, PrimaryUnavailable."""
        if _only_replicas(current(), engines.name):
            if maybe_a_read:  # session.connection() inside replica(): the standby itself refuses what writes
                return self._bind_for_read(engines)
            raise ReadOnlyViolation(_INSIDE_REPLICA)
        stay = self._stays.get(engines)
        if stay is not None and not stay.on_primary and engines.strict and not maybe_a_read:
            raise ReadOnlyViolation(_AFTER_READ)
        self._reading = None
        return engines.by_node[stay.node if stay is not None and stay.on_primary else self._primary(engines)]

    def _primary(self, engines: Engines) -> str:
        held = current()
        footprint = held.session.footprints.get(engines.name) if held and held.session else None
        try:
            return engines.cluster.writable(footprint)
        except LaglessError as error:
            raise as_sqlalchemy(error) from None

    # -- running, and running again

    def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        """Execute as Session does; a read that its replica cannot serve runs on another node."""
        return self._routed(super().execute, statement, args, options)

    def scalar(self, statement: Any, *args: Any, **options: Any) -> Any:
        """Execute and return one value as Session does."""
        return self._routed(super().scalar, statement, args, options)

    def scalars(self, statement: Any, *args: Any, **options: Any) -> Any:
        """Execute and return values as Session does."""
        return self._routed(super().scalars, statement, args, options)

    def _routed(self, run: Callable[..., Any], statement: Any, args: Any, options: Any) -> Any:
        if getattr(statement, "is_dml", False):
            return self._changed(run, statement, args, options)
        try:
            return run(statement, *args, **options)
        except (DBAPIError, OSError, Elsewhere) as error:
            failure = error
        for _ in range(_ATTEMPTS):
            self._move_on(failure)
            try:
                return run(statement, *args, **options)
            except (DBAPIError, OSError, Elsewhere) as error:
                failure = error
        raise failure

    def _changed(self, run: Callable[..., Any], statement: Any, args: Any, options: Any) -> Any:
        """Run what changes rows: what it looks up for itself is no read of its own. It is never run again."""
        self._changing += 1
        try:
            return run(statement, *args, **options)
        finally:
            self._changing -= 1

    def _move_on(self, error: BaseException) -> None:
        """Leave the replica on which a read failed, so that it can run again; raise the error where it must not."""
        where, self._reading = self._reading, None
        if where is None or isinstance(error, LaglessError):
            raise error
        engines, node = where
        kind = _kind(error)
        if kind is Failure.OTHER or not self._may_leave(engines, kind):
            raise error
        if kind is Failure.REFUSED:
            self._refer(engines, counted=isinstance(error, Elsewhere))
        self._leave(engines, node)
        _tell(engines.cluster, node, kind, error)

    def _may_leave(self, engines: Engines, kind: Failure) -> bool:
        """Tell whether what the transaction has read so far allows it to go on elsewhere.

        A refused statement goes to the primary, as a write does. A lost replica is left by a transaction that has read
        nothing, or that began by itself and whose statements have snapshots of their own.
        """
        stay = self._stays.get(engines)
        if kind is Failure.REFUSED or stay is None or not stay.held.shown:
            return True
        root = self.get_transaction()
        return root is not None and root.origin is SessionTransactionOrigin.AUTOBEGIN and stay.reads_committed

    def _refer(self, engines: Engines, *, counted: bool) -> None:
        """Send what a replica must not run to the primary, and the rest of the transaction with it."""
        if _only_replicas(current(), engines.name):
            raise ReadOnlyViolation(_INSIDE_REPLICA)
        stay = self._stays.get(engines)
        if engines.strict and stay is not None and stay.held.shown:
            raise ReadOnlyViolation(_AFTER_READ)
        self._referred[engines] = counted
        self._kept = None

    def _leave(self, engines: Engines, node: str) -> None:
        """Let go of a replica, and of its part in the running transaction."""
        self._kept = None
        stay = self._stays.pop(engines, None)
        if stay is not None:
            _let_go(self, stay.connection)
        footprint = _footprint(engines.name)
        if footprint is not None and footprint.node == node:
            footprint.abandon()

    # -- transactions

    def begun(self, connection: Connection) -> None:
        """Take note of a connection that has begun: the transaction is where it is."""
        engines, node = self._whose(connection.engine)
        if engines is None or node is None:
            return
        before, held = self._stays.get(engines), held_by(connection)
        on_primary = node == engines.cluster.topology.primary
        if before is not None and on_primary and not before.on_primary and not before.held.streaming:
            _let_go(self, before.connection)  # a dead replica must not break the commit of what is written now
        self._kept = None
        if before is None or on_primary:
            self._stays[engines] = Stay(node, connection, held, on_primary=on_primary)
        held.routed = not on_primary
        if on_primary:
            self._begun_on_primary(engines, connection, held)

    def _begun_on_primary(self, engines: Engines, connection: Connection, held: Held) -> None:
        footprint = _footprint(engines.name)
        if footprint is None:
            return
        footprint.asker = partial(ask_on, connection)
        if self._referred.get(engines) is False:  # a standby refused to write, whatever the statement looks like
            held.writes.count(footprint)

    def _whose(self, engine: Engine) -> tuple[Engines | None, str | None]:
        for engines in self.routes.values():
            if engine in engines.nodes:
                return engines, engines.nodes[engine]
        return None, None

    def captured(self) -> None:
        """Learn the positions of what was just committed: from the answer to the commit, or by one question."""
        for engines, stay in self._stays.items():
            if stay.on_primary and not stay.connection.closed:
                own = raw.own_gtid(stay.connection)
                told, stay.held.told = stay.held.told, {}
                for footprint, reads in told.items():
                    if footprint.cluster == engines.name:
                        self._settle(engines.cluster, footprint, stay.connection, own, reads)

    @staticmethod
    def _settle(cluster: Cluster, footprint: Footprint, connection: Connection, own: str | None, reads: int) -> None:
        position = cluster.dialect.own_position(own, cluster.config.generation) if own else None
        if not settle_own(cluster, footprint, position, reads):
            settle(cluster, footprint, ask=partial(ask_on, connection, idle=True))

    def ended(self) -> None:
        """Forget where the transaction was."""
        for engines, stay in self._stays.items():
            if stay.on_primary and (footprint := _footprint(engines.name)) is not None:
                footprint.asker = None
        self._stays.clear()
        self._referred.clear()
        self._kept = None

    def unsent(self) -> bool:
        """Tell whether objects are waiting to be written."""
        return bool(self.new or self.dirty or self.deleted)


@event.listens_for(RoutingSession, "after_begin")
def _begun(session: RoutingSession, transaction: SessionTransaction, connection: Connection) -> None:  # noqa: ARG001
    session.begun(connection)


@event.listens_for(RoutingSession, "after_commit")
def _committed(session: RoutingSession) -> None:
    if not session.in_nested_transaction():  # a released savepoint is no commit
        session.captured()


@event.listens_for(RoutingSession, "after_transaction_end")
def _ended(session: RoutingSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.ended()


def _known(cluster: Cluster, held: Frame | None) -> str | None:
    """Return this unit's earlier answer, if it still holds."""
    footprint = held.session.footprints.get(cluster.name) if held and held.session else None
    answer = footprint.cached if footprint is not None else None
    if held is None or answer is None or answer[0] is not cluster.topology or answer[1] is not held.scope:
        return None
    return answer[2]


def _choose(cluster: Cluster, held: Frame | None) -> str:
    """Return the node for a read, and keep the answer as long as nothing changes."""
    if cluster.veto is not None and cluster.veto(held) is not None:
        return cluster.config.primary.name
    footprint = held.session.of(cluster.name) if held and held.session else None
    version, picture = footprint.version if footprint else 0, cluster.topology
    try:
        decision = cluster.read(held)
    except LaglessError as error:
        raise as_sqlalchemy(error) from None
    if footprint is not None and held is not None and decision.reason is not Reason.BOUNDED:
        footprint.remember(picture, held.scope, decision.node, version)
    return decision.node


def _footprint(cluster: str) -> Footprint | None:
    """Return the running unit's footprint in a cluster."""
    held = current()
    return held.session.footprints.get(cluster) if held and held.session else None


def _only_replicas(held: Frame | None, cluster: str) -> bool:
    """Tell whether the running code is inside `replica()`."""
    scope = held.scope.within(cluster) if held and held.scope else None
    return scope is not None and scope.replica_only


def _kind(error: BaseException) -> Failure:
    if isinstance(error, Elsewhere):
        return Failure.REFUSED if error.why is Elsewhere.Why.WRITES else Failure.CONFLICT
    return judge(error)


def _tell(cluster: Cluster, node: str, kind: Failure, error: BaseException) -> None:
    if kind is Failure.LOST:
        cluster.failed(node, getattr(error, "orig", None) or error)
    cluster.emit(Kind.NEEDS_PRIMARY if kind is Failure.REFUSED else Kind.READ_MOVED, node)


def _let_go(session: Session, connection: Connection) -> None:
    """Take a replica's connection out of a session's transaction, which goes on without it.

    SQLAlchemy has no word for this: a session commits on each connection that it began, also on one that is dead.
    """
    transaction = session.get_nested_transaction() or session.get_transaction()
    while transaction is not None:
        for key in (connection, connection.engine):
            transaction._connections.pop(key, None)  # noqa: SLF001
        transaction = transaction.parent
    with contextlib.suppress(Exception):  # it may be as dead as its server
        connection.close()


def _introduce(session: RoutingSession, engines: Engines) -> None:
    """Let the unit of work know its open sessions: they may hold changes when it ends."""
    held = current()
    if held is None or held.session is None:
        return
    footprint = held.session.of(engines.name)
    if len(footprint.holders) >= _KEPT:
        footprint.holders = [ref for ref in footprint.holders if ref() is not None]
    footprint.holders.append(weakref.ref(session))


def unsent(footprint: Footprint) -> bool:
    """Tell whether a session of this unit of work holds changes that it has not sent; a cluster's `unsent`."""
    sessions = (ref() for ref in footprint.holders)
    return any(session is not None and session.unsent() for session in sessions)
