"""The heartbeat dialect: a counter row gives any database a position."""

from __future__ import annotations

from lagless.core.config import CaptureMode
from lagless.core.position import Counter, History
from lagless.core.topology import Identity, Role
from lagless.dialects import Heartbeat
from lagless.dialects.base import Heard

MODE = CaptureMode.AUTO
ROW = ["a1b2", "41"]


def heard(role: Role) -> Heard:
    """Return who was asked."""
    return Heard("n", role, 12.5, 2)


def test_the_primary_beats_before_it_is_read() -> None:
    """Replicas are only read."""
    dialect = Heartbeat()
    beat, read = dialect.probe_statements(Role.PRIMARY, helper=False)
    assert beat.startswith("update lagless_heartbeat set beat = beat + 1")
    assert dialect.probe_statements(Role.REPLICA, helper=False) == (read,)
    assert dialect.capture_statement() == read


def test_a_probe_reads_the_counter() -> None:
    """Roles are as declared."""
    seen = Heartbeat().read_probe(ROW, heard(Role.REPLICA))
    assert seen.role is Role.REPLICA
    assert seen.position == Counter(History("a1b2", 0, 2), 41)
    assert seen.identity == Identity("a1b2")
    assert not seen.unproven


def test_without_the_row_a_node_is_blind() -> None:
    """Setup was not run, or has not been replicated yet."""
    for row in (None, [None, None], ["a1b2", None], [None, "1"]):
        seen = Heartbeat().read_probe(row, heard(Role.PRIMARY))
        assert seen.position is None
        assert seen.identity is None
        assert not seen.unproven
        assert Heartbeat().read_capture(row, MODE, None, 0) is None


def test_a_write_is_covered_by_the_next_beat_not_by_the_one_it_read() -> None:
    """The beat that a capture reads may have been committed before the write."""
    written = Heartbeat().read_capture(ROW, MODE, None, 2)
    same = Heartbeat().read_probe(ROW, heard(Role.REPLICA)).position
    later = Heartbeat().read_probe(["a1b2", "42"], heard(Role.REPLICA)).position
    assert written
    assert same
    assert later
    assert not same.covers(written)
    assert later.covers(written)


def test_a_capture_right_after_a_probe_is_no_going_back() -> None:
    """The horizon covers what a capture between two beats says."""
    horizon = Heartbeat().read_probe(ROW, heard(Role.PRIMARY)).horizon
    written = Heartbeat().read_capture(ROW, MODE, None, 2)
    assert horizon
    assert written
    assert horizon.covers(written)


def test_setup_makes_one_row_once() -> None:
    """Run twice, it changes nothing."""
    create, fill = Heartbeat().setup_statements()
    assert "if not exists" in create
    assert "where not exists" in fill
    assert Heartbeat().setup_statements()[1] != fill  # each database gets a system of its own


def test_setup_uses_no_word_that_a_database_keeps_for_itself() -> None:
    """MySQL reserves `system`, and its older versions want a FROM before a WHERE."""
    create, fill = Heartbeat().setup_statements()
    for statement in (create, fill, Heartbeat().capture_statement()):
        assert "system" not in statement
    assert fill.index(" from (select 1)") < fill.index("where not exists")


def test_it_has_no_doubts_gtids_or_settings() -> None:
    """Roles are as declared."""
    dialect = Heartbeat()
    seen = dialect.read_probe(ROW, heard(Role.REPLICA))
    assert dialect.doubt_statement(seen) is None
    assert dialect.read_doubt(None, seen) is seen
    assert dialect.tracking_statement() is None
    assert dialect.own_position("0-1-7", 0) is None
    assert dialect.config_statement() is None
    assert dialect.read_config(None, Role.PRIMARY) == ()
