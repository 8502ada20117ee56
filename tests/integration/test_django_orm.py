"""Every way in which Django reads and writes, under a paused replica."""

from __future__ import annotations

import threading

import pytest

import lagless
from routing import REPLICAS, note_table_alias, the_cluster, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def models():
    """The project's models."""
    from project import models

    return models


@pytest.fixture
def note(models, pg):
    """A note that all nodes hold, read from a replica."""
    models.Note.objects.create(text="old", author=models.Author.objects.create(name="anna"))
    pg.wait_replayed()
    with lagless.session():
        found = models.Note.objects.get()
    assert found._state.db in REPLICAS
    return found


def test_no_session_means_primary(models):
    """A shell, a script, a raw thread: the primary."""
    assert note_table_alias() == "default"
    with lagless.session():
        assert note_table_alias() in REPLICAS
        seen = []
        thread = threading.Thread(target=lambda: seen.append(note_table_alias()))
        thread.start()
        thread.join()
    assert seen == ["default"]


def test_one_replica_a_unit(models):
    """All reads of one unit of work go to one replica."""
    for _ in range(10):
        with lagless.session():
            assert len({note_table_alias() for _ in range(20)}) == 1


WRITES = {
    "save": lambda m, n: m.Note(text="w").save(),
    "create": lambda m, n: m.Note.objects.create(text="w"),
    "bulk_create": lambda m, n: m.Note.objects.bulk_create([m.Note(text="w")]),
    "update": lambda m, n: m.Note.objects.update(text="w"),
    "queryset delete": lambda m, n: m.Note.objects.all().delete(),
    "delete": lambda m, n: n.delete(),
    "save of an object read from a replica": lambda m, n: n.save(),
    "get_or_create": lambda m, n: m.Note.objects.get_or_create(text="w"),
    "update_or_create": lambda m, n: m.Note.objects.update_or_create(text="w"),
    "m2m add": lambda m, n: n.tags.add(m.Tag.objects.create(name="t")),
    "related create": lambda m, n: n.author.notes.create(text="w"),
}


@pytest.mark.parametrize("how", WRITES)
def test_writes_go_to_the_primary_and_are_seen(models, note, pg, how):
    """However a write is spelled, the rest of the unit and the next one see it."""
    pg.pause_replay()
    with lagless.session() as s:
        assert note_table_alias() in REPLICAS
        WRITES[how](models, note)
        assert note_table_alias() == "default"
    with lagless.session(s.token()):
        assert note_table_alias() == "default"


RAW = [
    "insert into project_note (text) values ('raw')",
    "  -- a comment\n update project_note set text = 'raw'",
    "with gone as (delete from project_note returning id) select count(*) from gone",
    "select id into temporary table copied from project_note",
    "select nextval('project_note_id_seq')",
    "do $$ begin insert into project_note (text) values ('raw'); end $$",
    "explain analyze insert into project_note (text) values ('raw')",
    "truncate project_note_tags",
    "select 1; insert into project_note (text) values ('second')",
]


@pytest.mark.parametrize("sql", RAW)
def test_raw_writes(pg, sql):
    """Raw SQL that writes is seen by its command tag, or by its text where the tag hides it."""
    from django.db import connection

    settled = the_cluster().counts.events["settled"]
    with lagless.session() as s, connection.cursor() as cursor:
        assert note_table_alias() in REPLICAS
        cursor.execute(sql)
        assert s.of("default").unsettled == 1
        assert note_table_alias() == "default"
    assert the_cluster().counts.events["settled"] == settled + 1


def test_raw_reads_are_no_writes():
    """A SELECT, SHOW or EXPLAIN on the primary's connection is not counted as a write."""
    from django.db import connection

    with lagless.session() as s, connection.cursor() as cursor:
        for sql in ("select 1", "show server_version", "explain select 1", "set local work_mem = '4MB'"):
            cursor.execute(sql)
        assert s.of("default").unsettled == 0


def test_mark_written(pg):
    """A function that writes behind a SELECT is declared with mark_written()."""
    import lagless.django

    with lagless.session() as s:
        assert note_table_alias() in REPLICAS
        lagless.django.mark_written()
        assert note_table_alias() == "default"
    assert s.of("default").unsettled == 0


def test_executemany_and_copy(pg):
    """executemany() and COPY are writes."""
    from django.db import connection

    with lagless.session() as s:
        with connection.cursor() as cursor:
            cursor.executemany("insert into project_note (text) values (%s)", [("a",), ("b",)])
        assert s.of("default").begun == 1
        with connection.cursor() as cursor, cursor.copy("copy project_note (text) from stdin") as copy:
            copy.write_row(["c"])
        assert s.of("default").begun == 2
    assert pg.primary.execute("select count(*) from project_note") == [(3,)]


def test_failed_write_settles_nothing(models, note):
    """A write that the server refused leaves the unit on its replica."""
    from django.db import IntegrityError

    with lagless.session() as s:
        models.Author.objects.count()
        with pytest.raises(IntegrityError):
            models.Author.objects.create(name="anna")
        assert s.of("default").unsettled == 0


def test_rollback_forgets(models):
    """A rolled-back transaction wrote nothing."""
    from django.db import transaction

    with lagless.session() as s:
        with pytest.raises(LookupError), transaction.atomic():
            models.Note.objects.create(text="no")
            assert s.of("default").in_flight == 1
            raise LookupError
        assert s.of("default").unsettled == 0
    assert not s.token()


def test_reads_in_atomic_follow_the_transaction(models, pg):
    """Inside atomic() reads go to the primary, and afterwards the unit stays with what it saw."""
    from django.db import transaction

    pg.pause_replay()
    with lagless.session():
        with transaction.atomic():
            models.Note.objects.create(text="mine")
            assert models.Note.objects.count() == 1
        assert models.Note.objects.count() == 1
        with transaction.atomic():
            assert note_table_alias() == "default"


def test_no_capture_while_a_transaction_is_open(models):
    """A token made inside an open transaction says: in doubt."""
    from django.db import transaction

    with lagless.session() as s, transaction.atomic():
        models.Note.objects.create(text="open")
        assert not the_cluster().settle(s.of("default"))
        assert "!d!" in s.token()


def test_select_for_update(models, note):
    """select_for_update() locks on the primary."""
    from django.db import transaction

    with lagless.session(), transaction.atomic():
        assert models.Note.objects.select_for_update().get()._state.db == "default"


def test_related_reads_ignore_where_the_object_came_from(models, note, pg):
    """An object read from a replica does not drag its relations there after an own write."""
    pg.pause_replay()
    with lagless.session():
        author = models.Author.objects.get()
        assert author._state.db in REPLICAS
        models.Note.objects.create(text="new", author=author)
        assert author.notes.count() == 2
        assert models.Note.objects.get(text="new").author._state.db == "default"


def test_refresh_from_db(models, note, pg):
    """refresh_from_db() sees an own write."""
    pg.pause_replay()
    with lagless.session():
        models.Note.objects.filter(pk=note.pk).update(text="new")
        note.refresh_from_db()
    assert note.text == "new"


def test_relations_between_aliases(models, note):
    """Objects of one cluster's aliases may be related; an unmanaged alias is none of its business."""
    from django.db import router

    fresh = models.Author(name="new")
    fresh._state.db = "default"
    assert router.allow_relation(note, fresh)
    fresh._state.db = "other"
    assert not router.allow_relation(note, fresh)


def test_unmanaged_alias_passes_untouched(models):
    """An object of another database stays there."""
    from django.db import router

    stranger = models.Note(text="x")
    stranger._state.db = "other"
    with lagless.session():
        assert router.db_for_read(models.Note, instance=stranger) == "other"
        assert router.db_for_write(models.Note, instance=stranger) == "other"


def test_migrations_only_on_the_primary():
    """Replicas are never migrated."""
    from django.db import router

    assert router.allow_migrate("default", "project")
    assert not router.allow_migrate("replica1", "project")
    assert router.allow_migrate("other", "project")


def test_scopes(models, pg):
    """primary() reads the primary, replica() replicas in spite of a write, and a write inside is refused."""
    from django.db import InternalError, connection

    pg.pause_replay()
    with lagless.session():
        with lagless.primary():
            assert note_table_alias() == "default"
        models.Note.objects.create(text="mine")
        with lagless.replica():
            assert note_table_alias() in REPLICAS
            assert models.Note.objects.count() == 0
            with pytest.raises(lagless.ReadOnlyViolation):
                models.Note.objects.create(text="no")
            with pytest.raises(InternalError), connection.cursor() as cursor:
                cursor.execute("delete from project_note")
            with lagless.primary():
                assert models.Note.objects.count() == 1
        with lagless.consistency("eventual"):
            assert note_table_alias() in REPLICAS
        assert note_table_alias() == "default"


def test_read_after_primary_scope_does_not_go_back(models, pg):
    """What primary() showed stays visible after it, in this unit and in the next."""
    pg.pause_replay()
    pg.primary.execute("insert into project_note (text) values ('theirs')")
    with lagless.session(key="u") as s:
        with lagless.primary():
            assert models.Note.objects.count() == 1
        assert models.Note.objects.count() == 1
    with lagless.session(s.token(), key="u"):
        assert models.Note.objects.count() == 1


def test_open_snapshot(models, pg):
    """A replica's transaction that began before an own write does not serve reads after it."""
    from django.db import transaction

    with lagless.session():
        held = note_table_alias()
        with transaction.atomic(using=held):
            assert models.Note.objects.using(held).count() == 0
            models.Note.objects.create(text="mine")
            the_cluster().settle(lagless.context.current().session.of("default"))
            pg.wait_replayed()
            until(lambda: the_cluster().explain().reason == lagless.Reason.SESSION)
            assert models.Note.objects.count() == 1


def test_server_side_cursor(models, note, pg):
    """iterator() streams from the replica."""
    models.Note.objects.bulk_create(models.Note(text=str(n)) for n in range(50))
    pg.wait_replayed()
    with lagless.session():
        rows = list(models.Note.objects.order_by("pk").iterator(chunk_size=10))
    assert len(rows) == 51
    assert {row._state.db for row in rows} < set(REPLICAS)


def test_own_writes_are_settled_once(models):
    """A unit with many writes asks the primary once; one that only reads never does."""
    cluster = the_cluster()
    before = cluster.counts.events["settled"]
    with lagless.session():
        for n in range(5):
            models.Note.objects.create(text=str(n))
    assert cluster.counts.events["settled"] == before + 1
    with lagless.session():
        models.Note.objects.count()
    assert cluster.counts.events["settled"] == before + 1


def test_two_writers_in_one_session(models, pg):
    """Two threads that write in one session: settling counts both."""
    import contextvars

    pg.pause_replay()
    with lagless.session() as s:
        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(self_closing_create, models, n))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert s.of("default").unsettled == 4
    assert s.of("default").unsettled == 0
    with lagless.session(s.token()):
        assert models.Note.objects.count() == 4


def self_closing_create(models, n):
    """Write from a thread and close its connection."""
    from django.db import connections

    models.Note.objects.create(text=str(n))
    connections.close_all()


def test_explain_knows_what_django_knows(models):
    """The decision that explain() shows is the one that a read gets: transactions, scopes, own writes."""
    from django.db import transaction

    import lagless.django

    explain = lagless.django.cluster("default").explain
    assert explain().reason == lagless.Reason.NO_SESSION
    with lagless.session():
        assert explain().reason == lagless.Reason.SESSION
        with transaction.atomic():
            assert explain().reason == lagless.Reason.IN_TRANSACTION
        with lagless.replica():
            assert explain().reason == lagless.Reason.REPLICA_SCOPE
        models.Note.objects.create(text="x")
        assert explain().reason == lagless.Reason.UNSETTLED
