"""Units of work outside the web: tokens in, tokens out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from unit.builders import FIRST, PRIMARY, SECOND, SYSTEM, history, lsn, of_primary, of_replica

from lagless import Cluster, ConfigurationError, Node, Reason, session
from lagless.context import current
from lagless.core.position import History
from lagless.core.session import Footprint, Mark, Session
from lagless.dialects.base import Row
from lagless.edge import (
    OPEN_SECONDS,
    begin,
    default_signer,
    in_doubt,
    needs_settling,
    open_token,
    outcome,
    process_key,
    settle,
    switched_off,
    use_signer,
)
from lagless.events import Kind
from lagless.token import Signer


@pytest.fixture(autouse=True)
def signer() -> Iterator[Signer]:
    """Let `session()` use a signer of this test's own."""
    mine = Signer(["key"])
    use_signer(mine)
    yield mine
    use_signer(None)


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster whose replicas are behind its next commit."""
    made = Cluster(PRIMARY, primary=Node(PRIMARY), replicas=[Node(FIRST), Node(SECOND)], asker=answer)
    now = time.monotonic()
    made.report(of_primary(90, now))
    made.report(of_replica(FIRST, 90, now))
    made.report(of_replica(SECOND, 90, now))
    return made


def answer(statement: str) -> tuple[Row, str]:
    """Say that the primary stands at 100."""
    return ["0/64", "0/64", "on", "00000001"], SYSTEM


def write(unit: Session, cluster: str = PRIMARY) -> Footprint:
    """Write and commit in a unit of work."""
    footprint = unit.of(cluster)
    footprint.begin_write()
    footprint.end_write()
    return footprint


def test_a_unit_settles_when_it_ends(cluster: Cluster) -> None:
    """Its token carries the position."""
    with session() as unit:
        write(unit)
    with session(unit.token()) as following:
        assert following.of(PRIMARY).written == lsn(100)
        assert cluster.route().reason is Reason.NONE_COVERS


def test_a_token_taken_before_the_end_is_in_doubt(cluster: Cluster) -> None:
    """The write is not settled yet; the next unit settles it."""
    with session() as unit:
        write(unit)
        early = unit.token()
    with session(early) as following:
        assert following.of(PRIMARY).dirty == history()
        assert cluster.route().reason is Reason.DIRTY
    with session(following.token()) as third:
        assert third.of(PRIMARY).dirty is None
        assert third.of(PRIMARY).written == lsn(100)


def test_a_unit_that_fails_settles_too(cluster: Cluster) -> None:
    """What was committed before the error stays committed."""
    units = []
    with pytest.raises(KeyError), session() as unit:
        units.append(unit)
        write(unit)
        raise KeyError
    assert units[0].of(PRIMARY).unsettled == 0
    assert current() is None


def test_a_reader_leaves_no_token(cluster: Cluster) -> None:
    """Nothing was promised."""
    with session() as unit:
        cluster.route()
    assert unit.token() == ""


def test_a_keyed_reader_leaves_its_replica(cluster: Cluster) -> None:
    """And reads on from it."""
    with session(key=7) as unit:
        node = cluster.route().node
    assert unit.key == "7"
    with session(unit.token(), key=7):
        assert (cluster.route().node, cluster.route().reason) == (node, Reason.AFFINITY)


@pytest.mark.parametrize("token", ["", "nonsense", "1~t0~default!l!x!1~forged"])
def test_a_token_that_does_not_open_counts_as_none(cluster: Cluster, token: str) -> None:
    """Never an exception, never a pin."""
    with session(token):
        assert cluster.route().reason is Reason.SESSION


def test_a_token_that_is_no_text_is_a_mistake() -> None:
    """Of the caller, not of a client."""
    with pytest.raises(ConfigurationError, match="session: token 3 must be a string from token"):
        session(3)  # type: ignore[arg-type]


def test_refused_tokens_are_counted(cluster: Cluster, signer: Signer) -> None:
    """By every cluster they might have been for."""
    good = signer.seal([Mark(cluster=PRIMARY, written=lsn(1))])
    assert open_token("x", signer, [cluster]) is open_token("y", signer, [cluster]) is None
    opened = open_token(good, signer, [cluster])
    assert opened
    assert [mark.written for mark in opened.marks] == [lsn(1)]
    assert cluster.counts.events == {Kind.TOKEN_REFUSED: 2}


def test_sessions_nest(cluster: Cluster) -> None:
    """A job inside a job is a unit of its own, which knows what the outer one wrote."""
    with session() as outer:
        write(outer)
        with session() as inner:
            assert cluster.route().reason is Reason.DIRTY
        assert inner.token() != ""
        assert cluster.route().reason is Reason.UNSETTLED
    assert current() is None


def test_async_with_settles_in_a_thread(cluster: Cluster) -> None:
    """The event loop is not blocked by the question."""
    threads = []

    def ask(statement: str) -> tuple[Row, str]:
        threads.append(threading.current_thread())
        return answer(statement)

    cluster.asker = ask

    async def main() -> str:
        async with session() as unit:
            write(unit)
            assert cluster.route().reason is Reason.UNSETTLED
        assert current() is None
        return unit.token()

    token = asyncio.run(main())
    assert threads
    assert threads[0] is not threading.main_thread()
    with session(token) as following:
        assert following.of(PRIMARY).written == lsn(100)


def test_an_edge_s_own_cluster_outranks_the_living_one_of_its_name(signer: Signer) -> None:
    """Two applications of one process may use one name; clusters of other names are found as ever."""
    first, _ = (Cluster(PRIMARY, primary=Node(PRIMARY), asker=answer) for _ in range(2))
    other = Cluster("other", primary=Node("other"), asker=answer)
    unit = begin([], signer, clusters={PRIMARY: first})
    write(unit)
    write(unit, "other")
    assert needs_settling(unit) == [first, other]


def test_what_needs_settling(cluster: Cluster) -> None:
    """Writes, doubts, and what a followed session read on the primary by fallback."""

    def needs(*marks: Mark, act: str = "", **options: object) -> bool:
        unit = Session(marks, began=time.monotonic(), **options)  # type: ignore[arg-type]
        footprint = unit.of(PRIMARY)
        getattr(footprint, act or "choose")(*([] if act else [FIRST]))
        return needs_settling(unit) == [cluster]

    assert not needs()
    assert not needs(Mark(cluster=PRIMARY, written=lsn(1)))
    assert needs(act="begin_write")
    assert needs(Mark(cluster=PRIMARY, dirty=history()))
    assert not needs(act="saw_primary")
    assert needs(act="saw_primary", key="u")
    assert needs(Mark(cluster=PRIMARY, nodes=frozenset({FIRST})), act="saw_primary")


def test_a_cluster_at_another_level_is_not_followed() -> None:
    """Only level session promises something across requests; what came for it is passed on."""
    cluster = Cluster("loose", primary=Node("loose"), replicas=[Node("x")], level="eventual", asker=answer)
    given = Mark(cluster="loose", written=lsn(7))
    unit = Session([given], began=time.monotonic())
    write(unit, "loose")
    assert needs_settling(unit) == []
    assert outcome(unit) == (given,)
    assert not cluster.tracks


def test_marks_of_clusters_that_were_not_touched_are_passed_on(cluster: Cluster) -> None:
    """Also of clusters that this process does not know."""
    given = [Mark(cluster=PRIMARY, written=lsn(300)), Mark(cluster="elsewhere", written=lsn(7))]
    unit = Session(given, began=time.monotonic())
    assert set(outcome(unit)) == set(given)
    unit.of(PRIMARY)
    assert set(outcome(unit)) == set(given)


def test_what_every_node_holds_is_dropped(cluster: Cluster) -> None:
    """Without settling anything."""
    unit = Session([Mark(cluster=PRIMARY, written=lsn(80))], began=time.monotonic())
    unit.of(PRIMARY)
    assert outcome(unit) == ()


def test_a_unit_that_goes_on_after_its_token_is_in_doubt(cluster: Cluster, signer: Signer) -> None:
    """A streamed body may still write; the doubt survives the token, whatever was settled before (CORRECTNESS 9)."""
    unit = begin([], signer)
    write(unit)
    settle(unit)
    marks = in_doubt(unit, [cluster])
    opened = signer.open(signer.seal(marks))
    assert opened
    assert [mark.dirty for mark in opened.marks] == [history()]


def test_a_unit_that_touched_nothing_may_still_write_later(signer: Signer) -> None:
    """Even before the primary was heard."""
    unheard = Cluster("unheard", primary=Node("u"))
    (mark,) = in_doubt(begin([], signer), [unheard])
    assert (mark.cluster, mark.dirty) == ("unheard", History(""))
    assert 0 < mark.pinned_until - time.time() <= OPEN_SECONDS


def test_the_default_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that several processes understand each other."""
    monkeypatch.setenv("LAGLESS_SECRET", "s")
    use_signer(None)
    token = default_signer().seal([Mark(cluster=PRIMARY, written=lsn(1))])
    assert Signer(["s"]).open(token)
    assert default_signer() is default_signer()


def test_without_a_key_tokens_hold_within_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random one; another process has another."""
    monkeypatch.delenv("LAGLESS_SECRET", raising=False)
    use_signer(None)
    token = default_signer().seal([Mark(cluster=PRIMARY, written=lsn(1))])
    use_signer(None)
    assert default_signer().open(token)
    use_signer(None)
    process_key.cache_clear()
    assert default_signer().open(token) is None


@pytest.mark.parametrize(
    ("word", "off"), [("0", True), (" FALSE ", True), ("no", True), ("off", True), ("", False), ("1", False)]
)
def test_the_environment_s_switch(monkeypatch: pytest.MonkeyPatch, word: str, off: bool) -> None:
    """Off is said in so many words; all else, and nothing, is on."""
    monkeypatch.setenv("LAGLESS_ENABLED", word)
    assert switched_off() is off
    monkeypatch.delenv("LAGLESS_ENABLED")
    assert not switched_off()
