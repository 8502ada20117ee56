"""SQLAlchemy sessions over real replicas, in both colours and on both databases: the same scenarios."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import OperationalError

import lagless
from alchemy import Note, World
from lagless import Reason

REPLICAS = {"replica1", "replica2"}


def add(db: Any, text_: str = "a") -> Note:
    """Write a note and commit."""
    note = Note(text=text_)
    db.add(note)
    db.commit()
    return note


def count(db: Any) -> int:
    """Read how many notes there are, in a transaction of its own."""
    found = db.scalar(select(func.count()).select_from(Note))
    db.rollback()
    return found


def test_reads_go_to_one_replica(world: World) -> None:
    """All reads of a transaction, and of a unit of work, are one replica's."""

    def scenario(db: Any) -> None:
        db.scalars(select(Note)).all()
        db.get(Note, 1)
        db.execute(text("select 1")).all()
        db.rollback()
        count(db)

    world.play(scenario)
    assert len(set(world.nodes)) == 1
    assert set(world.nodes) <= REPLICAS
    assert len(world.nodes) == 4


def test_a_session_without_a_unit_of_work_reads_the_primary(world: World) -> None:
    """A script that opened no session() has what it had with one server."""

    def act(factory: Any) -> Any:
        if world.asynchronous:

            async def run() -> None:
                async with factory() as db:
                    await db.execute(select(Note))

            return run()
        with factory() as db:
            db.execute(select(Note))
        return None

    world.stage(act)
    assert world.nodes == ["primary"]


def test_own_writes_are_seen_while_replicas_lag(world: World) -> None:
    """After a commit, reads stay on the primary until a replica has replayed it."""

    def scenario(db: Any) -> tuple[int, int, str]:
        world.pause()
        add(db)
        behind = count(db)
        why = world.cluster.explain().reason
        world.resume()
        return behind, count(db), why

    behind, after, why = world.play(scenario)
    assert (behind, after) == (1, 1)
    assert why in (Reason.NONE_COVERS, Reason.READ_PRIMARY)


def test_a_write_is_settled_at_its_commit(world: World) -> None:
    """The position is known when commit() returns: nothing is left to be asked."""

    def scenario(db: Any) -> tuple[int, Any]:
        add(db)
        from lagless.context import current

        footprint = current().session.of("default")
        return footprint.unsettled, footprint.written

    unsettled, written = world.play(scenario)
    assert unsettled == 0
    assert written is not None


def test_one_replica_behind_and_one_caught_up(world: World) -> None:
    """The read after a write goes to the replica that has it, with no word of the other."""
    slow, quick = world.servers.replicas

    def scenario(db: Any) -> int:
        world.pause(slow)
        add(db)
        world.servers.wait_replayed(quick)
        from routing import until

        until(lambda: world.cluster.explain().node == quick.name)
        world.trace.clear()
        return count(db)

    assert world.play(scenario) == 1
    assert world.nodes == [quick.name]


def test_commit_then_attribute(world: World) -> None:
    """With expire_on_commit an attribute is read again right after the commit, and is not stale."""

    def scenario(db: Any) -> tuple[str, str]:
        note = add(db, "before")
        world.catch_up()
        world.pause()
        note.text = "after"
        db.commit()
        first = note.text
        db.refresh(note)
        return first, note.text

    assert world.play(scenario) == ("after", "after")


def test_reads_after_a_flush_follow_it_to_the_primary(world: World) -> None:
    """A transaction moves at its first flush, autoflush included, and stays."""

    def scenario(db: Any) -> tuple[int, int]:
        db.scalars(select(Note)).all()
        db.add(Note(text="a"))
        seen = db.scalar(select(func.count()).select_from(Note))  # flushes
        again = db.scalar(select(func.count()).select_from(Note))
        db.rollback()
        return seen, again

    assert world.play(scenario) == (1, 1)
    assert world.nodes[0] in REPLICAS
    assert set(world.nodes[1:]) == {"primary"}


@pytest.mark.parametrize(
    "statement",
    [
        insert(Note).values(text="a"),
        update(Note).values(text="b"),
        text("insert into note (text) values ('a')"),
        text("  /* why */ update note set text = 'c'"),
        select(Note).with_for_update(),
        text("select id from note for update"),
        text("set @lagless = 1"),
    ],
    ids=str,
)
def test_statements_that_are_the_primarys(world: World, statement: Any) -> None:
    """Writes in every form, locks, and what changes the connection."""
    if "@lagless" in str(statement) and world.is_postgresql:
        statement = text("set local statement_timeout = 1000")

    def scenario(db: Any) -> int:
        db.scalars(select(Note)).all()
        db.execute(statement)
        seen = db.scalar(select(func.count()).select_from(Note))
        db.commit()
        return seen

    world.play(scenario)
    assert world.nodes[0] in REPLICAS
    assert set(world.nodes[1:]) == {"primary"}


def test_insert_returning_is_a_write(world: World) -> None:
    """Its rows come from the primary."""

    def scenario(db: Any) -> Any:
        found = db.scalars(insert(Note).returning(Note), [{"text": "a"}, {"text": "b"}]).all()
        db.commit()
        return len(found)

    assert world.play(scenario) == 2
    assert set(world.nodes) == {"primary"}


def test_a_connection_is_the_primarys(world: World) -> None:
    """session.connection() may be used for anything, and what it writes is followed."""

    def scenario(db: Any) -> int:
        world.pause()
        db.connection().execute(insert(Note).values(text="a"))
        db.commit()
        return count(db)

    assert world.play(scenario) == 1
    assert set(world.nodes) == {"primary"}


def test_bulk_statements_are_followed(world: World) -> None:
    """ORM bulk insert, update and delete write the primary, and are seen after the commit."""

    def scenario(db: Any) -> list[str]:
        world.pause()
        db.execute(insert(Note), [{"text": str(number)} for number in range(5)])
        db.execute(update(Note).where(Note.text == "1").values(text="one"))
        db.execute(
            update(Note).where(Note.text == "2").values(text="two"), execution_options={"synchronize_session": "fetch"}
        )
        db.commit()
        return list(db.scalars(select(Note.text).order_by(Note.id)))

    assert world.play(scenario) == ["0", "one", "two", "3", "4"]
    assert set(world.nodes) == {"primary"}


def test_a_rollback_forgets(world: World) -> None:
    """What was rolled back asks nothing of replicas."""

    def scenario(db: Any) -> int:
        world.pause()
        db.add(Note(text="a"))
        db.flush()
        db.rollback()
        world.trace.clear()
        return count(db)

    assert world.play(scenario) == 0
    assert set(world.nodes) <= REPLICAS


def test_savepoints(world: World) -> None:
    """A released savepoint is no commit; a savepoint that is rolled back takes nothing else with it."""

    def scenario(db: Any) -> tuple[int, int, int]:
        world.pause()
        with db.begin_nested():
            db.add(Note(text="kept"))
        from lagless.context import current

        footprint = current().session.of("default")
        open_writes = footprint.unsettled
        nested = db.begin_nested()
        db.add(Note(text="dropped"))
        db.flush()
        nested.rollback()
        db.commit()
        return open_writes, footprint.unsettled, count(db)

    assert world.play(scenario) == (1, 0, 1)


def test_a_savepoint_on_a_replica_may_become_a_write(world: World) -> None:
    """A block that only read so far moves as the transaction does."""

    def scenario(db: Any) -> int:
        with db.begin_nested():
            db.scalars(select(Note)).all()
            db.add(Note(text="a"))
        db.commit()
        return count(db)

    assert world.play(scenario) == 1


def test_explicit_binds_are_obeyed(world: World) -> None:
    """bind_arguments={"bind": ...} names the engine, and writes through it are followed."""

    def scenario(db: Any) -> tuple[int, int]:
        engine = world.factory.engines.by_node["replica2"]
        there = db.scalar(select(func.count()).select_from(Note), bind_arguments={"bind": engine})
        db.rollback()
        world.pause()
        db.execute(insert(Note).values(text="a"), bind_arguments={"bind": world.factory.engines.home})
        db.commit()
        return there, count(db)

    assert world.play(scenario) == (0, 1)
    assert world.nodes == ["replica2", "primary", "primary"]


def test_scopes(world: World) -> None:
    """primary(), replica() and consistency() narrow where reads go; a write inside replica() raises."""

    def scenario(db: Any) -> None:
        with lagless.primary():
            count(db)
        world.pause()
        add(db)
        with lagless.replica():
            assert count(db) == 0
            with pytest.raises(lagless.ReadOnlyViolation):
                db.execute(insert(Note).values(text="b"))
            db.rollback()
        with lagless.consistency("eventual"):
            assert count(db) == 0
        assert count(db) == 1

    world.play(scenario)
    assert world.nodes[0] == world.nodes[-1] == "primary"


def test_strict_mode(world: World) -> None:
    """A write after a replica was read in the same transaction raises, unless primary() was declared before."""

    def scenario(db: Any) -> int:
        db.scalars(select(Note)).all()
        db.add(Note(text="a"))
        with pytest.raises(lagless.ReadOnlyViolation, match="primary"):
            db.flush()
        db.rollback()
        with lagless.primary():
            db.scalars(select(Note)).all()
            add(db)
        return count(db)

    assert world.play(scenario, strict=True) == 1


def test_streamed_rows_survive_a_write(world: World) -> None:
    """Rows that are still coming from a replica come to their end while the transaction writes."""

    def fill(db: Any) -> None:
        db.execute(insert(Note), [{"text": str(number)} for number in range(500)])
        db.commit()
        world.catch_up()

    def scenario(db: Any) -> int:
        fill(db)
        seen = 0
        for note in db.scalars(select(Note).execution_options(yield_per=50)):
            seen += 1
            if note.text == "100":
                db.add(Note(text="more"))
                db.flush()
        db.commit()
        return seen

    assert world.play(scenario) == 500


def test_two_units_of_work_by_token(world: World) -> None:
    """What one unit wrote, the next one sees, by its token alone."""

    def scenario(db: Any) -> None:
        world.pause()
        add(db)

    def act(factory: Any) -> Any:
        if world.asynchronous:

            async def run() -> int:
                async with lagless.session() as unit, factory() as db:
                    await db.run_sync(scenario)
                async with lagless.session(unit.token()), factory() as db:
                    return await db.run_sync(count)

            return run()
        with lagless.session() as unit, factory() as db:
            scenario(db)
        with lagless.session(unit.token()), factory() as db:
            return count(db)

    assert world.stage(act) == 1


def test_a_dead_replica_is_no_error(world: World) -> None:
    """Pooled connections to a killed server fail at their first statement, and the read runs elsewhere."""

    def scenario(db: Any) -> list[int]:
        count(db)
        used = world.nodes[-1]
        next(node for node in world.servers.replicas if node.name == used).kill()
        return [count(db) for _ in range(5)]

    assert world.play(scenario) == [0] * 5


def test_a_replica_that_dies_within_a_transaction(world: World) -> None:
    """A transaction that moved to the primary commits, though the replica it read from is gone."""

    def scenario(db: Any) -> int:
        db.scalars(select(Note)).all()
        used = world.nodes[-1]
        db.add(Note(text="a"))
        db.flush()
        next(node for node in world.servers.replicas if node.name == used).kill()
        db.commit()
        return count(db)

    assert world.play(scenario) == 1


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_a_replica_that_dies_before_the_end_of_a_transaction_that_read(world: World, end: str) -> None:
    """What was read is read: the end is no error, and its connection serves nobody again."""

    def scenario(db: Any) -> int:
        db.scalars(select(Note)).all()
        used = next(node for node in world.servers.replicas if node.name == world.nodes[-1])
        used.kill()
        getattr(db, end)()
        return count(db)

    assert world.play(scenario) == 0


def test_a_mistake_is_reported_once_and_as_it_is(world: World) -> None:
    """A statement that is wrong fails where it ran, and no node is blamed."""

    def scenario(db: Any) -> int:
        with pytest.raises(Exception, match="nowhere"):
            db.execute(text("select * from nowhere"))
        db.rollback()
        return len([s for s in world.cluster.topology.nodes.values() if not s.alive])

    assert world.play(scenario) == 0
    assert world.nodes == []


def test_both_replicas_dead(world: World) -> None:
    """The primary serves; policy 'error' says why nobody else does."""

    def scenario(db: Any) -> int:
        for node in world.servers.replicas:
            node.kill()
        return count(db)

    assert world.play(scenario) == 0

    def strict(db: Any) -> None:
        with pytest.raises(lagless.ReplicaUnavailable) as caught:
            count(db)
        assert isinstance(caught.value, OperationalError)

    world.servers.heal()

    def scenario_error(db: Any) -> None:
        for node in world.servers.replicas:
            node.kill()
        from routing import until

        until(lambda: not any(s.alive for s in world.cluster.topology.replicas))
        strict(db)

    world.play(scenario_error, policy=lagless.Policy(on_stale="error"))
