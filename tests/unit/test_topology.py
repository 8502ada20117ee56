"""What observe() makes of answers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import pytest
from unit.builders import (
    FIRST,
    PRIMARY,
    SECOND,
    beat,
    down,
    history,
    lsn,
    of_blind,
    of_primary,
    of_replica,
    picture,
    server,
    steady,
    unproven,
)

from lagless.core.observing import AMBIGUOUS_SECONDS, RING, capture, observe, went_back
from lagless.core.topology import Node, Observation, Role
from lagless.errors import ConfigurationError


def test_before_anything_is_heard_no_node_is_alive() -> None:
    """Unknown is not healthy."""
    topology = picture()
    assert topology.primary == PRIMARY
    assert topology.history is None
    assert not any(s.heard or s.alive or s.position for s in topology.nodes.values())


def test_observing_returns_a_new_picture() -> None:
    """Whoever holds the old picture keeps deciding on it, undisturbed."""
    before = steady()
    after = observe(before, of_replica(FIRST, 200, 11))
    assert before.nodes[FIRST].position == lsn(100)
    assert after.nodes[FIRST].position == lsn(200)
    with pytest.raises(TypeError):
        after.nodes[FIRST] = before.nodes[FIRST]  # type: ignore[index]


def test_an_answer_to_an_earlier_question_is_ignored() -> None:
    """Answers are ordered by when they were asked for, not by when they came."""
    before = picture(of_replica(FIRST, 100, 10))
    assert observe(before, of_replica(FIRST, 300, 9)) is before
    assert observe(before, down(FIRST, 9)) is before


def test_a_later_lower_position_replaces_a_higher_one() -> None:
    """A standby restarted 18 MB earlier; the maximum would still promise what is gone (CORRECTNESS 2)."""
    topology = picture(of_replica(FIRST, 300, 10), of_replica(FIRST, 100, 11))
    assert topology.nodes[FIRST].position == lsn(100)


def test_an_error_hides_the_position_at_once() -> None:
    """A node that does not answer may have restarted; nothing is known of it."""
    topology = picture(of_replica(FIRST, 300, 10), down(FIRST, 11))
    assert topology.nodes[FIRST].position is None
    assert topology.nodes[FIRST].fresh_at == -math.inf
    assert not topology.nodes[FIRST].alive


def test_an_error_of_an_earlier_probe_does_not_undo_a_later_answer() -> None:
    """A connection that timed out was opened before the probe that succeeded."""
    topology = picture(of_replica(FIRST, 300, 10), down(FIRST, 9.5))
    assert topology.nodes[FIRST].alive


def test_without_proof_the_last_proven_position_stands() -> None:
    """When the upstream is gone, what was replayed is still there (CORRECTNESS 1)."""
    topology = picture(of_replica(FIRST, 300, 10), unproven(FIRST, 11))
    assert topology.nodes[FIRST].position == lsn(300)
    assert not topology.nodes[FIRST].blind


def test_without_proof_a_position_survives_a_lost_connection_of_the_same_run() -> None:
    """The same run of the same server cannot lose what it had replayed."""
    topology = picture(of_replica(FIRST, 300, 10), down(FIRST, 11), unproven(FIRST, 12))
    assert topology.nodes[FIRST].position == lsn(300)


def test_without_proof_another_run_has_no_position() -> None:
    """A crashed and restarted standby may stand anywhere."""
    topology = picture(of_replica(FIRST, 300, 10), unproven(FIRST, 11, run="2"))
    assert topology.nodes[FIRST].position is None


def test_without_proof_from_the_start_there_is_no_position_and_no_blindness() -> None:
    """Unproven is not the same as forbidden: no time pin may excuse it."""
    state = picture(unproven(FIRST, 10)).nodes[FIRST]
    assert state.position is None
    assert not state.blind


def test_a_node_that_may_not_tell_is_blind() -> None:
    """Rights are missing: it answers, but without a position."""
    state = picture(of_replica(FIRST, 300, 10), of_blind(FIRST, 11)).nodes[FIRST]
    assert state.blind
    assert state.position is None


def test_a_changed_identity_drops_the_position() -> None:
    """Another server, or another run, behind the same name: what the former held counts for nothing."""
    moved = replace(of_replica(FIRST, 0, 11, run="2"), position=None, unproven=True)
    assert picture(of_replica(FIRST, 300, 10), moved).nodes[FIRST].position is None


def test_one_restart_is_not_ambiguous() -> None:
    """An identity that never comes back is a restart."""
    topology = picture(*(of_replica(FIRST, 100, 10 + run, run=str(run)) for run in range(9)))
    assert not topology.nodes[FIRST].ambiguous


def test_identities_that_alternate_are_ambiguous() -> None:
    """Two servers answer in turn under one address (CORRECTNESS 19)."""
    topology = picture(*(of_replica(FIRST, 100, 10 + i, run=run) for i, run in enumerate("aba")))
    assert topology.nodes[FIRST].ambiguous


def test_three_servers_behind_one_address_are_ambiguous() -> None:
    """The former identities are remembered, not only the last."""
    topology = picture(*(of_replica(FIRST, 100, 10 + i, run=run) for i, run in enumerate("abca")))
    assert topology.nodes[FIRST].ambiguous


def test_ambiguity_ends_a_while_after_the_last_alternation() -> None:
    """A corrected address heals by itself."""
    topology = picture(*(of_replica(FIRST, 100, 10 + i, run=run) for i, run in enumerate("aba")))
    still = observe(topology, of_replica(FIRST, 100, 12 + AMBIGUOUS_SECONDS - 1, run="a"))
    healed = observe(still, of_replica(FIRST, 100, 12 + AMBIGUOUS_SECONDS, run="a"))
    assert still.nodes[FIRST].ambiguous
    assert not healed.nodes[FIRST].ambiguous


def test_fresh_at_is_when_the_newest_covered_primary_position_was_asked_for() -> None:
    """Staleness is measured on one machine's clock, against the primary (CORRECTNESS 15)."""
    seen = [of_primary(100, 10), of_primary(200, 11), of_primary(300, 12)]
    assert picture(*seen, of_replica(FIRST, 250, 13)).nodes[FIRST].fresh_at == 11
    assert picture(*seen, of_replica(FIRST, 300, 13)).nodes[FIRST].fresh_at == 12
    assert picture(*seen, of_replica(FIRST, 50, 13)).nodes[FIRST].fresh_at == -math.inf


def test_fresh_at_grows_while_an_idle_primary_answers() -> None:
    """A replica that holds all is as fresh as the primary's last answer."""
    topology = picture(of_primary(100, 10), of_replica(FIRST, 100, 10.5), of_primary(100, 20), of_primary(100, 30))
    assert topology.nodes[FIRST].fresh_at == 30


def test_fresh_at_stands_still_while_the_primary_is_silent() -> None:
    """An application and a replica cut off from the primary agree for ever; that is not fresh."""
    topology = picture(
        of_primary(100, 10),
        of_replica(FIRST, 100, 11),
        down(PRIMARY, 12),
        of_replica(FIRST, 100, 50),
        down(PRIMARY, 51),
    )
    assert topology.nodes[FIRST].fresh_at == 10


def test_after_an_idle_hour_a_replica_one_write_behind_is_a_moment_behind() -> None:
    """The last moment at which the old position held counts, not the first."""
    idle = [of_primary(100, 10), of_primary(100, 20), of_primary(100, 3600)]
    topology = picture(*idle, of_primary(200, 3601), of_replica(FIRST, 100, 3602))
    assert topology.nodes[FIRST].fresh_at == 3600


def test_a_replica_heard_lower_is_less_fresh() -> None:
    """Freshness follows the position down, too."""
    topology = picture(
        of_primary(100, 10), of_primary(200, 11), of_replica(FIRST, 200, 12), of_replica(FIRST, 100, 13, run="2")
    )
    assert topology.nodes[FIRST].fresh_at == 10


def test_an_unchanged_position_keeps_the_ring_short() -> None:
    """A quiet cluster needs two entries: since when and until when."""
    topology = picture(*(of_primary(100, float(i)) for i in range(50)))
    assert topology.ring == ((0.0, lsn(100)), (49.0, lsn(100)))


def test_the_ring_is_thinned_from_its_older_half() -> None:
    """It stays bounded, keeps its oldest and newest entries, and stays ordered."""
    topology = picture(*(of_primary(i, float(i)) for i in range(10 * RING)))
    times = [sent for sent, _ in topology.ring]
    assert len(times) <= RING
    assert times[0] == 0
    assert times[-RING // 4 :] == [float(i) for i in range(10 * RING - RING // 4, 10 * RING)]
    assert times == sorted(set(times))


def test_primary_since_wants_a_question_sent_later() -> None:
    """A position asked for at that very moment, or before, may lack what was read."""
    topology = picture(of_primary(100, 10))
    assert topology.primary_since(9.9) == lsn(100)
    assert topology.primary_since(10) is None
    assert picture().primary_since(0) is None


def test_a_capture_is_a_primary_observation() -> None:
    """What a session learned from the primary helps everybody."""
    topology = capture(picture(of_primary(100, 10), of_replica(FIRST, 150, 10)), lsn(150), sent=11, answered=11)
    assert topology.primary_since(10) == lsn(150)
    assert topology.nodes[FIRST].fresh_at == 11


def test_a_capture_of_another_history_changes_nothing() -> None:
    """The picture's history is the monitor's to change."""
    topology = steady()
    assert capture(topology, lsn(150, 2), sent=11, answered=11) is topology


def test_a_capture_that_crossed_a_later_probe_is_left_out() -> None:
    """The ring is ordered by when was asked; a late answer to an early question adds nothing."""
    topology = picture(of_primary(100, 10), of_primary(200, 12))
    assert capture(topology, lsn(150), sent=11, answered=11).ring == topology.ring


def test_a_primary_that_stands_before_where_it_was_went_back() -> None:
    """A restore that kept its history: what was heard before holds no more (CORRECTNESS 3)."""
    topology = picture(of_primary(300, 10))
    seen = of_primary(200, 11, run="2")
    assert went_back(topology, seen)
    after = observe(topology, seen)
    assert after.ring == ((11, lsn(200)),)
    assert not went_back(after, of_primary(250, 12, run="2"))


def test_a_probe_that_a_capture_overtook_is_no_alarm() -> None:
    """The probe was asked first and shows less: that is order, not loss."""
    topology = capture(picture(of_primary(100, 10)), lsn(300), sent=12, answered=12)
    assert not went_back(topology, of_primary(200, 11))


def test_a_probe_sent_while_a_capture_was_under_way_is_no_alarm() -> None:
    """It may have been answered before the capture was."""
    topology = capture(picture(of_primary(100, 10)), lsn(300), sent=11, answered=13)
    assert not went_back(topology, of_primary(200, 12))
    assert went_back(topology, of_primary(200, 14))


def test_probes_that_cross_are_no_alarm() -> None:
    """A new connection's probe was sent while the monitor's was under way, and was answered first."""
    slow = dataclasses.replace(of_primary(300, 10), answered=13)
    assert not went_back(picture(of_primary(100, 9), slow), of_primary(200, 12))
    assert went_back(picture(of_primary(100, 9), slow), of_primary(200, 14))


def test_a_fork_is_trusted_only_if_the_promotion_was_seen() -> None:
    """A restarted primary says something else there; then a standby of the old timeline is refused altogether."""
    seen = picture(of_replica(PRIMARY, 90, 9), of_primary(100, 10, timeline=2, fork=90))
    assert seen.nodes[PRIMARY].fork == 90
    assert observe(seen, of_primary(120, 11, timeline=2, fork=120, run="2")).nodes[PRIMARY].fork is None
    assert picture(of_primary(100, 10, timeline=2, fork=90)).nodes[PRIMARY].fork is None


def test_a_primary_may_flush_later_than_it_committed() -> None:
    """With synchronous_commit off an own write is ahead of the flush; the horizon, the insert end, covers it."""
    topology = capture(picture(of_primary(100, 10)), lsn(300), sent=11, answered=11)
    assert not went_back(topology, of_primary(250, 12, horizon=300))


def test_another_history_is_no_going_back() -> None:
    """A promotion starts a new timeline with its own numbers."""
    topology = picture(of_primary(300, 10))
    assert not went_back(topology, of_primary(200, 11, timeline=2))


def test_what_a_replica_says_is_never_the_primary_going_back() -> None:
    """Only the primary's own log counts."""
    assert not went_back(steady(300), of_replica(FIRST, 100, 11))


def test_an_error_takes_the_primarys_horizon_away() -> None:
    """A horizon is only good for the moment it was asked for."""
    assert picture(of_primary(300, 10), down(PRIMARY, 11)).nodes[PRIMARY].horizon is None


def test_forgetting_leaves_the_declaration() -> None:
    """After a fork nobody watched the servers for a moment."""
    blank = observe(steady(), of_primary(100, 20, node=FIRST, timeline=2)).forget()
    assert blank.primary == PRIMARY
    assert blank.history is None
    assert blank.ring == ()
    assert [s.name for s in blank.replicas] == [FIRST, SECOND]
    assert not any(s.heard for s in blank.nodes.values())


def test_a_role_that_is_not_told_is_the_declared_one() -> None:
    """A heartbeat cannot see a promotion."""
    seen = Observation(node=FIRST, sent=1, position=beat(3))
    assert picture(seen).nodes[FIRST].role is Role.REPLICA


def test_the_history_is_the_primarys() -> None:
    """It outlives the primary's silence, so that tokens keep a meaning."""
    topology = picture(of_primary(100, 10), down(PRIMARY, 11))
    assert topology.history == history()


def test_the_primarys_identity_is_remembered() -> None:
    """It tells a replica's alias that leads to the primary."""
    state = steady().primary_state
    assert state is not None
    assert state.identity == server(PRIMARY)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_node_needs_a_name(name: object) -> None:
    """The message names the field."""
    with pytest.raises(ConfigurationError, match=r"node\.name.*non-empty string"):
        Node(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0, -1, math.inf, math.nan, True, "2", None])
def test_a_nodes_weight_is_a_number_above_zero(weight: object) -> None:
    """The message names the node and the fix."""
    with pytest.raises(ConfigurationError, match=r"'r1': weight .* must be a number above 0"):
        Node("r1", weight)  # type: ignore[arg-type]
