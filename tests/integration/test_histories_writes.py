"""Histories around writes: each is counted whatever it came as, and none is lost, hidden or split over two servers."""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

import lagless
from lagless.dialects.statements import may_write, tag_writes
from routing import note_table_alias, the_cluster, token_of, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def notes():
    """The manager of notes."""
    from project.models import Note

    return Note.objects


def count_next(token, notes):
    """Count the notes in the unit of work that follows."""
    with lagless.session(token):
        return notes.count()


def texts(node):
    """Return what a server holds."""
    return [text for (text,) in node.execute("select text from project_note order by id")]


def promote(pg):
    """Promote a replica under a primary that stays up, and wait until lagless knows."""
    pg.promote("replica1", follow=False)
    until(lambda: the_cluster().topology.primary == "replica1")


# -- every write counts


def test_write_after_a_statement_that_was_never_sent(pg, notes):
    """An error of Python's before a statement is sent hides no later write of the thread."""
    pg.pause_replay()
    with lagless.session(), pytest.raises(UnicodeEncodeError):
        notes.create(text="\ud800")
    with lagless.session() as s:
        notes.create(text="mine")
        assert notes.count() == 1
    assert count_next(s.token(), notes) == 1


@pytest.mark.parametrize("first", ["begin", "set statement_timeout = 0"])
def test_several_statements_in_one_string(pg, notes, first):
    """A write behind another statement of the same string is a write."""
    from django.db import connection

    pg.pause_replay()
    with lagless.session() as s:
        with connection.cursor() as cursor:
            cursor.execute(f"{first}; insert into project_note (text) values ('x'); commit")
        assert notes.count() == 1
    assert count_next(s.token(), notes) == 1


def test_prepared_commit():
    """COMMIT PREPARED is a write, by its text and by its command tag."""
    assert may_write("commit prepared 'x'")
    assert tag_writes("COMMIT PREPARED")


def test_select_that_a_standby_refused(pg, notes):
    """A function that writes, run again on the primary, is an own write of the unit of work."""
    from django.db import connections

    pg.primary.execute(
        "create or replace function project_writes() returns bigint language sql as "
        "$$ insert into project_note (text) values ('f') returning id $$"
    )
    pg.wait_replayed()
    pg.pause_replay()
    with lagless.session() as s:
        with connections[note_table_alias()].cursor() as cursor:
            cursor.execute("select project_writes()")
    assert count_next(s.token(), notes) == 1


def test_write_of_another_thread_while_a_read_is_decided(pg, notes, monkeypatch):
    """A read's decision is not kept if the unit of work wrote while it was made."""
    from django.db import connections

    cluster = the_cluster()
    balance = cluster.balance
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(notes.count).result() == 0  # it has its connection
        cluster.monitor.close()
        pg.pause_replay()

        def interrupted(*args):
            monkeypatch.undo()
            thread.submit(contextvars.copy_context().run, notes.create, text="x").result()
            return balance(*args)

        monkeypatch.setattr(cluster, "balance", interrupted)
        with lagless.session():
            note_table_alias()
            assert note_table_alias() == "default"
            assert notes.count() == 1
        thread.submit(connections.close_all)


def test_sessions_inside_one_transaction(pg, notes):
    """Each session that writes inside a transaction of its caller's carries its own write."""
    from django.db import transaction

    pg.pause_replay()
    with transaction.atomic():
        with lagless.session():
            notes.create(text="one")
        with lagless.session() as s:
            notes.create(text="two")
            token = s.token()
    assert count_next(token, notes) == 2
    assert count_next(s.token(), notes) == 2


def test_session_inside_a_session(pg, notes):
    """What an inner session wrote is the outer one's, too."""
    pg.pause_replay()
    with lagless.session() as outer:
        with lagless.session():
            notes.create(text="by an eager task")
        assert notes.count() == 1
    assert count_next(outer.token(), notes) == 1


@contextlib.contextmanager
def without_wal_writer(node):
    """Keep from being flushed what no commit waits for."""
    pid = node.execute("select pid from pg_stat_activity where backend_type = 'walwriter'")[0][0]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_commit_that_did_not_wait_for_the_flush(pg, notes):
    """A write under SET LOCAL synchronous_commit = off is read back before it is flushed."""
    from django.db import connection, transaction

    with without_wal_writer(pg.primary):
        with lagless.session() as s, transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("set local synchronous_commit to off")
            notes.create(text="relaxed")
        for _ in range(20):
            assert count_next(s.token(), notes) == 1


def test_raw_write_in_replica_scope_without_a_session():
    """Inside replica() a write on the primary's own connection raises, with or without a session."""
    from django.db import connection

    with lagless.replica(), connection.cursor() as cursor, pytest.raises(lagless.ReadOnlyViolation):
        cursor.execute("insert into project_note (text) values ('no')")


# -- transactions and connections that begin late


def test_manual_transaction_of_a_request_without_queries(pg, notes):
    """A request that asked for manual transactions and sent nothing leaves the next one in autocommit."""
    from django.db import close_old_connections, connection, transaction

    connection.close()
    with lagless.session():
        transaction.set_autocommit(False)
    close_old_connections()
    with lagless.session():
        notes.create(text="kept")
    close_old_connections()
    assert texts(pg.primary) == ["kept"]


def test_manual_transaction_over_a_failed_connect(pg, notes):
    """Manual transaction management that was asked for outlives a connection that could not be made."""
    from django.db import OperationalError, connection, transaction

    connection.close()
    transaction.set_autocommit(False)
    pg.primary.kill()
    with pytest.raises(OperationalError):
        connection.cursor()
    pg.primary.start()
    notes.create(text="rolled back")
    transaction.rollback()
    assert texts(pg.primary) == []


# -- promotions under a primary that stays up


@pytest.mark.parametrize("as_text", [True, False])
def test_manual_transaction_across_a_promotion(pg, notes, as_text):
    """A transaction that the application manages itself stays whole on the server that it began on."""
    from django.db import connection, transaction

    old = pg.primary
    with lagless.session():
        if as_text:
            connection.cursor().execute("begin")
        else:
            transaction.set_autocommit(False)
        notes.create(text="one")
        promote(pg)
        notes.create(text="two")
        connection.cursor().execute("commit")
    assert texts(old) == ["one", "two"]
    assert texts(pg.primary) == []


@pytest.mark.usefixtures("pooled")
def test_pool_across_a_promotion(pg, notes):
    """A pool hands out no connection to a server that was the primary once."""
    from django.db import connection

    with lagless.session():
        notes.create(text="before")
    pg.wait_replayed()
    connection.close()
    promote(pg)
    with lagless.session():
        notes.create(text="after")
    assert texts(pg.primary) == ["before", "after"]


def test_first_write_after_a_promotion_that_only_the_token_knows(pg, notes):
    """A process that slept through a promotion writes to the new primary if the session has heard of it."""
    cluster, old = the_cluster(), pg.primary
    cluster.monitor._touched -= 100.0
    pg.promote("replica1", follow=False)
    assert cluster.topology.primary == "default"
    history = cluster.topology.history._replace(timeline=pg.primary.timeline())
    with lagless.session(token_of(written=lagless.Lsn(history, 1))):
        notes.create(text="x")
    assert (texts(old), texts(pg.primary)) == ([], ["x"])
