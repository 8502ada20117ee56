"""What we last heard of the servers: frozen values, replaced as a whole by `observing.observe()`."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from lagless.core.position import History, Position
from lagless.errors import ConfigurationError


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

    `sent` is the monotonic time, in seconds, at which the question was sent: it orders observations. `answered` is when
    the answer came: a question sent before then may have been answered earlier. `position` None
    with `unproven` set means that the server gave no proof of its timeline: the last proven one holds; None without
    it, that it cannot tell (rights are missing). `horizon` (primary) is a position beyond which nothing was committed
    yet; `fork` (promoted primary) is where its timeline left the one before.

    Where servers have GTIDs: `read_only` says whether it refuses writes; `claim` is what it says if it is a primary
    after all, for a declared replica that takes writes (None: no doubt); `local` (replica) is a position that the
    primary holds, too, unless something was written on the replica itself.
    """

    node: str
    sent: float
    answered: float = -math.inf
    role: Role | None = None
    position: Position | None = None
    unproven: bool = False
    horizon: Position | None = None
    fork: int | None = None
    identity: Identity | None = None
    read_only: bool | None = None
    claim: Observation | None = None
    local: Position | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What was last heard of one node.

    `fresh_at` is when the newest primary position that it covers was asked for; `restarted` when another identity was
    first heard under its name; `blind` says that it answers but cannot tell its position. `suspect` is a position that
    the primary was found without, and when it was asked; `errant` says that it still is: a write of the replica's own.
    `read_only` says whether it refused writes when that was last certain, `claims` that it takes them now and nobody
    can tell whether it should.
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
    read_only: bool | None = None
    claims: bool = False
    local: Position | None = None
    suspect: tuple[float, Position] | None = None
    errant: bool = False

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
    `captured` is when a question to the primary, a probe's or a session's own, was last answered.
    """

    nodes: Mapping[str, NodeState]
    primary: str | None
    history: History | None = None
    ring: tuple[tuple[float, Position], ...] = ()
    replicas: tuple[NodeState, ...] = field(default=())
    captured: float = -math.inf
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
        return picture({s.name: s for s in states}, primary.name, None, ())

    def forget(self) -> Topology:
        """Return the picture with nothing heard: after a fork, or when trust in it is lost."""
        blank = {s.name: NodeState(name=s.name, weight=s.weight, declared=s.declared) for s in self.nodes.values()}
        first = next(s.name for s in blank.values() if s.declared is Role.PRIMARY)
        return picture(blank, first, None, ())

    def primary_since(self, moment: float) -> Position | None:
        """Return the newest primary position that was asked for after `moment`, if one was heard."""
        return self.ring[-1][1] if self.ring and self.ring[-1][0] > moment else None


def picture(
    nodes: Mapping[str, NodeState],
    primary: str | None,
    history: History | None,
    ring: tuple[tuple[float, Position], ...],
    captured: float = -math.inf,
) -> Topology:
    """Return a topology of these parts."""
    # A declared primary that comes back as a standby has no name to be read under: its name means "the primary".
    replicas = tuple(s for s in nodes.values() if s.declared is Role.REPLICA)
    return Topology(MappingProxyType(dict(nodes)), primary, history, ring, replicas, captured)


def covered(ring: Sequence[tuple[float, Position]], position: Position) -> int:
    """Return how many of a primary's positions, oldest first, a position covers: one covers all before it."""
    if ring and position.covers(ring[-1][1]):
        return len(ring)
    return bisect_left(ring, True, key=lambda entry: not position.covers(entry[1]))  # noqa: FBT003 - what is looked for


def behind(state: NodeState, wanted: Position) -> int | None:
    """Return by how much (bytes, beats, transactions) a node is behind; None where the two do not compare."""
    known = state.position
    if known is None or type(known) is not type(wanted) or known.history != wanted.history:
        return None
    return known.lacks(wanted)
