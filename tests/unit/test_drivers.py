"""Probes over drivers, as far as they go without a server: fakes connect, answer, fail and hang."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from lagless.dialects.base import Row
from lagless.drivers.aio import LoopProbe
from lagless.drivers.asyncpg import AsyncpgProbe, first_line
from lagless.drivers.dbapi import DbapiProbe, TimedProbe, as_text
from lagless.drivers.psycopg import PsycopgProbe
from lagless.drivers.sockets import readable
from lagless.drivers.tracking import changes_of, with_session_track


class FakeConnection:
    """A DB-API connection that answers each statement with its own text."""

    def __init__(self, execute: Callable[[str], None] = lambda statement: None) -> None:
        self.log: list[str] = []
        self.description: tuple[str, ...] | None = None
        self._execute = execute
        self._answer = ""

    def cursor(self) -> FakeConnection:
        """Be the cursor, too."""
        return self

    def execute(self, statement: str) -> None:
        """Note the statement; only a select has a row."""
        self._execute(statement)
        self.log.append(statement)
        self._answer = statement
        self.description = ("column",) if statement.startswith("select") else None

    def fetchone(self) -> tuple[str, None]:
        """Return the only row."""
        return (self._answer, None)

    def commit(self) -> None:
        """Note it."""
        self.log.append("commit")

    def close(self) -> None:
        """Note it: a cursor's end or the connection's."""
        self.log.append("close")


class Clock:
    """Monotonic time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the DB-API probes."""
    clock = Clock()
    monkeypatch.setattr("lagless.drivers.dbapi.time", clock)
    return clock


# -- any DB-API connection


def test_every_value_becomes_text_and_null_stays_none() -> None:
    """Bytes are text in the binary character set, not their Python literal."""
    assert as_text((1, None, True, b"0-1-7", "", 1.5)) == ["1", None, "True", "0-1-7", "", "1.5"]


def test_a_plain_probe_commits_each_statement_and_answers_the_last() -> None:
    """What a driver opened on its own must not stay open."""
    connection = FakeConnection()
    probe = DbapiProbe(lambda: connection)
    assert probe.ask(["update", "select 1"], 1.0) == ["select 1", None]
    assert connection.log == ["update", "close", "commit", "select 1", "close", "commit"]
    assert probe.fileno() is None


def test_a_statement_without_a_row_answers_none() -> None:
    """An update as the last statement is no error."""
    assert DbapiProbe(FakeConnection).ask(["update"], 1.0) is None


# -- drivers with timeouts


def timed(connection: Any, told: list[float] | None = None, fd: int | None = None) -> TimedProbe:
    """Return a probe that connects to `connection`, and notes in `told` what it told the driver."""

    def connect(timeout: float) -> Any:
        if told is not None:
            told.append(timeout)
        return connection

    return TimedProbe(connect, lambda connection: fd)


def test_a_timed_probe_connects_when_first_asked_and_once(clock: Clock) -> None:
    """With the timeout of that question."""
    told: list[float] = []
    probe = timed(FakeConnection(), told)
    assert told == []
    assert probe.ask(["select 1"], 0.5) == ["select 1", None]
    assert probe.ask(["select 2"], 0.5) == ["select 2", None]
    assert told == [0.5]


def test_a_timed_probe_asked_with_another_timeout_connects_anew(clock: Clock) -> None:
    """Its connection would wait as long as it was told before."""
    told: list[float] = []
    connection = FakeConnection()
    probe = timed(connection, told)
    probe.ask(["select 1"], 5.0)
    probe.ask(["select 1"], 0.5)
    assert told == [5.0, 0.5]
    assert connection.log == ["select 1", "close", "close", "select 1", "close"]


def test_a_timed_probe_leaves_committing_to_autocommit(clock: Clock) -> None:
    """A commit of its own would be a round trip for nothing."""
    connection = FakeConnection()
    timed(connection).ask(["update", "select 1"], 1.0)
    assert "commit" not in connection.log


@pytest.mark.parametrize(("late", "raised"), [(0.99, RuntimeError), (1.0, TimeoutError)])
def test_an_error_after_the_deadline_is_a_timeout(clock: Clock, late: float, raised: type[Exception]) -> None:
    """Each driver has its own word for no answer; one in time passes as it is."""

    def fail(statement: str) -> None:
        clock.now += late
        raise RuntimeError("lost connection")

    with pytest.raises(raised) as caught:
        timed(FakeConnection(fail)).ask(["select 1"], 1.0)
    assert type(caught.value) is raised


def test_answers_that_are_late_in_sum_are_a_timeout(clock: Clock) -> None:
    """The statements after the deadline are not sent."""

    def wait(statement: str) -> None:
        clock.now += 0.6

    connection = FakeConnection(wait)
    with pytest.raises(TimeoutError):
        timed(connection).ask(["select 1", "select 2", "select 3"], 1.0)
    assert "select 3" not in connection.log


def test_a_timed_probe_watches_the_drivers_socket(clock: Clock) -> None:
    """Silent it is alive; whatever can be read is its end; without a socket it was never there."""
    reader, writer = os.pipe()
    try:
        probe = timed(FakeConnection(), fd=reader)
        assert probe.fileno() is None
        assert probe.ended()
        probe.ask(["select 1"], 1.0)
        assert probe.fileno() == reader
        assert not probe.ended()
        os.write(writer, b"!")
        assert probe.ended()
        probe.close()
        assert probe.fileno() is None
    finally:
        os.close(reader)
        os.close(writer)


def test_closing_does_not_fail(clock: Clock) -> None:
    """What a dead connection says of it is no news."""

    class Dead(FakeConnection):
        def close(self) -> None:
            if self.log[-1:] == ["closing"]:
                raise RuntimeError("already closed")

    connection = Dead()
    probe = timed(connection)
    probe.ask(["select 1"], 1.0)
    connection.log.append("closing")
    probe.close()
    probe.close()
    assert probe.fileno() is None


def test_a_descriptor_is_readable_from_its_first_byte_to_its_end() -> None:
    """The end counts, too."""
    reader, writer = os.pipe()
    assert not readable(reader)
    os.write(writer, b"!")
    assert readable(reader)
    os.read(reader, 1)
    assert not readable(reader)
    os.close(writer)
    assert readable(reader)
    os.close(reader)


# -- mysqlclient, which is seldom installed


@pytest.fixture
def mysqldb(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, list[dict[str, Any]]]]:
    """The module over a fake MySQLdb, and what that was told."""
    told: list[dict[str, Any]] = []

    def connect(**params: Any) -> FakeConnection:
        told.append(params)
        return FakeConnection()

    monkeypatch.setitem(sys.modules, "MySQLdb", SimpleNamespace(connect=connect))
    monkeypatch.delitem(sys.modules, "lagless.drivers.mysqldb", raising=False)
    yield importlib.import_module("lagless.drivers.mysqldb"), told
    sys.modules.pop("lagless.drivers.mysqldb", None)


def test_mysqlclient_is_told_whole_seconds_and_autocommit(
    mysqldb: tuple[ModuleType, list[dict[str, Any]]], clock: Clock
) -> None:
    """Over a fake of its module: the options' names are mysqlclient's, and nobody's cursors are used."""
    module, told = mysqldb
    probe = module.MySQLdbProbe({"host": "h", "passwd": "p", "cursorclass": dict, "read_timeout": 30})
    assert probe.ask(["select 1"], 1.2) == ["select 1", None]
    bounds = {"connect_timeout": 2, "read_timeout": 2, "write_timeout": 2}
    assert told == [{"host": "h", "passwd": "p", "autocommit": True, **bounds}]


def test_a_mysqlclient_without_fileno_is_not_watched(
    mysqldb: tuple[ModuleType, list[dict[str, Any]]], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer one tells its socket."""
    probe = mysqldb[0].MySQLdbProbe({})
    probe.ask(["select 1"], 1.0)
    assert probe.fileno() is None
    monkeypatch.setattr(FakeConnection, "fileno", lambda self: 7, raising=False)
    assert probe.fileno() == 7


# -- asyncio drivers


class FakeDriver(LoopProbe[object]):
    """A driver that answers at once, or never."""

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__()
        self.hangs = hangs
        self.log: list[str] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.background: asyncio.Task[Any] | None = None

    async def _connect(self) -> object:
        self.log.append("connect")
        self.loops.append(asyncio.get_running_loop())
        return object()

    async def _run(self, connection: object, statement: str) -> Row | None:
        if self.hangs:
            self.background = asyncio.create_task(asyncio.Event().wait())
            await asyncio.Event().wait()
        self.log.append(statement)
        return [statement]

    async def _leave(self, connection: object) -> None:
        self.log.append("leave")
        raise RuntimeError("already left")


def test_a_loop_probe_connects_when_first_asked_and_leaves_when_closed() -> None:
    """In between it keeps its connection; what leaving raises is no news."""
    probe = FakeDriver()
    assert probe.log == []
    assert probe.ended()
    assert probe.ask(["a", "b"], 1.0) == ["b"]
    assert probe.ask(["c"], 1.0) == ["c"]
    assert probe.fileno() is None
    probe.close()
    probe.close()
    assert probe.log == ["connect", "a", "b", "c", "leave"]
    assert probe.loops[0].is_closed()


def test_a_loop_probe_asked_after_its_end_connects_anew() -> None:
    """On a new loop."""
    probe = FakeDriver()
    for _ in range(2):
        assert probe.ask(["a"], 1.0) == ["a"]
        probe.close()
    assert len({id(loop) for loop in probe.loops}) == 2


def test_a_loop_probe_that_hears_nothing_gives_up_all_it_began() -> None:
    """Even what the driver left running; nobody says goodbye to one that does not answer."""
    probe = FakeDriver(hangs=True)
    with pytest.raises(TimeoutError):
        probe.ask(["a"], 0.01)
    assert probe.loops[0].is_closed()
    assert probe.background is not None
    assert probe.background.cancelled()
    probe.close()
    assert probe.log == ["connect"]


def test_a_loop_probe_touches_nobody_elses_loop() -> None:
    """A thread's own loop stays what it was, and unused."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        probe = FakeDriver()
        probe.ask(["a"], 1.0)
        probe.close()
        assert asyncio.get_event_loop() is loop
        assert probe.loops != [loop]
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# -- asyncpg's text


@pytest.mark.parametrize(
    ("copied", "row"),
    [
        (b"", None),
        (b"1\n", ["1"]),
        (b"t\t\\N\t\n", ["t", None, ""]),
        (b"first\nsecond\n", ["first"]),
        (rb"a\tb\nc\\N" + b"\n", ["a\tb\nc\\N"]),
        ("ä\n".encode(), ["ä"]),
    ],
)
def test_the_text_format_of_copy(copied: bytes, row: list[str | None] | None) -> None:
    """NULL is not the text of its mark; only the first row counts."""
    assert first_line(copied) == row


# -- what SQLAlchemy passes on


@pytest.mark.parametrize("async_", [False, True])
def test_psycopgs_probe_takes_what_sqlalchemy_passes(async_: bool) -> None:
    """Both colours of its dialect; what libpq does not know is left out."""
    url = make_url("postgresql+psycopg://ada:geheim@h1/db?sslmode=require")
    dialect = url.get_dialect(_is_async=async_)(client_encoding="utf8")
    dialect.dbapi = dialect.import_dbapi()
    _, params = dialect.create_connect_args(url)
    mine = {"autocommit": True, "context": None, "row_factory": tuple, "async_creator_fn": print, "async_fallback": 1}
    conninfo = PsycopgProbe({**params, **mine})._conninfo.decode()
    assert dict(part.split("=") for part in conninfo.split()) == {
        "user": "ada",
        "password": "geheim",
        "host": "h1",
        "dbname": "db",
        "sslmode": "require",
        "client_encoding": "utf8",
        "fallback_application_name": "lagless",
    }


def test_psycopgs_probe_takes_adapters_of_a_real_engine() -> None:
    """An engine's dialect passes its adapters as `context`."""
    engine = create_engine("postgresql+psycopg://ada@h1:5433/db")
    _, params = engine.dialect.create_connect_args(engine.url)
    assert "context" in params
    assert b"port=5433" in PsycopgProbe(params)._conninfo


def test_asyncpgs_probe_keeps_a_users_settings_but_not_what_changes_answers() -> None:
    """Its name is only a default."""
    probe = AsyncpgProbe([], {"host": "h", "record_class": tuple, "prepared_statement_cache_size": 0, "loop": 1})
    assert probe._params == {"host": "h", "server_settings": {"application_name": "lagless"}}
    named = AsyncpgProbe([], {"server_settings": {"application_name": "mine", "jit": "off"}})
    assert named._params == {"server_settings": {"application_name": "mine", "jit": "off"}}


# -- session tracking


def test_tracking_adds_its_capability_to_the_users() -> None:
    """SQLAlchemy sets one of its own."""
    assert with_session_track({"client_flag": 2, "host": "h"}) == {"client_flag": 2 | 1 << 23, "host": "h"}
    assert with_session_track({}) == {"client_flag": 1 << 23}
    with pytest.raises(TypeError, match="client_flag"):
        with_session_track({"client_flag": "2"})


@pytest.mark.parametrize(
    ("result", "changes"),
    [
        (SimpleNamespace(server_status=0x4002, message=b"\x00\x12"), b"\x00\x12"),
        (SimpleNamespace(server_status=0x0002, message=b"\x00\x12"), None),
        (SimpleNamespace(server_status=None, message=None), None),
        (SimpleNamespace(server_status=0x4000, message=None), None),
        (SimpleNamespace(), None),
        (None, None),
    ],
)
def test_changes_are_told_only_by_an_ok_packet_that_flags_them(result: object, changes: bytes | None) -> None:
    """Whatever else a driver keeps, or no longer keeps, tells of none."""
    assert changes_of(result) == changes
