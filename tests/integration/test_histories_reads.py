"""Histories around reads: no session goes back in time, and none is answered by a node that must not answer it."""

from __future__ import annotations

import time

import pytest
from django.test import override_settings

import lagless
from routing import REPLICAS, hear, note_table_alias, the_cluster, token_of, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def notes():
    """The manager of notes."""
    from project.models import Note

    return Note.objects


def test_bounded_reads_after_a_long_pause(pg, notes, monkeypatch):
    """A unit of work that paused until nobody probed any more is still served within max_lag."""
    monkeypatch.setattr("lagless.monitor.ASLEEP_AFTER", 0.3)
    with override_settings(LAGLESS={"default": {"replicas": list(REPLICAS), "idle_interval": 0.05}}):
        hear()
        with lagless.session(), lagless.consistency("bounded", max_lag=0.8):
            assert note_table_alias() in REPLICAS
            until(lambda: time.monotonic() - the_cluster().topology.ring[-1][0] > 0.2)
            pg.pause_replay()
            pg.primary.execute("insert into project_note (text) values ('x')")
            until(lambda: note_table_alias() == "default", seconds=3.0)
            assert notes.count() == 1


def test_token_ahead_of_a_restored_primary(notes):
    """A position that the primary does not reach any more is replaced, and the session returns to replicas."""
    last = the_cluster().topology.ring[-1][1]
    with lagless.session(token_of(written=lagless.Lsn(last.history, last.value + 10**10))) as s:
        assert note_table_alias() == "default"
        assert notes.count() == 0
    with lagless.session(s.token()):
        until(lambda: note_table_alias() in REPLICAS)


def test_unit_of_work_that_left_its_node(pg, notes):
    """A unit of work whose session's replica is gone stays with the one it moved to, whatever the primary does."""
    cluster = the_cluster()
    with lagless.session(token_of(nodes=frozenset({"gone"}))):
        until(lambda: cluster.monitor.hurry() or cluster.explain().reason == lagless.Reason.SESSION)
        held = note_table_alias()
        assert notes.count() == 0
        pg.pause_replay()
        for _ in range(3):
            known = cluster.topology.ring[-1]
            pg.primary.execute("insert into project_note (text) values ('x')")
            until(lambda: cluster.monitor.hurry("default") or cluster.topology.ring[-1][1] != known[1])  # noqa: B023
            assert note_table_alias() == held


def test_snapshot_older_than_the_session(pg, notes):
    """A replica's open snapshot that lacks an own write does not serve it, though the replica has caught up."""
    from django.db import connections, transaction

    pg.pause_replay()
    with lagless.session() as s:
        notes.create(text="mine")
    written = s.of("default").written
    with lagless.session(s.token()), transaction.atomic(using="replica1"):
        with connections["replica1"].cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read")
        assert notes.using("replica1").count() == 0
        pg.resume_replay("replica1")
        state = lambda: the_cluster().topology.nodes["replica1"]
        until(lambda: state().position and state().position.covers(written))
        assert notes.count() == 1


def test_composed_statement_that_a_standby_must_not_get():
    """Composed SQL is looked into as text is: an advisory lock is taken on the primary."""
    from django.db import connections
    from psycopg import sql

    with lagless.session(), connections[note_table_alias()].cursor() as cursor:
        cursor.execute(sql.SQL("select pg_try_advisory_lock({})").format(7))
        assert cursor.db.alias == "default"


def test_session_inside_a_scope():
    """A session that is opened inside primary() reads the primary."""
    with lagless.primary(), lagless.session():
        assert note_table_alias() == "default"


def test_requests_after_a_streamed_body(pg):
    """A keyed session sees nothing in a streamed body that its next request does not show."""
    from django.test import Client

    pg.pause_replay("replica2")
    pg.primary.execute("insert into project_note (text) values ('x')")
    pg.wait_replayed("replica1")
    hear()
    for number in range(20):
        visitor = Client()
        visitor.cookies["sessionid"] = f"visitor {number}"
        shown = visitor.get("/stream").getvalue().decode().split()[1]
        assert visitor.get("/read").json()["count"] >= int(shown)


def test_scope_across_the_steps_of_a_streamed_body():
    """A scope that a streamed body opens is in force until the body closes it, and not outside."""
    from django.test import Client

    assert Client().get("/stream-scope").getvalue() == b"default default"
    with lagless.session():
        assert note_table_alias() in REPLICAS


def test_bounded_answers_do_not_outlive_their_bound(pg, notes):
    """A bound in seconds passes without news: nobody is heard any more, and the same unit of work is refused."""
    with lagless.session(), lagless.consistency("bounded", max_lag=1.0):
        until(lambda: note_table_alias() in REPLICAS)
        the_cluster().monitor.stop()
        the_cluster().monitor.closed = True
        until(lambda: note_table_alias() == "default", seconds=3.0)
        assert the_cluster().explain().reason == lagless.Reason.NONE_FRESH
