"""Replicas that die, freeze, are cancelled or refuse; and a primary that is down."""

from __future__ import annotations

import threading
import time

import pytest

import lagless
from routing import REPLICAS, hear, note_table_alias, the_cluster, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def notes(pg):
    """The manager of notes, of which there are three on all nodes."""
    from project.models import Note

    pg.primary.execute("insert into project_note (text) values ('a'), ('b'), ('c')")
    pg.wait_replayed()
    return Note.objects


def read_from(replica, notes):
    """Read in a unit of work bound to `replica`; leave its connection open."""
    for _ in range(200):
        with lagless.session():
            if note_table_alias() == replica:
                return notes.count()
    raise AssertionError(f"{replica} was never chosen")


def eligible(replica):
    """Tell whether a new session may read the replica."""
    with lagless.session():
        return replica not in the_cluster().explain().refused


def test_killed_replica(pg, notes):
    """kill -9 of a replica under open connections: every read still answers, none with an error."""
    for replica in REPLICAS:
        assert read_from(replica, notes) == 3
    pg.kill("replica1")
    for _ in range(50):
        with lagless.session():
            assert notes.count() == 3
    assert not the_cluster().topology.nodes["replica1"].alive
    pg.start("replica1")
    until(lambda: eligible("replica1"))
    assert read_from("replica1", notes) == 3


def test_restarted_replica_is_read_over_new_connections(pg, notes):
    """A connection that a restart ended is made anew; its failure does not send the read elsewhere."""
    from django.db import connections

    assert read_from("replica1", notes) == 3
    held = connections["replica1"].connection
    pg.nodes[1].restart()
    until(lambda: the_cluster().topology.nodes["replica1"].restarted > 0)
    until(lambda: eligible("replica1"))
    assert read_from("replica1", notes) == 3
    assert connections["replica1"].connection is not held
    assert the_cluster().topology.nodes["replica1"].alive


def test_terminated_backend(pg, notes):
    """pg_terminate_backend() of the application's connections is not an error."""
    assert read_from("replica1", notes) == 3
    assert read_from("replica2", notes) == 3
    for node in pg.replicas:
        node.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
            "and backend_type = 'client backend'"
        )
    for _ in range(20):
        with lagless.session():
            assert notes.count() == 3


def test_frozen_replica(pg, notes):
    """A replica that hangs with a query in flight: the monitor cuts it and the read runs elsewhere."""
    assert read_from("replica1", notes) == 3
    pg.freeze("replica1")
    began = time.monotonic()
    try:
        for _ in range(20):
            with lagless.session():
                assert notes.count() == 3
        took = time.monotonic() - began
    finally:
        pg.thaw("replica1")
    assert took < 8, f"{took:.1f} s"


def test_killed_while_iterating(pg, notes):
    """Rows were delivered: no second run can be right, so the error is raised."""
    from django.db import DatabaseError

    from project.models import Note

    Note.objects.bulk_create(Note(text="x" * 100) for _ in range(2000))
    pg.wait_replayed()
    hear()
    with lagless.session():
        held = note_table_alias()
        assert held in REPLICAS
        rows = notes.iterator(chunk_size=10)
        next(rows)
        pg.kill(held)
        with pytest.raises(DatabaseError):
            list(rows)


def test_no_retry_inside_a_transaction(pg, notes):
    """A replica's transaction that broke is not run again by halves."""
    from django.db import DatabaseError, transaction

    with lagless.session(), pytest.raises(DatabaseError), transaction.atomic(using="replica1"):
        notes.using("replica1").count()
        pg.kill("replica1")
        notes.using("replica1").count()


def test_all_replicas_down(pg, notes):
    """No replica left: the primary serves."""
    pg.kill()
    for _ in range(5):
        with lagless.session():
            assert notes.count() == 3


@pytest.mark.parametrize(
    "sql",
    [
        "select pg_try_advisory_lock(1)",
        "select * from project_note for update",
        "select nextval('project_note_id_seq')",
    ],
)
def test_statements_a_standby_must_not_get(notes, sql):
    """Advisory locks succeed on a standby and lock nobody out: raw SQL with them runs on the primary."""
    from django.db import connections

    with lagless.session():
        held = note_table_alias()
        with connections[held].cursor() as cursor:
            cursor.execute(sql)
            assert cursor.db.alias == "default"
            assert cursor.fetchone()


def test_read_only_refusal_runs_once_more_on_the_primary(pg, notes):
    """25006 outside a transaction: nothing ran, so it runs on the primary, and counts as a write."""
    from django.db import connections

    pg.primary.execute(
        "create or replace function project_writes() returns bigint language sql as "
        "$$ insert into project_note (text) values ('f') returning id $$"
    )
    pg.wait_replayed()
    with lagless.session():
        held = note_table_alias()
        assert held in REPLICAS
        with connections[held].cursor() as cursor:
            cursor.execute("select project_writes()")
            assert cursor.db.alias == "default"
        assert note_table_alias() == "default"


def test_read_only_refusal_inside_replica_scope(notes):
    """Inside replica() a write raises, on a replica's connection too."""
    from django.db import connections

    with lagless.session(), lagless.replica(), pytest.raises(lagless.ReadOnlyViolation):
        with connections[note_table_alias()].cursor() as cursor:
            cursor.execute("insert into project_note (text) values ('no')")


def test_read_whose_backend_is_terminated(pg, notes):
    """A read that is cut with its connection runs again."""
    from django.db import connections

    with lagless.session():
        held = note_table_alias()
        with connections[held].cursor() as cursor:
            cursor.execute("select pg_backend_pid()")
            pid = cursor.fetchone()[0]
        node = pg.nodes[1 + REPLICAS.index(held)]
        threading.Timer(0.2, node.execute, ("select pg_terminate_backend(%s)", (pid,))).start()
        with connections[held].cursor() as cursor:
            cursor.execute("select pg_sleep(0.5), 42")
            assert cursor.fetchone()[1] == 42


def test_recovery_conflict(pg, notes):
    """A read that a standby cancels because replay must go on runs on the primary."""
    from django.db import connections

    for node in pg.replicas:
        node.execute("alter system set max_standby_streaming_delay = 0")
        node.execute("select pg_reload_conf()")
    try:
        with lagless.session():
            held = note_table_alias()
            change = "alter table project_tag alter column name type varchar(41)"
            threading.Timer(0.2, pg.primary.execute, (change,)).start()
            with connections[held].cursor() as cursor:
                cursor.execute("select pg_sleep(1), count(*) from project_tag")
                assert cursor.fetchone()[1] == 0
                assert cursor.db.alias == "default"
    finally:
        for node in pg.replicas:
            node.execute("alter system reset max_standby_streaming_delay")
            node.execute("select pg_reload_conf()")


def test_primary_down(pg, notes):
    """The primary is down: reads of level session go on, writes raise Django's own OperationalError."""
    from django.db import OperationalError

    with lagless.session(key="u") as s:
        assert notes.count() == 3
    pg.primary.kill()
    until(lambda: not the_cluster().topology.nodes["default"].alive)
    for _ in range(5):
        with lagless.session(s.token(), key="u"):
            assert note_table_alias() in REPLICAS
            assert notes.count() == 3
    with lagless.session(), pytest.raises(OperationalError):
        notes.create(text="no")
    pg.primary.start()
    until(lambda: the_cluster().topology.nodes["default"].alive)


def test_commit_in_doubt(pg, notes):
    """The connection dies in the middle of a commit: the token says so, and the next unit asks the primary."""
    from django.db import OperationalError, connection, transaction

    with lagless.session() as s:
        with pytest.raises(OperationalError), transaction.atomic():
            notes.create(text="doubt")
            pg.primary.execute("select pg_terminate_backend(%s)", (connection.connection.info.backend_pid,))
        assert s.of("default").in_doubt
    assert "!d!" in s.token()
    with lagless.session(s.token()) as after:
        assert note_table_alias() == "default"
        notes.count()
    assert "!d!" not in after.token()


def test_settle_failed(pg, notes):
    """The position cannot be learned: the token is DIRTY, the next unit reads the primary and settles."""
    from django.db import connection

    with lagless.session() as s:
        notes.create(text="w")
        pg.primary.execute("select pg_terminate_backend(%s)", (connection.connection.info.backend_pid,))
    assert "!d!" in s.token()
    assert the_cluster().counts.events["settle failed"] == 1
    connection.close()
    with lagless.session(s.token()) as after:
        assert the_cluster().explain().reason == lagless.Reason.DIRTY
        assert notes.count() == 4
    assert "!d!" not in after.token()


def test_restarted_replica_that_went_back(pg, notes):
    """A replica that crashed comes up earlier in time: its position is forgotten the moment it dies."""
    from project.models import Note

    with lagless.session() as s:
        Note.objects.create(text="own")
    pg.wait_replayed()
    until(lambda: all(st.position.covers(s.of("default").written) for st in the_cluster().topology.replicas))
    for node in pg.replicas:
        node.kill_backend()
    for _ in range(20):
        with lagless.session(s.token()):
            assert Note.objects.filter(text="own").exists()


def test_new_connection_is_probed_before_it_serves(pg, notes):
    """The monitor is blind for a moment; a fresh connection's own probe keeps the promise."""
    from django.db import connections

    cluster = the_cluster()
    with lagless.session() as s:
        notes.create(text="own")
    pg.wait_replayed()
    until(lambda: len(cluster.explain().refused) == 0)
    connections.close_all()
    monitor, cluster.monitor = cluster.monitor, None
    monitor.close()
    pg.kill()
    pg.start("replica1", "replica2")
    pg.pause_replay()
    written = s.of("default").written
    try:
        for _ in range(10):
            with lagless.session(s.token() or None):
                alias = note_table_alias()
                seen = notes.count()
                assert seen == 4, (alias, cluster.topology.nodes[alias], written)
    finally:
        cluster.monitor = monitor
