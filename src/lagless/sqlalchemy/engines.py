"""A cluster made of SQLAlchemy engines: what they must have in common, and how the monitor reaches their servers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from lagless.cluster import Cluster
from lagless.context import Frame
from lagless.core.config import ClusterConfig, parse_cluster
from lagless.core.selection import Reason
from lagless.core.topology import Node
from lagless.dialects.base import Row
from lagless.errors import ConfigurationError
from lagless.sqlalchemy import raw
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

AnyEngine = Engine | AsyncEngine
Replicas = Mapping[str, AnyEngine] | Sequence[AnyEngine]

PRIMARY = "primary"
"""The primary's name among its cluster's nodes."""

_PLACE = frozenset({"host", "port", "unix_socket", "service"})
_DIALECTS = {"postgresql": "postgresql", "mysql": "mysql_family", "mariadb": "mysql_family", "sqlite": "heartbeat"}
"""lagless's dialect by SQLAlchemy's; a `mysql://` URL may lead to MariaDB, and the answers tell."""


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
    run = raw.ask_idle if idle or not connection.in_transaction() else raw.ask
    held = connection.info.get(raw.KEY)
    return run(connection.connection.dbapi_connection, [statement]), held.system if held else None


def assemble(
    primary: AnyEngine, replicas: Replicas, *, asynchronous: bool, enabled: bool, options: Mapping[str, Any]
) -> Engines:
    """Return the cluster over these engines. `options` are Cluster's own, and `name`, `weights`, `strict`, `listeners`.

    Raises ConfigurationError for engines that cannot form a cluster.
    """
    given = dict(options)
    name, strict = given.pop("name", "default"), bool(given.pop("strict", False))
    listeners, weights = given.pop("listeners", ()), given.pop("weights", {})
    by_node = _checked(name, _named(primary, replicas), asynchronous=asynchronous)
    config = _config(name, by_node, weights, given)
    source = (lambda node: probe(by_node[node])) if enabled else None
    cluster = Cluster(config=config, probes=source, listeners=listeners)
    engines = Engines(cluster, by_node, strict=strict)
    cluster.asker = engines.ask
    if asynchronous:
        cluster.off_loop, cluster.pause = greenlet_spawn, _in_task
    if not enabled:
        cluster.veto = _disabled
    return engines


def _disabled(held: Frame | None) -> Reason:  # noqa: ARG001 - a Veto
    return Reason.DISABLED


def _in_task() -> Sleep | None:
    """Let a task sleep where SQLAlchemy runs synchronous code for it, a thread where there is no event loop."""
    if in_greenlet():
        return lambda seconds: wait_for(asyncio.sleep(seconds))
    return in_thread()


# -- what is given


def _named(primary: AnyEngine, replicas: Replicas) -> dict[str, AnyEngine]:
    """Return engines by node name: a mapping's own names, or replica1, replica2, ... in their order."""
    if isinstance(replicas, Mapping):
        named = dict(replicas)
    elif isinstance(replicas, Sequence) and not isinstance(replicas, str):
        named = {f"replica{number}": engine for number, engine in enumerate(replicas, 1)}
    else:
        raise ConfigurationError(
            f"replicas: {type(replicas).__name__} must be a mapping of names to engines, or a list"
        )
    if PRIMARY in named:
        raise ConfigurationError(f"replicas: the name {PRIMARY!r} is the primary's own; give the replica another")
    return {PRIMARY: primary, **named}


def _checked(name: str, engines: Mapping[str, AnyEngine], *, asynchronous: bool) -> dict[str, Engine]:
    """Return the synchronous engine of each node. Raises ConfigurationError where one does not belong."""
    where = f"cluster {name!r}"
    plain = {node: _plain(f"{where}: {node}", engine, asynchronous=asynchronous) for node, engine in engines.items()}
    primary = plain[PRIMARY]
    for node, engine in plain.items():
        if _family(engine) != _family(primary):
            raise ConfigurationError(
                f"{where}: {node} is {_family(engine)} and the primary is {_family(primary)}; "
                "a cluster is one database and its replicas"
            )
        if node != PRIMARY and _server(engine) == _server(primary):
            raise ConfigurationError(
                f"{where}: {node} points at the primary itself (same host, port and database); "
                "give it the replica's address, or remove it"
            )
    return plain


def _plain(where: str, engine: object, *, asynchronous: bool) -> Engine:
    if isinstance(engine, AsyncEngine):
        if not asynchronous:
            raise ConfigurationError(f"{where} is an AsyncEngine; use lagless.sqlalchemy.async_sessionmaker()")
        return engine.sync_engine
    if not isinstance(engine, Engine):
        raise ConfigurationError(f"{where}: {type(engine).__name__} is no engine; pass what create_engine() returned")
    if asynchronous:
        raise ConfigurationError(f"{where} is a synchronous Engine; use lagless.sqlalchemy.sessionmaker()")
    return engine


def _family(engine: Engine) -> str:
    """Return the database's kind; MariaDB answers to MySQL's name, too."""
    return "mysql" if engine.dialect.name == "mariadb" else engine.dialect.name


def _server(engine: Engine) -> object:
    """Return what tells one server's database from another's: the same for two engines that lead to the same place."""
    url = engine.url
    place = (url.host, url.port, url.database, tuple(sorted((k, v) for k, v in url.query.items() if k in _PLACE)))
    return engine if place == (None, None, None, ()) or url.database == ":memory:" else place


def _config(
    name: str, engines: Mapping[str, Engine], weights: Mapping[str, float], options: Mapping[str, Any]
) -> ClusterConfig:
    """Return the checked settings, with lagless's dialect for SQLAlchemy's."""
    for node in weights:
        if node not in engines:
            raise ConfigurationError(f"cluster {name!r}: weights: {node!r} is none of its replicas")
    nodes = {node: Node(node, weights.get(node, 1.0)) for node in engines}
    settings = {**options, "dialect": options.get("dialect") or _dialect(name, engines[PRIMARY])}
    return parse_cluster(
        name,
        {**settings, "primary": nodes.pop(PRIMARY), "replicas": list(nodes.values())},
        where=f"cluster {name!r}",
    )


def _dialect(name: str, engine: Engine) -> str:
    found = _DIALECTS.get(engine.dialect.name)
    if found is None:
        raise ConfigurationError(
            f"cluster {name!r}: {engine.dialect.name} is not supported: lagless cannot ask it for positions; "
            "dialect='heartbeat' works on any database"
        )
    return found
