"""What a statement's text gives away."""

from __future__ import annotations

import pytest

from lagless.dialects.statements import asks_only, may_write, needs_primary, tag_writes

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
    "# mysql\nselect 1",
    "select `insert` from note",
    "describe note",
    "desc note",
    "select * from values_of where next_value = 1",
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
    "replace into note values (1)",
    "load data infile 'x' into table note",
    "select * from note into outfile 'x'",
    "select a into @a from note",
    "table note into outfile 'x'",
    "values row(1) into @a",
    "with a as (select 1) select * from a into @a",
    "handler note open",
    "do sleep(1)",
    "# select\ninsert into note values (1)",
    "/*!50000 insert into note values (1) */",
    "/*M! delete from note */",
    "analyze table note",
    "describe analyze select 1",
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
    "select is_free_lock('l')",
    "select is_used_lock('l')",
    "select last_insert_id()",
    "select currval('s')",
    "select next value for s",
    "select previous value for s",
    "unlock tables",
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


ASK_NOT = [
    *WRITES,
    *SIDE_EFFECTS,
    "set a = 1",
    "begin",
    "commit",
    "savepoint s",
    "declare c cursor for select 1",
    "fetch 10 from c",
    "discard all",
    "pragma foreign_keys",
    "use other",
    "select set_config('a', 'b', false)",
    "select setseed(0.5)",
    "select @a := 1",
    "select sql_calc_found_rows * from note",
    "select found_rows()",
    "select row_count()",
    "show warnings",
    "show count(*) errors",
]


@pytest.mark.parametrize("sql", [sql for sql in READS if sql.lstrip(" (\n/-#").startswith(("select", "SELECT"))])
def test_what_only_asks_for_rows_may_go_to_a_replica(sql: str) -> None:
    """In lower and upper case."""
    assert asks_only(sql)
    assert asks_only(sql.upper())


@pytest.mark.parametrize(
    "sql",
    ["with a as (select 1) select * from a", "values (1)", "table note", "show tables", "explain select 1", "desc t"],
)
def test_other_questions_may_go_there_too(sql: str) -> None:
    """They begin with another word."""
    assert asks_only(sql)


@pytest.mark.parametrize("sql", ASK_NOT)
def test_what_does_more_than_ask_stays_on_the_primary(sql: str) -> None:
    """It writes, locks, changes its connection, or depends on what that did before."""
    for text in (sql, sql.upper()):
        assert not asks_only(text)


@pytest.mark.parametrize("comment", ["/**/", "/* a */ ", "-- a\n", "# a\n", "(", "\n \t"])
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
