"""Servers with GTIDs: a declared replica that takes writes, promoted or not, and writes that strayed to a replica."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lagless.core.gtid import MYSQL, GtidSet
from lagless.core.observing import ERRANT_SECONDS, observe
from lagless.core.position import History
from lagless.core.topology import Identity, Node, NodeState, Observation, Role, Topology
from lagless.events import Kind
from lagless.news import news

A, B = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"


def gtids(text: str) -> GtidSet:
    """Return a position; A and B stand for servers."""
    return GtidSet.parse(History(MYSQL), text.replace("A", A).replace("B", B))


def primary(text: str, sent: float, *, node: str = "p", run: str = "1") -> Observation:
    """Return the answer of a server that is a primary."""
    at = gtids(text)
    return Observation(
        node=node,
        sent=sent,
        role=Role.PRIMARY,
        position=at,
        horizon=at,
        read_only=False,
        identity=Identity(MYSQL, f"{node}/{run}"),
    )


def replica(text: str, sent: float, *, node: str = "r", run: str = "1", writable: bool = False) -> Observation:
    """Return the answer of a declared replica; one that takes writes has a claim."""
    at = gtids(text)
    return replace(
        primary(text, sent, node=node, run=run),
        role=Role.REPLICA,
        horizon=None,
        local=at,
        read_only=not writable,
        claim=primary(text, sent, node=node, run=run) if writable else None,
    )


def down(sent: float, node: str = "p") -> Observation:
    """Return no answer."""
    return Observation(node=node, sent=sent, error="TimeoutError")


def picture(*seen: Observation) -> Topology:
    """Return what was heard."""
    topology = Topology.declared(Node("p"), [Node("r"), Node("s")])
    for each in seen:
        topology = observe(topology, each)
    return topology


def node(topology: Topology, name: str = "r") -> NodeState:
    """Return what is known of a node."""
    return topology.nodes[name]


START = (primary("A:1-9", 10), replica("A:1-9", 10), replica("A:1-9", 10, node="s"))


def test_a_careless_replica_is_not_elected() -> None:
    """It took writes from the start; the primary dies: its data is a replica's, and its role, too."""
    topology = picture(primary("A:1-9", 10), replica("A:1-9", 10, writable=True), down(11))
    assert topology.primary == "p"
    assert node(topology).role is Role.REPLICA
    assert observe(topology, replica("A:1-9", 12, writable=True)).primary == "p"


def test_a_replica_that_stops_refusing_writes_was_promoted() -> None:
    """Where nobody may ask for the status of replication: this process saw it."""
    topology = picture(*START, down(11), replica("A:1-9", 12, writable=True))
    assert topology.primary == "r"
    assert node(topology).role is Role.PRIMARY
    assert node(topology).horizon == gtids("A:1-9")


def test_the_verdict_holds_while_the_server_runs() -> None:
    """Through an error, too; started again, it has to be seen anew."""
    topology = picture(*START, down(11), replica("A:1-9", 12, writable=True), down(13, "r"))
    topology = observe(topology, replica("A:1-9,B:1", 14, writable=True))
    assert node(topology).role is Role.PRIMARY
    again = observe(topology, replica("A:1-9,B:1", 15, writable=True, run="2"))
    assert node(again).role is Role.REPLICA
    assert again.primary == "r"  # nobody else claims to be it


def test_a_verdict_ends_when_it_refuses_writes_again() -> None:
    """It was demoted."""
    topology = picture(*START, down(11), replica("A:1-9", 12, writable=True), replica("A:1-9", 13))
    assert node(topology).role is Role.REPLICA


def test_a_replica_that_takes_writes_beside_the_primary_is_not_elected_later() -> None:
    """Somebody switched read_only off for a repair; then the primary dies."""
    topology = picture(*START, replica("A:1-9", 11, writable=True), primary("A:1-9", 12), down(13))
    topology = observe(topology, replica("A:1-9", 14, writable=True))
    assert topology.primary == "p"
    assert node(topology).role is Role.REPLICA


def test_a_promotion_may_be_heard_before_the_death_of_the_primary() -> None:
    """The primary did not answer any more after that."""
    topology = picture(*START, replica("A:1-9", 12, writable=True), primary("A:1-9", 11), down(13))
    assert topology.primary == "p"
    topology = observe(topology, replica("A:1-9", 14, writable=True))
    assert topology.primary == "r"


def test_a_promoted_primarys_log_does_not_go_back() -> None:
    """Its claim is what counts: as a replica it would seem to hold less than it wrote."""
    topology = picture(*START, down(11), replica("A:1-9", 12, writable=True))
    for sent in (13, 14):
        seen = replace(replica("A:1-9", sent, writable=True), claim=primary(f"A:1-9,B:1-{sent}", sent, node="r"))
        after = observe(topology, seen)
        assert list(news(topology, after, seen)) == []
        assert after.ring[-1] == (sent, gtids(f"A:1-9,B:1-{sent}"))
        topology = after


def test_another_server_that_takes_writes_was_not_seen_to_be_promoted() -> None:
    """The one that refused them was the one before."""
    topology = picture(*START, down(11), replica("A:1-9", 12, writable=True, run="2"))
    assert node(topology).role is Role.REPLICA
    assert topology.primary == "p"


def test_a_resolved_claim_counts_whatever_was_seen() -> None:
    """It replicates from somebody: a replica."""
    topology = picture(*START, down(11), replace(replica("A:1-9", 12, writable=True), claim=None))
    assert node(topology).role is Role.REPLICA
    assert topology.primary == "p"


def test_the_incumbent_is_kept_while_it_takes_writes() -> None:
    """Two that do: the one that was there."""
    topology = picture(*START, replica("A:1-9", 11, writable=True))
    assert topology.primary == "p"
    assert node(topology).role is Role.REPLICA


def test_a_switchover_is_followed() -> None:
    """The old primary refuses writes, the new one takes them."""
    demoted = replica("A:1-9", 11, node="p")
    topology = picture(*START, demoted, replica("A:1-9", 12, writable=True))
    assert topology.primary == "r"
    assert node(topology, "p").role is Role.REPLICA


def test_a_demoted_primary_bounds_nothing() -> None:
    """It replays behind a new primary that nobody has heard of yet: replicas that hold what it does may be behind."""
    before = picture(*START)
    after = observe(before, replica("A:1-9", 12, node="p"))
    assert after.ring == before.ring
    assert after.primary_since(11) is None


def errant(topology: Topology) -> bool:
    """Tell whether the replica is found to have been written to."""
    return node(topology).errant


def test_a_replica_that_holds_what_the_primary_does_not_is_errant() -> None:
    """For longer than a semi-synchronous one is ahead."""
    topology = picture(*START, replica("A:1-9,B:1", 11), primary("A:1-9", 12))
    assert not errant(topology)
    later = observe(topology, primary("A:1-20", 12 + ERRANT_SECONDS))
    assert errant(later)
    assert node(later).position == gtids("A:1-9,B:1")
    assert not node(later, "s").errant


def test_a_semi_synchronous_replica_is_ahead_for_a_moment() -> None:
    """At every single look by another transaction, but never by the same one for long."""
    topology = picture(*START)
    for second in range(11, 20):
        topology = observe(topology, replica(f"A:1-{second}", second))
        topology = observe(topology, primary(f"A:1-{second - 1}", second + 0.1))
        assert not errant(topology)


@pytest.mark.parametrize("sent", [11, 11.5])
def test_a_primary_asked_before_the_replica_proves_nothing(sent: float) -> None:
    """What is new may have come from it in between."""
    topology = picture(*START, replica("A:1-12", 11.5), primary("A:1-10", sent), primary("A:1-20", 20))
    assert node(topology).suspect is None
    assert not errant(topology)


def test_an_errant_replica_is_cleared_when_the_primary_holds_it_all() -> None:
    """An operator gave the primary an empty transaction of that GTID, or copied the replica anew."""
    found = picture(*START, replica("A:1-9,B:1", 11), primary("A:1-9", 12), primary("A:1-9", 14))
    assert errant(found)
    assert not errant(observe(found, primary("A:1-9,B:1", 15)))
    copied = observe(observe(found, replica("A:1-9", 15, run="2")), primary("A:1-9", 16))
    assert not errant(copied)


def test_an_errant_replica_that_is_promoted_is_none() -> None:
    """What it holds is the truth now."""
    found = picture(*START, replica("A:1-9,B:1", 11), primary("A:1-9", 12), primary("A:1-9", 14), down(15))
    assert errant(found)
    assert not errant(observe(found, primary("A:1-9,B:1", 16, node="r")))


def test_an_errant_replica_is_news_once() -> None:
    """With the fix."""
    before = picture(*START, replica("A:1-9,B:1", 11), primary("A:1-9", 12))
    seen = primary("A:1-9", 13)
    after = observe(before, seen)
    ((kind, name, detail),) = news(before, after, seen)
    assert (kind, name) == (Kind.ERRANT, "r")
    assert "read_only" in detail
    again = primary("A:1-9", 14)
    assert list(news(after, observe(after, again), again)) == []
