"""The cluster at run time, fed with observations."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from unit.builders import (
    FIRST,
    PRIMARY,
    SECOND,
    SYSTEM,
    beat,
    down,
    history,
    lsn,
    of_blind,
    of_primary,
    of_replica,
)

from lagless import (
    Cluster,
    ConfigurationError,
    ConsistencyTimeout,
    Event,
    History,
    Level,
    Node,
    Policy,
    PrimaryUnavailable,
    ReadOnlyViolation,
    Reason,
    ReplicaUnavailable,
    Session,
    consistency,
    primary,
    replica,
    session,
)
from lagless.cluster import cluster_named
from lagless.context import Frame, frame
from lagless.core.session import Footprint, Mark
from lagless.dialects.base import Row
from lagless.events import Kind

ROW: Row = ["0/64", "0/64", "on", "00000001"]


def made(name: str = "default", **options: object) -> tuple[Cluster, list[Event]]:
    """Return a cluster of two replicas, of which nothing was heard, and what it tells its listeners."""
    heard: list[Event] = []
    given = {"primary": Node(PRIMARY), "replicas": [Node(FIRST), Node(SECOND)], "probe_timeout": 0.01, **options}
    return Cluster(name, listeners=[heard.append], **given), heard  # type: ignore[arg-type]


def healthy(cluster: Cluster, at: int = 100, first: int = 100, second: int = 100) -> Cluster:
    """Let all nodes answer now."""
    now = time.monotonic()
    cluster.report(of_primary(1, now - 1))
    cluster.report(of_primary(at, now))
    cluster.report(of_replica(FIRST, first, now))
    cluster.report(of_replica(SECOND, second, now))
    return cluster


def ready(**options: object) -> Cluster:
    """Return a healthy cluster."""
    return healthy(made(**options)[0])


@contextmanager
def unit(mark: Mark | None = None, **options: object) -> Iterator[Footprint]:
    """Run a unit of work that began with a token's mark."""
    work = Session([mark] if mark else [], began=time.monotonic(), **options)  # type: ignore[arg-type]
    held = frame.set(Frame(work))
    try:
        yield work.of(PRIMARY)
    finally:
        frame.reset(held)


def mark(**fields: object) -> Mark:
    """Return a token's mark."""
    return Mark(cluster=PRIMARY, **fields)  # type: ignore[arg-type]


def kinds(heard: list[Event]) -> list[Kind]:
    """Return what was told."""
    return [event.kind for event in heard]


# -- construction


def test_a_cluster_needs_a_primary() -> None:
    """The message gives the fix."""
    with pytest.raises(ConfigurationError, match=r"cluster 'x': primary is missing; give primary=Node\(\.\.\.\)"):
        Cluster("x", replicas=[])


def test_a_cluster_is_found_by_its_name_while_it_lives() -> None:
    """The last one made; the registry keeps none alive."""
    one, _ = made("found")
    other, _ = made("found")
    assert cluster_named("found") is other
    del one, other, _
    gc.collect()
    assert cluster_named("found") is None


def test_a_cluster_without_probes_has_no_monitor() -> None:
    """Start and close are then nothing."""
    cluster = ready()
    assert cluster.monitor is None
    cluster.start()
    cluster.close()


# -- routing


def test_without_a_session_reads_go_to_the_primary() -> None:
    """A shell, a migration, a raw thread."""
    cluster = ready()
    assert (cluster.route().node, cluster.route().reason) == (PRIMARY, Reason.NO_SESSION)
    with consistency("session"):
        assert cluster.route().reason is Reason.NO_SESSION


def test_without_a_session_a_scope_may_ask_for_replicas() -> None:
    """A report that says it can do with old data."""
    cluster = ready()
    with consistency("eventual"):
        assert cluster.route().node in {FIRST, SECOND}
        assert cluster.route().reason is Reason.EVENTUAL
    with replica():
        assert cluster.route().reason is Reason.REPLICA_SCOPE


def test_a_session_that_was_not_opted_in_reads_the_primary() -> None:
    """Unless a scope says otherwise."""
    cluster = ready()
    with unit(routed=False):
        assert cluster.route().reason is Reason.NOT_OPTED_IN
        assert cluster.explain().reason is Reason.NOT_OPTED_IN
        with consistency("session"):
            assert cluster.route().node in {FIRST, SECOND}


def test_writes_go_to_the_primary() -> None:
    """Wherever it is now."""
    cluster = ready()
    assert (cluster.route("write").node, cluster.route("write").reason) == (PRIMARY, Reason.WRITE)
    cluster.report(of_primary(150, time.monotonic(), node=FIRST, timeline=2))
    assert cluster.route("write").node == FIRST


def test_a_unit_reads_one_replica() -> None:
    """Not one for a statement; other units read others."""
    cluster = ready(balancer="round_robin")
    seen = Counter()
    for _ in range(10):
        with unit() as footprint:
            nodes = {cluster.route().node for _ in range(5)}
            assert len(nodes) == 1
            assert footprint.nodes == nodes
            seen.update(nodes)
    assert seen == {FIRST: 5, SECOND: 5}


def test_the_balancer_is_the_one_asked_for() -> None:
    """One key, one replica, whatever the unit."""
    cluster = ready(balancer="consistent_hash")
    chosen = {}
    for key in "abcdefgh":
        for _ in range(5):
            with unit(key=key):
                assert chosen.setdefault(key, cluster.route().node) == cluster.explain().node
    assert set(chosen.values()) == {FIRST, SECOND}


def test_an_own_write_keeps_reads_on_the_primary() -> None:
    """Until it is settled."""
    cluster = ready()
    with unit() as footprint:
        footprint.begin_write()
        assert (cluster.route().node, cluster.route().reason) == (PRIMARY, Reason.UNSETTLED)


def test_scopes_change_the_level() -> None:
    """Innermost first, and only for the clusters they name."""
    cluster = ready()
    with unit() as footprint:
        footprint.begin_write()
        with replica():
            assert cluster.route().node in {FIRST, SECOND}
            with primary():
                assert (cluster.route().node, cluster.route().reason) == (PRIMARY, Reason.STRONG)
            with primary("other"):
                assert cluster.route().node in {FIRST, SECOND}
        with consistency("bounded", max_lag=60):
            assert cluster.route().reason is Reason.BOUNDED
        assert footprint.nodes == frozenset()


def test_the_clusters_own_level_holds_without_a_scope() -> None:
    """Bounded takes its bound from the policy."""
    cluster = ready(level="bounded", policy=Policy(max_lag=60))
    with unit():
        assert cluster.route().reason is Reason.BOUNDED
    assert not cluster.tracks
    assert ready().tracks


def test_explaining_binds_nothing() -> None:
    """It may be asked anywhere, at any time, and says why not the others."""
    cluster = healthy(made()[0], second=40)
    with unit(mark(written=lsn(100))) as footprint:
        told = cluster.explain()
        assert (told.node, told.reason, told.refused) == (
            FIRST,
            Reason.SESSION,
            {SECOND: "behind the session by 60"},
        )
        assert footprint.node is None
        assert footprint.nodes == frozenset()
    assert cluster.counts.decisions == {}
    assert cluster.explain().reason is Reason.NO_SESSION


def test_explaining_names_the_units_replica() -> None:
    """Where the next read really goes."""
    cluster = ready(balancer="round_robin")
    for _ in range(2):
        with unit():
            assert cluster.route().node == cluster.explain().node


def test_explaining_never_raises() -> None:
    """Even where routing would."""
    cluster, _ = made(policy=Policy(on_stale="error"))
    cluster.topology = replace(cluster.topology, primary=None)
    with unit():
        assert cluster.explain() == replace(cluster.explain(), node="", reason=Reason.NONE_COVERS)


def test_explaining_knows_what_only_the_adapter_knows() -> None:
    """Its veto comes first."""
    cluster = ready()
    cluster.veto = lambda held: Reason.IN_TRANSACTION if held else None
    assert cluster.explain().reason is Reason.NO_SESSION
    with unit():
        assert (cluster.explain().node, cluster.explain().reason) == (PRIMARY, Reason.IN_TRANSACTION)


def test_decisions_are_counted_by_reason() -> None:
    """For status and metrics."""
    cluster = ready()
    with unit():
        cluster.route()
        cluster.route()
    assert cluster.counts.decisions == {Reason.SESSION: 1, Reason.AFFINITY: 1}


# -- what was heard


def test_an_unknown_node_cannot_be_reported() -> None:
    """A mistake of the caller, named."""
    with pytest.raises(ConfigurationError, match="cluster 'default' has no node 'replica9'"):
        ready().report(down("replica9", 1))


def test_listeners_hear_what_changed() -> None:
    """Also those that came later."""
    cluster, heard = made()
    later: list[Event] = []
    cluster.listen(later.append)
    cluster.report(down(FIRST, 1.0, "ConnectionError"))
    assert heard == later == [Event(Kind.NODE_DOWN, "default", FIRST, "ConnectionError")]
    assert cluster.counts.events == {Kind.NODE_DOWN: 1}


def test_a_listener_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The others still hear, and the failure is logged."""

    def broken(event: Event) -> None:
        raise LookupError

    later: list[Event] = []
    cluster, _ = made()
    cluster.listen(broken)
    cluster.listen(later.append)
    cluster.report(down(FIRST, 1.0))
    assert kinds(later) == [Kind.NODE_DOWN]
    assert "a listener failed on node down" in caplog.text


def test_a_failed_connection_is_an_observation_without_its_message() -> None:
    """Messages of drivers name hosts and users."""
    cluster, heard = made()
    healthy(cluster).failed(FIRST, ConnectionError("host=10.0.0.1 password=x"))
    assert cluster.topology.nodes[FIRST].error == "ConnectionError"
    assert "10.0.0.1" not in repr(heard)
    with unit():
        assert cluster.route().node == SECOND


def test_a_failure_of_the_past_does_not_undo_a_later_answer() -> None:
    """The connection had been opened before."""
    cluster = ready()
    cluster.failed(FIRST, ConnectionError(), sent=1.0)
    assert cluster.topology.nodes[FIRST].alive


def test_after_a_fork_nothing_is_heard() -> None:
    """Nobody watched the servers for a moment."""
    cluster = ready()
    cluster.after_fork()
    assert not any(s.heard for s in cluster.topology.nodes.values())
    with unit():
        assert cluster.route().node == PRIMARY


def test_routing_while_others_report_sees_one_picture_or_the_next() -> None:
    """Never half of one: readers take no lock."""
    cluster, stop = ready(), threading.Event()

    def report() -> None:
        value = 100
        while not stop.is_set():
            value += 1
            healthy(cluster, value, value, value)

    reporter = threading.Thread(target=report)
    reporter.start()
    try:
        for _ in range(300):
            with unit():
                assert cluster.route().node in {FIRST, SECOND}
    finally:
        stop.set()
        reporter.join()


# -- nobody to go to


def two_primaries(cluster: Cluster) -> Cluster:
    """Let both replicas claim to have been promoted."""
    cluster.report(of_primary(1, 1.0, node=FIRST, timeline=2))
    cluster.report(of_primary(1, 1.0, node=SECOND, timeline=2))
    cluster.report(down(PRIMARY, 2.0))
    return cluster


def test_between_two_primaries_nobody_writes() -> None:
    """The error says what each node claims."""
    cluster, heard = made()
    with pytest.raises(PrimaryUnavailable, match="two servers claim to be the primary") as caught:
        two_primaries(cluster).route("write")
    assert caught.value.refused == {PRIMARY: "TimeoutError", FIRST: "role primary", SECOND: "role primary"}
    assert Kind.TWO_PRIMARIES in kinds(heard)
    with pytest.raises(PrimaryUnavailable):
        cluster.route()


def test_a_zombie_is_neither_written_nor_read() -> None:
    """The session wrote on a timeline that this primary never saw (CORRECTNESS 13)."""
    cluster = ready()
    with unit(mark(written=lsn(1, 2))) as footprint:
        with pytest.raises(PrimaryUnavailable, match="older timeline than the session's last write"):
            cluster.route()
        with pytest.raises(PrimaryUnavailable, match="older timeline"):
            cluster.writable(footprint)
    assert cluster.writable(None) == PRIMARY


def meanwhile(work: Callable[[], object]) -> threading.Thread:
    """Run something in another thread while this one waits."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_read_waits_a_moment_for_the_new_primary() -> None:
    """The promotion that the token knows of is about to be heard."""
    cluster = ready(probe_timeout=5.0)
    with unit(mark(written=lsn(150, 2))):
        other = meanwhile(lambda: cluster.report(of_primary(160, time.monotonic(), node=FIRST, timeline=2)))
        assert cluster.route().node == FIRST
    other.join()


# -- the policy


def behind(**policy: object) -> tuple[Cluster, list[Event]]:
    """Return a cluster whose replicas lack what the session wrote."""
    cluster, heard = made(policy=Policy(**policy))  # type: ignore[arg-type]
    return healthy(cluster, 200, 100, 100), heard


def test_by_default_a_stale_read_goes_to_the_primary_at_once() -> None:
    """And says so."""
    cluster, heard = behind()
    with unit(mark(written=lsn(200))):
        assert (cluster.route().node, cluster.route().reason) == (PRIMARY, Reason.NONE_COVERS)
    assert heard[-1] == Event(Kind.FELL_BACK, "default", None, "no replica covers the session")


def test_where_the_primary_is_forbidden_a_stale_read_is_an_error() -> None:
    """That names every replica and its distance."""
    cluster, heard = behind(on_stale="error")
    with (
        unit(mark(written=lsn(200))),
        pytest.raises(
            ReplicaUnavailable, match=r"no replica covers the session; policy\.on_stale is 'error'"
        ) as caught,
    ):
        cluster.route()
    assert caught.value.refused == dict.fromkeys((FIRST, SECOND), "behind the session by 100")
    assert kinds(heard) == [Kind.FELL_BACK]


def test_only_fallbacks_are_the_policys_business() -> None:
    """An own unsettled write reads the primary, whatever the policy."""
    cluster, _ = behind(on_stale="error")
    with unit() as footprint:
        footprint.begin_write()
        assert cluster.route().node == PRIMARY
    with unit(), primary():
        assert cluster.route().node == PRIMARY


def test_a_wait_that_is_over_is_an_error() -> None:
    """Which is a TimeoutError, too."""
    cluster, _ = behind(on_stale="wait", wait=0.01)
    with unit(mark(written=lsn(200))), pytest.raises(ConsistencyTimeout, match=r"waited 0\.01 s: no replica covers"):
        cluster.route()


@pytest.mark.parametrize("on_stale", ["primary", "wait"])
def test_a_wait_ends_when_a_replica_covers_the_session(on_stale: str) -> None:
    """Long before its time."""
    cluster, _ = behind(on_stale=on_stale, wait=5.0)
    with unit(mark(written=lsn(200))):
        other = meanwhile(lambda: cluster.report(of_replica(SECOND, 200, time.monotonic())))
        assert (cluster.route().node, cluster.route().reason) == (SECOND, Reason.AFFINITY)
    other.join()


def test_after_the_wait_the_primary_serves() -> None:
    """The default policy with a little patience."""
    cluster, _ = behind(wait=0.01)
    with unit(mark(written=lsn(200))):
        assert cluster.route().node == PRIMARY


def test_an_event_loop_is_never_blocked() -> None:
    """A wait of an hour would be noticed."""
    cluster, _ = behind(wait=3600.0)

    async def main() -> str:
        with unit(mark(written=lsn(200))):
            return cluster.route().node

    assert asyncio.run(main()) == PRIMARY


def test_in_an_event_loop_a_wait_that_cannot_be_waited_reads_the_primary() -> None:
    """Nobody claims to have waited."""
    cluster, _ = behind(on_stale="wait", wait=3600.0)

    async def main() -> str:
        with unit(mark(written=lsn(200))):
            return cluster.route().node

    assert asyncio.run(main()) == PRIMARY


def test_leaving_a_replica_that_is_gone_reads_the_primary_whatever_the_policy() -> None:
    """One read of the primary is how the session moves on."""
    cluster, heard = made(policy=Policy(on_stale="error"))
    healthy(cluster).report(down(FIRST, time.monotonic()))
    with unit(mark(nodes=frozenset({FIRST}))):
        assert (cluster.route().node, cluster.route().reason) == (PRIMARY, Reason.LEAVING)
    assert heard[-1].detail == Reason.LEAVING


def test_where_sessions_are_not_followed_level_session_means_the_primary() -> None:
    """Nobody knows what this user wrote before."""
    cluster = ready(level="eventual")
    with unit(), consistency("session"):
        assert (cluster.route().node, cluster.route().reason) == (PRIMARY, Reason.STRONG)


def test_a_sessions_max_lag_comes_from_the_policy() -> None:
    """A replica of unknown age does not serve."""
    cluster, _ = made(policy=Policy(max_lag=2.0))
    now = time.monotonic()
    cluster.report(of_primary(1, now - 60))
    cluster.report(of_primary(100, now))
    cluster.report(of_replica(FIRST, 1, now))
    cluster.report(of_replica(SECOND, 100, now))
    with unit():
        assert cluster.route().node == SECOND
        assert cluster.explain().refused[FIRST].endswith("allowed are 2 s")


# -- settling


class Asker:
    """Stands for the primary's connection; counts questions."""

    def __init__(self, row: Row | None = ROW, system: str | None = SYSTEM, error: Exception | None = None) -> None:
        self.row, self.system, self.error = row, system, error
        self.asked = 0

    def __call__(self, statement: str) -> tuple[Row | None, str | None]:
        """Answer."""
        assert "pg_current_wal_flush_lsn" in statement
        self.asked += 1
        if self.error:
            raise self.error
        return self.row, self.system


def settled(asker: Asker | None, footprint: Footprint, **options: object) -> tuple[bool, Cluster, list[Event]]:
    """Settle a footprint that wrote once, in a healthy cluster."""
    cluster, heard = made(**options)
    healthy(cluster, 50, 50, 50).asker = asker
    footprint.begin_write()
    footprint.end_write()
    return cluster.settle(footprint), cluster, heard


def fresh(**fields: object) -> Footprint:
    """Return the footprint of a unit that begins now."""
    return Footprint(PRIMARY, time.monotonic(), mark(**fields))


def test_settling_asks_the_primary_once() -> None:
    """The position is the session's, and a primary observation for everybody."""
    footprint, asker = fresh(), Asker()
    done, cluster, heard = settled(asker, footprint)
    assert done
    assert asker.asked == 1
    assert footprint.written == lsn(100)
    assert footprint.unsettled == 0
    assert cluster.topology.primary_since(footprint.began) == lsn(100)
    assert kinds(heard) == [Kind.SETTLED]


def test_the_generation_is_the_clusters() -> None:
    """Which no server reports."""
    footprint = fresh()
    settled(Asker(), footprint, generation=4)
    assert footprint.written == lsn(100, generation=4)


def test_the_capture_mode_is_the_clusters() -> None:
    """Insert where the operator says so."""
    footprint = fresh()
    settled(Asker(["0/64", "0/C8", "on", "00000001"]), footprint, capture="insert")
    assert footprint.written == lsn(200)


def test_a_settle_that_fails_leaves_the_write_in_doubt() -> None:
    """The token says dirty; nothing is raised into the response."""
    footprint = fresh()
    done, cluster, heard = settled(Asker(error=ConnectionError("password=x")), footprint)
    assert not done
    assert footprint.mark(cluster.topology.history, tracked=True) == mark(dirty=history())
    assert heard == [Event(Kind.SETTLE_FAILED, "default", PRIMARY, "ConnectionError")]


def test_a_settle_without_anybody_to_ask_leaves_the_write_in_doubt() -> None:
    """No asker was given."""
    footprint = fresh()
    done, _, heard = settled(None, footprint)
    assert not done
    assert footprint.unsettled == 1
    assert heard == []


def test_an_open_transaction_is_not_settled() -> None:
    """Its commit would be later than the answer; nobody is asked."""
    footprint, asker = fresh(), Asker()
    footprint.begin_write()
    done, _, _ = settled(asker, footprint)
    assert not done
    assert asker.asked == 0


def test_a_commit_in_doubt_is_not_settled() -> None:
    """It may still be committing."""
    footprint, asker = fresh(), Asker()
    footprint.begin_write()
    footprint.end_write(in_doubt=True)
    done, _, _ = settled(asker, footprint)
    assert not done
    assert asker.asked == 0


def test_a_position_that_cannot_be_told_becomes_a_pin() -> None:
    """The time pin, and the policy says how long."""
    footprint = fresh()
    done, _, heard = settled(Asker(None), footprint, policy=Policy(pin_seconds=30))
    assert done
    assert 29 < footprint.pinned_until - time.time() <= 30
    assert footprint.unsettled == 0
    assert footprint.written is None
    assert kinds(heard) == [Kind.TIME_PINNED]


def test_a_blind_replica_makes_a_pin_beside_the_position() -> None:
    """The others are still asked, not guessed."""
    cluster, heard = made()
    healthy(cluster).report(of_blind(SECOND, time.monotonic()))
    cluster.asker = Asker()
    footprint = fresh()
    footprint.begin_write()
    footprint.end_write()
    assert cluster.settle(footprint)
    assert footprint.pinned_until > time.time()
    assert footprint.written == lsn(100)
    assert kinds(heard)[-2:] == [Kind.TIME_PINNED, Kind.SETTLED]


def test_a_doubt_of_another_history_is_told() -> None:
    """The write may be lost with the timeline it was made on (CORRECTNESS 9)."""
    footprint = fresh(dirty=history(1))
    _, _, heard = settled(Asker(["0/64", "0/64", "on", "00000002"]), footprint)
    assert kinds(heard)[0] is Kind.WRITE_MAYBE_LOST
    assert footprint.dirty is None


@pytest.mark.parametrize("system", [SYSTEM, ""])
def test_a_doubt_of_the_same_or_of_no_known_history_is_just_settled(system: str) -> None:
    """Nothing says that anything was lost."""
    footprint = fresh(dirty=history(1, system=system))
    _, _, heard = settled(Asker(), footprint)
    assert kinds(heard) == [Kind.SETTLED]


def test_a_commit_that_did_not_wait_for_its_flush_takes_the_insert_position() -> None:
    """The adapter saw synchronous_commit being changed."""
    footprint = fresh()
    footprint.relaxed = True
    settled(Asker(["0/64", "0/C8", "on", "00000001"]), footprint)
    assert footprint.written == lsn(200)


def test_a_zombie_settles_nothing() -> None:
    """Its older timeline must not replace what the session knows (CORRECTNESS 13)."""
    footprint = fresh(written=lsn(5, 2))
    done, _, heard = settled(Asker(), footprint)
    assert not done
    assert footprint.written == lsn(5, 2)
    assert heard == [Event(Kind.SETTLE_FAILED, "default", PRIMARY, "on an older timeline than the session")]


def test_a_restored_primary_replaces_what_the_session_knows() -> None:
    """Its log ends before the token: told loudly, and the token converges (CORRECTNESS 3)."""
    footprint = fresh(written=lsn(500))
    done, _, heard = settled(Asker(), footprint)
    assert done
    assert footprint.written == lsn(100)
    assert kinds(heard) == [Kind.HISTORY_WENT_BACK, Kind.SETTLED]


def test_two_writers_are_settled_together() -> None:
    """One question for all that ended before it."""
    footprint, asker = fresh(), Asker()
    footprint.begin_write()
    footprint.end_write()
    settled(asker, footprint)
    assert asker.asked == 1
    assert footprint.unsettled == 0


def test_the_heartbeat_settles_on_the_next_beat() -> None:
    """Any database that replicates a row."""
    cluster, _ = made(dialect="heartbeat")
    cluster.asker = lambda statement: (["a1", "7"], None)
    footprint = fresh()
    assert cluster.settle(footprint)
    assert footprint.written == beat(8)


# -- a round through several units of work


def test_write_read_catch_up_forget() -> None:
    """A token is made, keeps reads off late replicas, and goes away when all hold it."""
    cluster = healthy(made()[0], 90, 90, 90)
    cluster.asker = Asker()
    with session() as first:
        cluster.route("write")
        first.of(PRIMARY).begin_write()
        first.of(PRIMARY).end_write()
        assert cluster.route().reason is Reason.UNSETTLED
    token = first.token()
    with session(token):
        assert cluster.route().reason is Reason.NONE_COVERS
    cluster.report(of_replica(SECOND, 100, time.monotonic()))
    with session(token) as third:
        assert cluster.route().node == SECOND
    cluster.report(of_replica(FIRST, 100, time.monotonic()))
    with session(third.token()) as fourth:
        cluster.report(of_primary(100, time.monotonic()))
        assert cluster.route().reason is Reason.AFFINITY
    assert fourth.token() == ""


def test_the_terms_of_the_default_level_are_made_once() -> None:
    """The lag limit follows the token's life."""
    cluster = ready(token_seconds=100)
    assert cluster.default_terms.lag_limit == 90
    assert cluster.default_terms.level is Level.SESSION
    assert cluster.default_terms.max_lag is None
    assert math.isfinite(cluster.default_terms.lag_limit)


def test_a_write_inside_replica_is_refused() -> None:
    """Also without an adapter."""
    from lagless import replica

    cluster = Cluster("plain", primary=Node("p"), replicas=[Node("r")])
    with session(), replica(), pytest.raises(ReadOnlyViolation):
        cluster.route("write")


def test_a_zombie_does_not_settle_a_doubt_of_a_newer_timeline() -> None:
    """The doubt stays what it is until a primary of that timeline is asked."""
    cluster = Cluster("plain", primary=Node("p"), replicas=[Node("r")], dialect="postgresql")
    cluster.asker = lambda _: (["0/100", "0/100", "on", "00000001"], "7")
    footprint = Footprint("plain", 0.0, Mark(cluster="plain", dirty=History("7", 2)))
    assert not cluster.settle(footprint)
    assert footprint.dirty == History("7", 2)
    assert cluster.counts.events["settle failed"] == 1
