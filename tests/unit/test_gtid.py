"""GTID positions: notations, what covers what, and what of them a token still needs."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
from unit.builders import lsn

from lagless.core.gtid import MARIADB, MYSQL, GtidSet, MariaGtids, joined, sequences
from lagless.core.observing import observe
from lagless.core.position import History, Position
from lagless.core.session import Footprint, Mark, trimmed
from lagless.core.topology import Identity, Node, Observation, Role, Topology, behind

A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "a4214263-e54d-11f1-bde2-02fc00000001"


def full(text: str) -> str:
    """Put servers in the place of A and B."""
    return re.sub(r"\bA\b", A, re.sub(r"\bB\b", B, text))


def mysql(text: str, generation: int = 0) -> GtidSet:
    """Return a set; A and B stand for servers."""
    return GtidSet.parse(History(MYSQL, 0, generation), full(text))


def maria(text: str, generation: int = 0) -> MariaGtids:
    """Return a MariaDB position."""
    return MariaGtids.parse(History(MARIADB, 0, generation), text)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("", ""),
        ("A:1", "A:1"),
        ("A:1-5:7:9-11", "A:1-5:7:9-11"),
        ("A:7,A:1-5", "A:1-5:7"),
        ("A:1-5:6-9:8", "A:1-9"),
        ("B:1-3,\nA:2", "A:2,B:1-3"),
        (" A:1-2 ,\n B : 4 ", "A:1-2,B:4"),
        ("A:1-10:deploy_1:1-3,\nB:1-2", "A:1-10:deploy_1:1-3,B:1-2"),
        ("A:7:9:tag_b:4", "A:7:9:tag_b:4"),
        ("A:only:1:Other:2-3:5", "A:only:1:other:2-3:5"),
        (A.upper() + ":1-5", "A:1-5"),
        (A.replace("-", "") + ":3", "A:3"),
    ],
)
def test_a_gtid_set_is_read_and_written_as_mysql_does(given: str, written: str) -> None:
    """Spread over lines, in any order and case, with tags; written on one line in one order."""
    assert mysql(given).text() == full(written)
    assert mysql(mysql(given).text()) == mysql(given)


@pytest.mark.parametrize(
    "text", ["1-5", "A", "A:", "A:0", "A:5-3", "A:1-", "A:-1", "A:1-2-3", "A:x y:1", "A:é:1", "A:²"]
)
def test_what_is_no_gtid_set_is_refused(text: str) -> None:
    """A mangled answer must not become a position."""
    with pytest.raises(ValueError, match=r".+"):
        mysql(text)


@pytest.mark.parametrize("text", ["", "0-1-7", "0-1-7,0-2-9,3-1-1"])
def test_mariadbs_gtids_are_read_and_written_as_it_does(text: str) -> None:
    """Domain, server, sequence number."""
    assert maria(text).text() == text


def test_mariadbs_highest_number_of_a_stream_counts() -> None:
    """Several variables name the same stream."""
    assert maria("0-1-7,0-1-9,0-1-8") == maria("0-1-9")
    assert sequences(" 0-1-7 , 0-2-9") == {(0, 1): 7, (0, 2): 9}


@pytest.mark.parametrize("text", ["7", "0-1", "0-1-7-9", "0-1-x", "0--7", "a-1-7", "0-1-²"])
def test_what_is_no_mariadb_gtid_is_refused(text: str) -> None:
    """A mangled answer must not become a position."""
    with pytest.raises(ValueError, match=r".+"):
        maria(text)


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        ("A:1-5", "A:1-5", True),
        ("A:1-5", "A:3", True),
        ("A:1-5", "A:6", False),
        ("A:1-5", "B:1", False),
        ("A:1-5:7", "A:6", False),
        ("A:1-5:7-9", "A:2-4:8", True),
        ("A:1-5:7-9", "A:5-7", False),
        ("A:2-5", "A:1-3", False),
        ("A:1-5,B:1", "A:1-5,B:1-2", False),
        ("A:1-5:tag:1-3", "A:tag:2", True),
        ("A:1-5", "A:tag:2", False),
        ("A:tag:1-5", "A:2", False),
        ("A:1-5", "", True),
        ("", "A:1", False),
    ],
)
def test_a_gtid_set_covers_its_subsets(held: str, wanted: str, *, covered: bool) -> None:
    """As GTID_SUBSET does."""
    assert mysql(held).covers(mysql(wanted)) is covered


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        ("0-1-7", "0-1-7", True),
        ("0-1-8", "0-1-7", True),
        ("0-1-7", "0-1-8", False),
        ("0-1-7", "0-2-7", False),
        ("0-1-7,0-2-9", "0-2-8", True),
        ("0-1-7", "1-1-7", False),
        ("0-1-9,1-1-3", "0-1-9,1-1-4", False),
        ("0-1-7", "", True),
    ],
)
def test_a_number_counts_for_its_own_server_alone(held: str, wanted: str, *, covered: bool) -> None:
    """Number 7 of another server is another transaction, after a failover that lost one (CORRECTNESS 6)."""
    assert maria(held).covers(maria(wanted)) is covered


@pytest.mark.parametrize(
    "other", [maria("0-1-1"), mysql("A:1", generation=1), lsn(1)], ids=["kind", "generation", "lsn"]
)
def test_other_histories_are_neither_covered_nor_merged(other: Position) -> None:
    """A set started anew has the same numbers for other transactions (CORRECTNESS 3)."""
    assert not mysql("A:1-9").covers(other)
    assert not other.covers(mysql("A:1"))
    with pytest.raises(ValueError, match="different histories"):
        mysql("A:1-9").merge(other)  # type: ignore[arg-type]


def test_merging_is_a_union() -> None:
    """Intervals that touch become one; of MariaDB's streams the higher number counts."""
    assert mysql("A:1-5,B:1").merge(mysql("A:6-9:11")) == mysql("A:1-9:11,B:1")
    assert maria("0-1-7,0-2-9").merge(maria("0-1-8,1-1-1")) == maria("0-1-8,0-2-9,1-1-1")
    assert joined([(4, 6), (1, 2), (3, 3), (9, 9)]) == ((1, 6), (9, 9))


def test_positions_are_values() -> None:
    """Equal however they were written, and fit for a set."""
    assert {mysql("A:1-2,B:3"), mysql("B:3,A:2:1")} == {mysql("B:3,A:1-2")}
    with pytest.raises(dataclasses.FrozenInstanceError):
        mysql("A:1").parts = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("held", "wanted", "missing"),
    [
        (mysql("A:1-5"), mysql("A:1-5"), 0),
        (mysql("A:1-5:8"), mysql("A:4-10"), 4),
        (mysql("A:1-5"), mysql("A:1-6,B:1-10,A:tag:1"), 12),
        (mysql("A:1-9"), mysql("A:1-5"), 0),
        (maria("0-1-7"), maria("0-1-10"), 3),
        (maria("0-1-7"), maria("0-1-7,0-2-9"), 2),
        (maria("0-1-7"), maria("0-2-7"), 1),
        (maria("0-1-7,1-1-1"), maria("0-1-8,1-1-3"), 3),
        (maria(""), maria("0-1-8"), 8),
        (lsn(5), lsn(9), 4),
    ],
)
def test_what_is_missing_is_counted(held: Position, wanted: Position, missing: int) -> None:
    """In transactions; it is 0 exactly where all is held."""
    assert held.lacks(wanted) == missing
    assert held.covers(wanted) is (missing == 0)


def heard(node: str, position: Position, sent: float, role: Role = Role.REPLICA) -> Observation:
    """Return an answer."""
    horizon = position if role is Role.PRIMARY else None
    return Observation(
        node=node, sent=sent, role=role, position=position, horizon=horizon, identity=Identity(MYSQL, node)
    )


def cluster(primary: Position, first: Position, second: Position) -> Topology:
    """Return a primary and two replicas."""
    topology = Topology.declared(Node("p"), [Node("r1"), Node("r2")])
    for seen in (heard("p", primary, 10, Role.PRIMARY), heard("r1", first, 10), heard("r2", second, 10)):
        topology = observe(topology, seen)
    return topology


def carried(topology: Topology, written: Position) -> Position | None:
    """Return what a token still carries of a position."""
    mark = Mark(cluster="c", written=written)
    return trimmed(mark, topology, Footprint("c", 11.0, mark), keyed=False, wall=math.inf).written


def test_a_former_primarys_gtids_are_not_carried_on() -> None:
    """Every node holds them and they do not grow: tokens stay small after failovers (CORRECTNESS 20)."""
    topology = cluster(mysql("A:1-90,B:1-9"), mysql("A:1-90,B:1-7"), mysql("A:1-90,B:1-8"))
    assert carried(topology, mysql("A:1-90,B:1-8")) == mysql("B:1-8")
    assert carried(topology, mysql("A:1-90,B:1-7")) is None
    marias = cluster(maria("0-2-9"), maria("0-1-7,0-2-8"), maria("0-1-7,0-2-9"))
    assert carried(marias, maria("0-1-7,0-2-9")) == maria("0-2-9")


def test_what_one_node_lacks_is_carried_on() -> None:
    """Or is not known to hold: one that is down may come back."""
    topology = cluster(mysql("A:1-90,B:1-9"), mysql("A:1-90,B:1-9"), mysql("B:1-9"))
    assert carried(topology, mysql("A:1-90,B:1-9")) == mysql("A:1-90")
    gone = observe(topology, Observation(node="r1", sent=11, error="TimeoutError"))
    assert carried(gone, mysql("A:1-90,B:1-9")) == mysql("A:1-90,B:1-9")


def test_a_node_is_behind_by_transactions() -> None:
    """None where histories or kinds differ."""
    topology = cluster(mysql("A:1-9"), mysql("A:1-7"), mysql("A:1-9"))
    assert behind(topology.nodes["r1"], mysql("A:1-9")) == 2
    assert behind(topology.nodes["r1"], mysql("A:1-9", generation=1)) is None
    assert behind(topology.nodes["r1"], lsn(3)) is None
