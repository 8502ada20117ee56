"""When to probe a node next: slowly while nobody waits, when it is expected to have caught up, then backing off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lagless.core.position import Position
from lagless.core.topology import covered

LEAST_GAP = 0.001
"""Seconds between two probes of a node while a session waits for it, before backing off."""
GROWTH = 1.6
"""By how much that gap grows with each probe that brings nothing wanted."""
PRECISION = 0.025
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
    gap: float = min(idle, floor * GROWTH ** min(pace.misses, 30))
    return max(pace.last + gap, min(wanted_since + pace.lag, pace.last + idle))


def estimate_lag(
    position: Position | None, ring: Sequence[tuple[float, Position]], sent: float, previous: float
) -> float:
    """Return a node's lag in seconds as one probe shows it: the age of the oldest primary position it misses.

    A node that misses nothing known is taken to be quick: one probe too early costs less than one too late.
    """
    if position is None:
        return previous
    reached = covered(ring, position)
    return max(0.0, sent - ring[reached][0]) if reached < len(ring) else 0.0


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
