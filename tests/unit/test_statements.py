"""What a statement's text gives away."""

from __future__ import annotations

import pytest

from lagless.dialects.statements import may_write, needs_primary, tag_writes

READS = [
    "select 1",
    "SELECT * FROM note",
    "  \n select 1",
    "(select 1) union (select 2)",
    "((select 1))",
    "/* hint */ select 1",
    "/* two\nlines */ -- and one\n select 1",
    "-- update\nselect 1",
    "with a as (select 1) select * from a",
    "WITH RECURSIVE a AS (SELECT 1) SELECT * FROM a",
    "values (1)",
    "table note",
    "show server_version",
    "explain select 1",
    "EXPLAIN (COSTS OFF) SELECT 1",
    "begin",
    "start transaction",
    "commit",
    "rollback to savepoint s",
    "savepoint s",
    "release savepoint s",
    "declare c cursor for select 1",
    "fetch 10 from c",
    "close c",
    "set local statement_timeout = 1",
    "reset all",
    "discard all",
    "deallocate all",
    "pragma foreign_keys",
    "select updated_at, deleted from note where inserted",
    "select 'listen' as word",
    "select * from temperature_table",
]
WRITES = [
    "insert into note values (1)",
    "INSERT INTO note VALUES (1)",
    "/* c */ Update note set a = 1",
    "-- select\ndelete from note",
    "merge into note using x on true when matched then delete",
    "truncate note",
    "create table t (a int)",
    "alter table t add b int",
    "drop table t",
    "copy note from stdin",
    "call work()",
    "do $$ begin end $$",
    "vacuum",
    "refresh materialized view v",
    "grant select on note to r",
    "with a as (insert into note values (1) returning id) select * from a",
    "WITH a AS (SELECT 1) UPDATE note SET a = 1",
    "with a as (delete from note returning *) select * from a",
    "/* c */ with a as (\n merge into x using y on true when matched then delete returning *) select 1",
    "explain analyze delete from note",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
    "explain analyse select 1",
    "select * into copy_of_note from note",
    "",
    "; select 1",
    "prepare p as select 1",
]
SIDE_EFFECTS = [
    "select pg_advisory_lock(1)",
    "SELECT PG_TRY_ADVISORY_LOCK(1)",
    "select pg_try_advisory_xact_lock_shared(1)",
    "select pg_advisory_unlock(1)",
    "select pg_advisory_unlock_all()",
    "select nextval('s')",
    "SELECT NEXTVAL ('s')",
    "select setval('s', 1)",
    "select pg_notify('c', 'p')",
    "select get_lock('l', 1)",
    "select release_lock('l')",
    "select txid_current()",
    "select pg_current_xact_id()",
    "select * from note for update",
    "SELECT * FROM note FOR UPDATE SKIP LOCKED",
    "select * from note for no key update nowait",
    "select * from note\nfor\nshare",
    "select * from note for key share",
    "select * from note lock in share mode",
    "with a as (select * from note for update) select * from a",
    "listen channel",
    "NOTIFY channel, 'payload'",
    "unlisten *",
    "lock table note",
    "create temp table t (a int)",
    "create temporary table t (a int)",
]


@pytest.mark.parametrize("sql", READS)
def test_a_plain_read_writes_nothing(sql: str) -> None:
    """Neither counted as a write nor kept off replicas, in lower and upper case."""
    for text in (sql, sql.upper()):
        assert not may_write(text)
        assert not needs_primary(text)


@pytest.mark.parametrize("sql", WRITES)
def test_what_may_write_is_counted(sql: str) -> None:
    """When in doubt, yes: that costs one settle."""
    for text in (sql, sql.upper()):
        assert may_write(text)


@pytest.mark.parametrize("sql", SIDE_EFFECTS)
def test_what_a_standby_would_accept_and_must_not_get(sql: str) -> None:
    """A lock taken on a standby locks nobody out (CORRECTNESS 18)."""
    for text in (sql, sql.upper()):
        assert needs_primary(text)
        assert may_write(text)


@pytest.mark.parametrize("comment", ["/**/", "/* a */ ", "-- a\n", "(", "\n \t"])
def test_many_comments_are_read_in_time(comment: str) -> None:
    """The pattern never tries the same comments in another grouping: that would take years."""
    assert may_write(comment * 200 + "insert into note values (1)")
    assert not may_write(comment * 200 + "select 1")


@pytest.mark.parametrize(
    "tag", ["INSERT 0 1", "UPDATE 0", "DELETE 3", "MERGE 1", "COPY 5", "CREATE TABLE", "CALL", "DO"]
)
def test_tags_of_writes(tag: str) -> None:
    """What the driver says afterwards is the main signal."""
    assert tag_writes(tag)


@pytest.mark.parametrize(
    "tag", ["SELECT 1", "SHOW", "SET", "BEGIN", "COMMIT", "ROLLBACK", "FETCH 3", "EXPLAIN", "LISTEN"]
)
def test_tags_of_reads(tag: str) -> None:
    """These change nothing by themselves."""
    assert not tag_writes(tag)
