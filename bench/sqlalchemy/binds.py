"""One decision: `Session.get_bind(mapper, clause=select)`, called as often as it takes to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from time import perf_counter
from typing import Any

from sqlalchemy import inspect

from bench.contestants import Decision
from bench.decisions import LOOPS, REPEATS, UNITS
from bench.sqlalchemy.model import TITLE, Page
from bench.timing import Sample, undisturbed

ROWS = {
    "first": "nothing written, first read of a unit of work",
    "later": "nothing written, later reads of a transaction",
    "written": "own write not settled",
    "known_first": "position known, first read of a unit of work",
    "known_later": "position known, later reads of a transaction",
}


def nanoseconds(decision: Decision, make: Any, urls: Any) -> Sample:
    """Return the best of several loops, as `timeit` would have it."""
    mapper = inspect(Page)
    with decision.within(), make() as session:
        if decision.units is None:
            session.execute(TITLE)
        _check(decision, session, mapper, urls)
        with undisturbed():
            best = min(_once(decision, session.get_bind, mapper) for _ in range(REPEATS))
    return Sample(best * 1e9)


def _once(decision: Decision, get_bind: Any, mapper: Any) -> float:
    if decision.units is None or decision.bind is None:
        return _seconds(get_bind, mapper)
    return _first_seconds(decision.bind, decision.units(UNITS), get_bind, mapper)


def _seconds(get_bind: Any, mapper: Any) -> float:
    """Return the seconds that one call takes, the loop included."""
    statement = TITLE
    begun = perf_counter()
    for _ in repeat(None, LOOPS):
        get_bind(mapper, clause=statement)
    return (perf_counter() - begun) / LOOPS


def _first_seconds(bind: Any, units: Sequence[Any], get_bind: Any, mapper: Any) -> float:
    """Return the seconds that one call takes in a unit of work of its own; binding that is subtracted."""
    statement = TITLE
    begun = perf_counter()
    for unit in units:
        bind(unit)
    between = perf_counter()
    for unit in units:
        bind(unit)
        get_bind(mapper, clause=statement)
    return (perf_counter() - between - (between - begun)) / len(units)


def _check(decision: Decision, session: Any, mapper: Any, urls: Any) -> None:
    """A loop over a wrong answer would be fast, too."""
    if decision.units is not None and decision.bind is not None:
        decision.bind(decision.units(1)[0])
    port = session.get_bind(mapper, clause=TITLE).url.port
    node = next(name for name, url in urls.items() if f":{port}/" in url)
    if node not in decision.answers:
        raise RuntimeError(f"{type(session).__name__} answered {node!r}, expected one of {decision.answers}")
