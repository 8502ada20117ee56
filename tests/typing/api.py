"""The whole public API as its users write it, for type checkers: never run, only checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, assert_type
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Session as OrmSession

import lagless
import lagless.asgi
import lagless.flask
import lagless.sqlalchemy
import lagless.wsgi
from lagless import (
    BalancerName,
    Cluster,
    ConfigurationError,
    ConsistencyTimeout,
    Counter,
    Decision,
    Event,
    History,
    Identity,
    LaglessError,
    Level,
    Lsn,
    Node,
    NoNodeAvailable,
    Observation,
    OnStale,
    Policy,
    Position,
    PrimaryUnavailable,
    ReadOnlyViolation,
    Reason,
    ReplicaUnavailable,
    Role,
    Session,
    Topology,
    consistency,
    primary,
    replica,
    session,
)
from lagless.flask import Lagless, Registered
from lagless.sqlalchemy import (
    AsyncSessionFactory,
    Engines,
    RoutingSession,
    SessionFactory,
    async_sessionmaker,
    mark_written,
    routed,
    sessionmaker,
)
from lagless.testing import FaultProxy, MariaDBCluster, MariaDBNode, PostgresCluster, PostgresNode

# -- construction: words or members, lists or tuples

cluster = Cluster(
    "default",
    primary=Node("default"),
    replicas=[Node("replica1", weight=2), Node("replica2")],
    level="session",
    policy=Policy(on_stale="primary", wait=0.0, max_lag=None, pin_seconds=15.0),
    balancer="random",
)
strict = Cluster(
    primary=Node("main"),
    replicas=(Node("other", 0.5),),
    level=Level.BOUNDED,
    policy=Policy(on_stale=OnStale.WAIT, wait=1, max_lag=5),
    balancer=BalancerName.LEAST_LOADED,
    generation=1,
    capture="flush",
    dialect="heartbeat",
    token_seconds=600,
    probe_timeout=0.5,
    idle_interval=0.25,
    max_probe_rate=50,
)

# -- units of work and scopes


def handle(user: int, token: str | None) -> str:
    """Serve one unit of work."""
    with session(token, key=user) as unit:
        assert_type(unit, Session)
        with primary(), replica("default"), consistency("eventual"), consistency(Level.BOUNDED, max_lag=2.5):
            assert_type(cluster.route(), Decision)
        assert_type(cluster.route("write").node, str)
    return assert_type(unit.token(), str)


async def handle_async(user: str) -> str:
    """Serve one unit of work in a coroutine."""
    async with session(key=user) as unit:
        assert_type(unit, Session)
    return unit.token()


@primary()
def exact(number: int, *, text: str = "") -> float:
    """Keep its own signature under a decorator."""
    return number + len(text)


@replica("default")
async def report(days: int) -> list[str]:
    """Keep its own signature under a decorator, coroutine or not."""
    return [str(days)]


@consistency("bounded", "default", max_lag=10)
def recent() -> None:
    """Return nothing."""


async def call() -> None:
    """Call what was decorated."""
    assert_type(exact(1, text="x"), float)
    assert_type(await report(7), list[str])
    recent()


# -- what is known and decided

decision = cluster.explain()
assert_type(decision, Decision)
assert_type(decision.reason, Reason)
assert_type(decision.refused, Mapping[str, str])
assert_type(cluster.topology, Topology)
assert_type(cluster.topology.primary, str | None)

line = History("7431111111111111111", 1, 0)
position: Position = Lsn.parse(line, "0/16B3748")
beat: Position = Counter(line, 7)
assert_type(position.covers(beat), bool)
assert_type(position.text(), str)
assert_type(position.history, History)
seen = Observation(
    node="replica1", sent=1.0, role=Role.REPLICA, position=position, identity=Identity(line.system, "run")
)
cluster.report(seen)
cluster.start()
cluster.close()


def listener(event: Event) -> None:
    """Take one event."""
    assert_type(event.cluster, str)
    assert_type(event.node, str | None)


cluster.listen(listener)

# -- errors


def careful() -> Mapping[str, str] | None:
    """Catch each of them."""
    try:
        cluster.route()
    except (PrimaryUnavailable, ReplicaUnavailable) as error:
        return error.refused
    except NoNodeAvailable as error:
        return error.refused
    except ConsistencyTimeout as error:
        timeout: TimeoutError = error
        raise timeout from None
    except ConfigurationError as error:
        value: ValueError = error
        raise value from None
    except (ReadOnlyViolation, LaglessError):
        return None
    return None


# -- SQLAlchemy: a mapping or a list, options of the cluster and of SQLAlchemy


class Base(DeclarativeBase):
    """Models of one cluster."""


class Own(OrmSession):
    """A session class of the application's own."""


one, other = create_engine("postgresql+psycopg://db1/shop"), create_engine("postgresql+psycopg://db2/shop")
billing = routed(primary=one, replicas=[other], name="billing", level="strong", policy={"wait": 0.01})
assert_type(billing, Engines)
assert_type(billing.cluster, Cluster)
factory = sessionmaker(
    primary=one,
    replicas={"replica1": other},
    weights={"replica1": 2},
    strict=True,
    enabled=True,
    listeners=[listener],
    policy=Policy(wait=0.01),
    binds={Base: billing},
    class_=Own,
    expire_on_commit=False,
)
assert_type(factory, SessionFactory[Any])
assert_type(factory.cluster, Cluster)
assert_type(factory.clusters, list[Cluster])
plain: type[OrmSession] = RoutingSession

async_factory = async_sessionmaker(
    primary=create_async_engine("mysql+asyncmy://db1/shop"),
    replicas=[create_async_engine("mysql+asyncmy://db2/shop")],
    class_=AsyncSession,
    sync_session_class=Own,
    generation=1,
)
assert_type(async_factory, AsyncSessionFactory[Any])
assert_type(async_factory.cluster, Cluster)


def store(note: object, token: str) -> Mapping[str, str]:
    """Write in a unit of work, and say what lagless cannot see."""
    try:
        with session(token), factory() as db:
            db.add(note)
            mark_written()
            mark_written("billing")
            db.commit()
    except lagless.sqlalchemy.PrimaryUnavailable as error:
        lost: OperationalError = error
        raise lost from None
    except lagless.sqlalchemy.ReadOnlyViolation as error:
        refused: InternalError = error
        raise refused from None
    except (lagless.sqlalchemy.ReplicaUnavailable, lagless.sqlalchemy.ConsistencyTimeout) as error:
        return error.refused
    return {}


async def store_async(note: object) -> str:
    """Write in a coroutine."""
    async with session(key=1) as unit, async_factory() as db:
        db.add(note)
        await db.commit()
    return unit.token()


# -- edges

AsgiScope = MutableMapping[str, Any]


async def asgi_app(
    scope: AsgiScope,
    receive: Callable[[], Awaitable[AsgiScope]],
    send: Callable[[AsgiScope], Awaitable[None]],
) -> None:
    """Serve one connection."""


def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve one request."""
    return [b""]


def staff(scope: AsgiScope) -> bool:
    """Pick requests."""
    return bool(scope["path"] == "/staff")


around = lagless.asgi.Middleware(
    asgi_app,
    clusters=[factory, async_factory, cluster],
    keys=["new", "old"],
    key=lambda scope: scope["path"],
    share=0.5,
    opt_in=staff,
    safe_methods_only=True,
    cookie_path="/shop",
    cookie_domain=None,
    enabled=True,
)
lagless.asgi.Middleware(around, clusters=lambda: [factory], keys=lambda: "secret")
lagless.wsgi.Middleware(
    wsgi_app, clusters=[factory], keys=b"secret", key=lambda environ: environ.get("REMOTE_USER"), share=0
)

# -- Flask

db = SQLAlchemy()
extension = Lagless(db=db)
Lagless(Flask("shop"), db).init_app(Flask("other"))
extension.init_app(Flask("third"), db)


@lagless.flask.primary
def invoice(number: int) -> str:
    """Keep its own signature under a bare decorator."""
    with lagless.flask.replica(), lagless.flask.primary("users"):
        assert_type(lagless.flask.cluster("users"), Cluster)
    lagless.flask.mark_written()
    return str(number)


@lagless.flask.replica("users")
def search(text: str, *, most: int = 10) -> Sequence[str]:
    """Keep its own signature under one that is called."""
    return [text] * most


assert_type(invoice(1), str)
assert_type(search("x", most=2), Sequence[str])
registered: Registered = Flask("shop").extensions["lagless"]
assert_type(registered.clusters, Mapping[str, Cluster])

# -- servers for tests

with PostgresCluster(replicas=1) as pg, MariaDBCluster(replicas=1, settings={"sync_binlog": 0}) as maria:
    assert_type(pg.primary, PostgresNode)
    assert_type(maria.replicas[0], MariaDBNode)
    assert_type(maria.primary.url("aiomysql"), str)
    with FaultProxy((maria.primary.host, maria.primary.port)) as proxy:
        assert_type(proxy.port, int)

assert_type(lagless.__version__, str)
