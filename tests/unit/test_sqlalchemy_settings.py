"""What the session factories take, and what they refuse at construction: no engine here ever connects."""

from __future__ import annotations

import gc
import sqlite3
import weakref
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, orm
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from lagless import ConfigurationError, Level
from lagless.sqlalchemy import RoutingSession, async_sessionmaker, routed, sessionmaker
from lagless.sqlalchemy.probes import arguments_of, let_ask

PG = "postgresql+psycopg://app:secret@db{}/shop"


def pg(number: int = 1, **options: Any) -> Engine:
    """Return an engine for one of several servers."""
    return create_engine(PG.format(number), **options)


def apg(number: int = 1) -> Any:
    """Return the same, asynchronous."""
    return create_async_engine(PG.format(number).replace("psycopg", "asyncpg"))


def unsupported() -> Engine:
    """Return an engine of a database that lagless knows nothing of."""
    engine = create_engine("sqlite:///shop.db")
    engine.dialect.name = "mssql"
    return engine


class Base(DeclarativeBase):
    """Some tables."""


class User(Base):
    """A table of another cluster."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)


def test_names_and_settings() -> None:
    """A mapping names the replicas, a list numbers them; settings reach the cluster."""
    named = sessionmaker(primary=pg(1), replicas={"near": pg(2), "far": pg(3)}, weights={"near": 2}, level="eventual")
    assert [(node.name, node.weight) for node in named.cluster.config.replicas] == [("near", 2), ("far", 1.0)]
    assert named.cluster.config.level is Level.EVENTUAL
    numbered = sessionmaker(primary=pg(1), replicas=[pg(2), pg(3)], name="shop", policy={"wait": 0.1})
    assert [node.name for node in numbered.cluster.config.replicas] == ["replica1", "replica2"]
    assert (numbered.cluster.name, numbered.cluster.config.policy.wait) == ("shop", 0.1)


def test_sqlalchemys_own_options_pass_through() -> None:
    """What is not lagless's is the session's."""
    factory = sessionmaker(primary=pg(1), replicas=[pg(2)], expire_on_commit=False, autoflush=False, info={"a": 1})
    with factory() as db:
        assert (db.expire_on_commit, db.autoflush, db.info) == (False, False, {"a": 1})
        assert isinstance(db, RoutingSession)
        assert db.bind is factory.engines.home


@pytest.mark.parametrize(
    ("primary", "replicas", "says"),
    [
        (pg(1), [create_engine("sqlite:///shop.db")], "replica1 is sqlite and the primary is postgresql"),
        (pg(1), {"near": pg(1)}, "near points at the primary itself"),
        (pg(1), [apg(2)], "replica1 is an AsyncEngine"),
        (apg(1), [apg(2)], "use async_sessionmaker"),
        (pg(1), ["postgresql://db2/shop"], "replica1: str is no engine"),
        (pg(1), "replica", "must be a mapping of names to engines, or a list"),
        (pg(1), {"primary": pg(2)}, "the name 'primary'"),
        (unsupported(), [], "mssql is not supported.*heartbeat"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_engines_that_make_no_cluster(primary: Any, replicas: Any, says: str) -> None:
    """Each mistake is named, at construction."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        sessionmaker(primary=primary, replicas=replicas)
    assert "secret" not in str(caught.value)


def test_asynchronous_engines_are_for_the_asynchronous_factory() -> None:
    """And synchronous ones are not."""
    with pytest.raises(ConfigurationError, match=r"use sessionmaker"):
        async_sessionmaker(primary=pg(1), replicas=[pg(2)])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="replica1 is a synchronous Engine"):
        async_sessionmaker(primary=apg(1), replicas=[pg(2)])  # type: ignore[list-item]
    factory = async_sessionmaker(primary=apg(1), replicas={"near": apg(2)})
    session = factory()
    assert isinstance(session, AsyncSession)
    assert isinstance(session.sync_session, RoutingSession)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"levle": "session"}, "'levle'; did you mean 'level'"),
        ({"level": "sessions"}, "level: 'sessions' is unknown"),
        ({"weights": {"replica9": 1}}, "weights: 'replica9' is none"),
        ({"policy": {"wiat": 1}}, "policy: unknown setting 'wiat'"),
        ({"name": "a b"}, "cluster name"),
        ({"dialect": "oracle"}, "dialect 'oracle' is unknown"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    """The field and the fix are named."""
    with pytest.raises(ConfigurationError, match=says):
        sessionmaker(primary=pg(1), replicas=[pg(2)], **options)


def test_session_classes_of_ones_own() -> None:
    """They are mixed with routing; one that routes already is taken as it is."""

    class Mine(Session):
        """A user's own."""

        def shout(self) -> str:
            """Do something."""
            return "hey"

    class MineToo(RoutingSession):
        """A user's own that routes."""

    mixed = sessionmaker(primary=pg(1), replicas=[pg(2)], class_=Mine)()
    assert isinstance(mixed, RoutingSession)
    assert mixed.shout() == "hey"
    taken = sessionmaker(primary=pg(1), replicas=[pg(2)], class_=MineToo)()
    assert isinstance(taken, MineToo)


def test_asynchronous_session_classes_of_ones_own() -> None:
    """Their synchronous half is mixed with routing."""

    class Inner(Session):
        """The synchronous half."""

    class Outer(AsyncSession):
        """A user's own."""

        sync_session_class = Inner

    session = async_sessionmaker(primary=apg(1), replicas=[apg(2)], class_=Outer)()
    assert isinstance(session, Outer)
    assert isinstance(session.sync_session, Inner)
    assert isinstance(session.sync_session, RoutingSession)


def test_the_synchronous_half_can_be_named() -> None:
    """As with SQLAlchemy's own factory."""

    class Inner(Session):
        """The synchronous half."""

    session = async_sessionmaker(primary=apg(1), replicas=[apg(2)], sync_session_class=Inner)()
    assert isinstance(session.sync_session, Inner)
    assert isinstance(session.sync_session, RoutingSession)


def test_several_clusters_by_model() -> None:
    """Each has its own name; two of one name are refused."""
    users = routed(primary=pg(4), replicas=[pg(5)], name="users")
    factory = sessionmaker(primary=pg(1), replicas=[pg(2)], binds={User: users})
    assert [cluster.name for cluster in factory.clusters] == ["default", "users"]
    with factory() as db:
        assert db.get_bind(User) is users.home
    with pytest.raises(ConfigurationError, match="two clusters are called default"):
        sessionmaker(primary=pg(1), replicas=[pg(2)], binds={User: routed(primary=pg(4), replicas=[pg(5)])})


def test_a_factory_can_be_bound_to_a_model() -> None:
    """Another factory's cluster serves as well."""
    users = sessionmaker(primary=pg(4), replicas=[pg(5)], name="users")
    factory = sessionmaker(primary=pg(1), replicas=[pg(2)], binds={User: users, Base: pg(9)})
    assert [cluster.name for cluster in factory.clusters] == ["default", "users"]


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is the primary's, nobody listens and no server is asked; by option or by environment."""
    for options, variable in (({"enabled": False}, "1"), ({}, "0")):
        monkeypatch.setenv("LAGLESS_ENABLED", variable)
        primary = pg(1)
        factory = sessionmaker(primary=primary, replicas=[pg(2)], **options)
        assert factory.cluster.monitor is None
        assert factory.cluster.explain().reason == "lagless is disabled"
        with factory() as db:
            from sqlalchemy import select

            assert db.get_bind(clause=select(User)) is primary


def test_get_bind_without_a_unit_of_work() -> None:
    """Nobody opened a session(), so it is the primary, and nothing connects."""
    from sqlalchemy import insert, select

    factory = sessionmaker(primary=pg(1), replicas=[pg(2)])
    with factory() as db:
        assert {db.get_bind(), db.get_bind(User), db.get_bind(clause=select(User))} == {factory.engines.home}
        assert db.get_bind(clause=insert(User)) is factory.engines.home
    factory.cluster.close()


def test_probes_connect_as_the_engine_does() -> None:
    """With connect_args, and with what listeners for do_connect make of them: a password that rotates."""
    engine = pg(1, connect_args={"sslmode": "require"})
    passwords = iter(["first", "second"])

    @event.listens_for(engine, "do_connect")
    def rotate(dialect: Any, record: Any, args: list[Any], params: dict[str, Any]) -> None:
        params["password"] = next(passwords)

    let_ask(engine)
    first, second = (arguments_of(engine)[1] for _ in range(2))
    assert (first["sslmode"], first["host"], first["dbname"]) == ("require", "db1", "shop")
    assert (first["password"], second["password"]) == ("first", "second")


def test_an_engine_with_a_creator_says_what_to_use_instead() -> None:
    """How it connects is hidden from probes."""
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(":memory:"))
    let_ask(engine)
    with pytest.raises(ConfigurationError, match="do_connect"):
        arguments_of(engine)


def test_a_factory_that_is_dropped_takes_its_cluster_along() -> None:
    """Engines may live longer: nothing that listens to them holds a cluster."""
    engines = pg(1), pg(2)
    factory = sessionmaker(primary=engines[0], replicas=[engines[1]])
    ghost = weakref.ref(factory.cluster)
    del factory
    gc.collect()
    assert ghost() is None


def test_the_names_are_typed() -> None:
    """The factories are SQLAlchemy's own kind."""
    factory = sessionmaker(primary=pg(1), replicas=[pg(2)])
    assert isinstance(factory, orm.sessionmaker)
