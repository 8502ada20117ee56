"""The factories that applications use instead of SQLAlchemy's own."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from sqlalchemy import Engine, orm
from sqlalchemy.ext import asyncio as ext
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from lagless.cluster import Cluster
from lagless.core.balancer import BalancerName
from lagless.core.config import CaptureMode
from lagless.core.consistency import Level, Policy
from lagless.edge import switched_off
from lagless.errors import ConfigurationError
from lagless.events import Listener
from lagless.sqlalchemy.declared import AnyEngine, Replicas, named, parsed
from lagless.sqlalchemy.engines import Engines, over
from lagless.sqlalchemy.following import follow
from lagless.sqlalchemy.session import RoutingSession, unsent

S = TypeVar("S", bound=Session)
A = TypeVar("A", bound=AsyncSession)


class RoutedOptions(TypedDict, total=False):
    """Keyword arguments of `routed()`, `sessionmaker()` and `async_sessionmaker()`: a cluster's settings.

    `name` tells the clusters of an application apart; `weights` shares reads unevenly, by replica; `strict` forbids a
    write after a replica was read in the same transaction; `listeners` are told of events; `enabled` False, or
    LAGLESS_ENABLED=0 in the environment, keeps everything on the primary. For the others see ClusterConfig.
    """

    name: str
    weights: Mapping[str, float]
    strict: bool
    enabled: bool
    listeners: Sequence[Listener]
    level: Level | str
    policy: Policy | Mapping[str, Any]
    balancer: BalancerName | str
    generation: int
    capture: CaptureMode | str
    dialect: str
    token_seconds: float
    probe_timeout: float
    idle_interval: float
    max_probe_rate: float


_OPTIONS = frozenset(RoutedOptions.__annotations__)


class Clustered:
    """What a factory has besides SQLAlchemy's own: the clusters that its sessions are routed over."""

    engines: Engines
    others: Sequence[Engines]

    @property
    def cluster(self) -> Cluster:
        """The cluster, to ask it to `explain()`, or to give it to a middleware."""
        return self.engines.cluster

    @property
    def clusters(self) -> list[Cluster]:
        """This and those of `binds`."""
        return [engines.cluster for engines in (self.engines, *self.others)]


class SessionFactory(Clustered, orm.sessionmaker[S]):
    """SQLAlchemy's sessionmaker, with the cluster that its sessions are routed over."""


class AsyncSessionFactory(Clustered, ext.async_sessionmaker[A], Generic[A]):
    """SQLAlchemy's async_sessionmaker, with the cluster that its sessions are routed over."""


def routed(*, primary: AnyEngine, replicas: Replicas, **options: Unpack[RoutedOptions]) -> Engines:
    """Make a cluster of engines, for one entry of the `binds` of a session factory.

    `replicas` maps names to engines; a list names them replica1, replica2, ... Raises ConfigurationError for engines
    that cannot form a cluster.
    """
    given: dict[str, Any] = dict(options)
    name, weights, strict = given.pop("name", "default"), given.pop("weights", {}), bool(given.pop("strict", False))
    listeners, enabled = given.pop("listeners", ()), given.pop("enabled", None)
    by_node = named(primary, replicas)
    engines = over(
        parsed(name, by_node, weights, given),
        by_node,
        asynchronous=isinstance(primary, AsyncEngine),
        enabled=not switched_off() if enabled is None else bool(enabled),
        strict=strict,
        listeners=listeners,
    )
    engines.cluster.unsent = unsent
    if engines.cluster.monitor is not None:
        follow(engines)
    return engines


def sessionmaker(
    *,
    primary: Engine,
    replicas: Mapping[str, Engine] | Sequence[Engine],
    class_: type[Session] = Session,
    binds: Mapping[Any, Any] | None = None,
    **options: Any,
) -> SessionFactory[Any]:
    """Return a factory of sessions that read replicas and write the primary. It has a `.cluster`.

    `options` are those of RoutedOptions and of SQLAlchemy's sessionmaker. `class_` may be a Session of your own, or
    SQLModel's. `binds` maps models or tables to engines, to what `routed()` returned, or to another such factory.
    Raises ConfigurationError.
    """
    _refuse(primary, AsyncEngine, "sessionmaker() takes synchronous engines; use async_sessionmaker()")
    mine, others = _parted(options, class_)
    engines = routed(primary=primary, replicas=replicas, **mine)
    homes, known = _homes(engines, binds)
    factory: SessionFactory[Any] = SessionFactory(
        bind=engines.home, class_=_mixed(class_), routes=_routes(known), **homes, **others
    )
    factory.engines, *factory.others = known
    return factory


def async_sessionmaker(
    *,
    primary: AsyncEngine,
    replicas: Mapping[str, AsyncEngine] | Sequence[AsyncEngine],
    class_: type[AsyncSession] = AsyncSession,
    sync_session_class: type[Session] | None = None,
    binds: Mapping[Any, Any] | None = None,
    **options: Any,
) -> AsyncSessionFactory[Any]:
    """Return a factory of AsyncSessions that read replicas and write the primary. It has a `.cluster`.

    The arguments are those of `sessionmaker()`; `class_` may be an AsyncSession of your own. Raises ConfigurationError.
    """
    _refuse(primary, Engine, "async_sessionmaker() takes AsyncEngines; use sessionmaker()")
    mine, others = _parted(options, class_)
    engines = routed(primary=primary, replicas=replicas, **mine)
    homes, known = _homes(engines, binds)
    synchronous = _mixed(sync_session_class or class_.sync_session_class)
    factory: AsyncSessionFactory[Any] = AsyncSessionFactory(
        bind=primary, class_=class_, sync_session_class=synchronous, routes=_routes(known), **homes, **others
    )
    factory.engines, *factory.others = known
    return factory


def _refuse(primary: object, kind: type, message: str) -> None:
    if isinstance(primary, kind):
        raise ConfigurationError(f"primary: {message}")


def _mixed(class_: type[Session]) -> type[RoutingSession]:
    """Return a session class with routing in it: the application's own comes first, and may override."""
    if class_ is Session:
        return RoutingSession
    if issubclass(class_, RoutingSession):
        return class_
    return type(class_.__name__, (class_, RoutingSession), {})


def _parted(options: Mapping[str, Any], class_: type) -> tuple[Any, dict[str, Any]]:
    """Part the options in a cluster's and the session's. Raises ConfigurationError for what is neither."""
    mine = {name: value for name, value in options.items() if name in _OPTIONS}
    others = {name: value for name, value in options.items() if name not in _OPTIONS}
    if class_ in (Session, AsyncSession):
        known = set(inspect.signature(Session.__init__).parameters) | _OPTIONS
        for name in others.keys() - known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"sessionmaker: unknown option {name!r}{hint}")
    return mine, others


def _homes(engines: Engines, binds: Mapping[Any, Any] | None) -> tuple[dict[str, Any], list[Engines]]:
    """Return SQLAlchemy's `binds`, where there are any, and all clusters, the session's own first."""
    if not binds:
        return {}, [engines]
    known, homes = [engines], {}
    for entity, target in binds.items():
        found = getattr(target, "engines", target)
        if isinstance(found, Engines):
            known += [] if found in known else [found]
            found = found.home
        homes[entity] = found
    names = [each.name for each in known]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"binds: two clusters are called {', '.join(twice)}; give each a `name` of its own")
    return {"binds": homes}, known


def _routes(known: Sequence[Engines]) -> dict[Engine, Engines]:
    """Return the clusters by their primary's engine; those that are switched off are plain engines."""
    return {engines.home: engines for engines in known if engines.cluster.monitor is not None}
