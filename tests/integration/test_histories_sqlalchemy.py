"""Histories that broke the promise of SQLAlchemy sessions once: lost writes, wrong answers, stale reads, errors."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg.adapt import Dumper
from sqlalchemy import create_engine, event, func, select, text, type_coerce
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import String, TypeDecorator

import lagless
import lagless.asgi
import lagless.settling
import lagless.sqlalchemy
from alchemy import Note, World, add, notes, only
from lagless import ConfigurationError
from lagless.context import current
from lagless.core.gtid import History, MariaGtids
from lagless.core.session import Footprint
from lagless.events import Kind
from lagless.sqlalchemy import raw
from lagless.testing import FaultProxy
from routing import until

REPLICAS = {"replica1", "replica2"}
ONE_PREFERRED = {"balancer": "weighted", "weights": {"replica2": 1e-9}}
"""Options by which reads go to the first replica, unless it cannot serve."""


SYNC = only("postgresql+psycopg", "mysql+pymysql")
PSYCOPG = only("postgresql+psycopg")
PYMYSQL = only("mysql+pymysql")


def stored(world: World) -> int:
    """Return how many notes the primary has."""
    return world.servers.primary.execute("select count(*) from note")[0][0]


def used(world: World) -> Any:
    """Return the server on which the last statement ran."""
    return next(node for node in world.servers.replicas if node.name == world.nodes[-1])


def pid_of(db: Any, world: World) -> int:
    """Return the server's number for the connection on which a read runs."""
    return db.scalar(select(func.pg_backend_pid() if world.is_postgresql else func.connection_id()))


def terminate(world: World, node: Any, pid: int) -> None:
    """End one connection of the application's, and return when it is gone."""
    if world.is_postgresql:
        node.execute(f"select pg_terminate_backend({pid})")
        until(lambda: not node.execute(f"select 1 from pg_stat_activity where pid = {pid}"))
    else:
        node.execute(f"kill {pid}")
        until(lambda: not node.execute(f"select 1 from information_schema.processlist where id = {pid}"))


@contextlib.contextmanager
def full(*nodes: Any) -> Iterator[None]:
    """Take every connection that PostgreSQL servers have to give."""
    with contextlib.ExitStack() as taken:
        for node in nodes:
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    taken.enter_context(contextlib.closing(node.connect()))
        yield
    for node in nodes:
        until(lambda node=node: node.execute("select count(*) from pg_stat_activity")[0][0] < 50)


@contextlib.contextmanager
def behind_a_proxy(world: World) -> Iterator[FaultProxy]:
    """Have the application reach the primary through a proxy."""
    primary, plain = world.servers.primary, world.url
    with FaultProxy((primary.host, primary.port)) as proxy:
        swap = f":{primary.port}/", f":{proxy.port}/"
        world.url = lambda node: plain(node).replace(*swap)  # type: ignore[method-assign]
        yield proxy


@contextlib.contextmanager
def locked(world: World) -> Iterator[Callable[[], bool]]:
    """Have reads of notes wait on the primary, for eight seconds at most; yields what tells whether one waits."""
    primary = world.servers.primary
    with contextlib.closing(primary.connect()) as connection:
        if world.is_postgresql:
            lock, waiting = "lock table note", "select 1 from pg_locks where not granted"
        else:
            lock = "lock tables note write"
            waiting = "select 1 from information_schema.processlist where state like 'Waiting for table%'"
        connection.cursor().execute(lock)
        rescue = threading.Timer(8.0, connection.close)
        rescue.start()
        try:
            yield lambda: bool(primary.execute(waiting))
            assert rescue.is_alive(), "it waited for a stranger's query"
        finally:
            rescue.cancel()


@contextlib.contextmanager
def frozen(node: Any) -> Iterator[None]:
    """Freeze a server; what runs inside must end long before the server has to be thawed for it."""
    rescue = threading.Timer(8.0, node.thaw)
    started = time.monotonic()
    node.freeze()
    rescue.start()
    try:
        yield
        assert time.monotonic() - started < 5.0, "it hung"
    finally:
        rescue.cancel()
        node.thaw()


# -- a read beside an open write


@only("postgresql+psycopg", "postgresql+psycopg async")
def test_a_full_replica_beside_an_open_write(world: World) -> None:
    """A read in replica() that finds its replica full runs elsewhere, and the write commits."""

    def scenario(db: Any) -> int:
        with lagless.replica():
            notes(db)
        node = used(world)
        db.add(Note(text="precious"))
        db.flush()
        db.routes[db.bind].by_node[node.name].dispose()
        with full(node), lagless.replica():
            db.scalars(select(Note)).all()
        assert world.nodes[-1] != node.name
        db.commit()
        return current().session.of("default").unsettled

    assert world.play(scenario, **ONE_PREFERRED) == 0
    assert stored(world) == 1


@only("postgresql+psycopg", "postgresql+asyncpg async", "mysql+pymysql", "mysql+aiomysql async")
def test_a_lost_connection_beside_an_open_write(world: World) -> None:
    """A read in replica() on a pooled connection that has died runs elsewhere, and the write commits."""

    def scenario(db: Any) -> None:
        with lagless.replica():
            pid = pid_of(db, world)
            db.rollback()
        node = used(world)
        db.add(Note(text="precious"))
        db.flush()
        terminate(world, node, pid)
        with lagless.replica():
            db.scalars(select(Note)).all()
        db.commit()

    world.play(scenario, **ONE_PREFERRED)
    assert world.cluster.counts.events[Kind.READ_MOVED] == 1
    assert stored(world) == 1


@only("postgresql+psycopg", "postgresql+asyncpg async")
def test_a_stream_a_write_and_a_dead_replica(world: World) -> None:
    """A replica whose stream was read to its end has no part in the commit of what was written after it."""

    def scenario(db: Any) -> None:
        db.scalars(select(Note).execution_options(yield_per=10)).all()
        node = used(world)
        db.add(Note(text="a"))
        db.flush()
        node.kill()
        db.commit()

    world.play(scenario)
    assert stored(world) == 1


# -- a connection that somebody else uses


@SYNC
def test_leaving_a_unit_beside_a_reading_thread(world: World) -> None:
    """The position is asked for on a connection that nobody uses: each thread gets the answers to its questions."""
    answers: list[Any] = []

    def read(factory: Any) -> None:
        with lagless.primary(), factory() as db:
            answers.append(db.scalar(select(func.count()).select_from(Note)))
            answers.append(db.scalar(text("select 'second'")))

    def act(factory: Any) -> Any:
        with locked(world) as waiting:
            with lagless.session(key="me") as unit:
                with lagless.primary(), factory() as db:
                    db.execute(text("select 1"))
                thread = threading.Thread(target=copy_context().run, args=(read, factory))
                thread.start()
                until(waiting)
        thread.join()
        return unit.of("default")

    footprint = world.stage(act)
    assert answers == [0, "second"]
    assert footprint.written is not None


@only("postgresql+psycopg async", "postgresql+asyncpg async", "mysql+aiomysql async")
def test_leaving_a_unit_beside_a_reading_task(world: World) -> None:
    """The end of a unit waits for no query of another task, and breaks none."""

    async def read(factory: Any) -> list[Any]:
        async with factory() as db:
            with lagless.primary():
                first = await db.scalar(select(func.count()).select_from(Note))
                return [first, await db.scalar(text("select 'second'"))]

    async def act(factory: Any) -> tuple[Any, list[Any]]:
        with locked(world) as waiting:
            async with lagless.session(key="me") as unit:
                async with factory() as db:
                    with lagless.primary():
                        await db.execute(text("select 1"))
                task = asyncio.create_task(read(factory))
                await asyncio.to_thread(until, waiting)
        return unit.of("default"), await task

    footprint, answers = world.stage(act)
    assert answers == [0, "second"]
    assert footprint.written is not None


# -- sessions that are bound otherwise


@PSYCOPG
def test_a_session_that_joins_a_transaction(world: World) -> None:
    """A session bound to a connection stays on it: its commit is undone with the transaction that it joined."""

    def act(factory: Any) -> int:
        with factory.engines.home.connect() as connection:
            outer = connection.begin()
            with factory(bind=connection, join_transaction_mode="create_savepoint") as db:
                add(db)
                assert notes(db) == 1
            outer.rollback()
        return stored(world)

    assert world.stage(act) == 0


@PSYCOPG
def test_binds_of_a_sessions_own(world: World) -> None:
    """An engine given to a session, or to one of its models, is where that goes."""
    other, lite = create_engine(world.url(world.servers.primary) + "_other"), create_engine("sqlite://")

    def act(factory: Any) -> None:
        with factory(bind=other) as db:
            assert db.get_bind() is other
            assert db.get_bind(Note, clause=select(Note)) is other
        with factory() as db:
            db.bind_mapper(Note, lite)
            assert db.get_bind(Note, clause=select(Note)) is lite

    world.stage(act)


@pytest.mark.parametrize("how", ["option", "environment"])
@PSYCOPG
def test_switched_off(world: World, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched off, sessions write and read the primary, replica() changes nothing, and no token is made."""
    options = {"enabled": False} if how == "option" else {}
    if how == "environment":
        monkeypatch.setenv("LAGLESS_ENABLED", "0")
    primary, *replicas = world.engines().values()
    factory = lagless.sqlalchemy.sessionmaker(primary=primary, replicas=replicas, **options)
    with lagless.session() as unit, factory() as db:
        add(db)
        assert notes(db) == 1
        with lagless.replica():
            add(db)
            assert notes(db) == 2
        assert not unit.token()
    primary.dispose()
    assert stored(world) == 2


# -- commits that do not look like one

COMMITTING = {
    "ddl": ("insert into note (text) values ('x')", "create or replace table ddl_a (i int)"),
    "commit": ("insert into note (text) values ('x')", "commit"),
    "start transaction": ("insert into note (text) values ('x')", "start transaction"),
    "lock tables": ("insert into note (text) values ('x')", "lock tables note write", "unlock tables"),
}


@pytest.mark.parametrize("end", ["rollback", "close"])
@pytest.mark.parametrize("statements", COMMITTING.values(), ids=COMMITTING)
@only("mysql+pymysql", "mysql+asyncmy async")
def test_implicit_commits(world: World, statements: tuple[str, ...], end: str) -> None:
    """What MariaDB committed on its own before a rollback is seen by the unit, and by the next one."""

    def scenario(db: Any) -> tuple[int, int]:
        world.pause()
        for statement in statements:
            db.execute(text(statement))
        getattr(db, end)()
        seen = notes(db)
        with lagless.session(current().session.token()):
            return seen, notes(db)

    assert world.play(scenario) == (1, 1)


@PYMYSQL
def test_truncate_and_close(world: World) -> None:
    """DDL is followed when nothing but it ran, and the session is closed without a commit."""

    def scenario(db: Any) -> int:
        add(db)
        world.catch_up()
        world.pause()
        db.execute(text("truncate note"))
        db.close()
        return notes(db)

    assert world.play(scenario) == 0


@SYNC
def test_a_commit_as_text_and_the_next_unit(world: World) -> None:
    """What COMMIT as a statement committed is in the token."""

    def act(factory: Any) -> int:
        world.pause()
        with lagless.session() as unit, factory() as db:
            db.execute(text("insert into note (text) values ('x')"))
            db.execute(text("commit"))
        with lagless.session(unit.token()), factory() as db:
            return notes(db)

    assert world.stage(act) == 1


PROCEDURES = {
    True: "create or replace procedure half() language plpgsql as $$ begin "
    "insert into note (text) values ('half'); commit; raise exception 'no'; end $$",
    False: "create or replace procedure half() begin insert into note (text) values ('half'); "
    "signal sqlstate '45000' set message_text = 'no'; end",
}


@SYNC
def test_a_procedure_that_fails_halfway(world: World) -> None:
    """In autocommit, what a procedure committed before its error is seen by the unit."""
    world.servers.primary.execute(PROCEDURES[world.is_postgresql])
    world.servers.wait_replayed()

    def act(factory: Any) -> int:
        with lagless.session():
            world.pause()
            with factory.engines.home.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                with pytest.raises(DBAPIError):
                    connection.execute(text("call half()"))
            with factory() as db:
                return notes(db)

    assert world.stage(act) == 1


@PSYCOPG
def test_a_parameter_that_cannot_be_sent(world: World) -> None:
    """A statement that fails in the client ends no transaction: the write before it is settled at its commit."""

    class Odd:
        """Something the driver cannot send."""

    class OddDumper(Dumper):
        """Fails."""

        def dump(self, obj: Any) -> Any:
            raise ValueError("it cannot be sent")

    def scenario(db: Any) -> int:
        world.pause()
        db.add(Note(text="a"))
        db.flush()
        connection = db.connection()
        connection.connection.driver_connection.adapters.register_dumper(Odd, OddDumper)
        with pytest.raises(ValueError, match="it cannot be sent"):
            connection.exec_driver_sql("select %s", (Odd(),))
        db.commit()
        return notes(db)

    assert world.play(scenario) == 1


@PSYCOPG
def test_copy_on_the_drivers_connection(world: World) -> None:
    """What is copied below SQLAlchemy, on the connection that a session gave, is seen by the unit."""

    def scenario(db: Any) -> int:
        world.pause()
        with db.connection().connection.driver_connection.cursor() as cursor:
            with cursor.copy("copy note (text) from stdin") as rows:
                rows.write("x\n")
        db.commit()
        return notes(db)

    assert world.play(scenario) == 1


class SoftTimeLimit(Exception):
    """What a task queue raises in a signal handler."""


@contextlib.contextmanager
def interrupted(when: Callable[[], bool]) -> Iterator[None]:
    """Raise SoftTimeLimit in the main thread, inside this block, as soon as `when` is true."""

    def interrupt(*_: Any) -> None:
        raise SoftTimeLimit

    def wait() -> None:
        try:
            until(when)
        finally:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    thread = threading.Thread(target=wait)
    thread.start()
    try:
        with pytest.raises(SoftTimeLimit):
            yield
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, before)


@SYNC
def test_a_signal_while_a_commit_waits_for_its_answer(world: World) -> None:
    """A commit that was interrupted is in doubt: the unit, and the next one, read what came through."""

    def act(factory: Any) -> tuple[int, int]:
        with lagless.session() as unit:
            with factory() as db:
                db.add(Note(text="a"))
                db.flush()
                world.pause()
                proxy.stall("down")
                with interrupted(lambda: stored(world) == 1):
                    db.commit()
                proxy.heal()
                with contextlib.suppress(DBAPIError):  # the driver may find its connection in the middle of a commit
                    db.rollback()
            with factory() as db:
                seen = notes(db)
        with lagless.session(unit.token()), factory() as db:
            return seen, notes(db)

    with behind_a_proxy(world) as proxy:
        assert world.stage(act) == (1, 1)


# -- reads and writes that cross a settling


@PSYCOPG
def test_a_read_of_the_primary_while_another_thread_settles(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread read after the position was asked for is in the token, though the answer came later."""
    asked, go = threading.Event(), threading.Event()
    seen: list[int] = []

    def read(factory: Any) -> None:
        asked.wait(10)
        world.servers.wait_replayed()
        world.pause()
        world.servers.primary.execute("insert into note (text) values ('foreign')")
        with factory() as db:
            seen.append(notes(db))
        go.set()

    def act(factory: Any) -> int:
        real, capture = raw.ask, factory.cluster.dialect.capture_statement()

        def slow(connection: Any, statements: Any) -> Any:
            row = real(connection, statements)
            if capture in statements and not asked.is_set():
                asked.set()
                go.wait(10)
            return row

        with lagless.session(key="me") as unit:
            with factory() as db:
                with lagless.primary():
                    notes(db)
                thread = threading.Thread(target=copy_context().run, args=(read, factory))
                thread.start()
                monkeypatch.setattr(raw, "ask", slow)
                add(db)
                thread.join()
        now = time.monotonic()
        until(lambda: factory.cluster.monitor.hurry() or all(s.sent > now for s in factory.cluster.topology.replicas))
        with lagless.session(unit.token(), key="me"), factory() as db:
            return notes(db)

    assert world.stage(act) == 2
    assert seen == [2]


def test_a_write_that_begins_while_a_commits_answer_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to one commit settles no write that another thread began meanwhile."""
    footprint = Footprint("default", 0.0)
    footprint.begin_write()
    footprint.end_write()

    def another_thread_writes(*_: Any) -> bool:
        footprint.begin_write()
        return True

    monkeypatch.setattr(lagless.settling, "_in_order", another_thread_writes)
    own = MariaGtids.parse(History("mariadb", 0, 0), "0-1-5")
    cluster: Any = SimpleNamespace(topology=None, monitor=None, emit=lambda *_: None)
    lagless.settling.settle_own(cluster, footprint, own, 0)
    assert footprint.in_flight == 1
    assert footprint.unsettled >= 1


# -- snapshots older than a write


def on_one_replica(world: World, factory: Any) -> str:
    """Return a token that only the first replica can serve, because the other one is paused."""
    held, behind = world.servers.replicas
    world.pause(behind)
    with lagless.session() as unit, factory() as db:
        add(db)
    world.servers.wait_replayed(held)
    hear_of_one(world, held)
    return unit.token()


def hear_of_one(world: World, node: Any) -> None:
    """Wait until lagless knows that a replica holds what the primary has now."""
    now, cluster = time.monotonic(), world.cluster
    until(lambda: cluster.monitor.hurry() or cluster.topology.nodes[node.name].fresh_at > now)


@PYMYSQL
def test_an_open_snapshot_after_an_own_write(world: World) -> None:
    """A REPEATABLE READ transaction on a replica serves no read after another session of the unit has written."""
    held = world.servers.replicas[0]

    def act(factory: Any) -> tuple[int, int]:
        token = on_one_replica(world, factory)
        with lagless.session(token), factory() as one, factory() as two:
            before = one.scalar(select(func.count()).select_from(Note))
            assert world.nodes[-1] == held.name
            add(two)
            world.servers.wait_replayed(held)
            hear_of_one(world, held)
            return before, one.scalar(select(func.count()).select_from(Note))

    assert world.stage(act) == (1, 2)


@PYMYSQL
def test_an_open_snapshot_in_the_next_unit(world: World) -> None:
    """A transaction left open on a replica serves no unit whose token is newer."""
    held = world.servers.replicas[0]

    def act(factory: Any) -> tuple[int, int]:
        token = on_one_replica(world, factory)
        with factory() as db:
            with lagless.session(token):
                before = db.scalar(select(func.count()).select_from(Note))
                assert world.nodes[-1] == held.name
            with lagless.session() as unit, factory() as two:
                add(two)
            world.servers.wait_replayed(held)
            hear_of_one(world, held)
            with lagless.session(unit.token()):
                return before, db.scalar(select(func.count()).select_from(Note))

    assert world.stage(act) == (1, 2)


# -- writes after the response began


@pytest.mark.parametrize("made", ["before", "within"])
@PSYCOPG
def test_changes_that_wait_when_the_response_starts(world: World, made: str) -> None:
    """A session with unsent changes, made before the request or within it, has the response say "in doubt"."""

    def act(factory: Any) -> tuple[int, int]:
        sessions = [factory()] if made == "before" else []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            db = sessions[0] if sessions else factory()
            if scope["method"] == "POST":
                db.add(Note(text="a"))
                await send(start)
                db.commit()
            else:
                seen.append(notes(db))
                await send(start)
            await send({"type": "http.response.body", "body": b""})
            db.close()

        async def call(method: str, cookies: list[bytes]) -> list[bytes]:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            headers = [(b"cookie", cookie) for cookie in cookies]
            await middleware({"type": "http", "method": method, "path": "/", "headers": headers}, None, send)
            return [value.split(b";")[0] for name, value in sent[0]["headers"] if name == b"set-cookie"]

        async def visit() -> None:
            await call("GET", await call("POST", []))

        seen: list[int] = []
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
        middleware = lagless.asgi.Middleware(app, clusters=[factory], keys=["x" * 40])
        world.pause()
        asyncio.run(visit())
        return seen[0], stored(world)

    assert world.stage(act) == (1, 1)


# -- replicas that take no connection


@only("postgresql+psycopg", "postgresql+psycopg async", "postgresql+asyncpg async")
def test_full_replicas(world: World) -> None:
    """While no replica has a connection left, the read of each unit is the primary's, without an error."""

    def scenario(db: Any) -> list[int]:
        seen = []
        with full(*world.servers.replicas):
            for _ in range(4):
                until(lambda: all(state.alive for state in world.cluster.topology.replicas))
                with lagless.session():
                    seen.append(notes(db))
        return seen

    assert world.play(scenario) == [0] * 4
    assert set(world.nodes) == {"primary"}
    assert world.cluster.counts.events[Kind.READ_MOVED]


@only(
    "postgresql+psycopg",
    "postgresql+asyncpg async",
    "mysql+pymysql",
    "mysql+aiomysql async",
    "mysql+asyncmy async",
)
def test_a_login_that_replicas_refuse(world: World) -> None:
    """When replicas refuse the application's new connections, though not the monitor's, the primary serves."""
    plain, refused = world.engines, []

    def spoil(dialect: Any, record: Any, args: Any, params: dict[str, Any]) -> None:
        if threading.current_thread() is threading.main_thread():
            params.update(user="nobody_here", password="wrong")
            refused.append(1)

    def engines(**options: Any) -> dict[str, Any]:
        made = plain(**options)
        for name in REPLICAS:
            event.listen(getattr(made[name], "sync_engine", made[name]), "do_connect", spoil)
        return made

    world.engines = engines  # type: ignore[method-assign]
    assert world.play(notes) == 0
    assert world.nodes == ["primary"]
    assert refused


# -- what is slow, and what hangs


@pytest.mark.parametrize(
    ("world", "limit", "query"),
    [
        ("postgresql+asyncpg async", {"command_timeout": 0.7}, "select pg_sleep(5)"),
        ("mysql+pymysql", {"read_timeout": 1}, "select sleep(5)"),
    ],
    indirect=["world"],
    ids=["asyncpg", "pymysql"],
)
def test_a_time_limit_of_the_applications_own(world: World, limit: dict[str, Any], query: str) -> None:
    """A query that takes longer than the driver may wait runs once, and its node is not blamed."""
    sent: list[str] = []

    def scenario(db: Any) -> None:
        notes(db)
        for engine in db.routes[db.bind].by_node.values():
            event.listen(engine, "before_cursor_execute", lambda c, cursor, statement, *_: sent.append(statement))
        with pytest.raises((TimeoutError, DBAPIError)):
            db.execute(text(query))
        db.rollback()

    world.play(scenario, engine_options={"connect_args": limit})
    assert sent == [query]
    events = world.cluster.counts.events
    assert not events[Kind.NODE_DOWN]
    assert not events[Kind.READ_MOVED]


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
@only("postgresql+psycopg", "postgresql+asyncpg async")
def test_a_transaction_that_ends_on_a_frozen_replica(world: World, end: str) -> None:
    """It ends as soon as the monitor knows: what was read is read."""

    def scenario(db: Any) -> None:
        db.scalars(select(Note)).all()
        with frozen(used(world)):
            getattr(db, end)()

    world.play(scenario, probe_timeout=0.3)


@PSYCOPG
def test_a_new_connection_to_a_frozen_replica(world: World) -> None:
    """Nobody waits for a greeting much longer than three seconds, and the read runs elsewhere."""

    def scenario(db: Any) -> int:
        notes(db)
        node = used(world)
        db.routes[db.bind].by_node[node.name].dispose()
        world.cluster.close()  # or the monitor might notice before the read is routed
        with frozen(node):
            return notes(db)

    assert world.play(scenario) == 0


# -- mistakes


@PSYCOPG
def test_serializable_replicas_are_refused(world: World) -> None:
    """A standby refuses SERIALIZABLE, so declaring such an engine is an error at once."""
    with pytest.raises(ConfigurationError, match="SERIALIZABLE"):
        world.stage(lambda factory: None, engine_options={"isolation_level": "SERIALIZABLE"})


class Sealed(TypeDecorator):
    """Text whose key server is down."""

    impl = String
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Fail."""
        raise ConnectionRefusedError("key server")


@PSYCOPG
def test_an_oserror_in_a_type(world: World) -> None:
    """An OSError of the application's own, raised over a row, is no failure of the replica."""

    def scenario(db: Any) -> None:
        with pytest.raises(ConnectionRefusedError):
            db.scalar(select(type_coerce(Note.text, Sealed())))

    world.servers.primary.execute("insert into note (text) values ('a')")
    world.play(scenario)
    assert len(world.nodes) == 1
    assert set(world.nodes) <= REPLICAS
    assert not world.cluster.counts.events[Kind.NODE_DOWN]


@PSYCOPG
def test_an_oserror_in_a_hook(world: World) -> None:
    """An OSError that a do_orm_execute hook raises before a read is sent blames no node, and calls no hook again."""
    calls: list[int] = []

    def scenario(db: Any) -> None:
        db.scalars(select(Note)).all()

        @event.listens_for(db, "do_orm_execute")
        def ask_a_cache(state: Any) -> None:
            calls.append(1)
            raise ConnectionRefusedError("cache")

        with pytest.raises(ConnectionRefusedError):
            db.scalars(select(Note)).all()

    world.play(scenario)
    assert calls == [1]
    assert len(world.nodes) == 1
    assert not world.cluster.counts.events[Kind.NODE_DOWN]


@PSYCOPG
def test_writes_on_a_connection_of_a_replica(world: World) -> None:
    """A write where a replica was named is a ReadOnlyViolation, or the server's refusal, no inside word."""
    world.servers.primary.execute("create sequence if not exists tickets")
    world.servers.wait_replayed()
    ticket = text("select nextval('tickets')")

    def scenario(db: Any) -> None:
        with lagless.replica(), pytest.raises(lagless.ReadOnlyViolation):
            db.connection().execute(text("insert into note (text) values ('x')"))
        db.rollback()
        replicas = db.routes[db.bind].by_node
        with pytest.raises(DBAPIError, match="read-only transaction"):
            db.execute(ticket, bind_arguments={"bind": replicas["replica1"]})
        db.rollback()
        db.scalars(select(Note)).all()
        with pytest.raises(lagless.ReadOnlyViolation):
            db.execute(ticket, bind_arguments={"bind": replicas[world.nodes[-1]]})
        db.rollback()

    world.play(scenario)
    assert stored(world) == 0
