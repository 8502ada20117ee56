"""Which constructs may go to a replica, and what a failure there means."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, exc, exists, func, insert, select, text, union, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from lagless.errors import ReplicaUnavailable
from lagless.sqlalchemy import errors
from lagless.sqlalchemy.failures import Failure, judge
from lagless.sqlalchemy.reading import is_read


class Base(DeclarativeBase):
    """Some tables."""


class Note(Base):
    """Something."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Special(type(select())):  # type: ignore[misc]
    """A user's own kind of SELECT."""

    inherit_cache = True


READS = [
    select(Note),
    select(func.count()).select_from(Note),
    union(select(Note.id), select(Note.id)),
    select(exists(select(Note.id))),
    text("select 1"),
    text("with a as (select 1) select * from a"),
    text("select id from note").columns(Note.id),
    select(Note).from_statement(text("select * from note")),
    select(Note).from_statement(select(Note)),
    Special(Note.id),
]
WRITES = [
    insert(Note),
    insert(Note).returning(Note.id),
    update(Note),
    delete(Note),
    select(Note).with_for_update(),
    select(Note).with_for_update(read=True),
    text("insert into note values (1)"),
    text("with a as (delete from note returning id) select * from a"),
    text("insert into note values (1) returning id").columns(Note.id),
    select(Note).from_statement(insert(Note).returning(Note)),
    select(Note).from_statement(text("update note set text = '' returning *")),
    func.nextval("note_id_seq"),
    CreateTable(Note.__table__),
    text("set local search_path = a"),
    text("select set_config('a.b', 'c', true)"),
    text("select pg_advisory_lock(1)"),
    text("select 1; delete from note"),
    text("lock table note"),
]


@pytest.mark.parametrize("statement", READS, ids=lambda s: " ".join(str(s).split())[:50])
def test_what_only_asks_for_rows_is_a_read(statement: Any) -> None:
    """In every form it comes in."""
    assert is_read(statement)


@pytest.mark.parametrize("statement", WRITES, ids=lambda s: type(s).__name__)
def test_everything_else_is_the_primarys(statement: Any) -> None:
    """Writes, locks, changes of the connection, and whatever is not known."""
    assert not is_read(statement)


class Driver(Exception):
    """What a driver raises."""

    def __init__(self, *args: Any, sqlstate: str | None = None, sqlite_errorname: str | None = None) -> None:
        super().__init__(*args)
        self.sqlstate = sqlstate
        self.sqlite_errorname = sqlite_errorname


def failed(error: Exception, statement: str | None = "select 1", *, invalidated: bool = False) -> exc.DBAPIError:
    """Return SQLAlchemy's error around a driver's."""
    return exc.OperationalError(statement, {}, error, connection_invalidated=invalidated)


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (failed(Driver("shutting down", sqlstate="57P01")), Failure.LOST),
        (failed(Driver(2013, "Lost connection")), Failure.LOST),
        (failed(Driver("no file", sqlite_errorname="SQLITE_CANTOPEN")), Failure.LOST),
        (failed(Driver("conflict with recovery", sqlstate="40001")), Failure.CONFLICT),
        (failed(Driver("read-only transaction", sqlstate="25006")), Failure.REFUSED),
        (failed(Driver("cannot during recovery", sqlstate="0A000")), Failure.REFUSED),
        (failed(Driver("serializable mode in a hot standby", sqlstate="0A000")), Failure.REFUSED),
        (failed(Driver(1290, "--read-only")), Failure.REFUSED),
        (failed(Driver("read only", sqlite_errorname="SQLITE_READONLY")), Failure.REFUSED),
        (failed(Driver("cannot do that at all", sqlstate="0A000")), Failure.OTHER),
        (failed(Driver("syntax", sqlstate="42601")), Failure.OTHER),
        (failed(Driver(1146, "no such table")), Failure.OTHER),
        (failed(Driver("locked", sqlite_errorname="SQLITE_BUSY")), Failure.OTHER),
        (failed(Driver("another operation is in progress")), Failure.OTHER),
        (exc.TimeoutError("QueuePool limit"), Failure.OTHER),
        (ConnectionRefusedError("of a cache that a hook asks"), Failure.OTHER),
        (TimeoutError("of the driver"), Failure.OTHER),
        (ValueError(), Failure.OTHER),
    ],
    ids=str,
)
def test_what_a_failure_means(error: Exception, means: Failure) -> None:
    """A node is blamed only for what it did."""
    assert judge(error, gone=False, answers=True) is means


def test_whatever_takes_the_connection_with_it_is_a_loss() -> None:
    """asyncpg's errors are not all wrapped."""
    assert judge(ConnectionResetError(), gone=True, answers=True) is Failure.LOST
    assert judge(failed(Driver("gone"), invalidated=True), gone=True, answers=True) is Failure.LOST


@pytest.mark.parametrize(("answers", "means"), [(True, Failure.OTHER), (False, Failure.LOST)])
def test_a_time_limit_of_the_applications_own(answers: bool, means: Failure) -> None:
    """It is the node's fault only if the node answers nobody."""
    late = Driver(2013, "Lost connection (timed out)")
    late.__cause__ = TimeoutError()
    assert judge(failed(late, invalidated=True), gone=True, answers=answers) is means


def test_errors_are_both_lagless_and_sqlalchemys() -> None:
    """An except block written for one server keeps working, and the message is as it was."""
    found = errors.as_sqlalchemy(ReplicaUnavailable("nobody", {"a": "down"}))
    assert isinstance(found, exc.OperationalError)
    assert isinstance(found, ReplicaUnavailable)
    assert found.refused == {"a": "down"}
    assert "nobody (a: down)" in str(found)
