from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lagless.demo.databases import OnMariaDB, OnPostgres
from lagless.demo.sampler import Asker
from lagless.demo.schedule import CUES, Action


def cluster(**node: Any) -> Any:
    """Servers that do not run."""
    primary, replica = (SimpleNamespace(name=name, port=port, **node) for name, port in (("primary", 1), ("r1", 2)))
    return SimpleNamespace(primary=primary, replicas=[replica])


def test_mariadb_counts_whole_seconds_and_never_lags_less() -> None:
    """Of a delay of two seconds at least one passes."""
    database = OnMariaDB(cluster())
    for cue in CUES:
        if cue.action is Action.DELAY:
            assert cue.seconds <= database.delay(cue.seconds) < cue.seconds + 1
            assert database.delay(cue.seconds) == int(database.delay(cue.seconds))


def test_postgres_lags_as_it_is_told() -> None:
    """In milliseconds, if need be."""
    assert OnPostgres(cluster()).delay(2.2) == 2.2


def test_postgres_is_asked_for_places_in_its_log() -> None:
    """What is flushed where it is written, what is replayed where it is read."""
    questions = OnPostgres(cluster(dsn="postgresql://lagless@127.0.0.1:1/x")).questions()
    assert questions.keys() == {"primary", "r1"}
    assert "flush" in questions["primary"].statement
    assert "replay" in questions["r1"].statement
    assert questions["r1"].driver == "psycopg"


def test_mariadb_is_asked_how_many_transactions_it_has() -> None:
    """The last number of a GTID."""
    questions = OnMariaDB(cluster(connect_params=lambda: {"host": "127.0.0.1"})).questions()
    assert "@@global.gtid_binlog_pos, '-', -1)" in questions["primary"].statement
    assert "@@global.gtid_slave_pos, '-', -1)" in questions["r1"].statement
    assert questions["r1"].connect["host"] == "127.0.0.1"


def test_the_sampler_speaks_to_any_db_api_driver() -> None:
    """The answer is one whole number."""
    asker = Asker("sqlite3", {"database": ":memory:"}, "select 42")
    assert asker._ask() == 42
    asker._drop()


@pytest.mark.parametrize("statement", ["select no_such_thing", "select 1 where 1 = 2"])
def test_a_server_that_does_not_answer_gives_none(statement: str) -> None:
    """And the sampler goes on."""
    asker = Asker("sqlite3", {"database": ":memory:"}, statement)
    assert asker._ask() is None
    assert asker._ask() is None
    asker._drop()
