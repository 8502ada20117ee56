"""What we last heard of the servers: frozen values, and `observe()`, which makes the next picture from one answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from lagless.core.position import History, Position, Scalar
from lagless.errors import ConfigurationError

RING = 128
"""How many primary observations are kept; beyond, the older half is thinned to every second."""
AMBIGUOUS_SECONDS = 60.0
"""How long a node stays ambiguous after its identity last alternated (CORRECTNESS 19)."""


class Role(StrEnum):
    """What a server says it is."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Node:
    """A declared server: its name (for Django, the alias) and its share of the reads relative to the others."""

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError(f"node.name: {self.name!r} must be a non-empty string")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not 0 < self.weight < math.inf:
            raise ConfigurationError(f"node {self.name!r}: weight {self.weight!r} must be a number above 0")


@dataclass(frozen=True, slots=True)
class Identity:
    """Which server process answered: another identity behind one name means another position (CORRECTNESS 2, 19)."""

    system: str
    instance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One answer about one node; an error is one too.

    `sent` is the monotonic time, in seconds, at which the question was sent: it orders observations. `position` None
    with `unproven` set means that the server gave no proof of its timeline: the last proven one holds; None without
    it, that it cannot tell (rights are missing). `horizon` (primary) is a position beyond which nothing was committed
    yet; `fork` (promoted primary) is where its timeline left the one before.
    """

    node: str
    sent: float
    role: Role | None = None
    position: Position | None = None
    unproven: bool = False
    horizon: Position | None = None
    fork: int | None = None
    identity: Identity | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What was last heard of one node.

    `fresh_at` is when the newest primary position that it covers was asked for; `restarted` when another identity was
    first heard under its name; `blind` says that it answers but cannot tell its position.
    """

    name: str
    declared: Role
    weight: float = 1.0
    role: Role | None = None
    sent: float = -math.inf
    error: str | None = None
    proven: Position | None = None
    horizon: Position | None = None
    fork: int | None = None
    blind: bool = False
    identity: Identity | None = None
    former: tuple[Identity, ...] = ()
    restarted: float = -math.inf
    ambiguous_until: float = -math.inf
    fresh_at: float = -math.inf

    @property
    def heard(self) -> bool:
        """Whether the node ever answered or failed to."""
        return self.sent > -math.inf

    @property
    def alive(self) -> bool:
        """Whether the last thing heard was an answer."""
        return self.heard and self.error is None

    @property
    def position(self) -> Position | None:
        """The position in force: none while the node does not answer."""
        return self.proven if self.alive else None

    @property
    def ambiguous(self) -> bool:
        """Whether several servers answered under this name in turn."""
        return self.sent < self.ambiguous_until


@dataclass(frozen=True, slots=True)
class Topology:
    """The last picture of a cluster: one value, replaced as a whole, never changed.

    `primary` is the node taken for the primary, None while two servers claim it and neither was it before. `ring`
    holds (sent, position) of primary observations, newest last: staleness is measured against it (CORRECTNESS 15).
    """

    nodes: Mapping[str, NodeState]
    primary: str | None
    history: History | None = None
    ring: tuple[tuple[float, Position], ...] = ()
    replicas: tuple[NodeState, ...] = field(default=())
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """What pure functions of this picture have found: worked out once a picture, not once a read."""

    @property
    def primary_state(self) -> NodeState | None:
        """What was last heard of the primary."""
        return self.nodes[self.primary] if self.primary else None

    @classmethod
    def declared(cls, primary: Node, replicas: Iterable[Node]) -> Topology:
        """Return the picture before anything was heard."""
        states = [NodeState(name=primary.name, weight=primary.weight, declared=Role.PRIMARY)]
        states += [NodeState(name=n.name, weight=n.weight, declared=Role.REPLICA) for n in replicas]
        return _picture({s.name: s for s in states}, primary.name, None, ())

    def forget(self) -> Topology:
        """Return the picture with nothing heard: after a fork, or when trust in it is lost."""
        blank = {s.name: NodeState(name=s.name, weight=s.weight, declared=s.declared) for s in self.nodes.values()}
        first = next(s.name for s in blank.values() if s.declared is Role.PRIMARY)
        return _picture(blank, first, None, ())

    def primary_since(self, moment: float) -> Position | None:
        """Return the newest primary position that was asked for after `moment`, if one was heard."""
        return self.ring[-1][1] if self.ring and self.ring[-1][0] > moment else None


def observe(topology: Topology, seen: Observation) -> Topology:
    """Return the picture after one more answer; the same picture if a later-sent answer is already in it."""
    before = topology.nodes[seen.node]
    if seen.sent < before.sent:
        return topology
    nodes = {**topology.nodes, seen.node: _heard(before, seen)}
    primary = _elect(nodes, topology.primary, topology.history)
    state = nodes[primary] if primary else None
    known = state.position if state else None
    history = known.history if known else topology.history
    ring = topology.ring if primary == topology.primary else ()
    if state is not None and known is not None and seen.node == primary:
        ring = _extend(() if went_back(topology, seen) else ring, seen.sent, known)
    return _picture(_refreshed(nodes, ring), primary, history, ring)


def capture(topology: Topology, sent: float, position: Position) -> Topology:
    """Return the picture after a session learned the primary's position from the primary itself."""
    if topology.history != position.history:
        return topology
    ring = _extend(topology.ring, sent, position)
    return _picture(_refreshed(dict(topology.nodes), ring), topology.primary, topology.history, ring)


def went_back(topology: Topology, seen: Observation) -> bool:
    """Tell whether the primary now stands before a point that it had reached: a restore that kept its history."""
    end = seen.horizon or seen.position
    last = topology.ring[-1][1] if topology.ring else None
    if end is None or last is None or seen.node != topology.primary or end.history != last.history:
        return False
    return seen.sent > topology.ring[-1][0] and not end.covers(last)


def _heard(before: NodeState, seen: Observation) -> NodeState:
    """Fold one answer into what is known of its node. A later-sent lower position replaces a higher one."""
    if seen.error is not None:
        return replace(before, sent=seen.sent, error=seen.error, horizon=None, fresh_at=-math.inf)
    same = before.identity == seen.identity
    # The same run of the same server cannot lose what it had replayed; a restarted one can, and has another identity.
    proven = before.proven if seen.unproven and same else seen.position
    alternates = not same and seen.identity in before.former
    changed = None if same else before.identity
    former = (*before.former, changed)[-4:] if changed else before.former
    return replace(
        before,
        sent=seen.sent,
        error=None,
        role=seen.role or before.declared,
        proven=proven,
        horizon=seen.horizon,
        fork=seen.fork,
        blind=seen.position is None and not seen.unproven,
        identity=seen.identity,
        former=former,
        restarted=seen.sent if changed else before.restarted,
        ambiguous_until=seen.sent + AMBIGUOUS_SECONDS if alternates else before.ambiguous_until,
        fresh_at=-math.inf,
    )


def _elect(nodes: Mapping[str, NodeState], incumbent: str | None, history: History | None) -> str | None:
    """Name the primary: the newest timeline wins, then the incumbent; two equal newcomers are both refused."""
    held = nodes[incumbent] if incumbent else None
    claims = [s for s in nodes.values() if s.alive and s.role is Role.PRIMARY and _may_succeed(s, held, history)]
    if not claims:
        return incumbent
    newest = max(_timeline(s) for s in claims)
    claims = [s for s in claims if _timeline(s) == newest]
    if held in claims:
        return incumbent
    if held is not None and not held.heard:
        return incumbent  # not asked yet; a replica that is a primary is a mistake or a promotion, time will tell
    servers = {s.identity for s in claims}
    declared = [s for s in claims if s.declared is Role.PRIMARY]
    return (declared or claims)[0].name if len(servers) == 1 else None


def _may_succeed(claim: NodeState, held: NodeState | None, history: History | None) -> bool:
    """Only a server of the same system can succeed the primary, and none from before a promotion that was heard of."""
    if history is not None and claim.proven is not None and history.descends_from(claim.proven.history):
        return False
    known = held.identity if held else None
    return known is None or claim.identity is None or claim.identity.system == known.system


def _timeline(state: NodeState) -> int:
    return state.proven.history.timeline if state.proven else 0


def _extend(
    ring: tuple[tuple[float, Position], ...], sent: float, position: Position
) -> tuple[tuple[float, Position], ...]:
    """Append an observation; an unchanged position only moves the time at which it held."""
    if ring and sent <= ring[-1][0]:
        return ring
    kept = ring[:-1] if len(ring) > 1 and ring[-1][1] == position == ring[-2][1] else ring
    if len(kept) >= RING:
        kept = kept[: RING // 2 : 2] + kept[RING // 2 :]
    return (*kept, (sent, position))


def _refreshed(nodes: dict[str, NodeState], ring: tuple[tuple[float, Position], ...]) -> dict[str, NodeState]:
    """Bring each replica's `fresh_at` up to date with the ring."""
    for state in nodes.values():
        fresh = _fresh_at(state.position, ring)
        if fresh > state.fresh_at:
            nodes[state.name] = replace(state, fresh_at=fresh)
    return nodes


def _fresh_at(position: Position | None, ring: tuple[tuple[float, Position], ...]) -> float:
    if position is None:
        return -math.inf
    return next((sent for sent, mark in reversed(ring) if position.covers(mark)), -math.inf)


def _picture(
    nodes: Mapping[str, NodeState],
    primary: str | None,
    history: History | None,
    ring: tuple[tuple[float, Position], ...],
) -> Topology:
    # A declared primary that comes back as a standby has no name to be read under: its name means "the primary".
    replicas = tuple(s for s in nodes.values() if s.declared is Role.REPLICA)
    return Topology(MappingProxyType(dict(nodes)), primary, history, ring, replicas)


def behind(state: NodeState, wanted: Position) -> int | None:
    """Return by how much (bytes or beats) a node is behind `wanted`; None where the two do not compare."""
    known = state.position
    if isinstance(known, Scalar) and isinstance(wanted, Scalar) and known.history == wanted.history:
        return max(0, wanted.value - known.value)
    return None
