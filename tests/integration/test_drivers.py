"""Every probe over real servers: what it answers, how long it waits, and that it hears the end."""

from __future__ import annotations

import asyncio
import contextlib
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from lagless.drivers.aiomysql import AiomysqlProbe
from lagless.drivers.aiomysql import connect as connect_aiomysql
from lagless.drivers.asyncmy import AsyncmyProbe
from lagless.drivers.asyncmy import connect as connect_asyncmy
from lagless.drivers.asyncpg import AsyncpgProbe
from lagless.drivers.psycopg import PsycopgProbe
from lagless.drivers.pymysql import PyMySQLProbe, TrackedConnection
from lagless.monitor import Probe
from lagless.testing import MariaDBCluster, PostgresCluster
from lagless.testing.mariadb import available
from lagless.testing.pytest_plugin import require

POSTGRESQL = {
    "psycopg": lambda params: PsycopgProbe(params),
    "asyncpg": lambda params: AsyncpgProbe([], params),
}
MYSQL: dict[str, Callable[[Any], Probe]] = {
    "pymysql": PyMySQLProbe,
    "aiomysql": AiomysqlProbe,
    "asyncmy": AsyncmyProbe,
}
TIMEOUT = 0.4
SLACK = 0.5


# -- servers


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    """A folder with a key and a certificate, for whoever runs the servers to read."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        subprocess.run(request + files, check=True, capture_output=True)
        (folder / "key.pem").chmod(0o644)
        yield folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server."""
    with PostgresCluster(replicas=0) as cluster:
        yield cluster.primary


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Any]:
    """A MariaDB server."""
    require(available())
    with MariaDBCluster(replicas=0) as cluster:
        cluster.primary.execute(f"create table {cluster.database}.note (id int primary key auto_increment)")
        yield cluster.primary


class Subject:
    """A driver's probe and the server that it asks."""

    def __init__(self, driver: str, node: Any) -> None:
        self.driver = driver
        self.node = node
        self.url = make_url(node.dsn if driver in POSTGRESQL else node.url()).set(
            drivername=f"{'postgresql' if driver in POSTGRESQL else 'mysql'}+{driver}"
        )
        self.probe = self.another()

    def another(self, **changes: Any) -> Probe:
        """Return a probe with what SQLAlchemy makes of the server's URL, and changes to that."""
        make = {**POSTGRESQL, **MYSQL}[self.driver]
        return make({**self.params, **changes})

    @property
    def params(self) -> dict[str, Any]:
        """What SQLAlchemy passes to the driver's connect()."""
        dialect = self.url.get_dialect()()
        dialect.dbapi = dialect.import_dbapi()
        return dialect.create_connect_args(self.url)[1]


@pytest.fixture(params=[*POSTGRESQL, *MYSQL])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Each driver over its server, which runs, before and after."""
    node = request.getfixturevalue("postgres" if request.param in POSTGRESQL else "mariadb")
    subject = Subject(request.param, node)
    yield subject
    subject.probe.close()
    node.thaw()
    node.start()


def ask(subject: Subject, *statements: str) -> list[str | None]:
    """Ask with patience; only the server's condition counts here."""
    return list(subject.probe.ask(statements, 5.0) or ())


def hears_its_end(probe: Probe) -> bool:
    """Tell whether a probe that is woken by its socket says that it ended; a server's last words may wake it first."""
    for _ in range(3):
        wait_readable(probe.fileno())
        if probe.ended():
            return True
    return False


def wait_readable(fd: int | None) -> None:
    """Return when the socket has something to say, as a watch would be woken."""
    assert fd is not None
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(5000)


# -- answers


def test_answers_are_text(subject: Subject) -> None:
    """NULL is none, the empty string is not."""
    assert ask(subject, "select 1, null, '', 'x\\ty', 1.5, 12345678901") in (
        ["1", None, "", "x\\ty", "1.5", "12345678901"],
        ["1", None, "", "x\ty", "1.5", "12345678901"],  # MySQL's strings have escapes
    )


def test_only_the_last_statement_answers(subject: Subject) -> None:
    """By its first row; one without any answers none."""
    assert ask(subject, "select 1", "select 2 union all select 3") == ["2"]
    assert ask(subject, "select 1", "select 2 where 1 = 0") == []


def test_no_transaction_stays_open(subject: Subject) -> None:
    """What others commit is seen by the next question."""
    subject.node.execute("drop table if exists seen")
    ask(subject, "create table seen (i int)")
    assert ask(subject, "select count(*) from seen") == ["0"]
    other = Subject(subject.driver, subject.node)
    ask(other, "insert into seen values (1)")
    other.probe.close()
    assert ask(subject, "select count(*) from seen") == ["1"]
    ask(subject, "drop table seen")


def test_a_failing_statement_leaves_the_probe_usable(subject: Subject) -> None:
    """A server that has no helper function says so, and goes on."""
    with pytest.raises(Exception, match="nowhere"):
        ask(subject, "select * from nowhere")
    assert ask(subject, "select 1") == ["1"]


def test_a_probe_connects_when_first_asked(subject: Subject) -> None:
    """Until then it has no socket; after close() it has none again, and the next question connects."""
    assert subject.probe.fileno() is None
    assert ask(subject, "select 1") == ["1"]
    assert subject.probe.fileno() is not None
    assert not subject.probe.ended()
    subject.probe.close()
    assert subject.probe.fileno() is None
    assert ask(subject, "select 2") == ["2"]


def test_a_probe_works_in_whichever_thread_asks(subject: Subject) -> None:
    """One after the other; the loop of an asyncio driver goes along."""
    answers: list[list[str | None]] = []
    for number in range(2):
        thread = threading.Thread(target=lambda number=number: answers.append(ask(subject, f"select {number}")))
        thread.start()
        thread.join()
    subject.probe.close()
    assert answers == [["0"], ["1"]]


def test_a_probe_works_beside_a_running_loop(subject: Subject) -> None:
    """In a thread of its own, while an application's loop waits for it."""

    async def application() -> list[str | None]:
        return await asyncio.to_thread(ask, subject, "select 1")

    assert asyncio.run(application()) == ["1"]


# -- faults


def assert_times_out(subject: Subject) -> None:
    """Ask; nothing comes, for as long as was said."""
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        subject.probe.ask(["select 1"], TIMEOUT)
    assert TIMEOUT <= time.monotonic() - began < TIMEOUT + SLACK


def test_a_frozen_server_costs_the_timeout(subject: Subject) -> None:
    """While it is asked, and while it is connected to; a thawed one answers."""
    assert subject.probe.ask(["select 1"], TIMEOUT) == ["1"]
    subject.node.freeze()
    assert_times_out(subject)
    subject.probe.close()
    assert_times_out(subject)
    subject.probe.close()
    subject.node.thaw()
    assert ask(subject, "select 1") == ["1"]


def test_closing_a_probe_of_a_frozen_server_does_not_wait(subject: Subject) -> None:
    """A goodbye that nobody hears is short."""
    ask(subject, "select 1")
    subject.node.freeze()
    began = time.monotonic()
    subject.probe.close()
    assert time.monotonic() - began < SLACK


def test_the_end_of_a_server_is_heard(subject: Subject) -> None:
    """Without a question: the socket wakes who sleeps on it; a restarted server answers a closed probe."""
    ask(subject, "select 1")
    assert not subject.probe.ended()
    subject.node.kill()
    assert hears_its_end(subject.probe)
    subject.probe.close()
    subject.node.start()
    assert ask(subject, "select 1") == ["1"]


def test_a_killed_server_refuses(subject: Subject) -> None:
    """Asked or connected to, at once."""
    ask(subject, "select 1")
    subject.node.kill()
    for _ in range(2):
        with pytest.raises(Exception, match=r".") as caught:
            ask(subject, "select 1")
        assert not isinstance(caught.value, TimeoutError)
        subject.probe.close()


def test_a_refused_login_does_not_name_the_password(subject: Subject) -> None:
    """Neither the error nor what it came from; and nothing is left open."""
    probe = subject.another(user="nobody-of-that-name", password="geheim-4711")
    with pytest.raises(Exception, match=r".") as caught:
        probe.ask(["select 1"], 5.0)
    assert probe.fileno() is None
    probe.close()
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_what_a_server_says_unasked_is_not_its_end(driver: str, postgres: Any) -> None:
    """A notification is read, so it wakes the watch once."""
    subject = Subject(driver, postgres)
    subject.probe.ask(["listen news", "select 1"], 5.0)
    postgres.execute("notify news")
    wait_readable(subject.probe.fileno())
    assert not subject.probe.ended()
    assert not subject.probe.ended()
    assert ask(subject, "select 1") == ["1"]
    subject.probe.close()


# -- TLS


class TlsFront:
    """A PostgreSQL server that speaks TLS: one that does not, behind a listener that does."""

    def __init__(self, certificate: Path, port: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
        self._behind = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.encrypted = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Accept no more; returns when every connection has ended."""
        self._listener.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=[client]))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._behind) as server:
            client.recv(8)  # the request for TLS
            client.sendall(b"S")
            with self._context.wrap_socket(client, server_side=True) as tls:
                self.encrypted += 1
                with contextlib.suppress(OSError):  # cut, by one side or the other
                    self._pump(tls, server)

    @staticmethod
    def _pump(tls: ssl.SSLSocket, server: socket.socket) -> None:
        while True:
            ready = [tls] if tls.pending() else select.select([tls, server], [], [])[0]
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                (server if source is tls else tls).sendall(data)


@pytest.fixture
def behind_tls(certificate: Path, postgres: Any) -> Iterator[TlsFront]:
    """PostgreSQL behind TLS."""
    front = TlsFront(certificate, postgres.port)
    yield front
    postgres.thaw()
    postgres.start()
    front.close()


ENCRYPTED = {"psycopg": {"sslmode": "require"}, "asyncpg": {"ssl": "require"}}


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_probe_hears_the_end_behind_tls(driver: str, behind_tls: TlsFront, postgres: Any) -> None:
    """A connection that becomes TLS after it was made is watched by the same socket."""
    probe = Subject(driver, postgres).another(port=behind_tls.port, **ENCRYPTED[driver])
    assert probe.ask(["select 1"], 5.0) == ["1"]
    assert behind_tls.encrypted == 1
    assert not probe.ended()
    postgres.kill()
    assert hears_its_end(probe)
    probe.close()


@pytest.mark.parametrize("driver", POSTGRESQL)
def test_a_server_frozen_behind_tls_costs_the_timeout(driver: str, behind_tls: TlsFront, postgres: Any) -> None:
    """While asked and while connected to; nothing is left open."""
    subject = Subject(driver, postgres)
    subject.probe = subject.another(port=behind_tls.port, **ENCRYPTED[driver])
    ask(subject, "select 1")
    postgres.freeze()
    for _ in range(2):
        assert_times_out(subject)
        subject.probe.close()


@pytest.fixture(scope="module")
def mariadb_tls(certificate: Path) -> Iterator[Any]:
    """A MariaDB server that speaks TLS to whoever asks."""
    require(available())
    files = {"ssl_cert": certificate / "certificate.pem", "ssl_key": certificate / "key.pem"}
    with MariaDBCluster(replicas=0, settings=files) as cluster:
        yield cluster.primary


@pytest.mark.parametrize("driver", MYSQL)
def test_mysql_probes_work_behind_tls(driver: str, mariadb_tls: Any, certificate: Path) -> None:
    """They answer, give up on a frozen server, and hear the end; aiomysql changes transports on the way."""
    context = ssl.create_default_context(cafile=str(certificate / "certificate.pem"))
    context.check_hostname = False
    subject = Subject(driver, mariadb_tls)
    subject.probe = subject.another(ssl=context)
    question = "select variable_value <> '' from information_schema.session_status where variable_name = 'ssl_cipher'"
    assert ask(subject, question) == ["1"]
    assert not subject.probe.ended()
    mariadb_tls.freeze()
    for _ in range(2):
        subject.probe.close()
        assert_times_out(subject)
    mariadb_tls.thaw()
    assert ask(subject, question) == ["1"]
    mariadb_tls.kill()
    assert hears_its_end(subject.probe)
    subject.probe.close()
    mariadb_tls.start()


# -- session tracking


def test_pymysql_keeps_what_the_server_says_of_a_commit(mariadb: Any) -> None:
    """Of a commit and of an autocommitted statement, and of nothing else; a failed statement leaves none."""
    connection = TrackedConnection(**mariadb.connect_params())
    cursor = connection.cursor()
    cursor.execute("insert into note values ()")
    assert connection.state_changes is None
    connection.commit()
    first = connection.state_changes
    assert_names_gtid(first)
    cursor.execute("select 1")
    assert connection.state_changes is None
    connection.autocommit(True)
    cursor.execute("insert into note values ()")
    second = connection.state_changes
    assert_names_gtid(second)
    assert first != second
    with pytest.raises(Exception, match="nowhere"):
        cursor.execute("insert into nowhere values ()")
    assert connection.state_changes is None
    connection.close()


@pytest.mark.parametrize("connect", [connect_aiomysql, connect_asyncmy])
def test_asyncio_drivers_keep_what_the_server_says_of_a_commit(connect: Callable[..., Any], mariadb: Any) -> None:
    """As PyMySQL's does."""
    params = mariadb.connect_params()
    params["db"] = params.pop("database")  # aiomysql's word

    async def story() -> None:
        connection = await connect(**params)
        await connection.query("insert into note values ()")
        assert connection.state_changes is None
        await connection.commit()
        first = connection.state_changes
        assert_names_gtid(first)
        await connection.query("select 1")
        assert connection.state_changes is None
        await connection.autocommit(True)
        await connection.query("insert into note values ()")
        assert_names_gtid(connection.state_changes)
        assert first != connection.state_changes
        await connection.rollback()
        assert connection.state_changes is None
        await connection.ensure_closed()

    asyncio.run(story())


def assert_names_gtid(changes: bytes | None) -> None:
    """The bytes name MariaDB's variable and a GTID of its default domain."""
    assert changes is not None
    assert b"last_gtid" in changes
    assert b"0-1-" in changes


@pytest.mark.parametrize("connect", [connect_aiomysql, connect_asyncmy])
def test_sqlalchemy_makes_tracked_connections(connect: Callable[..., Any], mariadb: Any) -> None:
    """Through `async_creator_fn`; its commit tells the position."""
    url = make_url(mariadb.url()).set(drivername=f"mysql+{connect.__module__.rpartition('.')[2]}")

    async def story() -> bytes | None:
        engine = create_async_engine(url, connect_args={"async_creator_fn": connect})
        async with engine.connect() as connection:
            await connection.execute(text("insert into note values ()"))
            await connection.commit()
            raw = await connection.get_raw_connection()
            changes = raw.driver_connection.state_changes
        await engine.dispose()
        return changes

    assert_names_gtid(asyncio.run(story()))


def test_sqlalchemy_makes_tracked_connections_of_pymysql(mariadb: Any) -> None:
    """Through `creator`."""
    engine = create_engine("mysql+pymysql://", creator=lambda: TrackedConnection(**mariadb.connect_params()))
    with engine.connect() as connection:
        connection.execute(text("insert into note values ()"))
        connection.commit()
        changes = connection.connection.driver_connection.state_changes
    engine.dispose()
    assert_names_gtid(changes)
