"""What happened, for people and machines."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from unit.builders import FIRST, PRIMARY, SECOND, down, of_blind, of_primary, of_replica, picture, steady

from lagless.core.observing import observe
from lagless.core.topology import Observation, Topology
from lagless.events import QUIET, Counts, Event, Kind, log
from lagless.news import news


def told(before: Topology, seen: Observation) -> list[tuple[Kind, str | None, str]]:
    """Return what one observation brings."""
    return list(news(before, observe(before, seen), seen))


def test_steady_answers_are_no_news() -> None:
    """Nor is the first answer of a node."""
    assert told(steady(), of_replica(FIRST, 120, 11)) == []
    assert told(steady(), of_primary(120, 11)) == []
    assert told(picture(), of_replica(FIRST, 120, 11)) == []


def test_an_ignored_answer_is_no_news() -> None:
    """It changed nothing."""
    assert told(steady(), down(FIRST, 3)) == []


def test_a_node_goes_down_once_and_comes_up_once() -> None:
    """Repeated errors are not repeated."""
    fallen = observe(steady(), down(FIRST, 11, "ConnectionError"))
    assert told(steady(), down(FIRST, 11, "ConnectionError")) == [(Kind.NODE_DOWN, FIRST, "ConnectionError")]
    assert told(fallen, down(FIRST, 12)) == []
    assert told(fallen, of_replica(FIRST, 100, 12)) == [(Kind.NODE_UP, FIRST, "")]


def test_a_first_error_is_news() -> None:
    """A replica that was never there."""
    assert [kind for kind, *_ in told(picture(), down(FIRST, 1))] == [Kind.NODE_DOWN]


def test_a_promotion_is_news() -> None:
    """Who it is and who it was."""
    assert told(steady(), of_primary(150, 11, node=FIRST, timeline=2)) == [(Kind.PRIMARY_CHANGED, FIRST, "was default")]


def test_two_primaries_are_news() -> None:
    """Both are named."""
    claims = picture(of_primary(1, 10, node=FIRST, timeline=2), of_primary(1, 10, node=SECOND, timeline=2))
    assert told(claims, down(PRIMARY, 11)) == [
        (Kind.NODE_DOWN, PRIMARY, "TimeoutError"),
        (Kind.TWO_PRIMARIES, None, "replica1, replica2"),
    ]


def test_an_ambiguous_node_is_news_once() -> None:
    """With the fix."""
    before = picture(of_replica(FIRST, 1, 10, run="a"), of_replica(FIRST, 1, 11, run="b"))
    seen = of_replica(FIRST, 1, 12, run="a")
    ((kind, node, detail),) = told(before, seen)
    assert (kind, node) == (Kind.AMBIGUOUS, FIRST)
    assert "declare each" in detail
    assert told(observe(before, seen), of_replica(FIRST, 1, 13, run="b")) == []


def test_a_blind_node_is_news_once() -> None:
    """With the fix."""
    ((kind, node, detail),) = told(steady(), of_blind(FIRST, 11))
    assert (kind, node) == (Kind.BLIND, FIRST)
    assert "lagless setup" in detail
    assert told(observe(steady(), of_blind(FIRST, 11)), of_blind(FIRST, 12)) == []


def test_a_history_that_went_back_is_news() -> None:
    """It was probably restored."""
    assert [kind for kind, *_ in told(steady(), of_primary(50, 11, run="2"))] == [Kind.HISTORY_WENT_BACK]


@pytest.mark.parametrize("kind", list(Kind))
def test_what_needs_a_persons_eye_is_a_warning(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """What is routine, or what anybody can cause, is not."""
    with caplog.at_level(logging.DEBUG, "lagless"):
        log(Event(kind, "main", "r1", "why"))
    (record,) = caplog.records
    assert record.levelno == (logging.DEBUG if kind in QUIET else logging.WARNING)
    assert record.getMessage() == f"main/r1: {kind} (why)"


def test_a_log_line_without_a_node_or_detail_is_short(caplog: pytest.LogCaptureFixture) -> None:
    """No empty brackets."""
    log(Event(Kind.TWO_PRIMARIES, "main"))
    assert [record.getMessage() for record in caplog.records] == ["main: two primaries"]


def test_a_forged_token_does_not_fill_the_log() -> None:
    """Anybody can send one."""
    assert Kind.TOKEN_REFUSED in QUIET


def test_events_are_counted_by_kind() -> None:
    """For status and metrics."""
    counts = Counts()
    for kind in (Kind.SETTLED, Kind.SETTLED, Kind.NODE_DOWN):
        counts(Event(kind, "main"))
    assert counts.events == {Kind.SETTLED: 2, Kind.NODE_DOWN: 1}


def test_an_event_is_a_value() -> None:
    """A listener may keep it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Event(Kind.SETTLED, "main").node = "x"  # type: ignore[misc]
