"""What goes wrong with the recipe of SQLAlchemy's documentation, and does not with lagless: each shown on both."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Delete, Update, func, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.exc import ObjectDeletedError

import lagless
import lagless.sqlalchemy
from alchemy import Note, World, hear

ON_POSTGRESQL = pytest.mark.parametrize("world", ["postgresql+psycopg"], indirect=True)
pytestmark = ON_POSTGRESQL


class Recipe(Session):
    """Flushes, UPDATE and DELETE go to the leader, all else to any follower: the documentation's vertical recipe."""

    engines: dict[str, Any]

    def get_bind(self, mapper: Any = None, clause: Any = None) -> Any:  # type: ignore[override]
        """Choose an engine."""
        if self._flushing or isinstance(clause, Update | Delete):
            return self.engines["primary"]
        return self.engines[random.choice(["replica1", "replica2"])]


@pytest.fixture
def recipe(world: World) -> Iterator[Callable[[], Session]]:
    """The recipe over real servers."""
    engines = world.engines()
    yield sessionmaker(class_=type("Recipe", (Recipe,), {"engines": engines}))
    for engine in engines.values():
        engine.dispose()


@pytest.fixture
def routed(world: World) -> Iterator[Callable[[], Session]]:
    """lagless over the same servers, in a unit of work."""
    engines = world.engines()
    primary, *replicas = engines.values()
    factory = lagless.sqlalchemy.sessionmaker(primary=primary, replicas=replicas)
    hear(factory.cluster)
    world.factory = factory
    with lagless.session():
        yield factory
    factory.cluster.close()
    for engine in engines.values():
        engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [insert(Note).values(text="a"), text("update note set text = 'b'"), select(Note).with_for_update()],
    ids=["insert()", "text", "for update"],
)
def test_writes_that_are_sent_to_a_follower(recipe: Any, routed: Any, statement: Any) -> None:
    """insert(), a write in text() and FOR UPDATE."""
    with recipe() as db, pytest.raises(DBAPIError, match="read-only transaction"):
        db.execute(statement)
    with routed() as db:
        db.execute(statement)
        db.commit()


def test_an_object_that_is_gone_after_its_commit(world: World, recipe: Any, routed: Any) -> None:
    """The attribute is read again after the commit: from a replica that has not got the row."""
    world.pause()
    with recipe() as db:
        note = Note(text="a")
        db.add(note)
        db.commit()
        with pytest.raises(ObjectDeletedError):
            _ = note.text
    with routed() as db:
        note = Note(text="a")
        db.add(note)
        db.commit()
        assert note.text == "a"


def test_several_replicas_in_one_transaction(world: World, recipe: Any, routed: Any) -> None:
    """One transaction sees several states of the database."""
    server = select(func.inet_server_port())
    with recipe() as db:
        assert len({db.scalar(server) for _ in range(40)}) == 2
    with routed() as db:
        assert len({db.scalar(server) for _ in range(40)}) == 1


def test_binds_that_are_named(world: World, recipe: Any, routed: Any) -> None:
    """`bind_arguments={"bind": ...}` is an argument that the recipe does not take."""
    with recipe() as db, pytest.raises(TypeError):
        db.execute(select(Note), bind_arguments={"bind": db.engines["primary"]})
    with routed() as db:
        db.execute(select(Note), bind_arguments={"bind": world.factory.engines.by_node["replica2"]})


def test_a_follower_that_died(world: World, recipe: Any, routed: Any) -> None:
    """A share of all reads fails until somebody takes it out of the list."""
    for node in world.servers.replicas:
        node.kill()
    with recipe() as db, pytest.raises(OperationalError):
        db.scalars(select(Note)).all()
    with routed() as db:
        assert db.scalars(select(Note)).all() == []


def test_a_write_that_is_not_seen(world: World, recipe: Any, routed: Any) -> None:
    """The page after the form does not show what was sent."""
    world.pause()
    for make, seen in ((recipe, 0), (routed, 2)):
        with make() as db:
            db.add(Note(text="a"))
            db.commit()
        with make() as db:
            assert db.scalar(select(func.count()).select_from(Note)) == seen
