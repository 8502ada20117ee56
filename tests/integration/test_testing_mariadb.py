"""The public MariaDB cluster keeps its promises: deterministic lag, honest faults, nothing left behind."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from lagless.errors import ConfigurationError
from lagless.testing import FaultProxy, MariaDBCluster, _guardian, _mariadb_binaries, mariadb
from lagless.testing import _mariadb_replication as replication
from lagless.testing.pytest_plugin import require

TOOK = {}  # seconds to start, by cluster


@pytest.fixture(scope="module")
def lasting():
    """One cluster for the whole module."""
    require(mariadb.available())
    began = time.monotonic()
    with MariaDBCluster(replicas=2) as cluster:
        TOOK[cluster] = time.monotonic() - began
        yield cluster


@pytest.fixture
def db(lasting):
    """The lasting cluster with an empty table t, healed afterwards."""
    lasting.primary.execute("drop table if exists t")
    lasting.primary.execute("create table t (i int)")
    lasting.wait_replayed()
    yield lasting
    lasting.heal()


@pytest.fixture
def installed():
    """For a test that starts clusters of its own."""
    require(mariadb.available())


def insert(node, value):
    """Add one row to t."""
    node.execute("insert into t values (%s)", [value])


def rows(node):
    """What a node shows of t."""
    return [row[0] for row in node.execute("select i from t order by i")]


def as_application(node, sql, **options):
    """Run a statement with the application's rights."""
    with closing(node.connect(autocommit=True, **options)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def eventually(done, timeout=10.0):
    """Wait until `done()`, or fail."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- Start


def test_starts_in_about_a_second(lasting, capsys):
    """Three servers that replicate are up soon enough to start them in a test."""
    (version,) = lasting.primary.execute("select version()")[0]
    with capsys.disabled():
        print(f"\n  MariaDB {version}: primary and two replicas in {TOOK[lasting]:.2f} s", end=" ")  # noqa: T201 - a figure to know
    assert TOOK[lasting] < 15  # on a loaded machine; else about 0.8


def test_names_addresses_and_roles(db):
    """Nodes have stable names and loopback addresses, and one of them is the primary."""
    assert [node.name for node in db.nodes] == ["primary", "replica1", "replica2"]
    assert db.replicas == db.nodes[1:]
    assert [node.is_replica() for node in db.nodes] == [False, True, True]
    assert [node.execute("select @@read_only, @@server_id") for node in db.nodes] == [[(0, 1)], [(1, 2)], [(1, 3)]]
    assert all(node.running and node.pid and node.log_file.exists() for node in db.nodes)
    assert db.running
    assert repr(db.primary) == f"<MariaDBNode primary 127.0.0.1:{db.primary.port}>"


def test_servers_are_set_up_for_positions(db):
    """Each keeps a log of its own by GTID, is strict about it, and tells writers theirs."""
    asked = "select @@log_slave_updates, @@gtid_strict_mode, @@session_track_system_variables, @@character_set_server"
    assert [node.execute(asked) for node in db.nodes] == [[(1, 1, "last_gtid", "utf8mb4")]] * 3
    insert(db.primary, 1)
    db.wait_replayed()
    assert re.fullmatch(r"0-1-\d+", db.primary.position())
    assert {node.position() for node in db.nodes} == {db.primary.position()}


def test_ways_to_connect(db):
    """Parameters for a driver, a URL for SQLAlchemy, an entry for Django, a connection."""
    node = db.replicas[0]
    account = {"user": "lagless", "password": "lagless", "database": "lagless"}
    assert node.connect_params() == {"host": "127.0.0.1", "port": node.port, **account}
    assert node.url() == f"mysql+pymysql://lagless:lagless@127.0.0.1:{node.port}/lagless"
    assert node.url("asyncmy", database="a/b") == f"mysql+asyncmy://lagless:lagless@127.0.0.1:{node.port}/a%2Fb"
    assert node.django_settings(ENGINE="my.engine", CONN_MAX_AGE=5) == {
        "ENGINE": "my.engine",
        "NAME": "lagless",
        "USER": "lagless",
        "PASSWORD": "lagless",
        "HOST": "127.0.0.1",
        "PORT": str(node.port),
        "OPTIONS": {"charset": "utf8mb4"},
        "CONN_MAX_AGE": 5,
    }
    assert as_application(node, "select user(), database()") == [("lagless@127.0.0.1", "lagless")]


@pytest.mark.usefixtures("installed")
def test_options():
    """Settings, names that need quotes, a directory of one's own, and no replica at all."""
    parent = Path(tempfile.mkdtemp(prefix="lt-"))
    names = {"database": "my `d_b%", "user": "me & 'you'", "password": "p\\w'%s"}
    settings = {"max_connections": 33, "innodb_buffer_pool_size": "9M", "log_bin_trust_function_creators": True}
    try:
        with MariaDBCluster(0, base_dir=parent, settings=settings, **names) as cluster:
            assert cluster.replicas == []
            assert cluster.primary.data_dir.parent.parent == parent.resolve()
            as_application(cluster.primary, "create table t (i int)")
            shown = [cluster.primary.execute(f"select @@{name}")[0][0] for name in settings]
            assert shown == [33, 9 << 20, 1]
        assert list(parent.iterdir()) == []
    finally:
        parent.rmdir()


def test_servers_share_no_directory(db):
    """A server that starts removes temporary files that it takes for its own, so each has a place for them."""
    places = [node.execute("select @@tmpdir")[0][0] for node in db.nodes]
    assert len(set(places)) == 3
    assert {Path(place).parent for place in places} == {db.primary.data_dir.parent}


def test_nodes_may_be_named_in_three_ways(db):
    """A node, its name, its index among the replicas; anything else is an error."""
    db.pause_replay(db.nodes[1])
    db.pause_replay("replica2")
    db.resume_replay(0)
    assert [node.status()["Slave_SQL_Running"] for node in db.replicas] == ["Yes", "No"]
    with pytest.raises(ValueError, match=r"no node 'replica3' here; there are \['primary', 'replica1', 'replica2'\]"):
        db.kill("replica3")


# -- Accounts


def test_read_only_binds_the_application(db):
    """A write that strays to a replica is refused there, and the application cannot lift that."""
    as_application(db.primary, "insert into t values (1)")
    db.wait_replayed()
    for statement in ("insert into t values (2)", "set global read_only = off"):
        with pytest.raises(pymysql.OperationalError, match=r"read-only|READ_ONLY"):
            as_application(db.replicas[0], statement)
    assert rows(db.replicas[0]) == [1]


def test_the_application_may_see_positions(db):
    """What a probe asks needs no administrator."""
    for node in db.nodes:
        assert len(as_application(node, "show slave status")) == (0 if node is db.primary else 1)
        assert as_application(node, "select @@global.gtid_binlog_pos") == [(node.position(),)]


def test_root_comes_by_the_socket_alone(db):
    """Nobody without a password gets in by TCP, and no account is nameless."""
    for user in ("root", ""):
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            db.primary.connect(user=user, password="")
    accounts = {user for (user,) in db.primary.execute("select user from mysql.global_priv")}
    assert accounts == {"root", "mariadb.sys", "lagless", "replication"}


def test_more_databases(db):
    """Each is the application's own, on every node, and so is the test database that Django makes of it."""
    name = f"more_{secrets.token_hex(4)}"
    db.create_database(name)
    db.wait_replayed()
    as_application(db.primary, "create table t (i int)", database=name)
    as_application(db.primary, f"create database test_{name}")
    db.wait_replayed()
    assert as_application(db.replicas[0], "select * from t", database=name) == []
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        as_application(db.primary, f"create database {name.replace('_', 'x')}")


# -- SQL


def test_execute_returns_rows_or_nothing(db):
    """Rows for a query, an empty list for a command, several statements at once, an error of any of them."""
    assert db.primary.execute("select %s, 'a', '%%'", [1]) == [(1, "a", "%")]
    assert db.primary.execute("insert into t values (1); insert into t values (2)") == []
    assert db.primary.execute("insert into t values (3); select max(i), '%' from t") == [(3, "%")]
    with pytest.raises(pymysql.ProgrammingError):
        db.primary.execute("select 1; select * from nothing")
    assert rows(db.primary) == [1, 2, 3]


def test_execute_opens_a_new_connection_when_the_server_hung_up(db):
    """A kept connection that was ended by the server is replaced, without an error and without a retry."""
    (before,) = db.primary.execute("select connection_id()")[0]
    with closing(pymysql.connect(unix_socket=str(db.primary.server.socket), user="root")) as other:
        with other.cursor() as cursor:
            cursor.execute(f"kill {before}")
            while cursor.execute(f"select 1 from information_schema.processlist where id = {before}"):
                pass
    (after,) = db.primary.execute("select connection_id()")[0]
    assert after != before


# -- Lag


def test_paused_replica_misses_a_row_and_gets_it_when_resumed(db):
    """Lag is a switch: what was committed after the pause is not there, however long one waits."""
    paused, moving = db.replicas
    paused.pause_replay()
    insert(db.primary, 1)
    db.wait_replayed()  # the moving one
    assert (rows(paused), rows(moving)) == ([], [1])
    eventually(lambda: paused.status()["Gtid_IO_Pos"] == db.primary.position())  # received, not shown
    with pytest.raises(TimeoutError, match=r"waited 0\.05 s for replica1 to replay"):
        db.wait_replayed(paused, timeout=0.05)
    paused.resume_replay()
    db.wait_replayed(paused)
    assert rows(paused) == [1]


def test_restarted_replica_forgets_its_pause(db):
    """As with any MariaDB, a pause lives in memory; read_only does not end."""
    db.replicas[0].pause_replay()
    db.replicas[0].restart()
    insert(db.primary, 1)
    db.wait_replayed()
    assert rows(db.replicas[0]) == [1]
    assert db.replicas[0].execute("select @@read_only") == [(1,)]


def test_apply_delay(db):
    """A delayed replica shows a commit that much later, in whole seconds; delay 0 shows it at once."""
    delayed, prompt = db.replicas
    for _ in range(10):
        delayed.set_apply_delay(60)
        insert(db.primary, 1)
        db.wait_replayed(prompt)
        assert len(rows(delayed)) < len(rows(prompt))
        db.set_apply_delay(0)
        db.wait_replayed()
    assert rows(delayed) == rows(prompt)
    for seconds in (0.5, -1):
        with pytest.raises(ValueError, match="whole number"):
            delayed.set_apply_delay(seconds)


def test_a_delay_leaves_a_pause(db):
    """Either may be had without the other."""
    node = db.replicas[0]
    node.pause_replay()
    node.set_apply_delay(60)
    node.set_apply_delay(0)
    assert node.status()["Slave_SQL_Running"] == "No"
    insert(db.primary, 1)
    node.resume_replay()
    db.wait_replayed(node)
    assert rows(node) == [1]


def test_a_primary_has_no_replay(db):
    """Pausing, resuming, delaying or redirecting a primary is a mistake that is told."""
    node = db.primary
    actions = (node.pause_replay, node.resume_replay, lambda: node.set_apply_delay(1), lambda: node.follow("", 1))
    for action in actions:
        with pytest.raises(RuntimeError, match="primary is a primary: it follows nobody"):
            action()


def test_follow_through_a_proxy(db):
    """A replica may be cut off from its primary by a fault, and catches up afterwards."""
    node = db.replicas[0]
    with FaultProxy((db.primary.host, db.primary.port)) as proxy:
        node.follow(proxy.host, proxy.port)
        insert(db.primary, 1)
        db.wait_replayed(node)
        proxy.stall()
        insert(db.primary, 2)
        db.wait_replayed("replica2")
        assert rows(node) == [1]
        proxy.heal()
        db.wait_replayed(node)
        assert rows(node) == [1, 2]


# -- Death


def test_killed_replica_comes_back_at_its_address(db):
    """Clients see the connection end and then a refusal; after start() the node catches up."""
    node = db.replicas[0]
    with closing(node.connect()) as client:
        node.kill()
        with pytest.raises(pymysql.OperationalError, match="Lost connection"):
            client.ping(reconnect=False)
            client.query("select 1")
    assert (node.running, node.pid) == (False, None)
    with pytest.raises(pymysql.OperationalError, match="refused"):
        node.connect()
    insert(db.primary, 1)
    db.start("replica1")
    db.wait_replayed(node)
    assert rows(node) == [1]


def test_killed_primary_keeps_what_was_committed(db):
    """The log survives a SIGKILL, and the replicas reconnect."""
    insert(db.primary, 1)
    db.primary.kill()
    db.start()
    insert(db.primary, 2)
    db.wait_replayed()
    assert [rows(node) for node in db.nodes] == [[1, 2]] * 3


def test_stop_and_start(db):
    """An orderly stop; stopping twice or starting twice does nothing."""
    node = db.replicas[1]
    before = node.pid
    node.stop()
    node.stop()
    assert not node.running
    node.start()
    node.start()
    assert node.pid not in {None, before}


def test_frozen_node_accepts_and_says_nothing(db):
    """SIGSTOP: the kernel takes connections, nobody answers; after the thaw the greeting comes."""
    node = db.replicas[0]
    node.freeze()
    assert (node.running, node.frozen) == (True, True)
    for question in (lambda: node.execute("select 1"), node.status):
        with pytest.raises(RuntimeError, match="replica1 is frozen"):
            question()
    with socket.create_connection((node.host, node.port), timeout=0.2) as client:
        with pytest.raises(TimeoutError):
            client.recv(1)
        node.thaw()
        client.settimeout(10)
        assert client.recv(1)
    insert(db.primary, 1)
    db.wait_replayed()
    assert rows(node) == [1]


def test_frozen_node_can_be_killed_or_stopped(db):
    """Neither waits for the thaw."""
    db.freeze()
    db.replicas[0].kill()
    db.replicas[1].stop()
    assert [node.running for node in db.replicas] == [False, False]


# -- Roles


def test_promotion_and_the_other_replica_follows(db):
    """The promoted node writes under its own server id, the other replica streams from it, names stay."""
    insert(db.primary, 1)
    db.wait_replayed()
    db.primary.kill()
    db.nodes[1].promote()
    assert db.primary is db.nodes[1]
    assert (db.primary.name, [node.name for node in db.replicas]) == ("replica1", ["primary", "replica2"])
    as_application(db.primary, "insert into t values (2)")
    db.wait_replayed("replica2")
    assert rows(db.nodes[2]) == [1, 2]
    assert db.nodes[2].position().startswith("0-2-")
    with pytest.raises(RuntimeError, match="replica1 is a primary"):
        db.promote("replica1")
    db.primary.restart()
    assert db.primary.execute("select @@read_only") == [(0,)]


def test_a_promotion_ends_a_pause_and_shows_what_was_received(db):
    """Nothing that had reached the new primary is lost."""
    node = db.nodes[2]
    node.pause_replay()
    insert(db.primary, 1)
    eventually(lambda: node.status()["Gtid_IO_Pos"] == db.primary.position())
    db.primary.kill()
    db.promote("replica2", follow=False)
    assert rows(node) == [1]


def test_a_paused_replica_stays_paused_through_a_promotion(db):
    """It follows the new primary and shows what comes from there when it goes on."""
    db.pause_replay("replica2")
    insert(db.primary, 1)
    db.wait_replayed("replica1")
    db.primary.kill()
    db.promote("replica1")
    assert rows(db.nodes[2]) == []
    db.nodes[2].resume_replay()
    db.wait_replayed("replica2")
    assert rows(db.nodes[2]) == [1]


def test_two_primaries(db):
    """Without `follow` and with the old primary alive there are two histories; rejoin() ends one of them."""
    old = db.primary
    db.promote("replica1", follow=False)
    insert(old, 1)
    insert(db.primary, 2)
    assert [rows(old), rows(db.primary)] == [[1], [2]]
    assert replication.forked(old.position(), db.primary.position())
    db.rejoin(old)
    db.wait_replayed(old)
    assert rows(old) == [2]
    with pytest.raises(RuntimeError, match="replica1 is the primary"):
        db.rejoin(db.primary)


def test_a_replica_with_a_lost_write_is_told_and_rejoins(db):
    """Who has more than the new primary cannot follow it, whatever the numbers say; rejoining drops the lost write."""
    ahead, behind = db.replicas
    behind.kill()
    insert(db.primary, 1)
    db.wait_replayed(ahead)
    db.primary.kill()
    behind.start()
    with pytest.raises(RuntimeError, match="replica1 cannot follow, its history is another one"):
        db.promote(behind)
    insert(db.primary, 2)
    with pytest.raises(RuntimeError, match=r"replica1 .*rejoin\(\) it"):
        db.wait_replayed(ahead)
    db.rejoin(ahead)
    db.wait_replayed(ahead)
    assert [rows(node) for node in db.nodes[1:]] == [[2], [2]]


def test_rejoin_copies_a_primary_that_is_written_to(db):
    """The copy is of one moment, the writer is not disturbed, and what comes after that moment follows."""
    db.primary.execute("create procedure fill() begin for i in 1..3000 do insert into t values (i); end for; end")
    try:
        with closing(db.primary.connect(autocommit=True)) as writer:
            writer.query("select 1")
            writer._execute_command(pymysql.constants.COMMAND.COM_QUERY, "call fill()")
            db.rejoin("replica1")
            writer._read_query_result()
    finally:
        db.primary.execute("drop procedure fill")
    db.wait_replayed()
    assert [len(rows(node)) for node in db.nodes] == [3000] * 3


def test_heal_undoes_everything_and_keeps_data(db):
    """Whatever was done, afterwards all nodes run and follow the first one, without lag."""
    insert(db.primary, 1)
    db.wait_replayed()
    db.primary.kill()
    db.promote("replica1")
    insert(db.primary, 2)
    db.promote("replica2", follow=False)
    insert(db.primary, 3)
    db.nodes[1].freeze()
    db.heal()
    assert db.primary is db.nodes[0]
    assert all(node.running and not node.frozen for node in db.nodes)
    insert(db.primary, 4)
    db.wait_replayed()
    assert [rows(node) for node in db.nodes] == [rows(db.primary)] * 3
    assert 3 in rows(db.primary)
    assert [node.execute("select @@read_only") for node in db.nodes] == [[(0,)], [(1,)], [(1,)]]


def test_heal_releases_lag(db):
    """Neither a pause nor a delay nor a stopped receiver outlives a test."""
    db.replicas[0].set_apply_delay(60)
    db.replicas[1].execute("stop slave")
    insert(db.primary, 1)
    db.heal()
    db.wait_replayed(timeout=5)
    assert [rows(node) for node in db.replicas] == [[1], [1]]


def test_heal_drops_what_only_a_replica_has(db):
    """An administrator can write to a replica; afterwards it is a replica again."""
    insert(db.replicas[0], 1)
    db.heal()
    assert [rows(node) for node in db.nodes] == [[], [], []]


def test_forked_positions():
    """One number of two servers is two histories; other numbers and other domains tell nothing."""
    assert replication.forked("0-1-7", "0-2-7")
    assert replication.forked("1-1-3,0-1-7", "0-2-7,1-1-3")
    assert not replication.forked("0-1-7", "0-1-7")
    assert not replication.forked("0-1-8", "0-2-7")
    assert not replication.forked("", "0-2-7")


# -- The end


def test_nothing_is_left(installed):
    """After stop(): no process, no file, no listener, neither of a killed server nor of a frozen one."""
    cluster = MariaDBCluster(2).start()
    base = cluster.primary.data_dir.parent
    assert len(_guardian.processes_in(str(base))) == 3
    assert set(_guardian._from_ps(str(base))) == set(_guardian._from_proc(str(base)))
    cluster.kill("replica1")
    cluster.freeze("replica2")
    cluster.stop()
    cluster.stop()
    assert not base.exists()
    assert _guardian.processes_in(str(base)) == []
    assert not cluster.running
    for node in cluster.nodes:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((node.host, node.port))


def test_a_cluster_that_starts_again_is_new_but_keeps_its_addresses(installed):
    """Who was told an address need not be told again; the data is gone."""
    cluster = MariaDBCluster(0)
    with pytest.raises(RuntimeError, match="not started"):
        _ = cluster.primary
    with cluster:
        address = cluster.primary.url()
        cluster.primary.execute("create table t (i int)")
    with cluster:
        assert cluster.primary.url() == address
        assert cluster.primary.execute("show tables") == []


def environment():
    """What a program needs to find this tree, installed or not."""
    places = [str(Path(_guardian.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def run_script(body, *, wait):
    """Run a program that starts a cluster and tells its directory, do `wait(process)`, return the directory."""
    program = f"from lagless.testing import MariaDBCluster\nimport os, sys, time\n{body}"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True, env=environment()
    )
    with process:
        base = process.stdout.readline().strip()
        wait(process)
    assert base
    return Path(base)


START = "db = MariaDBCluster(0).start(); print(db.primary.data_dir.parent)\n"


def test_cleans_up_when_its_process_is_killed(installed):
    """SIGKILL leaves no time for anything; a guardian sees it."""
    base = run_script(START + "time.sleep(60)", wait=lambda process: process.kill())
    eventually(lambda: not base.exists() and not _guardian.processes_in(str(base)))


def test_cleans_up_at_exit(installed):
    """A program that forgets stop() leaves nothing when it ends."""
    base = run_script(START, wait=lambda process: process.wait())
    assert not base.exists()
    assert _guardian.processes_in(str(base)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_cleans_up_when_it_ends_while_starting(installed, number):
    """Ctrl-C, or worse, in the middle of start()."""
    body = (
        "from lagless.testing import _mariadb_build as build\n"
        "make = build.initialize\n"
        "def tell(server, *rest): print(server.base); make(server, *rest)\n"
        "build.initialize = tell\n"
        "MariaDBCluster(0).start()\n"
    )

    def interrupt(process):
        time.sleep(0.15)
        process.send_signal(number)
        process.wait()

    base = run_script(body, wait=interrupt)
    eventually(lambda: not base.exists() and not _guardian.processes_in(str(base)))


def test_an_installer_is_a_process_of_the_cluster(tmp_path):
    """It would make the directory anew after everything was removed; another directory's is none of ours."""
    waiting = ["/bin/sh", "-c", "read line", "installer", f"--datadir={tmp_path}/primary"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as installer:
        eventually(lambda: _guardian._from_proc(str(tmp_path)) == [installer.pid])
        assert _guardian._from_ps(str(tmp_path)) == [installer.pid]
        assert _guardian.processes_in(str(tmp_path)[:-1]) == []
        _guardian.kill_all(str(tmp_path))
        assert installer.wait() == -signal.SIGKILL


def test_a_forked_child_leaves_the_servers_alone(installed):
    """A prefork worker that ends, or calls stop(), ends nothing, and does not end the parent's connection either."""
    body = START + (
        "before = db.primary.execute('select connection_id()')\n"
        "pid = os.fork()\n"
        "if not pid: db.stop(); sys.exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "print(db.primary.execute('select connection_id()') == before, db.primary.running)\n"
    )
    said = []
    run_script(body, wait=lambda process: said.append(process.stdout.readline()))
    assert said == ["True True\n"]


# -- What is missing


def test_missing_server_names_the_fixes(monkeypatch, tmp_path):
    """No server anywhere: the error says what to install or to set."""
    monkeypatch.setattr(_mariadb_binaries, "_on_path", list)
    monkeypatch.delenv("LAGLESS_MARIADB_BINDIR", raising=False)
    advice = r"MariaDB is not installed;.*mariadb-server-core mariadb-client-core.*LAGLESS_MARIADB_BINDIR"
    with pytest.raises(ConfigurationError, match=advice):
        MariaDBCluster()
    assert re.search(advice, mariadb.available())
    with pytest.raises(ConfigurationError, match="has no mariadbd"):
        MariaDBCluster(bindir=tmp_path)
    monkeypatch.setenv("LAGLESS_MARIADB_BINDIR", str(tmp_path))
    assert str(tmp_path) in mariadb.available()


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("mysqld  Ver 10.5.3-MariaDB", "MariaDB 10.5; 10.6 or newer"),
        ("", "does not run"),
    ],
)
def test_servers_that_will_not_do(tmp_path, says, complaint):
    """One that is too old or broken is told before anything starts."""
    for name in ("mariadbd", "mariadb-install-db"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(ConfigurationError, match=complaint):
        MariaDBCluster(bindir=tmp_path)
    (tmp_path / "mariadb-install-db").unlink()
    with pytest.raises(ConfigurationError, match="neither there nor beside it"):
        MariaDBCluster(bindir=tmp_path)


def test_a_missing_driver_names_the_extra(monkeypatch):
    """PyMySQL is looked for when a cluster is made, and not before."""
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigurationError, match=r'pip install "lagless\[testing\]"'):
        MariaDBCluster()


def test_importing_the_module_needs_no_driver():
    """Neither it nor the pytest plugin loads PyMySQL."""
    program = "import lagless.testing.mariadb, lagless.testing.pytest_plugin, sys; print('pymysql' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout.strip() == "False"


def test_negative_replicas(installed):
    """A mistake in an option is told before anything starts."""
    with pytest.raises(ConfigurationError, match="replicas: -1"):
        MariaDBCluster(-1)


# -- The pytest plugin and the guide

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"


def run_pytest(folder, **variables):
    """Run pytest in `folder` with the plugin of this tree, whether or not the package is installed."""
    plugin = ["-p", "no:lagless", "-p", "lagless.testing.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-W", "error", *plugin],
        cwd=folder, env={**environment(), **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_fixture_heals_between_tests(installed, tmp_path):
    """A test may kill, promote, pause; the next one finds a healthy cluster; and the guide's example passes."""
    blocks = [block.split("```")[0] for block in GUIDE.read_text().split("```python\n")[1:]]
    (example,) = [block for block in blocks if block.startswith("# test_lag_mariadb.py\n")]
    (tmp_path / "test_lag.py").write_text(example)
    (tmp_path / "test_it.py").write_text("""
def test_breaks(lagless_mariadb):
    lagless_mariadb.primary.execute("create table t (i int)")
    lagless_mariadb.wait_replayed()
    lagless_mariadb.primary.kill()
    lagless_mariadb.promote("replica2")
    lagless_mariadb.pause_replay("replica1")

def test_finds_it_healed(lagless_mariadb, lagless_mariadb_session):
    assert lagless_mariadb is lagless_mariadb_session
    assert lagless_mariadb.primary.name == "primary"
    lagless_mariadb.primary.execute("insert into t values (1)")
    lagless_mariadb.wait_replayed(timeout=5)
    assert [node.execute("select i from t") for node in lagless_mariadb.replicas] == [[(1,)], [(1,)]]
""")
    done = run_pytest(tmp_path)
    assert "3 passed" in done.stdout, done.stdout


def test_what_is_missing_skips_with_the_reason_or_fails_when_servers_are_required(monkeypatch):
    """A machine without MariaDB says what was not tested; one that must have it is told so."""
    monkeypatch.delenv("LAGLESS_REQUIRE_SERVERS", raising=False)
    require(None)
    with pytest.raises(pytest.skip.Exception, match="no server"):
        require("no server")
    monkeypatch.setenv("LAGLESS_REQUIRE_SERVERS", "1")
    require(None)
    with pytest.raises(pytest.fail.Exception, match="no server"):
        require("no server")


def test_the_fixture_asks_first(tmp_path):
    """Without a server a test is skipped, and its summary says why."""
    (tmp_path / "test_it.py").write_text("def test_it(lagless_mariadb): pass\n")
    done = run_pytest(tmp_path, LAGLESS_MARIADB_BINDIR=str(tmp_path), LAGLESS_REQUIRE_SERVERS="")
    assert "1 skipped" in done.stdout
    assert "has no mariadbd" in done.stdout
