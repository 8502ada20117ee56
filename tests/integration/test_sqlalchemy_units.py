"""Units of work with several sessions, threads, tasks, clusters and kinds of session, over real replicas."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, func, insert, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session

import lagless
import lagless.sqlalchemy
from alchemy import Note, World, add, hear, notes, only
from lagless import Reason
from lagless.context import current
from routing import until

REPLICAS = {"replica1", "replica2"}


SYNC = only("postgresql+psycopg", "mysql+pymysql")
ASYNC = only("postgresql+asyncpg async", "mysql+aiomysql async")
PSYCOPG = only("postgresql+psycopg")


# -- several sessions, threads, tasks


@ASYNC
def test_gather_of_two_sessions(world: World) -> None:
    """Two tasks of one unit write at once; both writes are settled, and a third session sees them."""

    async def act(factory: Any) -> tuple[int, int]:
        async def write() -> None:
            async with factory() as db:
                await db.run_sync(add)

        async with lagless.session():
            world.pause()
            await asyncio.gather(write(), write(), write())
            unsettled = current().session.of("default").unsettled
            async with factory() as db:
                return unsettled, await db.run_sync(notes)

    assert world.stage(act) == (0, 3)


@ASYNC
def test_a_read_beside_an_open_write(world: World) -> None:
    """While one session of the unit has written and not committed, another one reads the primary."""

    async def act(factory: Any) -> int:
        async with lagless.session(), factory() as writer, factory() as reader:
            await reader.run_sync(notes)
            writer.add(Note(text="a"))
            await writer.flush()
            seen = await reader.run_sync(notes)
            await writer.rollback()
            return seen

    assert world.stage(act) == 0
    assert world.nodes[0] in REPLICAS
    assert world.nodes[-1] == "primary"


@SYNC
def test_threads_of_one_unit(world: World) -> None:
    """A thread pool that copies the context shares the unit's footprint: what one thread wrote, all see."""

    def act(factory: Any) -> list[int]:
        def write(_: int) -> None:
            with factory() as db:
                add(db)

        def read(_: int) -> int:
            with factory() as db:
                return notes(db)

        with lagless.session(), ThreadPoolExecutor(4) as pool:
            world.pause()
            contexts = [copy_context() for _ in range(8)]
            list(pool.map(lambda c: c.run(write, 0), contexts[:4]))
            return list(pool.map(lambda c: c.run(read, 0), contexts[4:]))

    assert world.stage(act) == [4] * 4


@SYNC
def test_a_raw_thread_has_no_unit(world: World) -> None:
    """It reads the primary, and tells the unit nothing."""

    def act(factory: Any) -> list[int]:
        seen: list[int] = []

        def read() -> None:
            with factory() as db:
                seen.append(notes(db))

        with lagless.session():
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
        return seen

    assert world.stage(act) == [0]
    assert world.nodes == ["primary"]


@SYNC
def test_scoped_sessions(world: World) -> None:
    """scoped_session() is a door to the same sessions."""

    def act(factory: Any) -> int:
        scoped = scoped_session(factory)
        with lagless.session():
            world.pause()
            scoped.add(Note(text="a"))
            scoped.commit()
            seen = scoped.scalar(select(func.count()).select_from(Note))
            scoped.remove()
            return seen

    assert world.stage(act) == 1


@only("postgresql+psycopg", "postgresql+asyncpg async", "mysql+pymysql", "mysql+aiomysql async")
def test_one_connection_a_pool_is_enough(world: World) -> None:
    """The position is asked for on the connection that committed: a second one would wait for ever."""

    def scenario(db: Any) -> int:
        world.pause()
        add(db)
        return notes(db)

    assert world.play(scenario, engine_options={"pool_size": 1, "max_overflow": 0, "pool_timeout": 2}) == 1


@only("postgresql+psycopg", "postgresql+asyncpg async")
def test_a_reader_of_the_primary_settles_on_its_open_connection(world: World) -> None:
    """A unit with a key that fell back to the primary learns its position at the end, on the connection it holds."""

    def act(factory: Any) -> Any:
        def unit(db: Any) -> None:
            with lagless.primary():
                db.scalars(select(Note)).all()

        if not world.asynchronous:
            with factory() as db:
                with lagless.session(key="me") as held:
                    unit(db)
                return held.of("default").written
            return None

        async def run() -> Any:
            async with factory() as db:
                async with lagless.session(key="me") as held:
                    await db.run_sync(unit)
                return held.of("default").written

        return run()

    written = world.stage(act, engine_options={"pool_size": 1, "max_overflow": 0, "pool_timeout": 2})
    assert written is not None


# -- where writes hide


@PSYCOPG
def test_functions_that_write(world: World) -> None:
    """nextval() by its name, a function that writes by the standby's refusal: each runs once, on the primary."""
    world.servers.primary.execute("create sequence if not exists tickets")
    world.servers.primary.execute(
        "create or replace function jot() returns int language sql as "
        "$$ insert into note (text) values ('jotted') returning id $$"
    )
    world.servers.wait_replayed()

    def scenario(db: Any) -> tuple[int, int]:
        db.scalars(select(Note)).all()
        db.scalar(select(func.nextval("tickets")))
        db.commit()
        db.scalars(select(Note)).all()
        world.pause()
        db.scalar(text("select jot()"))
        db.commit()
        return current().session.of("default").unsettled, notes(db)

    assert world.play(scenario) == (0, 1)
    ran = [node for node, statement in world.trace if "nextval" in statement or "jot" in statement]
    assert ran == ["primary", "primary"]


@PSYCOPG
def test_a_refusal_in_strict_mode_and_in_replica(world: World) -> None:
    """A statement that turns out to write is a violation where writes are forbidden."""
    world.servers.primary.execute("create sequence if not exists tickets")
    world.servers.wait_replayed()

    def scenario(db: Any) -> None:
        db.scalars(select(Note)).all()
        with pytest.raises(lagless.ReadOnlyViolation):
            db.scalar(select(func.nextval("tickets")))
        db.rollback()
        with lagless.replica(), pytest.raises(lagless.ReadOnlyViolation):
            db.scalar(select(func.nextval("tickets")))
        db.rollback()

    world.play(scenario, strict=True)


@PSYCOPG
def test_advisory_locks_are_taken_on_the_primary(world: World) -> None:
    """A standby would grant one to everybody."""

    def scenario(db: Any) -> None:
        db.scalar(select(func.pg_try_advisory_xact_lock(7)))
        db.commit()

    world.play(scenario)
    assert world.nodes == ["primary"]


@SYNC
def test_core_and_raw_sql_are_followed(world: World) -> None:
    """What a unit writes through the engine, a connection in autocommit, or the driver's SQL, its sessions see."""

    def act(factory: Any) -> list[int]:
        home = factory.engines.home
        seen = []
        with lagless.session():
            world.pause()
            for write in (
                lambda: _core(home),
                lambda: _autocommit(home),
                lambda: _raw(home),
            ):
                write()
                with factory() as db:
                    seen.append(notes(db))
        return seen

    assert world.stage(act) == [1, 2, 3]


def _core(engine: Any) -> None:
    with engine.begin() as connection:
        connection.execute(insert(Note).values(text="core"))


def _autocommit(engine: Any) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(insert(Note).values(text="autocommit"))


def _raw(engine: Any) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("insert into note (text) values ('raw')")


@SYNC
def test_a_core_transaction_that_is_rolled_back_is_forgotten(world: World) -> None:
    """Nothing was written, so nothing is waited for."""

    def act(factory: Any) -> Any:
        with lagless.session():
            with factory.engines.home.connect() as connection:
                connection.execute(insert(Note).values(text="a"))
                connection.rollback()
            return current().session.of("default").unsettled

    assert world.stage(act) == 0


@only("mysql+pymysql")
def test_a_savepoint_makes_no_snapshot_newer(world: World) -> None:
    """Under REPEATABLE READ an own write of another session sends the next read to the primary, savepoint or not."""

    def act(factory: Any) -> tuple[int, str]:
        with lagless.session(), factory() as reader, factory() as writer:
            notes_before = reader.scalar(select(func.count()).select_from(Note))
            add(writer)
            world.catch_up()
            until(lambda: world.cluster.explain().node in REPLICAS)
            with reader.begin_nested():
                seen = reader.scalar(select(func.count()).select_from(Note))
            return seen - notes_before, world.nodes[-1]

    assert world.stage(act) == (1, "primary")


@PSYCOPG
def test_two_phase_sessions_stay_on_the_primary(world: World) -> None:
    """A standby refuses PREPARE; the commit of what was prepared is settled."""

    def scenario(db: Any) -> int:
        with lagless.replica():
            db.scalars(select(Note)).all()
        world.pause()
        add(db)
        return notes(db)

    assert world.play(scenario, twophase=True) == 1
    assert set(world.nodes) == {"primary"}


# -- servers that go away


@only("postgresql+psycopg", "postgresql+asyncpg async", "mysql+pymysql")
def test_a_killed_replica_costs_no_error_under_load(world: World) -> None:
    """Each read of a hundred succeeds while a replica dies and comes back."""

    def scenario(db: Any) -> int:
        victim, seen = world.servers.replicas[0], 0
        for number in range(100):
            if number == 30:
                victim.kill()
            if number == 60:
                victim.start()
            seen += notes(db) == 0
        return seen

    assert world.play(scenario) == 100


@pytest.mark.parametrize("notices", [False, True], ids=["the statement", "the monitor"])
@pytest.mark.parametrize("how", ["repeatable read", "begin()"])
@PSYCOPG
def test_a_transaction_of_one_snapshot_is_not_moved(world: World, how: str, notices: bool) -> None:
    """Its replica dies after it has shown rows: that is an error, whoever hears of it first."""
    level = {"isolation_level": "REPEATABLE READ"} if how == "repeatable read" else {}

    def scenario(db: Any) -> None:
        if how == "begin()":
            db.begin()
        db.scalars(select(Note)).all()
        used = next(node for node in world.servers.replicas if node.name == world.nodes[-1])
        if not notices:
            world.cluster.close()
        used.kill()
        if notices:
            until(lambda: not world.cluster.topology.nodes[used.name].alive)
        with pytest.raises(OperationalError):
            db.scalars(select(Note)).all()
        db.rollback()
        assert notes(db) == 0

    world.play(scenario, engine_options=level)


@only("postgresql+psycopg", "postgresql+asyncpg async", "mysql+pymysql")
def test_a_frozen_replica_is_cut_off(world: World) -> None:
    """A query that hangs on a frozen server runs elsewhere as soon as its probe was late."""

    def scenario(db: Any) -> int:
        notes(db)
        used = next(node for node in world.servers.replicas if node.name == world.nodes[-1])
        used.freeze()
        try:
            return notes(db)
        finally:
            used.thaw()

    assert world.play(scenario, probe_timeout=0.3) == 0


@only("postgresql+psycopg", "postgresql+asyncpg async")
def test_writes_follow_a_promotion(world: World) -> None:
    """When a replica becomes the primary, sessions write there, by its own engine."""
    promoted = world.servers.replicas[0]

    def scenario(db: Any) -> tuple[int, str]:
        add(db)
        world.servers.wait_replayed()
        world.servers.primary.kill()
        world.servers.promote(promoted, follow=False)
        until(lambda: world.cluster.topology.primary == promoted.name)
        add(db)
        return notes(db), world.nodes[-1]

    seen, _ = world.play(scenario)
    assert seen == 2


@only("postgresql+psycopg", "mysql+pymysql")
def test_a_dead_primary_is_an_error_for_writes_only(world: World) -> None:
    """Replicas keep serving what they can."""

    def scenario(db: Any) -> int:
        notes(db)
        world.servers.primary.kill()
        seen = notes(db)
        db.add(Note(text="a"))
        with pytest.raises(OperationalError):
            db.commit()
        db.rollback()
        return seen

    assert world.play(scenario) == 0


@PSYCOPG
def test_a_commit_that_nobody_answered_is_in_doubt(world: World) -> None:
    """The token says so, and the next unit asks the primary before it trusts a replica."""

    def act(factory: Any) -> tuple[str, Reason]:
        with lagless.session() as unit, factory() as db:
            db.add(Note(text="a"))
            db.flush()

            @event.listens_for(factory.engines.home, "commit")
            def die(connection: Any) -> None:
                world.servers.primary.kill()

            with pytest.raises(OperationalError):
                db.commit()
        token = unit.token()
        with lagless.session(token):
            return token, world.cluster.explain().reason

    token, reason = world.stage(act)
    assert token
    assert reason in (Reason.DIRTY, Reason.ZOMBIE)


@PSYCOPG
def test_a_factory_over_engines_in_use(world: World) -> None:
    """Connections that were pooled before, under another factory or none, are probed before they serve."""

    def act(factory: Any) -> list[int]:
        engines = factory.engines.by_node
        factory.cluster.close()
        seen = []
        for _ in range(2):
            again = lagless.sqlalchemy.sessionmaker(
                primary=engines["primary"], replicas=[engines["replica1"], engines["replica2"]]
            )
            hear(again.cluster)
            with lagless.session(), again() as db:
                notes(db)
                world.pause()
                add(db)
                assert current().session.of("default").written is not None
                seen.append(notes(db))
                world.servers.resume_replay()
            again.cluster.close()
            world.servers.wait_replayed()
            del again
        return seen

    assert world.stage(act) == [1, 2]


# -- several clusters


class OtherBase(DeclarativeBase):
    """The tables of the other cluster."""


class Person(OtherBase):
    """Somebody's row."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)


@PSYCOPG
def test_two_clusters(world: World, lagless_mariadb_session: Any) -> None:
    """Models live in clusters of their own; a write in one leaves the other's reads on its replicas."""
    other = World(lagless_mariadb_session, "mysql+pymysql")
    lagless_mariadb_session.heal()
    theirs = other.engines()
    OtherBase.metadata.drop_all(theirs["primary"])
    OtherBase.metadata.create_all(theirs["primary"])
    lagless_mariadb_session.wait_replayed()
    primary, *replicas = theirs
    people = lagless.sqlalchemy.routed(
        primary=theirs[primary], replicas={name: theirs[name] for name in replicas}, name="people"
    )
    for name, engine in theirs.items():
        other._watch(name, engine)

    def scenario(db: Any) -> tuple[int, int]:
        hear(people.cluster)
        lagless_mariadb_session.pause_replay()
        db.add(Person())
        db.commit()
        found = db.scalar(select(func.count()).select_from(Person)), notes(db)
        db.add_all([Person(), Note(text="a")])
        db.commit()
        return found

    try:
        assert world.play(scenario, binds={OtherBase: people}) == (1, 0)
    finally:
        people.cluster.close()
        for engine in theirs.values():
            engine.dispose()
        lagless_mariadb_session.heal()
    assert world.nodes[0] in REPLICAS
    assert set(other.nodes) == {"primary"}


# -- other people's sessions


@PSYCOPG
def test_sqlmodel(world: World) -> None:
    """SQLModel's Session, its exec() and its select()."""
    sqlmodel = pytest.importorskip("sqlmodel")

    def scenario(db: Any) -> list[str]:
        world.pause()
        db.add(Note(text="a"))
        db.commit()
        return [note.text for note in db.exec(sqlmodel.select(Note)).all()]

    assert world.play(scenario, class_=sqlmodel.Session) == ["a"]

    def dying(db: Any) -> int:
        db.exec(sqlmodel.select(Note)).all()
        db.rollback()
        for node in world.servers.replicas:
            node.kill()
        return len(db.exec(sqlmodel.select(Note)).all())

    world.servers.heal()
    assert world.play(dying, class_=sqlmodel.Session) == 1


@only("postgresql+asyncpg async")
def test_advanced_alchemy(world: World) -> None:
    """Its repositories work with the factory's sessions."""
    repository = pytest.importorskip("advanced_alchemy.repository")

    class Notes(repository.SQLAlchemyAsyncRepository):  # type: ignore[misc,name-defined]
        """A repository."""

        model_type = Note

    async def act(factory: Any) -> int:
        async with lagless.session(), factory() as db:
            world.pause()
            store = Notes(session=db)
            await store.add(Note(text="a"), auto_commit=True)
            found, count = await store.get_many_and_count()
            return len(found) + count

    assert world.stage(act) == 2


@only("postgresql+asyncpg async")
def test_plain_factories_of_the_routing_session(world: World) -> None:
    """RoutingSession works under SQLAlchemy's own async_sessionmaker, given the routes."""

    async def act(factory: Any) -> int:
        plain = async_sessionmaker(
            factory.kw["bind"], sync_session_class=lagless.sqlalchemy.RoutingSession, routes=factory.kw["routes"]
        )
        async with lagless.session(), plain() as db:
            return await db.run_sync(notes)

    assert world.stage(act) == 0
    assert set(world.nodes) <= REPLICAS


# -- SQLite


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Any]:
    """Two SQLite files, as a primary and a replica whose replication is a copy."""
    from lagless.dialects import Heartbeat

    engines = [create_engine(f"sqlite:///{tmp_path / name}") for name in ("primary.db", "replica.db")]
    with engines[0].begin() as connection:
        for statement in (*Heartbeat().setup_statements(), "create table note (id integer primary key, text text)"):
            connection.exec_driver_sql(statement)

    def replicate() -> None:
        from shutil import copyfile

        copyfile(tmp_path / "primary.db", tmp_path / "replica.db")

    replicate()
    yield engines, replicate
    for engine in engines:
        engine.dispose()


def test_sqlite_by_heartbeat(files: Any) -> None:
    """A counter row gives SQLite files positions; replication is a copy of the file."""
    (primary, replica), replicate = files
    factory = lagless.sqlalchemy.sessionmaker(primary=primary, replicas=[replica], idle_interval=0.01)
    factory.cluster.start()
    until(lambda: all(state.alive for state in factory.cluster.topology.nodes.values()))
    with lagless.session(), factory() as db:
        assert isinstance(db, Session)
        db.add(Note(text="a"))
        db.commit()
        assert notes(db) == 1
        assert factory.cluster.explain().node == "primary"

    def caught_up() -> bool:
        replicate()
        with lagless.session(key="me"):
            return factory.cluster.explain().node == "replica1"

    until(caught_up)
    with lagless.session(), factory() as db:
        assert notes(db) == 1
    factory.cluster.close()
