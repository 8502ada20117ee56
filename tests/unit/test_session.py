"""What a unit of work wrote and saw, and what it leaves behind."""

from __future__ import annotations

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
)

from lagless.core.observing import observe
from lagless.core.position import History
from lagless.core.session import Footprint, Mark, Session, trimmed


def mark(**fields: object) -> Mark:
    """Return a mark of the default cluster."""
    return Mark(cluster=PRIMARY, **fields)  # type: ignore[arg-type]


# -- counters


def test_writes_are_counted_not_flagged() -> None:
    """Settling one writer's write does not hide another's (CORRECTNESS 9)."""
    unit = footprint()
    unit.begin_write()
    unit.end_write()
    asked = unit.begun
    unit.begin_write()  # another thread, while the primary is being asked
    unit.settle(lsn(100), asked, 7.0)
    assert unit.unsettled == 1
    assert unit.in_flight == 1


def test_an_open_writing_transaction_is_in_flight() -> None:
    """Its position cannot be asked for yet."""
    unit = footprint()
    unit.begin_write()
    assert (unit.unsettled, unit.in_flight) == (1, 1)
    unit.end_write()
    assert (unit.unsettled, unit.in_flight) == (1, 0)


def test_a_rolled_back_write_leaves_nothing() -> None:
    """Nothing was written, nothing need be settled."""
    unit = footprint()
    unit.begin_write()
    unit.cancel_write()
    assert (unit.unsettled, unit.in_flight) == (0, 0)
    assert unit.mark(history(), tracked=True).empty


def test_a_rollback_of_one_writer_does_not_hide_the_other() -> None:
    """Two connections wrote; one gave up."""
    unit = footprint()
    unit.begin_write()
    unit.begin_write()
    unit.cancel_write()
    unit.end_write()
    assert (unit.unsettled, unit.in_flight) == (1, 0)


def test_a_write_in_doubt_stays_in_doubt() -> None:
    """Nobody knows whether it committed: the token says dirty."""
    unit = footprint()
    unit.begin_write()
    unit.end_write(in_doubt=True)
    assert unit.mark(history(2), tracked=True) == mark(dirty=history(2))
    unit.begin_write()
    unit.end_write()
    assert unit.in_doubt


def test_a_settle_does_not_clear_a_doubt_that_arose_meanwhile() -> None:
    """The primary was asked before the other writer's commit was lost."""
    unit = footprint()
    unit.begin_write()
    unit.end_write()
    asked = unit.begun
    unit.begin_write()
    unit.end_write(in_doubt=True)
    unit.settle(lsn(100), asked, 7.0)
    assert unit.in_doubt
    unit.pin(0.0, unit.begun)
    assert unit.unsettled == 0
    assert unit.mark(history(), tracked=True).dirty == history()


def test_a_settle_covers_all_that_the_unit_saw() -> None:
    """Its writes, what it read on replicas, what it read on the primary, and an earlier doubt."""
    unit = footprint(dirty=history(), nodes=frozenset({FIRST}))
    unit.choose(SECOND)
    unit.saw_primary()
    unit.settle(lsn(100), 0, 7.0)
    assert unit.mark(history(), tracked=True) == mark(written=lsn(100))
    assert unit.node is None
    assert unit.written_at == 7.0


def test_a_settle_never_lowers_the_written_position() -> None:
    """Two answers may come in either order."""
    unit = footprint(written=lsn(200))
    unit.settle(lsn(100), 0, 7.0)
    assert unit.written == lsn(200)


def test_a_settle_replaces_a_position_of_another_history() -> None:
    """The token converges in one request (CORRECTNESS 12)."""
    unit = footprint(written=lsn(200))
    unit.settle(lsn(100, 2), 0, 7.0)
    assert unit.written == lsn(100, 2)


def test_a_pin_keeps_the_latest_end() -> None:
    """Two writes, two pins."""
    unit = footprint(pinned_until=50.0)
    unit.begin_write()
    unit.end_write()
    unit.pin(40.0, 1)
    assert unit.pinned_until == 50.0
    assert unit.unsettled == 0
    unit.pin(60.0, 1)
    assert unit.pinned_until == 60.0


# -- replicas


def test_a_replica_chosen_after_another_stands_for_both() -> None:
    """It was chosen because it holds all that the other showed."""
    unit = footprint(nodes=frozenset({FIRST}))
    unit.choose(SECOND)
    assert (unit.node, unit.nodes) == (SECOND, {SECOND})


def test_an_answer_is_kept_only_while_nothing_changed() -> None:
    """Another thread may have written while the router decided."""
    unit = footprint()
    unit.remember("picture", None, FIRST, unit.version)
    assert unit.cached == ("picture", None, FIRST)
    before = unit.version
    unit.begin_write()
    unit.remember("picture", None, FIRST, before)
    assert unit.cached is None


def test_what_a_session_inside_did_belongs_to_the_outer_too() -> None:
    """A job that runs eagerly inside a request."""
    unit = footprint(written=lsn(5))
    unit.choose(FIRST)
    unit.absorb(mark(written=lsn(9), nodes=frozenset({SECOND}), pinned_until=7.0))
    assert (unit.written, unit.nodes, unit.pinned_until, unit.node) == (lsn(9), {FIRST, SECOND}, 7.0, None)
    unit.absorb(mark(dirty=history()))
    assert (unit.written, unit.dirty) == (None, history())


def test_an_abandoned_replica_that_showed_nothing_is_forgotten() -> None:
    """It failed before it answered."""
    unit = footprint()
    unit.choose(FIRST)
    unit.abandon()
    assert unit.nodes == frozenset()
    assert unit.node is None


def test_an_abandoned_replica_that_showed_something_is_remembered() -> None:
    """The next must hold what it showed, now or in an earlier unit."""
    unit = footprint()
    unit.choose(FIRST)
    unit.read_replica = True
    unit.abandon()
    assert unit.nodes == {FIRST}
    earlier = footprint(nodes=frozenset({FIRST}))
    earlier.choose(FIRST)
    earlier.abandon()
    assert earlier.nodes == {FIRST}


@pytest.mark.parametrize(
    "change",
    [
        lambda unit: unit.begin_write(),
        lambda unit: unit.cancel_write(),
        lambda unit: unit.saw_primary(),
        lambda unit: unit.abandon(),
        lambda unit: unit.settle(lsn(1), 0, 1.0),
        lambda unit: unit.pin(1.0, 0),
    ],
    ids=["begin", "cancel", "saw primary", "abandon", "settle", "pin"],
)
def test_whatever_changes_routing_drops_the_cached_answer(change: object) -> None:
    """An adapter's shortcut must not outlive what it was based on."""
    unit = footprint()
    unit.begin_write()
    unit.cached = ("picture", "scope", FIRST)
    change(unit)  # type: ignore[operator]
    assert unit.cached is None


# -- marks


def test_a_reader_without_a_promise_leaves_nothing() -> None:
    """First-time visitors get no cookie."""
    unit = footprint()
    unit.choose(FIRST)
    assert unit.mark(history(), tracked=False).empty


def test_a_tracked_reader_leaves_its_replica() -> None:
    """Its next read must not be older."""
    unit = footprint()
    unit.choose(FIRST)
    assert unit.mark(history(), tracked=True) == mark(nodes=frozenset({FIRST}))


def test_a_tracked_reader_of_the_primary_is_in_doubt_until_settled() -> None:
    """What the primary showed has a position that nobody asked for yet (CORRECTNESS 8)."""
    unit = footprint()
    unit.saw_primary()
    assert unit.mark(history(), tracked=True) == mark(dirty=history())
    assert unit.mark(history(), tracked=False).empty


def test_a_doubt_without_a_known_history_is_still_a_doubt() -> None:
    """The primary was never heard; the next request settles all the same."""
    unit = footprint()
    unit.begin_write()
    assert unit.mark(None, tracked=True) == mark(dirty=History(""))


def test_an_earlier_doubt_keeps_its_own_history() -> None:
    """Renamed to the present history, a write lost by the failover would never be reported (CORRECTNESS 9)."""
    assert footprint(dirty=history(1)).mark(history(2), tracked=True).dirty == history(1)


def test_merged_marks_promise_what_both_promise() -> None:
    """The farther position, all replicas, the longer pin."""
    one = mark(written=lsn(100), nodes=frozenset({FIRST}), pinned_until=5.0)
    other = mark(written=lsn(200), nodes=frozenset({SECOND}), pinned_until=4.0)
    assert one.merge(other) == mark(written=lsn(200), nodes=frozenset({FIRST, SECOND}), pinned_until=5.0)


def test_marks_of_two_histories_merge_into_a_doubt() -> None:
    """Nobody can tell which holds the other."""
    assert mark(written=lsn(500)).merge(mark(written=lsn(1, 2))) == mark(dirty=history(2))


def test_a_doubt_outweighs_a_position() -> None:
    """A token has room for one of them, and the doubt must not be lost."""
    assert mark(written=lsn(500)).merge(mark(dirty=history())) == mark(dirty=history())
    assert mark(dirty=history()).merge(mark(written=lsn(500))) == mark(dirty=history())


def test_of_two_doubts_the_newer_history_stays() -> None:
    """In either order."""
    assert mark(dirty=history(1)).merge(mark(dirty=history(2))).dirty == history(2)
    assert mark(dirty=history(2)).merge(mark(dirty=history(1))).dirty == history(2)


# -- trimmed


def trim(
    given: Mark, topology: object = None, began: float = 9.0, *, keyed: bool = False, wall: float = 1000.0
) -> Mark:
    """Trim a mark against a healthy cluster heard at 10."""
    return trimmed(given, topology or steady(), footprint(began=began), keyed=keyed, wall=wall)  # type: ignore[arg-type]


def test_a_position_that_every_node_holds_is_dropped() -> None:
    """The cookie goes away when it is of no use (CORRECTNESS 20)."""
    assert trim(mark(written=lsn(100))).empty


@pytest.mark.parametrize(
    "late",
    [of_replica(SECOND, 99, 11), down(SECOND, 11), of_replica(SECOND, 100, 11, timeline=2), of_blind(SECOND, 11)],
    ids=["behind", "down", "other history", "cannot tell"],
)
def test_a_position_that_one_node_may_lack_is_kept(late: object) -> None:
    """All declared nodes, not only those that answer."""
    topology = observe(steady(), late)  # type: ignore[arg-type]
    assert trim(mark(written=lsn(100)), topology).written == lsn(100)


def test_a_demoted_primary_counts_as_a_node() -> None:
    """Its name may serve again."""
    topology = observe(steady(), of_primary(150, 11, node=FIRST, timeline=2))
    topology = observe(topology, of_replica(SECOND, 150, 12, timeline=2))
    assert trim(mark(written=lsn(140, 2)), topology).written == lsn(140, 2)
    topology = observe(topology, of_replica(PRIMARY, 150, 13, timeline=2, run="2"))
    assert trim(mark(written=lsn(140, 2)), topology).written is None


def test_a_replicas_name_is_dropped_when_all_hold_what_it_showed_before() -> None:
    """A visitor's cookie does not live for ever."""
    assert trim(mark(nodes=frozenset({FIRST}))).empty


@pytest.mark.parametrize("began", [10.0, 11.0])
def test_a_replicas_name_is_kept_without_a_newer_primary_position(began: float) -> None:
    """Nothing bounds what the session saw before this unit."""
    assert trim(mark(nodes=frozenset({FIRST})), began=began).nodes == {FIRST}


def test_a_replicas_name_is_kept_while_another_is_behind() -> None:
    """It could show less."""
    assert trim(mark(nodes=frozenset({FIRST})), steady(100, 100, 99)).nodes == {FIRST}


def test_a_keyed_session_keeps_its_replicas_name() -> None:
    """It reads monotonically as long as it lasts."""
    assert trim(mark(nodes=frozenset({FIRST})), keyed=True).nodes == {FIRST}


def test_a_pin_that_is_over_is_dropped() -> None:
    """And one that runs is kept."""
    assert trim(mark(pinned_until=1000.0)).empty
    assert trim(mark(pinned_until=1001.0)).pinned_until == 1001.0


def test_a_blind_node_holds_a_position_once_the_pin_is_over() -> None:
    """There is nothing better to go by."""
    topology = picture(of_primary(100, 10), of_blind(FIRST, 10), of_blind(SECOND, 10))
    assert trim(mark(written=lsn(100), pinned_until=999.0), topology).empty
    kept = mark(written=lsn(100), pinned_until=1001.0)
    assert trim(kept, topology) == kept


def test_a_blind_node_does_not_hold_a_position_that_was_never_pinned() -> None:
    """It became known as blind after the write had settled."""
    topology = picture(of_primary(100, 10), of_blind(FIRST, 10), of_blind(SECOND, 10))
    assert trim(mark(written=lsn(100)), topology).written == lsn(100)


def test_a_pin_that_is_over_is_kept_beside_a_position() -> None:
    """It says that a blind node had its time, while another node is still behind."""
    topology = picture(of_primary(100, 10), of_blind(FIRST, 10), of_replica(SECOND, 90, 10))
    kept = mark(written=lsn(100), pinned_until=999.0)
    assert trim(kept, topology) == kept


def test_a_doubt_is_never_trimmed() -> None:
    """Only a settle ends it."""
    assert trim(mark(dirty=history())).dirty == history()


# -- Session


def test_a_session_has_one_footprint_a_cluster() -> None:
    """Made at first use, from the token's mark for that cluster."""
    session = Session([mark(written=lsn(7))], began=3.0)
    assert session.of(PRIMARY) is session.of(PRIMARY)
    assert session.of(PRIMARY).written == lsn(7)
    assert session.of(PRIMARY).began == 3.0
    assert session.of("other").incoming == Mark(cluster="other")


def test_monotonic_reads_are_promised_with_a_key_a_token_or_a_write() -> None:
    """Anonymous first-time readers are not followed."""

    def tracked(unit: Footprint | None = None, **options: object) -> bool:
        session = Session(began=0.0, **options)  # type: ignore[arg-type]
        return session.tracked(unit or session.of(PRIMARY))

    wrote, settled = footprint(), footprint()
    wrote.begin_write()
    settled.settle(lsn(1), 0, 0.0)
    assert not tracked()
    assert tracked(key="u1")
    assert tracked(keyed=True)
    assert tracked(footprint(nodes=frozenset({FIRST})))
    assert tracked(wrote)
    assert tracked(settled)


def test_a_session_without_a_seal_has_no_token() -> None:
    """Edges bring the signer."""
    assert Session(began=0.0).token() == ""
    assert Session(began=0.0, key="u", seal=lambda s: f"token of {s.key}").token() == "token of u"
