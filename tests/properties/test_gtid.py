"""Laws of GTID positions: covering, merging, notations, tokens, and what replicas that cover a position hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lagless.core.gtid import MARIADB, MYSQL, GtidSet, MariaGtids, Stream, joined
from lagless.core.observing import observe
from lagless.core.position import History
from lagless.core.session import Footprint, Mark, trimmed
from lagless.core.topology import Identity, Node, Observation, Role, Topology
from lagless.dialects.mariadb import held
from lagless.token import MAX_GTIDS, Opened, Signer

NOW = 1_800_000_000.0
SIGNER = Signer(["key"], clock=lambda: NOW)
FEW = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(FEW, max_examples=400)

UUIDS = [str(UUID(int=i * 0x1111_0000_FFFF)) for i in range(1, 4)]
SOURCES = [*UUIDS, f"{UUIDS[0]}:tag", f"{UUIDS[0]}:a_1"]
Model = frozenset[tuple[str, int]]

models = st.frozensets(st.tuples(st.sampled_from(SOURCES), st.integers(1, 9)), max_size=14)
generations = st.integers(0, 1)
streams = st.dictionaries(st.tuples(st.integers(0, 2), st.integers(1, 3)), st.integers(1, 9), max_size=5)


def gtid_set(model: Model, generation: int = 0) -> GtidSet:
    """Return the set of these transactions."""
    found: dict[str, list[tuple[int, int]]] = {}
    for source, number in model:
        found.setdefault(source, []).append((number, number))
    return GtidSet.of(History(MYSQL, 0, generation), {source: joined(each) for source, each in found.items()})


def maria(given_streams: dict[Stream, int], generation: int = 0) -> MariaGtids:
    """Return the position that holds these streams."""
    return MariaGtids.of(History(MARIADB, 0, generation), given_streams)


sets = st.builds(gtid_set, models, generations)
marias = st.builds(maria, streams, generations)
three = st.tuples(sets, sets, sets) | st.tuples(marias, marias, marias)


@MANY
@given(models, models)
def test_covering_is_gtid_subset(one: Model, two: Model) -> None:
    """Over any two sets of transactions; what is missing is their difference."""
    assert gtid_set(one).covers(gtid_set(two)) is (two <= one)
    assert gtid_set(one).lacks(gtid_set(two)) == len(two - one)
    assert (gtid_set(one) == gtid_set(two)) is (one == two)


@MANY
@given(models, models)
def test_merging_is_the_union(one: Model, two: Model) -> None:
    """Whatever overlaps or touches."""
    assert gtid_set(one).merge(gtid_set(two)) == gtid_set(one | two)


@MANY
@given(streams, streams)
def test_covering_is_by_stream(one: dict[Stream, int], two: dict[Stream, int]) -> None:
    """Numbers of one domain's servers are not compared with one another."""
    expected = all(one.get(stream, 0) >= last for stream, last in two.items())
    assert maria(one).covers(maria(two)) is expected
    assert (maria(one).lacks(maria(two)) == 0) is expected


@MANY
@given(three)
def test_covering_is_a_partial_order(positions: tuple[GtidSet, GtidSet, GtidSet]) -> None:
    """Reflexive, antisymmetric, transitive; nothing across histories."""
    one, two, other = positions
    assert one.covers(one)
    assert one == two or not (one.covers(two) and two.covers(one))
    assert one.covers(other) or not (one.covers(two) and two.covers(other))
    assert one.history == two.history or not one.covers(two)


@MANY
@given(three)
def test_merging_is_the_least_upper_bound(positions: tuple[GtidSet, GtidSet, GtidSet]) -> None:
    """Covers both, and is covered by all that does; commutative, associative, idempotent."""
    one, two, other = positions
    assume(one.history == two.history == other.history)
    both = one.merge(two)
    assert both.covers(one)
    assert both.covers(two)
    assert other.covers(both) is (other.covers(one) and other.covers(two))
    assert both == two.merge(one)
    assert both.merge(other) == one.merge(two.merge(other))
    assert one.merge(one) == one


@MANY
@given(sets | marias)
def test_reading_and_writing_are_inverse(position: GtidSet | MariaGtids) -> None:
    """On one line or, as MySQL writes it, one line a server."""
    assert type(position).parse(position.history, position.text()) == position
    assert type(position).parse(position.history, position.text().replace(",", ",\n").upper()) == position


@MANY
@given(sets | marias)
def test_parts_make_the_whole(position: GtidSet | MariaGtids) -> None:
    """So that a token can do without those that all nodes hold."""
    union = type(position)(position.history, ())
    for part in position.split():
        assert position.covers(part)
        assert len(part.parts) == 1
        union = union.merge(part)  # type: ignore[arg-type]
    assert union == position


big_sets = st.builds(
    lambda intervals, tag: GtidSet.of(History(MYSQL), {f"{UUIDS[2]}{tag}": joined(intervals)}),
    st.lists(st.integers(1, 2**62).flatmap(lambda a: st.tuples(st.just(a), st.integers(a, a + 99))), min_size=1),
    st.sampled_from(["", ":t", ":_x_1", ":" + "z" * 32]),
)
big_marias = st.builds(
    maria, st.dictionaries(st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)), st.integers(0, 2**63), max_size=6)
)


@MANY
@given(sets | marias | big_sets | big_marias)
def test_every_position_survives_its_token(position: GtidSet | MariaGtids) -> None:
    """Or is too big for one, and says so: a doubt, which the primary settles, never a smaller promise."""
    token = SIGNER.seal([Mark(cluster="c", written=position)])
    opened = SIGNER.open(token)
    whole, doubt = Mark(cluster="c", written=position), Mark(cluster="c", dirty=position.history)
    assert opened in (Opened((whole,), NOW), Opened((doubt,), NOW))
    assert not set(token) & set('",; \\')
    assert len(token) <= 32 + len("c!g!-mariadb.0.1!") + MAX_GTIDS


@MANY
@given(models, models, models)
def test_a_trimmed_mark_forgets_only_what_every_replica_holds(written: Model, first: Model, second: Model) -> None:
    """What is left and what both replicas hold is what was written, and more (CORRECTNESS 20)."""
    topology = Topology.declared(Node("p"), [Node("r1"), Node("r2")])
    for name, model in (("r1", first), ("r2", second)):
        seen = Observation(
            node=name, sent=1, role=Role.REPLICA, position=gtid_set(model), identity=Identity(MYSQL, name)
        )
        topology = observe(topology, seen)
    mark = Mark(cluster="c", written=gtid_set(written))
    left = trimmed(mark, topology, Footprint("c", 2.0, mark), keyed=False, wall=NOW).written
    everywhere = gtid_set(first & second)
    assert (everywhere if left is None else everywhere.merge(left)).covers(gtid_set(written))  # type: ignore[arg-type]
    assert left is None or gtid_set(written).covers(left)


@dataclass
class Maria:
    """A MariaDB server: the GTIDs in its binary log, in order, and how many of them its engine has committed."""

    number: int
    log: list[tuple[int, int, int]] = field(default_factory=list)
    committed: int = 0
    applied: dict[int, Stream] = field(default_factory=dict)

    @property
    def shows(self) -> set[tuple[int, int, int]]:
        """The transactions whose rows can be read."""
        return set(self.log[: self.committed])

    def state(self) -> dict[Stream, int]:
        """Return gtid_binlog_state: the last number of each stream in the log."""
        return {(domain, server): number for domain, server, number in self.log}

    def position(self) -> MariaGtids:
        """Return what a replica's probe makes of it."""
        slave_pos = {(domain, server): number for domain, (server, number) in self.applied.items()}
        return maria(held(self.state(), slave_pos))

    def captured(self) -> MariaGtids:
        """Return what a capture on the primary says: gtid_binlog_pos, the last of each domain."""
        last = {domain: (server, number) for domain, server, number in self.log}
        return maria({(domain, server): number for domain, (server, number) in last.items()})

    def commit(self) -> None:
        """Commit all that is logged."""
        self.committed = len(self.log)

    def write(self, domain: int) -> None:
        """Log and commit a transaction of its own."""
        number = max((n for d, _, n in self.log if d == domain), default=0) + 1
        self.log.append((domain, self.number, number))
        self.commit()


class Failovers(RuleBasedStateMachine):
    """A replica that covers what a session captured shows every transaction of it.

    In several domains, through lost writes and promotions, whatever is logged and not committed yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.servers = [Maria(number) for number in (1, 2, 3)]
        self.leader = self.servers[0]
        self.sessions: list[tuple[MariaGtids, set[tuple[int, int, int]]]] = []

    @rule(domain=st.integers(0, 1), capture=st.booleans())
    def write(self, domain: int, capture: bool) -> None:
        """The primary commits; a session may learn where that is, and what it has seen by then."""
        self.leader.write(domain)
        if capture:
            self.sessions.append((self.leader.captured(), set(self.leader.log)))

    @rule(index=st.integers(0, 2), amount=st.integers(0, 3), commit=st.booleans())
    def replicate(self, index: int, amount: int, commit: bool) -> None:
        """A replica logs what follows in the primary's log, and commits it then or later."""
        replica = self.servers[index]
        if replica is self.leader or replica.log != self.leader.log[: len(replica.log)]:
            return
        replica.log += self.leader.log[len(replica.log) : len(replica.log) + amount]
        for domain, server, number in replica.log[replica.committed :] if commit else ():
            replica.applied[domain] = server, number
        replica.committed = len(replica.log) if commit else replica.committed

    @rule(index=st.integers(0, 2))
    def promote(self, index: int) -> None:
        """Another server takes over; what it has not got is lost, and its numbers are given again."""
        self.leader = self.servers[index]
        self.leader.commit()

    @rule(index=st.integers(0, 2))
    def rejoin(self, index: int) -> None:
        """A server joins the primary by `set global gtid_slave_pos = @@gtid_binlog_pos`, if its log goes on there."""
        server = self.servers[index]
        if server.log == self.leader.log[: len(server.log)]:
            server.commit()
            server.applied = {domain: (origin, number) for domain, origin, number in server.log}

    @invariant()
    def who_covers_shows(self) -> None:
        """No transaction that a session saw is missing where its position is covered, but for what was lost."""
        for server in self.servers:
            position, shows = server.position(), server.shows
            for wanted, seen in self.sessions:
                if server is not self.leader and position.covers(wanted):
                    assert not (seen & set(self.leader.log)) - shows, f"{position} on {server.number}: {wanted}"


TestFailovers = Failovers.TestCase
TestFailovers.settings = settings(FEW, max_examples=300, stateful_step_count=40, database=None)
