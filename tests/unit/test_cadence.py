"""When to probe."""

from __future__ import annotations

import pytest
from unit.builders import lsn

from lagless.core.cadence import GROWTH, LEAST_GAP, PRECISION, Allowance, Pace, estimate_lag, next_probe

IDLE = 0.5
RING = ((1.0, lsn(10)), (2.0, lsn(20)), (3.0, lsn(30)))


def test_while_nobody_waits_probes_are_slow() -> None:
    """Whatever the lag and the misses were."""
    assert next_probe(Pace(10.0, lag=5.0, misses=9), wanted_since=None, idle=IDLE) == 10.5


def test_a_wanted_position_is_looked_for_at_once() -> None:
    """On a replica that is as good as level."""
    assert next_probe(Pace(10.0), wanted_since=10.0, idle=IDLE) == 10.0 + LEAST_GAP


def test_misses_widen_the_gap_up_to_the_idle_interval() -> None:
    """A replica that does not come along is asked less and less."""
    gaps = [next_probe(Pace(10.0, misses=m), wanted_since=10.0, idle=IDLE) - 10.0 for m in range(20)]
    assert gaps[:3] == pytest.approx([LEAST_GAP, GROWTH * LEAST_GAP, GROWTH**2 * LEAST_GAP])
    assert gaps[-1] == pytest.approx(IDLE)
    assert next_probe(Pace(10.0, misses=10_000), wanted_since=10.0, idle=IDLE) == pytest.approx(10.5)


def test_a_lagging_replica_is_asked_when_it_is_expected() -> None:
    """A replica that lags 200 ms will not have it before."""
    assert next_probe(Pace(10.0, lag=0.2), wanted_since=10.0, idle=IDLE) == pytest.approx(10.2)


def test_a_very_slow_replica_is_still_asked_once_an_idle_interval() -> None:
    """Expectations may be wrong."""
    assert next_probe(Pace(10.0, lag=60.0), wanted_since=10.0, idle=IDLE) == pytest.approx(10.5)


def test_past_its_expected_time_a_lagging_replica_is_asked_by_a_part_of_its_lag() -> None:
    """Asking sooner would hardly be earlier."""
    due = next_probe(Pace(10.0, lag=0.2), wanted_since=9.0, idle=IDLE)
    assert due == pytest.approx(10.0 + 0.2 * PRECISION)


def test_the_lag_is_the_age_of_the_oldest_position_missed() -> None:
    """As the probe shows it."""
    assert estimate_lag(lsn(10), RING, 4.0, 0.0) == 2.0
    assert estimate_lag(lsn(25), RING, 4.0, 0.0) == 1.0
    assert estimate_lag(lsn(1), RING, 4.0, 0.0) == 3.0


def test_a_replica_that_misses_nothing_is_taken_to_be_quick() -> None:
    """However slow it was before."""
    assert estimate_lag(lsn(30), RING, 4.0, 0.8) == 0.0
    assert estimate_lag(lsn(30), (), 4.0, 0.8) == 0.0


def test_without_a_position_the_estimate_stays() -> None:
    """Nothing was learned."""
    assert estimate_lag(None, RING, 4.0, 0.8) == 0.8


def test_a_position_asked_for_after_the_probe_is_no_negative_lag() -> None:
    """Two probes cross."""
    assert estimate_lag(lsn(25), RING, 2.5, 0.0) == 0.0


@pytest.mark.parametrize("rate", [5.0, 100.0])
def test_the_allowance_holds_its_rate_in_the_long_run(rate: float) -> None:
    """However greedy the probes are."""
    allowance, now, taken = Allowance(0.0), 0.0, 0
    while now < 100.0:
        now += allowance.take(now, rate)
        taken += 1
    assert taken / 100.0 == pytest.approx(rate, rel=0.03)


def test_after_a_pause_the_allowance_lets_a_tenth_of_a_second_through_at_once() -> None:
    """No more, however long the pause was."""
    allowance = Allowance(0.0)
    waits = [allowance.take(1000.0, 100.0) for _ in range(30)]
    free = sum(1 for wait in waits if wait == 0.0)
    assert free == 11
    assert waits[free] == pytest.approx(0.01)
