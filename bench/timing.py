"""Clocks and the few statistics that the tables show."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter
from typing import Any

Pair = tuple[float, float]
"""Seconds without and with the contestant."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value: the median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Figure:
        """Sum samples up."""
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round found: the value of the table, and plain Django's microseconds where it ran alongside."""

    value: float
    plain: float | None = None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the garbage collector out of the loops inside, as `timeit` does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def call_seconds(function: Callable[[Any], Any], argument: Any, loops: int) -> float:
    """Return the seconds that one call takes, the loop included."""
    begun = perf_counter()
    for _ in repeat(None, loops):
        function(argument)
    return (perf_counter() - begun) / loops


def each_seconds(
    bind: Callable[[Any], Any], things: Sequence[Any], function: Callable[[Any], Any], argument: Any
) -> float:
    """Return the seconds that one call takes when something is bound before each; binding alone is subtracted."""
    begun = perf_counter()
    for thing in things:
        bind(thing)
    between = perf_counter()
    for thing in things:
        bind(thing)
        function(argument)
    return (2 * between - begun - perf_counter()) / -len(things)


def pairs(
    plain: Callable[[], float], routed: Callable[[], float], count: int, added: Callable[[float, float], float]
) -> Sample:
    """Run two loops in turn, the first of each pair changing sides, so that drift cancels; `added` compares them."""
    _pair(plain, routed)  # connects, fills caches
    with undisturbed():
        found = [_pair(plain, routed) if number % 2 else _pair(routed, plain)[::-1] for number in range(count)]
    return Sample(
        value=statistics.median(added(alone, with_it) for alone, with_it in found),
        plain=statistics.median(alone for alone, _ in found) * 1e6,
    )


def _pair(one: Callable[[], float], other: Callable[[], float]) -> Pair:
    first = one()
    return first, other()


def percent(plain: float, routed: float) -> float:
    """Return how much longer it takes, in percent."""
    return (routed / plain - 1) * 100


def microseconds(plain: float, routed: float) -> float:
    """Return how much longer it takes, in microseconds."""
    return (routed - plain) * 1e6
