"""What differs between the policies: the sessions that pages get, and what is wrapped around the site."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import UpdateBase
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.requests import HTTPConnection

from lagless.demo.configuration import WAIT
from lagless.demo.policies import PIN_SECONDS, RoutingPolicy
from lagless.demo.site_fastapi import accounts, wire
from lagless.demo.site_fastapi.pinning import PINNED, PinningMiddleware
from lagless.demo.site_fastapi.wire import CountedSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from lagless.demo.configuration import SiteConfiguration
    from lagless.demo.instrument import Asgi

_POOL = 20  # connections to each server: as many as a process has requests at once
_PATIENCE = 2  # seconds to connect


class CountedAsyncSession(AsyncSession):
    """A session whose statements are counted."""

    sync_session_class = CountedSession


class RandomReplicaSession(CountedSession):
    """The routing session of SQLAlchemy's documentation: reads go to any replica, and nobody asks how old it is."""

    primary: Engine
    replicas: Sequence[Engine]

    def get_bind(self, mapper: Any = None, *, clause: Any = None, **_: Any) -> Engine:
        """Choose the engine for a statement."""
        if self._flushing or isinstance(clause, UpdateBase):
            return self.primary
        return random.choice(self.replicas)  # noqa: S311 - no secret depends on it


class PinningSession(RandomReplicaSession):
    """Reads go to any replica, but to the primary while the browser is pinned."""

    def get_bind(self, mapper: Any = None, *, clause: Any = None, **options: Any) -> Engine:
        """Choose the engine for a statement."""
        return self.primary if PINNED.get() else super().get_bind(mapper, clause=clause, **options)


@dataclass(frozen=True, slots=True)
class Routing:
    """One policy: `sessions` makes what a page reads and writes with, `around` wraps the application."""

    engines: dict[str, AsyncEngine]
    sessions: Callable[[], AsyncSession]
    around: Callable[[Asgi], Asgi]

    async def close(self) -> None:
        """Close all connections."""
        for engine in self.engines.values():
            await engine.dispose()


def routing(site: SiteConfiguration) -> Routing:
    """The routing of one policy."""
    nodes = {"primary": site.primary, **site.replicas}
    engines = {name: _engine(name, **node) for name, node in nodes.items()}
    match site.policy:
        case RoutingPolicy.PRIMARY_ONLY:
            return Routing(engines, _maker(CountedSession, bind=engines["primary"]), _bare)
        case RoutingPolicy.RANDOM_REPLICA:
            return Routing(engines, _maker(_over(engines, RandomReplicaSession)), _bare)
        case RoutingPolicy.PIN_1 | RoutingPolicy.PIN_15:
            seconds = PIN_SECONDS[site.policy]
            sessions = _maker(_over(engines, PinningSession))
            return Routing(engines, sessions, lambda application: PinningMiddleware(application, seconds))
        case RoutingPolicy.LAGLESS:
            return _lagless(engines, site.secret_key)


def _lagless(engines: dict[str, AsyncEngine], secret: str) -> Routing:
    # Imported here: the other policies' processes must not load what they do not use.
    import lagless.asgi  # noqa: PLC0415
    import lagless.sqlalchemy  # noqa: PLC0415

    replicas = {name: engine for name, engine in engines.items() if name != "primary"}
    sessions = lagless.sqlalchemy.async_sessionmaker(
        primary=engines["primary"],
        replicas=replicas,
        class_=CountedAsyncSession,
        expire_on_commit=False,
        level="session",
        policy={"wait": WAIT},
    )

    def around(application: Asgi) -> Asgi:
        return lagless.asgi.Middleware(application, clusters=[sessions], keys=secret, key=_reader)

    return Routing(engines, sessions, around)


def _reader(scope: Any) -> str | None:
    """Who asks: whoever is logged in reads monotonically from the first page on, as under Django."""
    return HTTPConnection(scope).cookies.get(accounts.COOKIE)


def _bare(application: Asgi) -> Asgi:
    return application


def _maker(kind: type[CountedSession], **options: Any) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(class_=AsyncSession, sync_session_class=kind, expire_on_commit=False, **options)


def _over(engines: dict[str, AsyncEngine], kind: type[RandomReplicaSession]) -> type[RandomReplicaSession]:
    places = {name: engine.sync_engine for name, engine in engines.items()}
    primary = places.pop("primary")
    return type(kind.__name__, (kind,), {"primary": primary, "replicas": tuple(places.values())})


def _engine(name: str, *, url: str) -> AsyncEngine:
    limit = "timeout" if "asyncpg" in url else "connect_timeout"
    engine = create_async_engine(url, pool_size=_POOL, connect_args={limit: _PATIENCE})
    wire.watch(engine, name)
    return engine
