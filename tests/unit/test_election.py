"""Which node is taken for the primary."""

from __future__ import annotations

from dataclasses import replace

from unit.builders import FIRST, PRIMARY, SECOND, down, history, of_primary, of_replica, picture, steady

from lagless.core.observing import observe


def test_a_promoted_replica_becomes_the_primary() -> None:
    """It says so itself, on a newer timeline."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    assert topology.primary == FIRST
    assert topology.history == history(2)


def test_a_promotion_starts_a_new_ring() -> None:
    """The old primary's positions bound nothing any more."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    assert [sent for sent, _ in topology.ring] == [11]


def test_a_promotion_is_seen_while_the_old_primary_is_down() -> None:
    """The usual order of a failover."""
    topology = observe(observe(steady(), down(PRIMARY, 11)), of_primary(150, 12, node=SECOND, timeline=2))
    assert topology.primary == SECOND


def test_a_zombie_on_an_older_timeline_does_not_win() -> None:
    """The old primary comes back and still believes (CORRECTNESS 13)."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    assert observe(topology, of_primary(999, 12)).primary == FIRST


def test_a_zombie_does_not_win_while_the_new_primary_is_out_of_reach() -> None:
    """Writing to it would be writing into a history that was left."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    topology = observe(observe(topology, down(FIRST, 12)), of_primary(999, 13))
    assert topology.primary == FIRST
    assert topology.history == history(2)


def test_a_zombie_does_not_win_after_two_newcomers() -> None:
    """When nobody is the primary, the newest timeline heard of still counts."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    topology = observe(topology, of_primary(900, 12, node=FIRST, timeline=1, run="2"))
    assert topology.primary == FIRST


def test_two_newcomers_of_one_timeline_are_both_refused() -> None:
    """Two standbys were promoted independently: nobody can say which holds what (CORRECTNESS 3)."""
    claims = [of_primary(150, 10, node=name, timeline=2) for name in (FIRST, SECOND)]
    assert picture(*claims, down(PRIMARY, 11)).primary is None
    assert picture(*claims, of_primary(100, 11)).primary is None


def test_when_one_of_two_newcomers_goes_the_other_is_the_primary() -> None:
    """The operator stopped one of them."""
    claims = [of_primary(150, 10, node=name, timeline=2) for name in (FIRST, SECOND)]
    topology = picture(*claims, down(PRIMARY, 11), down(FIRST, 12))
    assert topology.primary == SECOND
    assert topology.history == history(2)


def test_an_incumbent_is_kept_against_an_equal() -> None:
    """Two primaries on one timeline: the one that was there before (CORRECTNESS 3)."""
    topology = observe(steady(), of_primary(500, 11, node=FIRST))
    assert topology.primary == PRIMARY


def test_newcomers_that_are_one_server_are_one_claim() -> None:
    """Two names of one server do not make two primaries."""
    one = of_primary(150, 10, node=FIRST, timeline=2)
    topology = picture(one, replace(one, node=SECOND), down(PRIMARY, 11))
    assert topology.primary in {FIRST, SECOND}


def test_of_two_names_of_one_server_the_declared_primarys_wins() -> None:
    """The promoted server took over the old one's address as well."""
    first, second = (of_primary(150, 10, node=name, timeline=2) for name in (FIRST, SECOND))
    topology = picture(first, second, replace(first, node=PRIMARY, sent=11))
    assert topology.primary == PRIMARY
    topology = picture(first, second, down(PRIMARY, 11), replace(first, node=PRIMARY, sent=12))
    assert topology.primary is None
    assert observe(topology, down(SECOND, 13)).primary == PRIMARY


def test_a_primary_of_another_system_is_ignored() -> None:
    """A replica's alias that leads to somebody else's database never gets our writes."""
    topology = observe(steady(), of_primary(9_999, 11, node=FIRST, timeline=7, system="1"))
    assert topology.primary == PRIMARY
    assert topology.history == history()


def test_nobody_is_elected_before_the_declared_primary_was_asked() -> None:
    """At the start the first answer may be a replica's: a mistake in the settings, or a promotion."""
    topology = picture(of_primary(100, 10, node=FIRST, timeline=2))
    assert topology.primary == PRIMARY
    assert observe(topology, down(PRIMARY, 11)).primary == FIRST


def test_a_primary_that_is_down_stays_the_primary() -> None:
    """Without another claim there is nowhere else to write."""
    assert observe(steady(), down(PRIMARY, 11)).primary == PRIMARY


def test_a_primary_that_comes_back_as_a_standby_gives_way() -> None:
    """After a switchover the roles are exchanged."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    topology = observe(topology, of_replica(PRIMARY, 150, 12, timeline=2))
    assert topology.primary == FIRST
    assert [s.name for s in topology.replicas] == [FIRST, SECOND]


def test_a_promotion_behind_an_unchanged_alias_keeps_the_name() -> None:
    """The address follows the primary; only the history changes."""
    topology = observe(steady(), of_primary(150, 11, timeline=2, run="2"))
    assert topology.primary == PRIMARY
    assert topology.history == history(2)


def test_a_primary_restored_as_another_system_is_still_the_primary() -> None:
    """Its name was declared; tokens of the old system are of another history."""
    topology = observe(steady(), of_primary(5, 11, system="8"))
    assert topology.primary == PRIMARY
    assert topology.history == history(system="8")
