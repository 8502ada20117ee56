"""Positions: what covers what."""

from __future__ import annotations

import dataclasses

import pytest
from unit.builders import beat, history, lsn

from lagless.core.position import PAGE, Position, last_record_end, parse_lsn


def test_an_lsn_is_compared_as_a_number() -> None:
    """Text order would put 0/9 after 0/10, and 10/0 before 9/0."""
    line = history()
    parse = type(lsn(0)).parse
    assert parse(line, "0/10").covers(parse(line, "0/9"))
    assert parse(line, "10/0").covers(parse(line, "9/FFFFFFFF"))
    assert not parse(line, "9/FFFFFFFF").covers(parse(line, "10/0"))


@pytest.mark.parametrize("text", ["0/0", "0/16B3748", "16/B374D848", "FFFFFFFF/FFFFFFFF"])
def test_an_lsn_is_written_as_postgresql_writes_it(text: str) -> None:
    """Reading and writing are inverse."""
    assert type(lsn(0)).parse(history(), text).text() == text


@pytest.mark.parametrize("text", ["", "16B3748", "0/", "/0", "0/XYZ", "g/0"])
def test_what_is_no_lsn_is_refused(text: str) -> None:
    """A mangled answer must not become a position."""
    with pytest.raises(ValueError, match=r".+"):
        parse_lsn(text)


@pytest.mark.parametrize(
    "other",
    [lsn(5, 2), lsn(5, generation=1), lsn(5, system="1"), beat(5)],
    ids=["timeline", "generation", "system", "kind"],
)
def test_other_histories_are_never_covered(other: Position) -> None:
    """A larger number of another history contains nothing of this one (CORRECTNESS 3)."""
    assert not lsn(1_000).covers(other)
    assert not other.covers(lsn(1))


def test_a_counter_does_not_cover_an_lsn_of_the_same_history() -> None:
    """Kinds of positions do not mix, even where the histories are equal."""
    counter = dataclasses.replace(beat(9), history=history())
    assert not counter.covers(lsn(1))
    with pytest.raises(ValueError, match="different histories"):
        counter.merge(lsn(1))  # type: ignore[arg-type]


def test_positions_of_different_histories_do_not_merge() -> None:
    """Nobody can tell which holds the other."""
    with pytest.raises(ValueError, match="different histories"):
        lsn(1).merge(lsn(2, 2))


def test_descent_is_by_timeline_within_one_system_and_generation() -> None:
    """A restored or foreign system is no descendant, however high its timeline."""
    assert history(2).descends_from(history(1))
    assert not history(1).descends_from(history(1))
    assert not history(1).descends_from(history(2))
    assert not history(2, generation=1).descends_from(history(1))
    assert not history(2, system="1").descends_from(history(1))


@pytest.mark.parametrize(
    ("insert", "end"),
    [
        (3 * PAGE + 24, 3 * PAGE),
        (3 * PAGE + 40, 3 * PAGE),
        (3 * PAGE, 3 * PAGE),
        (3 * PAGE + 23, 3 * PAGE + 23),
        (3 * PAGE + 25, 3 * PAGE + 25),
        (3 * PAGE - 1, 3 * PAGE - 1),
    ],
)
def test_an_insert_position_behind_a_page_header_is_rounded_down(insert: int, end: int) -> None:
    """No standby reports a place inside a page's header before something more is written."""
    assert last_record_end(insert) == end
