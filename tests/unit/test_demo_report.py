from __future__ import annotations

from dataclasses import replace

import pytest

from lagless.demo import verdict
from lagless.demo.oracle import Sample, Track
from lagless.demo.policies import RoutingPolicy
from lagless.demo.report import Result, summarise
from lagless.demo.visits import Served, Visit

TRACKS = {
    "primary": Track([Sample(0, 10), Sample(9, 10)]),
    "replica1": Track([Sample(0, 10), Sample(9, 10)]),
    "replica2": Track([Sample(0, None), Sample(9, None)]),
}

GOOD = Result(
    requests=100,
    errors=0,
    stale_reads=0,
    backward_reads=0,
    reads=80,
    replica_reads=76,
    oracle_replica_reads=80,
    extra_round_trips=20,
    extra_on_replica_only_requests=0,
    max_extra_per_request=1,
    connection_probes=32,
    broken_statements=1,
    p50_ms=10.0,
    p99_ms=100.0,
)


def visit(method: str = "GET", at: float = 1.0, *, reads: str = "", trips: str = "", **more: object) -> Visit:
    """One request of 10 ms."""
    base = Visit(client=0, method=method, path="/", started=at, ended=at + 0.01, status=200)
    return replace(base, served=Served.parse(reads, trips), **more)


def test_a_read_is_a_get_that_asked_the_databases_and_changed_nothing() -> None:
    """Posts, pages without a query, pages that wrote and failures are none."""
    visits = [
        visit(reads="replica1=3"),
        visit(reads="primary=3"),
        visit(reads="primary=1 replica1=2"),
        visit(),
        visit(reads="replica1=1", trips="writes=1"),
        visit("POST", reads="primary=1", trips="writes=1"),
        visit(status=500, error="status 500", reads="replica1=1"),
    ]
    result = summarise([visits], TRACKS)
    assert (result.requests, result.reads, result.replica_reads, result.errors) == (7, 3, 1, 1)
    assert result.oracle_replica_reads == 3


def test_findings_and_trips_are_added_up() -> None:
    """Over all clients."""
    first = [
        visit(stale=(("version", "7"),), backward=(("threads", ""),), reads="replica1=1"),
        visit("POST", trips="writes=1 extra=1"),
    ]
    second = [visit(backward=(("threads", ""),), reads="replica1=1", trips="extra=2 probes=1 failed=1")]
    result = summarise([first, second], TRACKS)
    assert (result.stale_reads, result.backward_reads) == (1, 2)
    assert (result.extra_round_trips, result.max_extra_per_request, result.extra_on_replica_only_requests) == (3, 2, 2)
    assert (result.connection_probes, result.broken_statements) == (1, 1)


def test_examples_tell_what_went_wrong_in_order_of_time() -> None:
    """So that a broken promise can be looked into."""
    late = visit(at=3.0, error="status 500", status=500)
    early = visit(at=2.0, reads="replica1=2", stale=(("version", "7"),), backward=(("threads", ""),))
    result = summarise([[visit(at=1.0), late], [early]], TRACKS)
    assert result.examples == (
        "1.00 s: reader0 GET /, read from replica1: stale: version 7, backward: threads",
        "2.00 s: reader0 GET /, read from nowhere: status 500",
    )


def test_percentiles_are_in_milliseconds() -> None:
    """Of all requests."""
    result = summarise([[visit(at=1.0, reads="replica1=1") for _ in range(50)]], TRACKS)
    assert result.p50_ms == pytest.approx(10)
    assert result.p99_ms == pytest.approx(10)


def test_nothing_at_all_adds_up_to_nothing() -> None:
    """No division by zero."""
    result = summarise([[]], TRACKS)
    assert (result.requests, result.replica_share, result.oracle_share) == (0, 0.0, 0.0)


def test_a_kept_promise_is_said_so() -> None:
    """In one sentence."""
    assert verdict.broken_promises(GOOD) == []
    (sentence,) = verdict.sentences({RoutingPolicy.LAGLESS: GOOD})
    assert "no stale page" in sentence
    assert "95%" in sentence


@pytest.mark.parametrize(
    "change",
    [
        {"errors": 1},
        {"stale_reads": 1},
        {"backward_reads": 1},
        {"replica_reads": 75},
        {"extra_on_replica_only_requests": 1},
        {"max_extra_per_request": 2},
    ],
)
def test_each_promise_can_be_broken(change: dict[str, int]) -> None:
    """The verdict can fail, for one reason at a time."""
    broken = replace(GOOD, **change)
    assert len(verdict.broken_promises(broken)) == 1
    assert "broke its promise" in verdict.sentences({RoutingPolicy.LAGLESS: broken})[0]


def test_the_others_are_compared_in_a_second_sentence() -> None:
    """With or without lagless."""
    results = {RoutingPolicy.RANDOM_REPLICA: replace(GOOD, stale_reads=7), RoutingPolicy.LAGLESS: GOOD}
    assert "random replica gave 7 stale" in verdict.sentences(results)[1]
    del results[RoutingPolicy.LAGLESS]
    assert len(verdict.sentences(results)) == 1
