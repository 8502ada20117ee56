"""When to probe a node next: slowly while nobody waits, when it is expected to have caught up, then backing off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lagless.core.position import Position

LEAST_GAP = 0.002
"""Seconds between two probes of a node while a session waits for it, before backing off."""
PRECISION = 0.04
"""A waiting node is asked no more often than this part of its lag: asking sooner would hardly be earlier."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a node was last probed. Times are monotonic seconds; `misses` counts probes that brought nothing wanted."""

    last: float
    lag: float = 0.0
    misses: int = 0


def next_probe(pace: Pace, *, wanted_since: float | None, idle: float) -> float:
    """Return when the next probe is due; `wanted_since`: when the oldest position that nobody covers was wanted."""
    if wanted_since is None:
        return pace.last + idle
    floor = max(LEAST_GAP, pace.lag * PRECISION)
    gap: float = min(idle, floor * 2.0 ** min(pace.misses, 20))
    return max(pace.last + gap, min(wanted_since + pace.lag, pace.last + idle))


def estimate_lag(
    position: Position | None, ring: Sequence[tuple[float, Position]], sent: float, previous: float
) -> float:
    """Return a node's lag in seconds as one probe shows it: the age of the oldest primary position it misses.

    A node that misses nothing known shows only that it is quick: the estimate is halved, so that it follows a
    recovery within a few probes.
    """
    if position is None:
        return previous
    missed = next((at for at, mark in ring if not position.covers(mark)), None)
    if missed is not None:
        return max(0.0, sent - missed)
    return min(previous / 2, sent - ring[-1][0] if ring else previous)


@dataclass(slots=True)
class Allowance:
    """A token bucket of probes: so many a second in the long run, a tenth of a second's worth at once."""

    at: float
    stock: float = 1.0

    def take(self, now: float, rate: float) -> float:
        """Take one probe at monotonic `now`; return the seconds until the next may be sent."""
        self.stock = min(rate / 10 + 1, self.stock + (now - self.at) * rate) - 1
        self.at = now
        return max(0.0, -self.stock / rate)
