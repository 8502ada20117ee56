from __future__ import annotations

from lagless.demo.tally import Tally
from lagless.demo.visits import Served

READ = 'SELECT "board_thread"."id" FROM "board_thread"'
WRITE = 'INSERT INTO "board_thread" VALUES (1)'


def test_the_applications_statements_are_no_extra_trips() -> None:
    """A plain page costs what it asks."""
    tally = Tally()
    for _ in range(3):
        with tally.statement(READ):
            tally.answer(READ, "replica1")
    assert (tally.statements, tally.extra, tally.reads) == (3, 0, {"replica1": 3})


def test_a_statement_nobody_asked_for_is_an_extra_trip() -> None:
    """Such as the position asked for after a write."""
    tally = Tally()
    with tally.statement(WRITE):
        tally.answer(WRITE, "primary")
    tally.answer("select pg_current_wal_flush_lsn()", "primary")
    assert (tally.writes, tally.extra, tally.reads) == (1, 1, {})


def test_an_extra_statement_within_another_is_found_too() -> None:
    """A backend that asks something before the statement it was given."""
    tally = Tally()
    with tally.statement(READ):
        tally.answer("select 1", "replica1")
        tally.answer(READ, "replica1")
    assert (tally.extra, tally.reads) == (1, {"replica1": 1})


def test_a_read_counts_where_it_was_answered() -> None:
    """The first server died; the backend asked another one."""
    tally = Tally()
    with tally.statement(READ):
        tally.failed += 1
        tally.answer(READ, "primary")
    assert (tally.reads, tally.extra, tally.failed) == ({"primary": 1}, 0, 1)


def test_a_statement_that_died_is_no_round_trip() -> None:
    """Neither asked nor answered."""
    tally = Tally()
    with tally.statement(READ):
        tally.failed += 1
    assert (tally.statements, tally.extra, tally.reads) == (0, 0, {})


def test_a_refusal_is_a_round_trip_and_no_read() -> None:
    """A constraint, for example."""
    tally = Tally()
    with tally.statement(WRITE):
        tally.refuse()
    assert (tally.statements, tally.extra, tally.reads) == (1, 0, {})


def test_probes_of_new_connections_are_counted_apart() -> None:
    """And what Django sends to every new connection is no probe."""
    tally = Tally(connecting=True)
    tally.answer("SELECT set_config('TimeZone', %s, false)", "replica1")
    tally.answer("select pg_last_wal_replay_lsn()", "replica1")
    assert (tally.probes, tally.extra, tally.reads) == (1, 0, {})


def test_a_statement_may_tell_its_text_when_it_is_known() -> None:
    """An ORM makes it while it runs; asked again elsewhere, it is the same statement."""
    tally = Tally()
    with tally.statement():
        tally.name(READ)
        tally.refuse()
        tally.name(READ)
        tally.answer(READ, "primary")
    assert (tally.statements, tally.writes, tally.extra, tally.reads) == (1, 0, 1, {"primary": 1})


def test_a_statement_that_never_had_a_text_changed_nothing() -> None:
    """No connection could be had for it."""
    tally = Tally()
    with tally.statement():
        pass
    assert (tally.statements, tally.writes, tally.extra) == (0, 0, 0)


def test_a_text_outside_of_any_statement_is_nobodys() -> None:
    """What lagless sends for itself is not the application's."""
    tally = Tally()
    tally.name(READ)
    tally.answer(READ, "replica1")
    assert (tally.reads, tally.extra) == ({}, 1)


def test_savepoints_are_neither_reads_nor_writes() -> None:
    """They change nothing by themselves."""
    tally = Tally()
    with tally.statement('SAVEPOINT "s1"'):
        tally.answer('SAVEPOINT "s1"', "primary")
    assert (tally.statements, tally.writes, tally.reads) == (1, 0, {})


def test_the_client_reads_what_the_tally_wrote() -> None:
    """The headers carry both counts."""
    tally = Tally(reads={"replica1": 2, "primary": 1}, writes=1, statements=4, answered=5, probes=1)
    headers = dict(tally.headers())
    served = Served.parse(headers["Demo-Reads"], headers["Demo-Trips"])
    assert served.reads == {"replica1": 2, "primary": 1}
    assert served.trips == {"statements": 4, "writes": 1, "extra": 1, "probes": 1, "failed": 0}


def test_a_response_without_the_headers_says_nothing() -> None:
    """An error page of the server itself, for example."""
    assert Served.parse("", "") == Served()
