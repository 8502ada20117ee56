from __future__ import annotations

from lagless.demo.oracle import PRIMARY, Sample, Step, Track, could_use_replica

R1, R2 = "replica1", "replica2"


def track(*samples: tuple[float, int | None]) -> Track:
    """A track of (sent, position)."""
    return Track(Sample(*sample) for sample in samples)


def read(started: float, *places: str) -> Step:
    """A page read from the given servers within a tenth of a second."""
    return Step(started, started + 0.1, frozenset(places))


def write(started: float) -> Step:
    """A write that took a tenth of a second."""
    return Step(started, started + 0.1, frozenset(), wrote=True)


def test_a_session_that_wrote_and_saw_nothing_may_go_anywhere() -> None:
    """Any replica alive covers nothing."""
    assert could_use_replica([read(1, R1)], {PRIMARY: track((0, 9)), R1: track((0, 0), (1, 0))}) == [True]


def test_after_a_write_only_a_replica_that_has_it() -> None:
    """The position required is the primary's when the answer came back."""
    tracks = {PRIMARY: track((0, 5), (1.05, 10), (1.2, 50)), R1: track((0, 5), (2, 5), (3, 10), (4, 10))}
    assert could_use_replica([write(1), read(1.5, PRIMARY)], tracks) == [False, False]
    assert could_use_replica([write(1), read(3.5, R1)], tracks) == [False, True]


def test_one_replica_that_covers_is_enough() -> None:
    """The oracle may choose."""
    behind, there = track((0, 1), (9, 1)), track((0, 10), (9, 10))
    tracks = {PRIMARY: track((0, 10)), R1: behind, R2: there}
    assert could_use_replica([write(1), read(2, R2)], tracks) == [False, True]


def test_a_page_from_the_primary_raises_what_is_required() -> None:
    """Whoever saw the primary saw everything flushed by then."""
    tracks = {PRIMARY: track((0, 1), (1, 10)), R1: track((0, 1), (1, 1), (2, 1))}
    assert could_use_replica([read(1, PRIMARY), read(1.5, R1)], tracks) == [True, False]


def test_a_page_from_a_replica_requires_what_it_certainly_showed() -> None:
    """That replica's position before the read began, not what it replayed meanwhile."""
    tracks = {PRIMARY: track((0, 9)), R1: track((0, 5), (1.05, 9)), R2: track((0, 5), (3, 5))}
    assert could_use_replica([read(1, R1), read(2, R2)], tracks) == [True, True]


def test_a_lower_replica_after_a_higher_one_does_not_do() -> None:
    """Monotonic reads bind the oracle too."""
    tracks = {PRIMARY: track((0, 9)), R1: track((0, 9), (1.5, None), (9, None)), R2: track((0, 5), (3, 5))}
    assert could_use_replica([read(1, R1), read(2, R2)], tracks) == [True, False]


def test_a_dead_replica_serves_nobody() -> None:
    """No answer before and none after."""
    tracks = {PRIMARY: track((0, 0)), R1: track((0, None), (1, None), (2, None), (3, 0))}
    assert could_use_replica([read(1.5, PRIMARY), read(2.5, R1)], tracks) == [False, True]


def test_doubt_is_the_oracles() -> None:
    """The first sample sent after the request counts as known to it."""
    tracks = {PRIMARY: track((0, 10)), R1: track((0, 1), (2.004, 10))}
    assert could_use_replica([write(1), read(2, PRIMARY)], tracks) == [False, True]


def test_what_was_required_stays_required() -> None:
    """A later page from an older replica lowers nothing."""
    tracks = {PRIMARY: track((0, 10)), R1: track((0, 1), (9, 1))}
    assert could_use_replica([write(1), read(2, R1), read(3, R1)], tracks) == [False, False, False]


def test_samples_may_come_in_any_order_and_may_be_absent() -> None:
    """An empty track covers nothing, and requires nothing."""
    assert track((2, 20), (1, 10)).before(1.5) == 10
    assert track().before(1) == 0
    assert not track().covers(0, 1)
    assert track((1, 10), (2, None)).before(3) == 10
