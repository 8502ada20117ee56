"""decide(): every reason and every refusal."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from unit.builders import (
    FIRST,
    PRIMARY,
    SECOND,
    down,
    footprint,
    history,
    lsn,
    of_blind,
    of_primary,
    of_replica,
    picture,
    steady,
    unproven,
)

from lagless.core.consistency import Level
from lagless.core.observing import observe
from lagless.core.selection import Choice, Reason, Terms, decide
from lagless.core.session import Footprint
from lagless.core.topology import Topology

BOTH = (FIRST, SECOND)


def choose(
    topology: Topology, unit: Footprint | None = None, *, now: float = 11.0, wall: float = 1000.0, **terms: object
) -> Choice:
    """Decide for a unit of work that began at 5, a second after everything was heard."""
    return decide(topology, unit or footprint(), Terms(**terms), now, wall)  # type: ignore[arg-type]


def refusal(topology: Topology, unit: Footprint | None = None, node: str = FIRST, **terms: object) -> str:
    """Return why `node` was passed over."""
    return choose(topology, unit, **terms).refused[node]  # type: ignore[arg-type]


# -- reasons


def test_a_fresh_session_may_read_any_replica() -> None:
    """Nothing was written and nothing seen."""
    assert choose(steady()) == Choice(BOTH, Reason.SESSION, {})


def test_strong_reads_the_primary() -> None:
    """Whatever the replicas hold."""
    assert choose(steady(), level=Level.STRONG) == Choice((), Reason.STRONG)


def test_without_replicas_there_is_nothing_to_choose() -> None:
    """At any level but through no fault of theirs."""
    assert choose(picture(of_primary(100, 10), replicas=())) == Choice((), Reason.NO_REPLICAS)


def test_an_unsettled_write_keeps_the_unit_on_the_primary() -> None:
    """Its position is not known yet."""
    unit = footprint()
    unit.begin_write()
    assert choose(steady(), unit) == Choice((), Reason.UNSETTLED)
    unit.end_write()
    assert choose(steady(), unit).reason is Reason.UNSETTLED


def test_a_write_in_doubt_keeps_the_unit_on_the_primary() -> None:
    """From an earlier unit's token, or from this one."""
    assert choose(steady(), footprint(dirty=history())).reason is Reason.DIRTY
    unit = footprint()
    unit.begin_write()
    unit.end_write(in_doubt=True)
    unit.settled = 1
    assert choose(steady(), unit).reason is Reason.DIRTY


def test_having_read_the_primary_keeps_the_unit_there() -> None:
    """What it showed, replicas may not show yet."""
    unit = footprint()
    unit.saw_primary()
    assert choose(steady(), unit) == Choice((), Reason.READ_PRIMARY)


@pytest.mark.parametrize(
    "written",
    [lsn(1, generation=1), lsn(1, system="1"), lsn(1, 2, generation=1)],
    ids=["generation", "system", "newer timeline of another generation"],
)
def test_a_token_of_an_unknown_history_means_the_primary(written: object) -> None:
    """Neither absent nor a pin: this once, then it is replaced (CORRECTNESS 12)."""
    assert choose(steady(), footprint(written=written)) == Choice((), Reason.UNKNOWN_HISTORY)


def test_a_token_of_the_timeline_before_means_the_primary() -> None:
    """After a failover the write may be lost; only the primary can say."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    assert choose(topology, footprint(written=lsn(90))).reason is Reason.UNKNOWN_HISTORY


def test_a_primary_older_than_the_token_is_a_zombie() -> None:
    """The session wrote on a timeline that this primary never saw (CORRECTNESS 13)."""
    assert choose(steady(), footprint(written=lsn(1, 2))) == Choice((), Reason.ZOMBIE)


def test_a_primary_older_than_a_write_in_doubt_is_a_zombie() -> None:
    """A write in doubt on a newer timeline cannot be found on an older one."""
    assert choose(steady(), footprint(dirty=history(2))) == Choice((), Reason.ZOMBIE)


def test_a_primary_behind_the_token_went_back() -> None:
    """It was asked after the token arrived, and has less: a restore (CORRECTNESS 3)."""
    assert choose(steady(), footprint(began=9, written=lsn(101))) == Choice((), Reason.WENT_BACK)


def test_a_primary_asked_before_the_token_arrived_did_not_go_back() -> None:
    """The write simply came later than the probe."""
    assert choose(steady(), footprint(began=10, written=lsn(101))).reason is Reason.NONE_COVERS


def test_a_primary_asked_before_the_units_own_capture_did_not_go_back() -> None:
    """What was settled within this unit counts from then on."""
    unit = footprint(began=9)
    unit.begin_write()
    unit.end_write()
    unit.settle(lsn(101), 1, 10.0)
    assert choose(steady(), unit).reason is Reason.NONE_COVERS
    unit.written_at = 9.5
    assert choose(steady(), unit).reason is Reason.WENT_BACK


def test_a_primary_that_went_down_did_not_go_back() -> None:
    """Its last answer is older than the token; a replica that covers it serves."""
    topology = picture(of_primary(100, 9), of_replica(FIRST, 150, 10), down(PRIMARY, 10.5))
    assert choose(topology, footprint(began=10, written=lsn(150))) == Choice(
        (FIRST,), Reason.SESSION, {SECOND: "not heard from yet"}
    )


def test_the_horizon_counts_not_the_flush() -> None:
    """With synchronous_commit off the flush is behind one's own commit."""
    topology = observe(steady(), of_primary(100, 10.5, horizon=130))
    assert choose(topology, footprint(began=9, written=lsn(120))).reason is Reason.NONE_COVERS


def test_replicas_that_cover_the_session_serve() -> None:
    """The one that is behind is named, with its distance."""
    assert choose(steady(100, 90, 80), footprint(written=lsn(90))) == Choice(
        (FIRST,), Reason.SESSION, {SECOND: "behind the session by 10"}
    )


def test_when_no_replica_covers_the_session_the_policy_decides() -> None:
    """Each refusal says by how much."""
    choice = choose(steady(100, 80, 70), footprint(written=lsn(90)))
    assert choice == Choice(
        (), Reason.NONE_COVERS, {FIRST: "behind the session by 10", SECOND: "behind the session by 20"}
    )


def test_a_session_stays_with_its_replica() -> None:
    """What it showed, it still shows."""
    assert choose(steady(), footprint(nodes=frozenset({SECOND}))) == Choice((SECOND,), Reason.AFFINITY)


def test_a_unit_stays_with_the_replica_it_chose() -> None:
    """One replica for a unit of work, not one for a statement."""
    unit = footprint()
    unit.choose(FIRST)
    unit.read_replica = True
    assert choose(steady(), unit) == Choice((FIRST,), Reason.AFFINITY)


def test_inside_replica_any_healthy_one_serves() -> None:
    """Whatever the session wrote."""
    unit = footprint(written=lsn(500))
    unit.begin_write()
    assert choose(steady(), unit, level=Level.EVENTUAL, replica_only=True) == Choice(BOTH, Reason.REPLICA_SCOPE)


def test_at_level_eventual_any_healthy_one_serves() -> None:
    """How far behind does not matter."""
    topology = picture(of_primary(900, 10), of_replica(FIRST, 1, 1), down(SECOND, 10))
    choice = choose(topology, footprint(written=lsn(500)), level=Level.EVENTUAL)
    assert choice == Choice((FIRST,), Reason.EVENTUAL, {SECOND: "down: TimeoutError"})


def test_without_a_healthy_replica_the_reason_says_so() -> None:
    """Eventual has nothing to choose from either."""
    topology = picture(of_primary(900, 10), down(FIRST, 10), down(SECOND, 10))
    assert choose(topology, level=Level.EVENTUAL).reason is Reason.NONE_HEALTHY


@pytest.mark.parametrize("level", [Level.EVENTUAL, Level.BOUNDED])
def test_the_weaker_levels_stay_with_the_units_replica(level: Level) -> None:
    """As long as it may serve."""
    unit = footprint()
    unit.node = SECOND
    assert choose(steady(), unit, level=level, max_lag=5).candidates == (SECOND,)
    gone = observe(steady(), down(SECOND, 11))
    assert choose(gone, unit, level=level, max_lag=5).candidates == (FIRST,)


# -- leaving the affinity node


def left(began: float, *, first: int = 100, second: int = 100) -> tuple[Topology, Footprint]:
    """Return a session of the second replica, which is down, and a primary position asked for at 10."""
    topology = observe(steady(100, first, second), down(SECOND, 11))
    return topology, footprint(began=began, nodes=frozenset({SECOND}))


def test_leaving_needs_a_primary_position_asked_for_after_the_unit_began() -> None:
    """All that was read before precedes that question, so no clock crosses machines (CORRECTNESS 8)."""
    topology, unit = left(began=9)
    assert choose(topology, unit) == Choice((FIRST,), Reason.SESSION, {SECOND: "down: TimeoutError"})


@pytest.mark.parametrize("began", [10, 10.5])
def test_leaving_on_an_older_primary_position_is_refused(began: float) -> None:
    """The session may have seen more than the primary had then."""
    topology, unit = left(began=began)
    assert choose(topology, unit).reason is Reason.LEAVING
    assert choose(topology, unit).candidates == ()


def test_leaving_for_a_replica_behind_that_position_is_refused() -> None:
    """It may lack what the session saw."""
    topology, unit = left(began=9, first=99)
    assert choose(topology, unit) == Choice(
        (), Reason.LEAVING, {SECOND: "down: TimeoutError", FIRST: "behind the session by 1"}
    )


def test_a_unit_that_read_its_replica_does_not_leave_it_for_another() -> None:
    """What this unit itself read may be newer than any position asked for (CORRECTNESS 8)."""
    topology, unit = left(began=9)
    unit.read_replica = True
    assert choose(topology, unit).reason is Reason.LEAVING


def test_leaving_with_nobody_left_keeps_the_plain_reason() -> None:
    """It is not the leaving that fails."""
    topology, unit = left(began=11)
    topology = observe(topology, down(FIRST, 12))
    assert choose(topology, unit).reason is Reason.NONE_COVERS


def test_a_session_of_two_replicas_needs_one_that_holds_what_both_showed() -> None:
    """Merged tokens name two; each may have shown what the other lacks."""
    unit = footprint(began=9, nodes=frozenset(BOTH))
    assert choose(steady(100, 100, 99), unit) == Choice((FIRST,), Reason.SESSION, {SECOND: "behind the session by 1"})
    assert choose(steady(100, 99, 99), unit).reason is Reason.LEAVING


def test_an_affinity_to_a_node_no_longer_declared_is_a_leaving() -> None:
    """The settings changed between two requests."""
    unit = footprint(began=9, nodes=frozenset({"replica9"}))
    assert choose(steady(100, 100, 99), unit).candidates == (FIRST,)


def test_a_replica_that_started_again_must_catch_up_first() -> None:
    """It may stand before what it once had, and tokens were dropped, and affinities made, by what it had."""
    topology = observe(steady(), of_replica(FIRST, 60, 11, run="2"))
    unit = footprint(began=12, nodes=frozenset({FIRST}))
    assert choose(topology, unit, now=13).refused[FIRST] == "started again, and not known to have caught up since"
    assert choose(topology, footprint(began=12), now=13).candidates == (SECOND,)
    topology = observe(topology, of_primary(100, 12))
    topology = observe(topology, of_replica(FIRST, 99, 13, run="2"))
    assert choose(topology, footprint(began=12), now=13).candidates == (SECOND,)
    topology = observe(topology, of_replica(FIRST, 100, 14, run="2"))
    assert choose(topology, unit, now=14) == Choice((FIRST,), Reason.AFFINITY)


def test_a_lost_connection_alone_is_no_new_start() -> None:
    """The same run of the same server keeps what it had."""
    topology = observe(observe(steady(), down(FIRST, 11)), of_replica(FIRST, 100, 12))
    assert choose(topology, now=13).candidates == BOTH


# -- health


def test_a_node_never_heard_from_does_not_serve() -> None:
    """Unknown is not healthy."""
    assert refusal(picture(of_primary(100, 10)), level=Level.EVENTUAL) == "not heard from yet"


def test_a_node_that_is_down_does_not_serve() -> None:
    """The refusal names the kind of error, no host or password."""
    topology = observe(steady(), down(FIRST, 11, "OperationalError"))
    assert refusal(topology, level=Level.EVENTUAL) == "down: OperationalError"


def test_a_replica_that_is_a_primary_does_not_serve() -> None:
    """It follows nobody."""
    topology = observe(steady(), of_primary(100, 11, node=FIRST))
    assert refusal(topology, level=Level.EVENTUAL) == "is a primary itself"


def test_a_replicas_name_that_leads_to_the_primary_is_named() -> None:
    """A mistake in the settings that would otherwise pass for a very good replica."""
    topology = observe(steady(), replace(of_primary(100, 11), node=FIRST))
    assert refusal(topology, level=Level.EVENTUAL) == "is the primary's own server"


def test_a_standby_of_another_system_does_not_serve() -> None:
    """It replicates somebody else."""
    topology = observe(steady(), of_replica(FIRST, 999, 11, system="1"))
    assert refusal(topology, level=Level.EVENTUAL) == "is not a replica of this primary: other system id"


def promoted(fork: int | None, second: int) -> Topology:
    """Return the picture after the first replica was promoted at `fork` while the second had replayed `second`."""
    topology = observe(steady(100, 100, second), of_primary(150, 11, node=FIRST, timeline=2, fork=fork))
    return observe(topology, of_replica(SECOND, second, 12))


def test_a_standby_past_the_fork_has_diverged() -> None:
    """It replayed what the new timeline does not contain (CORRECTNESS 1)."""
    why = "diverged: replayed past the point where the primary's timeline began"
    assert refusal(promoted(90, 91), node=SECOND, level=Level.EVENTUAL) == why


def test_a_standby_before_the_fork_may_still_follow() -> None:
    """It is late, not lost: good enough for eventual, not for a session."""
    topology = promoted(90, 90)
    assert choose(topology, level=Level.EVENTUAL).candidates == (SECOND,)
    assert refusal(topology, node=SECOND) == "lag unknown"


def test_without_a_known_fork_an_older_timeline_does_not_serve() -> None:
    """When in doubt, no."""
    why = "on an older timeline than the primary"
    assert refusal(promoted(None, 10), node=SECOND, level=Level.EVENTUAL) == why


def test_a_zombie_standby_ahead_of_the_token_by_number_does_not_serve() -> None:
    """Its LSN is larger, its timeline older, and the row is gone (CORRECTNESS 1)."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2, fork=90))
    topology = observe(topology, of_replica(SECOND, 999, 12))
    assert choose(topology, footprint(began=13, written=lsn(140, 2)), now=13).candidates == ()


# -- position, lag


def test_a_standby_without_proof_has_no_position() -> None:
    """It may not serve what must be covered."""
    topology = picture(of_primary(100, 10), unproven(FIRST, 10), of_replica(SECOND, 100, 10))
    assert refusal(topology, footprint(written=lsn(1))) == "position unknown"


def test_a_standby_on_another_history_than_the_session_is_named() -> None:
    """The two numbers do not compare."""
    promoted = of_primary(100, 10, timeline=2, fork=90)
    topology = picture(of_replica(PRIMARY, 90, 9), promoted, of_replica(FIRST, 80, 10))
    assert refusal(topology, footprint(written=lsn(95, 2))) == "on another history than the session"


def test_two_servers_under_one_name_serve_no_session() -> None:
    """The next connection may lead to the other one (CORRECTNESS 19)."""
    topology = steady()
    for i, run in enumerate("aba"):
        topology = observe(topology, of_replica(FIRST, 100, 11 + i, run=run))
    why = "ambiguous: several servers answer under one address; declare each"
    assert refusal(topology, now=14) == why
    assert refusal(topology, level=Level.BOUNDED, max_lag=60, now=14) == why
    assert choose(topology, level=Level.EVENTUAL).candidates == BOTH


def test_a_replica_of_unknown_lag_serves_no_session() -> None:
    """Nothing says that it holds what an expired token stood for (CORRECTNESS 11)."""
    topology = picture(of_primary(100, 10), of_replica(FIRST, 50, 10), of_replica(SECOND, 100, 10))
    assert refusal(topology) == "lag unknown"


def test_a_replica_that_lags_longer_than_a_token_lives_serves_no_session() -> None:
    """A token that expired must have nothing left to say (CORRECTNESS 11)."""
    assert choose(steady(), now=110, lag_limit=100).candidates == BOTH
    assert refusal(steady(), now=110.5, lag_limit=100) == "lags 100.5 s, allowed are 100 s"


def test_a_sessions_max_lag_is_the_smaller_of_both_limits() -> None:
    """The policy may ask for more, never for less."""
    assert refusal(steady(), now=16, lag_limit=100, max_lag=5) == "lags 6.0 s, allowed are 5 s"
    assert refusal(steady(), now=130, lag_limit=100, max_lag=500) == "lags 120.0 s, allowed are 100 s"


def test_bounded_reads_replicas_that_are_fresh_enough() -> None:
    """Own writes are not asked for at this level."""
    unit = footprint(written=lsn(500))
    topology = picture(of_primary(50, 4), of_primary(100, 10), of_replica(FIRST, 100, 10), of_replica(SECOND, 50, 10))
    assert choose(topology, unit, level=Level.BOUNDED, max_lag=2) == Choice(
        (FIRST,), Reason.BOUNDED, {SECOND: "lags 7.0 s, allowed are 2 s"}
    )


def test_bounded_grows_old_when_the_primary_is_out_of_reach() -> None:
    """Application and replica agree on 0 bytes for ever; the primary goes on without them (CORRECTNESS 15)."""
    topology = steady()
    for moment in range(11, 60):
        topology = observe(topology, down(PRIMARY, moment))
        topology = observe(topology, of_replica(FIRST, 100, moment))
        topology = observe(topology, of_replica(SECOND, 100, moment))
    assert choose(topology, now=14, level=Level.BOUNDED, max_lag=5).candidates == BOTH
    assert choose(topology, now=60, level=Level.BOUNDED, max_lag=5).reason is Reason.NONE_FRESH
    assert refusal(topology, now=60, level=Level.BOUNDED, max_lag=5) == "lags 50.0 s, allowed are 5 s"


def test_bounded_without_a_bound_still_wants_a_known_lag() -> None:
    """Infinity is not a lag."""
    assert choose(picture(of_replica(FIRST, 1, 10)), level=Level.BOUNDED).reason is Reason.NONE_FRESH
    assert choose(steady(), now=1e9, level=Level.BOUNDED, max_lag=math.inf).candidates == BOTH


# -- positions unknown


def blind(*, pinned_until: float = 0.0, **mark: object) -> tuple[Topology, Footprint]:
    """Return two blind replicas and a session pinned until some Unix time."""
    topology = picture(of_primary(100, 10), of_blind(FIRST, 10), of_blind(SECOND, 10))
    return topology, footprint(pinned_until=pinned_until, **mark)


def test_a_pin_keeps_a_session_off_blind_replicas() -> None:
    """They cannot say whether they hold its write."""
    topology, unit = blind(pinned_until=1001.0)
    choice = choose(topology, unit)
    assert choice.reason is Reason.TIME_PIN
    assert choice.refused[FIRST] == "cannot tell its position, and the time pin runs"


def test_a_pin_ends() -> None:
    """The guess that pins are made of."""
    topology, unit = blind(pinned_until=1000.0, written=lsn(100))
    assert choose(topology, unit).candidates == BOTH


def test_a_session_that_wrote_nothing_may_read_blind_replicas() -> None:
    """There is nothing to wait for."""
    topology, unit = blind()
    assert choose(topology, unit, lag_limit=1).candidates == BOTH


def test_a_written_position_without_a_pin_keeps_off_blind_replicas() -> None:
    """The replica was not yet known to be blind when the write settled: no pin was set, nothing may be assumed."""
    topology, unit = blind(written=lsn(100))
    choice = choose(topology, unit)
    assert choice.reason is Reason.NONE_COVERS
    assert choice.refused[FIRST] == "cannot tell its position"


def test_a_pin_does_not_keep_off_replicas_that_can_tell() -> None:
    """They are asked, not guessed."""
    topology = picture(of_primary(100, 10), of_blind(FIRST, 10), of_replica(SECOND, 100, 10))
    assert choose(topology, footprint(pinned_until=1001.0, written=lsn(100))).candidates == (SECOND,)


# -- nothing heard of the primary


def test_when_the_primary_was_never_heard_a_session_reads_no_replica() -> None:
    """A lag cannot be told."""
    topology = picture(of_replica(FIRST, 100, 10))
    assert refusal(topology, footprint(written=lsn(50))) == "lag unknown"


def test_two_primaries_do_not_stop_reads_that_are_covered() -> None:
    """Writes stop; what a replica holds of the old history it still holds."""
    topology = replace(steady(), primary=None)
    assert choose(topology, footprint(written=lsn(50))).candidates == BOTH
