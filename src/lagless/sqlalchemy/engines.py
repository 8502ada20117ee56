"""A cluster made of SQLAlchemy engines: what they must have in common, and how the monitor reaches their servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine
from sqlalchemy.util import greenlet_spawn

from lagless.cluster import Cluster
from lagless.context import Frame
from lagless.core.config import ClusterConfig
from lagless.core.selection import Reason
from lagless.dialects.base import Row
from lagless.drivers.dbapi import ask
from lagless.events import Listener
from lagless.sqlalchemy import raw
from lagless.sqlalchemy.declared import AnyEngine, checked, dialect_of
from lagless.sqlalchemy.probes import probe
from lagless.waiting import Sleep, in_thread

try:
    from sqlalchemy.util.concurrency import in_greenlet
except ImportError:  # the first versions of 2.0 do not tell: there a task never waits for a replica

    def in_greenlet() -> bool:
        """Tell that waiting is not possible."""
        return False


try:
    from sqlalchemy.util import await_only as wait_for
except ImportError:  # SQLAlchemy 2.1 gave it another name
    from sqlalchemy.util.concurrency import await_ as wait_for  # type: ignore[no-redef,attr-defined]


class Engines:
    """A cluster, and the engine of each of its nodes. `strict` forbids a write after a replica was read."""

    __slots__ = ("__weakref__", "by_node", "cluster", "name", "nodes", "strict")

    def __init__(self, cluster: Cluster, by_node: Mapping[str, Engine], *, strict: bool) -> None:
        self.cluster = cluster
        self.name = cluster.name
        self.by_node = dict(by_node)
        self.nodes = {engine: node for node, engine in by_node.items()}
        self.strict = strict

    @property
    def home(self) -> Engine:
        """The engine of the declared primary: what a session is bound to."""
        return self.by_node[self.cluster.config.primary.name]

    def ask(self, statement: str) -> tuple[Row | None, str | None]:
        """Ask the primary on a connection from its pool; an Asker."""
        with self.by_node[self.cluster.writable(None)].connect() as connection:
            return ask_on(connection, statement)


def ask_on(connection: Connection, statement: str, *, idle: bool = False) -> tuple[Row | None, str | None]:
    """Ask on a Connection; return the row and the server's system id. `idle`: it is in no transaction."""
    run = raw.ask_idle if idle or not connection.in_transaction() else ask
    held = connection.info.get(raw.KEY)
    return run(connection.connection.dbapi_connection, [statement]), held.system if held else None


def over(
    config: ClusterConfig,
    given: Mapping[str, AnyEngine],
    *,
    asynchronous: bool = False,
    enabled: bool = True,
    strict: bool = False,
    listeners: Sequence[Listener] = (),
) -> Engines:
    """Return the cluster of `config` over the engines of its nodes. Raises ConfigurationError if they make none."""
    by_node = checked(config, given, asynchronous=asynchronous)
    config = replace(config, dialect=config.dialect or dialect_of(config.name, by_node[config.primary.name]))
    source = (lambda node: probe(by_node[node])) if enabled else None
    cluster = Cluster(config=config, probes=source, listeners=listeners)
    engines = Engines(cluster, by_node, strict=strict)
    cluster.asker = engines.ask
    if asynchronous:
        cluster.off_loop, cluster.pause = greenlet_spawn, _in_task
    if not enabled:
        cluster.veto = disabled
    return engines


def disabled(held: Frame | None) -> Reason:  # noqa: ARG001
    """Keep every read on the primary: lagless is switched off; a Veto."""
    return Reason.DISABLED


def _in_task() -> Sleep | None:
    """Let a task sleep where SQLAlchemy runs synchronous code for it, a thread where there is no event loop."""
    if in_greenlet():
        return lambda seconds: wait_for(asyncio.sleep(seconds))
    return in_thread()
