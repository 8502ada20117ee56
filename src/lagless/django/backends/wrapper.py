"""What lagless adds to a DatabaseWrapper: it knows its node, follows the primary, and sees commits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError, connections
from django.db.backends.utils import CursorDebugWrapper, CursorWrapper

from lagless.context import current
from lagless.core.position import Position
from lagless.core.topology import Role
from lagless.dialects.statements import tag_writes
from lagless.django import connecting
from lagless.django.backends.cursor import RoutedCursor, RoutedDebugCursor, elsewhere
from lagless.django.backends.lazy import LazyBegin
from lagless.django.errors import as_django
from lagless.django.registry import Link, registry
from lagless.django.tracking import open_blocks
from lagless.errors import LaglessError
from lagless.inflight import Line
from lagless.tracking import Writes

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper as Base
else:
    Base = object

_PLACE = ("host", "hostaddr", "port", "service")
_pool_nodes: dict[str, str] = {}
"""To which node an alias's pool leads; pools are the process's, wrappers a thread's."""
_pools_lock = threading.Lock()

CONNECTION_ERRORS = (OperationalError, InterfaceError)


class RoutedWrapper(LazyBegin, Base):
    """Mixed into a DatabaseWrapper, before it."""

    block_position: Position | None = None
    """What this replica was known to hold when the outermost atomic block was entered: its snapshot has no less."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.writes = Writes()
        self._inside = self._connecting = False
        self._node: str | None = None
        super().__init__(*args, **kwargs)

    @cached_property
    def line(self) -> Line:
        """This connection as one that can be busy, and be cut when its node freezes."""
        link = self.link
        return link.cluster.in_flight.open(link.alias, self._fileno) if link else Line(self.alias)

    def _fileno(self) -> int:
        return int(self.connection.fileno())

    @cached_property
    def link(self) -> Link | None:
        """What this alias is to lagless; None if it is none of its business, or switched off."""
        known = registry()
        return known.links.get(self.alias) if known.enabled else None

    @property
    def in_atomic_block(self) -> bool:
        """Django's flag; the router must know without looking the connection up."""
        return self._inside

    @in_atomic_block.setter
    def in_atomic_block(self, inside: bool) -> None:
        if inside and not self._inside and self.link is not None:
            self.block_position = self.link.cluster.topology.nodes[self.alias].position
        self._inside = inside
        open_blocks.note(self.alias, self, inside=inside)

    # -- connecting

    def connect(self) -> None:
        """Connect, as one step: the primary is not looked for again in the middle."""
        self._connecting = True
        try:
            self._renew_pool()
            super().connect()
        finally:
            self._connecting = False

    def _renew_pool(self) -> None:
        """Close the pool of a primary that is none any more: what it holds would be written to."""
        link = self.link
        if link is None or not link.is_primary or not hasattr(self, "close_pool"):
            return
        primary = _primary_of(link)
        with _pools_lock:
            if _pool_nodes.setdefault(self.alias, primary) != primary:
                self.close_pool()
                _pool_nodes[self.alias] = primary

    @property
    def node(self) -> str:
        """The node that the connection leads to: for the primary's alias, whoever was primary when it was made."""
        return self._node or self.alias

    def own_connection_params(self) -> dict[str, Any]:
        """Return connect()'s parameters for the server that this alias itself names."""
        return super().get_connection_params()

    def get_connection_params(self) -> dict[str, Any]:
        """Return the parameters of the primary of now: after a promotion the alias stays, the server changes."""
        link = self.link
        if link is None or not link.is_primary:
            return super().get_connection_params()
        self._node = primary = _primary_of(link)
        params = self.own_connection_params()
        if primary != self.alias:  # the primary's own rights and options, at another place
            server: Any = connections[primary]
            place = server.own_connection_params()
            params = {k: v for k, v in params.items() if k not in _PLACE} | {k: place[k] for k in _PLACE if k in place}
        return params

    def follow_primary(self) -> None:
        """Drop a connection to a server that is no longer the primary. Raises PrimaryUnavailable for two primaries."""
        link = self.link
        if link is None or not link.is_primary or self.connection is None or self._connecting:
            return
        if self._node != _primary_of(link) and not self._in_use():
            self.close()

    def _in_use(self) -> bool:
        """Tell whether something would be torn apart: a block, a transaction, manual transaction management."""
        return self.block_open or self.autocommit != self.settings_dict["AUTOCOMMIT"] or self.in_transaction()

    @property
    def block_open(self) -> bool:
        """Whether statements belong together here, as far as is known without the connection, which may be dead."""
        return self._inside or not self.autocommit or self.writes.pending

    def set_autocommit(self, *args: Any, **kwargs: Any) -> None:
        """Begin on the primary of now."""
        self.follow_primary()
        super().set_autocommit(*args, **kwargs)

    def probed(self, connection: Any) -> None:
        """Probe a new physical connection: its answer may say that the server is not what it was."""
        if self.link is not None:
            connecting.probe_connection(self.link.cluster, self.node, connection)

    def _nodb_cursor(self) -> Any:
        """Let go of the database: a test database is about to be made or dropped, and probes hold it open."""
        if self.link is not None and self.link.cluster.monitor is not None:
            self.link.cluster.monitor.stop()
        return super()._nodb_cursor()

    # -- cursors

    def _cursor(self, name: str | None = None) -> CursorWrapper:
        link = self.link
        if link is None:
            return self._open_cursor(name)
        if link.is_primary:
            self.follow_primary()
            return self._watched_cursor(name)
        return self._replica_cursor(link, name)

    def _open_cursor(self, name: str | None) -> CursorWrapper:
        open_cursor: Callable[..., CursorWrapper] = super()._cursor  # type: ignore[misc]
        return open_cursor(name) if name else open_cursor()

    def _watched_cursor(self, name: str | None) -> CursorWrapper:
        try:
            return self._open_cursor(name)
        except CONNECTION_ERRORS as error:
            if self.connection is None and self.link is not None and not _pool_exhausted(error):
                self.link.cluster.failed(self.node, error)
            raise

    def _replica_cursor(self, link: Link, name: str | None) -> CursorWrapper:
        """Open a cursor; where the replica cannot be reached, or turns out to be behind, one of another node."""
        known = self.connection
        self.line.busy = True  # a health check may hang as a read does
        try:
            cursor = self._watched_cursor(name)
        except CONNECTION_ERRORS:
            if self._inside:
                raise
            return elsewhere(link, name)
        finally:
            self.line.busy = False
        if not self._inside and self._was_promoted(link):
            return self._leave_promoted(link, name)
        if self.connection is known or self._inside:
            return cursor
        return cursor if _still_chosen(link) else elsewhere(link, name)

    def _was_promoted(self, link: Link) -> bool:
        """Tell whether a node that was heard as a standby is none; a test's mirror never was one."""
        return link.cluster.topology.nodes[link.alias].role is Role.REPLICA and self.promoted()

    def _leave_promoted(self, link: Link, name: str | None) -> CursorWrapper:
        """The connection itself says that its server is no standby any more: news, at no cost."""
        if link.cluster.monitor is not None:
            link.cluster.monitor.hurry()
        return elsewhere(link, name)

    def promoted(self) -> bool:
        """Tell whether the server of a replica's connection says that it is a primary now."""
        return False

    def make_cursor(self, cursor: Any) -> CursorWrapper:
        """Return a cursor that sees writes and runs failed reads again."""
        return RoutedCursor(cursor, self) if self.link else super().make_cursor(cursor)

    def make_debug_cursor(self, cursor: Any) -> CursorDebugWrapper:
        """Return the same for DEBUG."""
        return RoutedDebugCursor(cursor, self) if self.link else super().make_debug_cursor(cursor)

    # -- what the driver says

    def wrote(self, cursor: Any, sql: str, *, counted: bool) -> bool:
        """Tell whether a statement that ran was a write; backends with command tags know better than its text."""
        return counted

    def in_transaction(self) -> bool:
        """Tell whether the driver's connection is inside a transaction."""
        return self._inside or not self.get_autocommit()

    # -- the end of transactions

    def _commit(self) -> Any:
        try:
            result = super()._commit()  # type: ignore[misc]
        except OperationalError:
            self.writes.committed(in_doubt=True)
            raise
        except Exception:
            self.writes.cancelled()  # refused, a deferred constraint for one: the server rolled back
            raise
        self.writes.committed()
        return result

    def _rollback(self) -> Any:
        try:
            return super()._rollback()  # type: ignore[misc]
        finally:
            self.writes.cancelled()

    def _close(self) -> Any:
        self.writes.cancelled()
        return super()._close()  # type: ignore[misc]


def _primary_of(link: Link) -> str:
    try:
        return link.cluster.writable(None)
    except LaglessError as error:
        raise as_django(error) from None


def _pool_exhausted(error: BaseException) -> bool:
    """Tell whether it was this process's own pool that had nothing to give: no news of the server."""
    return type(error.__cause__).__module__.partition(".")[0] == "psycopg_pool"


def _still_chosen(link: Link) -> bool:
    """Tell whether a read that chose this replica would choose it again, now that its new connection was probed."""
    held = current()
    footprint = held.session.footprints.get(link.cluster.name) if held and held.session else None
    if held is None or footprint is None or footprint.node != link.alias:
        return True  # named by hand: `using("replica1")`
    if footprint.cached is not None and footprint.cached[0] is link.cluster.topology:
        return True
    return link.cluster.read(held).node == link.alias


def tagged(tag: str | None, *, counted: bool, several: bool) -> bool:
    """Tell whether a command tag, or what was counted by the text, stands for a write."""
    if tag is None:
        return counted
    if tag_writes(tag):
        return True
    return counted and (several or tag.startswith(("SELECT", "EXPLAIN")))
