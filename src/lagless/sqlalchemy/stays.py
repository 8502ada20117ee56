"""Where the running transaction of a session is, and how it goes on without a replica."""

from __future__ import annotations

import contextlib

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from lagless.core.session import Footprint
from lagless.sqlalchemy import raw
from lagless.sqlalchemy.engines import Engines
from lagless.sqlalchemy.held import Held, Shown

_EACH_FOR_ITSELF = frozenset({"READ COMMITTED", "READ UNCOMMITTED", "AUTOCOMMIT"})
"""Isolation levels whose statements have snapshots of their own."""


class Stay:
    """A connection that a transaction has begun: the node, and whether that was the primary."""

    __slots__ = ("_footprint", "_shown", "_written", "connection", "held", "node", "on_primary", "reads_committed")

    def __init__(
        self, node: str, connection: Connection, held: Held, footprint: Footprint | None, *, on_primary: bool
    ) -> None:
        self.node = node
        self.connection = connection
        self.held = held
        self.on_primary = on_primary
        self.reads_committed = raw.isolation(connection) in _EACH_FOR_ITSELF
        self._shown = held.shown = held.shown or Shown()
        self._footprint = footprint
        self._written = footprint.written if footprint is not None else None

    @property
    def gone(self) -> bool:
        """Whether its connection is lost."""
        return self.connection.closed or self.connection.invalidated

    @property
    def has_shown(self) -> bool:
        """Whether the transaction has got rows here."""
        return self._shown.rows

    def outdated(self, footprint: Footprint | None) -> bool:
        """Tell whether its snapshot may lack what the session has written since (CORRECTNESS 14)."""
        if self.reads_committed or footprint is None:
            return False
        return footprint is not self._footprint or footprint.written is not self._written


class Stays:
    """The stays of a session's transaction: one that governs in each cluster, and replicas beside it.

    A replica is beside the primary where a transaction that has written reads one inside `replica()`.
    """

    __slots__ = ("_all", "_governing")

    def __init__(self) -> None:
        self._governing: dict[Engines, Stay] = {}
        self._all: dict[tuple[Engines, str], Stay] = {}

    def governing(self, engines: Engines) -> Stay | None:
        """Return where reads and writes of the transaction go; None before its first statement."""
        return self._governing.get(engines)

    def on(self, engines: Engines, node: str) -> Stay | None:
        """Return the stay on a node."""
        return self._all.get((engines, node))

    def add(self, engines: Engines, stay: Stay) -> Stay | None:
        """Take note of a stay; return the one that it relieves, if it does."""
        before = self._governing.get(engines)
        self._all[engines, stay.node] = stay
        if before is None or stay.on_primary:
            self._governing[engines] = stay
        return before if before is not None and stay.on_primary and not before.on_primary else None

    def drop(self, engines: Engines, node: str) -> Stay | None:
        """Forget a stay, and return it."""
        stay = self._all.pop((engines, node), None)
        if stay is not None and self._governing.get(engines) is stay:
            del self._governing[engines]
        return stay

    def on_primaries(self) -> list[tuple[Engines, Stay]]:
        """Return the stays where writes may be."""
        return [(engines, stay) for engines, stay in self._governing.items() if stay.on_primary]

    def clear(self) -> None:
        """Forget all: the transaction is over."""
        self._governing.clear()
        self._all.clear()


def let_go(session: Session, connection: Connection) -> None:
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
