"""The session: where each of its transactions runs, and what happens when a replica cannot go on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, event
from sqlalchemy.orm import Session, SessionTransaction, SessionTransactionOrigin

from lagless.cluster import Cluster
from lagless.context import Frame, current
from lagless.core.session import Footprint
from lagless.core.session import Session as Unit
from lagless.errors import LaglessError
from lagless.settling import settle, settle_own
from lagless.sqlalchemy import raw
from lagless.sqlalchemy.choosing import choose, footprint_in, kind_of, known, only_replicas, tell
from lagless.sqlalchemy.engines import Engines, ask_on
from lagless.sqlalchemy.errors import ReadOnlyViolation, as_sqlalchemy
from lagless.sqlalchemy.failures import Failure
from lagless.sqlalchemy.following import INSIDE_REPLICA, Elsewhere, asker, held_by
from lagless.sqlalchemy.held import Held
from lagless.sqlalchemy.reading import is_read
from lagless.sqlalchemy.stays import Stay, Stays, let_go

_ATTEMPTS = 8
"""How often a read is run again, with as many replicas failing one after the other."""
_KEPT = 32
"""How many sessions of one unit of work are remembered before those that are gone are sorted out."""

_AFTER_READ = (
    "a write after a replica was read in the same transaction, in strict mode: what was read may be old; "
    "open primary() before the first read"
)


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
        sole = next(iter(self.routes.values())) if len(self.routes) == 1 and not options.get("binds") else None
        self._sole = sole if sole is not None and bind in (None, sole.home) else None
        self._stays = Stays()
        self._reading: tuple[Engines, str] | None = None
        self._referred: dict[Engines, bool] = {}  # and whether the text tells that it is a write
        self._failed: set[tuple[Engines, str]] = set()
        self._changing = self._running = 0
        self._kept: Kept | None = None
        self._unit: Unit | None = None
        self.introduce()

    def bind_mapper(self, *args: Any, **options: Any) -> None:
        """Bind a model as Session does."""
        self._sole = self._kept = None
        super().bind_mapper(*args, **options)

    def bind_table(self, *args: Any, **options: Any) -> None:
        """Bind a table as Session does."""
        self._sole = self._kept = None
        super().bind_table(*args, **options)

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
        asks = clause is not None and not self._flushing and not self._changing and is_read(clause)
        if asks and not self.twophase:
            return self._bind_for_read(engines)
        return self._bind_for_write(engines, writes=not asks and (clause is not None or self._flushing))

    def _bind_for_read(self, engines: Engines) -> Engine:
        held = current()
        stay = self._stays.governing(engines)
        if stay is not None and stay.on_primary and not only_replicas(held, engines.name):
            self._reading = None
            return engines.by_node[stay.node]
        node = known(engines.cluster, held) or choose(engines.cluster, held)
        if engines in self._referred:
            node = self._primary(engines)
        elif (engines, node) in self._failed:
            node = self._another(engines, held)
        elif stay is not None and not stay.on_primary:
            node = self._stay_or_leave(engines, stay, node)
        self._reading = None if node == engines.cluster.topology.primary else (engines, node)
        self._keep(engines, held, node)
        return engines.by_node[node]

    def _another(self, engines: Engines, held: Frame | None) -> str:
        """Return a replica that this statement has not failed on; a node may look well again before it is."""
        for _ in range(_ATTEMPTS):
            footprint = footprint_in(engines.name)
            if footprint is not None:
                footprint.abandon()
            node = choose(engines.cluster, held)
            if (engines, node) not in self._failed:
                return node
        return self._primary(engines)

    def _stay_or_leave(self, engines: Engines, stay: Stay, node: str) -> str:
        """Return where a transaction that reads a replica goes on: there, or on the primary.

        One that must not be moved, whose replica is gone, stays and fails: its rows would be of two snapshots.
        """
        if stay.outdated(footprint_in(engines.name)):
            return self._primary(engines)
        if stay.node == node:
            return node
        bound = not engines.cluster.topology.nodes[stay.node].alive and not self._is_movable(stay)
        return stay.node if bound else self._primary(engines)

    def _keep(self, engines: Engines, held: Frame | None, node: str) -> None:
        """Keep an answer that holds until the picture, the scope, the unit of work or the transaction changes."""
        footprint = held.session.footprints.get(engines.name) if held and held.session else None
        answer = footprint.cached if footprint is not None else None
        if footprint is not None and answer is not None and engines is self._sole and answer[2] == node:
            self._kept = Kept(held, footprint, answer, engines.cluster, engines.by_node[node], self._reading)

    def _bind_for_write(self, engines: Engines, *, writes: bool) -> Engine:
        """Return the primary's engine; `writes` if it is surely for a write. Raises ReadOnlyViolation."""
        inside, stay = only_replicas(current(), engines.name), self._stays.governing(engines)
        if inside and writes:
            raise ReadOnlyViolation(INSIDE_REPLICA)
        if inside and not self.twophase:  # session.connection(): the standby itself refuses what writes
            return self._bind_for_read(engines)
        if writes and engines.strict and stay is not None and not stay.on_primary:
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

    def connection(self, *args: Any, **options: Any) -> Connection:
        """Return a connection as Session does; on the primary it counts as a write, because nobody sees what it does.

        What runs on it is followed, but not what is done with the driver's own connection beneath: COPY, for one.
        """
        connection = super().connection(*args, **options)
        engines, node = self._whose(connection.engine)
        footprint = footprint_in(engines.name) if engines is not None and engines.cluster.tracks else None
        if footprint is not None and engines is not None and node == engines.cluster.topology.primary:
            held_by(connection).writes.count(footprint)
        return connection

    def _routed(self, run: Callable[..., Any], statement: Any, args: Any, options: Any) -> Any:
        if getattr(statement, "is_dml", False):
            return self._changed(run, statement, args, options)
        self._reading = None
        self._running += 1
        try:
            return run(statement, *args, **options)
        except Exception as error:  # noqa: BLE001 - judged, and raised unless a replica's failure
            failure = error
        finally:
            self._running -= 1
        return self._run_again(failure, partial(run, statement, *args, **options))

    def _run_again(self, failure: Exception, run: Callable[[], Any]) -> Any:
        """Run a read again where it can be served: on each replica once at most, then on the primary."""
        try:
            for _ in range(_ATTEMPTS):
                self._move_on(failure)
                self._running += 1
                try:
                    return run()
                except Exception as error:  # noqa: BLE001
                    failure = error
                finally:
                    self._running -= 1
            raise failure
        finally:
            self._failed.clear()

    def _changed(self, run: Callable[..., Any], statement: Any, args: Any, options: Any) -> Any:
        """Run what changes rows: what it looks up for itself is no read of its own. It is never run again."""
        self._changing += 1
        try:
            return run(statement, *args, **options)
        finally:
            self._changing -= 1

    def _move_on(self, error: Exception) -> None:
        """Leave the replica on which a read failed, so that it can run again; raise the error where it must not."""
        where, self._reading = self._reading, None
        if where is None and isinstance(error, Elsewhere):
            raise ReadOnlyViolation("a replica was named for what is the primary's business") from None
        if where is None or isinstance(error, LaglessError):
            raise error
        engines, node = where
        stay = self._stays.on(engines, node)
        kind = kind_of(error, engines.cluster, node, stay)
        if kind is Failure.OTHER or not self._may_leave(stay, kind):
            raise error
        if kind is Failure.REFUSED:
            self._refer(engines, stay, counted=isinstance(error, Elsewhere))
        self._leave(engines, node)
        tell(engines.cluster, node, kind, error)

    def _may_leave(self, stay: Stay | None, kind: Failure) -> bool:
        """Tell whether what the transaction has read so far allows it to go on elsewhere.

        A refused statement goes to the primary, as a write does. A lost replica is left by a transaction that has read
        nothing there, or that began by itself and whose statements have snapshots of their own.
        """
        return kind is Failure.REFUSED or stay is None or self._is_movable(stay)

    def _is_movable(self, stay: Stay) -> bool:
        root = self.get_transaction()
        by_itself = root is not None and root.origin is SessionTransactionOrigin.AUTOBEGIN
        return not stay.has_shown or (by_itself and stay.reads_committed)

    def _refer(self, engines: Engines, stay: Stay | None, *, counted: bool) -> None:
        """Send what a replica must not run to the primary, and the rest of the transaction with it."""
        if only_replicas(current(), engines.name):
            raise ReadOnlyViolation(INSIDE_REPLICA)
        if engines.strict and stay is not None and stay.has_shown:
            raise ReadOnlyViolation(_AFTER_READ)
        self._referred[engines] = counted

    def _leave(self, engines: Engines, node: str) -> None:
        """Let go of a replica, and of its part in the running transaction."""
        self._kept = None
        self._failed.add((engines, node))
        stay = self._stays.drop(engines, node)
        if stay is not None:
            let_go(self, stay.connection)
        footprint = footprint_in(engines.name)
        if footprint is not None and footprint.node == node:
            footprint.abandon()

    # -- transactions

    def begun(self, connection: Connection) -> None:
        """Take note of a connection that has begun: the transaction is where it is."""
        engines, node = self._whose(connection.engine)
        if engines is None or node is None:
            return
        self.introduce()
        before = self._stays.on(engines, node)
        if before is not None and before.connection is connection:
            return  # a savepoint
        self._kept = None
        held, footprint = held_by(connection), footprint_in(engines.name)
        on_primary = node == engines.cluster.topology.primary
        relieved = self._stays.add(engines, Stay(node, connection, held, footprint, on_primary=on_primary))
        if relieved is not None and not relieved.held.streaming:
            self._stays.drop(engines, relieved.node)
            let_go(self, relieved.connection)  # what was read there is read; what is written now is not its business
        held.routed = not on_primary
        held.running = (lambda: self._running > 0) if self._reading == (engines, node) else None
        if on_primary and footprint is not None:
            self._begun_on_primary(engines, connection, held, footprint)

    def _begun_on_primary(self, engines: Engines, connection: Connection, held: Held, footprint: Footprint) -> None:
        footprint.asker = asker(engines, connection, held)
        if self._referred.get(engines) is False:  # a standby refused to write, whatever the statement looks like
            held.writes.count(footprint)

    def _whose(self, engine: Engine) -> tuple[Engines | None, str | None]:
        for engines in self.routes.values():
            if engine in engines.nodes:
                return engines, engines.nodes[engine]
        return None, None

    def captured(self) -> None:
        """Learn the positions of what was just committed: from the answer to the commit, or by one question."""
        for engines, stay in self._stays.on_primaries():
            if not stay.gone:
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
        for engines, _ in self._stays.on_primaries():
            if (footprint := footprint_in(engines.name)) is not None:
                footprint.asker = None
        self._stays.clear()
        self._referred.clear()
        self._kept = None

    def introduce(self) -> None:
        """Let the running unit of work know this session: it may hold changes when the unit ends."""
        held = current()
        if held is None or held.session is None or held.session is self._unit:
            return
        self._unit = held.session
        for engines in self.routes.values():
            footprint = held.session.of(engines.name)
            if len(footprint.holders) >= _KEPT:
                footprint.holders = [ref for ref in footprint.holders if ref() is not None]
            footprint.holders.append(weakref.ref(self))

    def unsent(self) -> bool:
        """Tell whether objects are waiting to be written."""
        return bool(self.new or self.dirty or self.deleted)


@event.listens_for(RoutingSession, "before_attach")
def _attached(session: RoutingSession, instance: object) -> None:  # noqa: ARG001 - SQLAlchemy's signature
    session.introduce()


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


def unsent(footprint: Footprint) -> bool:
    """Tell whether a session of this unit of work holds changes that it has not sent; a cluster's `unsent`."""
    sessions = (ref() for ref in footprint.holders)
    return any(session is not None and session.unsent() for session in sessions)
