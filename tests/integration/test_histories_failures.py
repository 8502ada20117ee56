"""Histories around failures: what fails alone stays alone, what hangs is cut, and what can be answered is answered."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import override_settings

import lagless
from routing import REPLICAS, hear, the_cluster, token_of, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def notes():
    """The manager of notes."""
    from project.models import Note

    return Note.objects


@pytest.fixture
def thread():
    """Another thread of the application's, with connections of its own."""
    from django.db import connections

    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all)


def alive(name):
    """Tell whether the node answered last time."""
    return the_cluster().topology.nodes[name].alive


@contextlib.contextmanager
def frozen(pg, name):
    """Freeze a node; what runs inside must end before the node has to be thawed for it."""
    rescue = threading.Timer(8.0, pg.thaw, (name,))
    pg.freeze(name)
    rescue.start()
    try:
        yield
        assert rescue.is_alive(), "it hung until the node was thawed"
    finally:
        rescue.cancel()
        pg.thaw(name)


# -- one connection is not the node


@pytest.mark.usefixtures("pooled")
def test_exhausted_pool(notes, thread):
    """A pool that has no connection left is no news of its server: the read goes elsewhere, and nothing else does."""
    from django.db import connections, transaction

    def served_by():
        with connections["replica1"].cursor() as cursor:
            cursor.execute("select 1")
            return cursor.db.alias

    with transaction.atomic(using="replica1"):
        notes.using("replica1").count()
        connections["replica1"].pool.timeout = 0.1
        assert thread.submit(served_by).result() == "default"
        assert notes.using("replica1").count() == 0
    assert not the_cluster().counts.events["node down"]


def test_terminated_backend_next_to_a_running_read(pg, notes, thread):
    """A connection that the server ended costs no other connection its read."""
    from django.db import connections, transaction

    replica = pg.replicas[0]

    def long_read():
        with transaction.atomic(using="replica1"), connections["replica1"].cursor() as cursor:
            cursor.execute("select pg_sleep(0.5), 42")
            return cursor.fetchone()[1]

    notes.using("replica1").count()
    answer = thread.submit(long_read)
    until(lambda: replica.execute("select 1 from pg_stat_activity where query like 'select pg_sleep%'"))
    pid = connections["replica1"].connection.info.backend_pid
    replica.execute("select pg_terminate_backend(%s)", (pid,))
    assert notes.using("replica1").count() == 0
    assert answer.result() == 42


def test_policy_error_and_a_session_whose_replica_is_gone(notes):
    """policy.on_stale='error': leaving a replica that is gone is no error, and the session returns to replicas."""
    options = {"default": {"replicas": list(REPLICAS), "policy": {"on_stale": "error"}}}
    with override_settings(LAGLESS=options):
        hear()
        with lagless.session(token_of(nodes=frozenset({"gone"})), key="u") as s:
            assert notes.count() == 0
        with lagless.session(s.token(), key="u"):
            until(lambda: the_cluster().explain().reason == lagless.Reason.SESSION)
            assert notes.count() == 0


# -- nodes that hang


def test_health_check_of_a_frozen_replica(pg, notes, using_database):
    """A health check that hangs is cut as a read is, and the read is answered."""
    from django.db import close_old_connections

    using_database("replica1", CONN_HEALTH_CHECKS=True)
    notes.using("replica1").count()
    close_old_connections()
    with frozen(pg, "replica1"):
        assert notes.using("replica1").count() == 0


def test_frozen_while_iterating(pg, notes):
    """Fetching more rows from a replica that froze ends with an error, not never."""
    from django.db import DatabaseError

    from project.models import Note

    notes.bulk_create(Note(text="x") for _ in range(100))
    pg.wait_replayed()
    rows = notes.using("replica1").iterator(chunk_size=10)
    next(rows)
    with frozen(pg, "replica1"), pytest.raises(DatabaseError):
        list(rows)


# -- lagless's own eyes


def test_listener_that_raises(pg):
    """An error in a listener stops nothing: nodes are still heard to die and to return."""

    def fail(event):
        raise RuntimeError(event)

    the_cluster().listen(fail)
    pg.kill("replica1")
    until(lambda: not alive("replica1"))
    pg.start("replica1")
    until(lambda: alive("replica1"))


def test_visitors_while_a_replica_is_down(pg, notes, monkeypatch):
    """Sessions that come with tokens send the primary no probes for a replica that is down."""
    cluster = the_cluster()
    pg.kill("replica2")
    until(lambda: not alive("replica2"))
    hurried = []
    monkeypatch.setattr(cluster.monitor, "hurry", lambda *nodes: hurried.append(nodes))
    token = token_of(nodes=frozenset({"replica1"}))
    for _ in range(20):
        with lagless.session(token):
            assert notes.count() == 0
    assert not hurried


def test_position_function_that_was_dropped(notes):
    """A function for positions that is gone is asked no more: nodes answer, and new connections are made."""
    from django.db import connections

    cluster = the_cluster()
    cluster.through_helper.update(cluster.topology.nodes)
    cluster.monitor.hurry()
    until(lambda: not cluster.through_helper and all(map(alive, cluster.topology.nodes)))
    connections.close_all()
    with lagless.session():
        notes.create(text="x")
        assert notes.count() == 1


def test_waking_a_watch_that_ended():
    """A watch that ended writes to no descriptor: its own may be somebody else's by now."""
    watch = next(iter(the_cluster().monitor._watches.values()))
    watch.stop()
    watch.join()
    pipes = [os.pipe() for _ in range(8)]
    watch.wake(now=True)
    written, _, _ = select.select([reader for reader, _ in pipes], [], [], 0)
    for descriptor in (end for pipe in pipes for end in pipe):
        os.close(descriptor)
    assert not written


def test_settings_error_with_a_password_in_it():
    """An error about settings does not repeat their value, which may hold a password."""
    import lagless.django

    with pytest.raises(lagless.ConfigurationError) as caught:
        lagless.django.databases({"ENGINE": "django.db.backends.postgresql"}, "postgres://u:s3cret@h/db")
    assert "s3cret" not in str(caught.value)
