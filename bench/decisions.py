"""One decision: `db_for_read(Model)`, called as often as it takes to be measured."""

from __future__ import annotations

from typing import Any

from bench.contestants import Decision
from bench.timing import Sample, call_seconds, each_seconds, undisturbed

LOOPS = 5_000
UNITS = 500
REPEATS = 5
ROWS = {
    "first": "nothing written, first read of a request",
    "later": "nothing written, later reads",
    "written": "own write not settled, or pinned",
    "known_first": "position known, first read",
    "known_later": "position known, later reads",
    "atomic": "inside atomic()",
    "hash_first": "by hash of the user, first read",
    "hash_later": "by hash of the user, later reads",
}


def nanoseconds(decision: Decision, router: Any, model: Any) -> Sample:
    """Return the best of several loops, as `timeit` would have it."""
    with decision.within():
        _check(decision, router, model)
        with undisturbed():
            best = min(_once(decision, router.db_for_read, model) for _ in range(REPEATS))
    return Sample(best * 1e9)


def _once(decision: Decision, read: Any, model: Any) -> float:
    if decision.units is None or decision.bind is None:
        return call_seconds(read, model, LOOPS)
    return each_seconds(decision.bind, decision.units(UNITS), read, model)


def _check(decision: Decision, router: Any, model: Any) -> None:
    """A loop over a wrong answer would be fast, too."""
    if decision.units is not None and decision.bind is not None:
        decision.bind(decision.units(1)[0])
    answer = router.db_for_read(model)
    if answer not in decision.answers:
        raise RuntimeError(f"{type(router).__name__} answered {answer!r}, expected one of {decision.answers}")
