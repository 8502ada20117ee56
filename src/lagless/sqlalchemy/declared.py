"""The engines that an application declares: their names, and what they must have in common to be one cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from lagless.core.config import ClusterConfig, parse_cluster
from lagless.core.topology import Node
from lagless.errors import ConfigurationError

AnyEngine = Engine | AsyncEngine
Replicas = Mapping[str, AnyEngine] | Sequence[AnyEngine]

PRIMARY = "primary"
"""The primary's name among its cluster's nodes."""

_ITS_OWN = "sqlalchemy.engine.create"
"""Where a pool's way to connect is made, unless the application brings one."""
_PLACE = frozenset({"host", "port", "unix_socket", "service"})
_DIALECTS = {"postgresql": "postgresql", "mysql": "mysql_family", "mariadb": "mysql_family", "sqlite": "heartbeat"}
"""lagless's dialect by SQLAlchemy's; a `mysql://` URL may lead to MariaDB, and the answers tell."""


def named(primary: AnyEngine, replicas: Replicas) -> dict[str, AnyEngine]:
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


def checked(config: ClusterConfig, engines: Mapping[str, AnyEngine], *, asynchronous: bool) -> dict[str, Engine]:
    """Return the synchronous engine of each node. Raises ConfigurationError where one does not belong."""
    where, home = f"cluster {config.name!r}", config.primary.name
    plain = {node: _plain(f"{where}: {node}", engine, asynchronous=asynchronous) for node, engine in engines.items()}
    primary = plain[home]
    for node, engine in plain.items():
        if _hides_how_it_connects(engine):
            raise ConfigurationError(
                f"{where}: {node} was made with `creator`, which hides how it connects from lagless's probes; "
                "use a listener for do_connect instead"
            )
        if node != home and _is_serializable(engine):
            raise ConfigurationError(f"{where}: {node} is SERIALIZABLE, which a standby refuses; use REPEATABLE READ")
        if _family(engine) != _family(primary):
            raise ConfigurationError(
                f"{where}: {node} is {_family(engine)} and the primary is {_family(primary)}; "
                "a cluster is one database and its replicas"
            )
        if node != home and _server(engine) == _server(primary):
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


def _hides_how_it_connects(engine: Engine) -> bool:
    made_by = getattr(getattr(engine.pool, "_creator_arg", None), "__module__", _ITS_OWN)
    return made_by != _ITS_OWN


def _is_serializable(engine: Engine) -> bool:
    level = getattr(engine.dialect, "_on_connect_isolation_level", None)
    return engine.dialect.name == "postgresql" and str(level).upper() == "SERIALIZABLE"


def _family(engine: Engine) -> str:
    """Return the database's kind; MariaDB answers to MySQL's name, too."""
    return "mysql" if engine.dialect.name == "mariadb" else engine.dialect.name


def _server(engine: Engine) -> object:
    """Return what tells one server's database from another's: the same for two engines that lead to the same place."""
    url = engine.url
    place = (url.host, url.port, url.database, tuple(sorted((k, v) for k, v in url.query.items() if k in _PLACE)))
    return engine if place == (None, None, None, ()) or url.database == ":memory:" else place


def parsed(
    name: str, engines: Mapping[str, AnyEngine], weights: Mapping[str, float], options: Mapping[str, Any]
) -> ClusterConfig:
    """Return the checked settings of a cluster whose nodes are called as its engines are. Raises ConfigurationError."""
    for node in weights:
        if node not in engines:
            raise ConfigurationError(f"cluster {name!r}: weights: {node!r} is none of its replicas")
    nodes = {node: Node(node, weights.get(node, 1.0)) for node in engines}
    declared = {**options, "primary": nodes.pop(PRIMARY), "replicas": list(nodes.values())}
    return parse_cluster(name, declared, where=f"cluster {name!r}")


def dialect_of(name: str, engine: Engine) -> str:
    """Return the name of lagless's dialect for an engine. Raises ConfigurationError where there is none."""
    found = _DIALECTS.get(engine.dialect.name)
    if found is None:
        raise ConfigurationError(
            f"cluster {name!r}: {engine.dialect.name} is not supported: lagless cannot ask it for positions; "
            "dialect='heartbeat' works on any database"
        )
    return found
