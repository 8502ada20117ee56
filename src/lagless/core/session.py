"""What one unit of work has written and seen, and the marks by which the next one knows."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from lagless.core.gtid import GtidSet, MariaGtids
from lagless.core.position import History, Position
from lagless.core.topology import NodeState, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a token says of one cluster; marks of several tokens merge by union (CORRECTNESS 8, 9, 10).

    `written` is the settled position of the session's writes; `dirty` the history in which a write is in doubt;
    `nodes` the replicas it read from; `pinned_until` (Unix time, seconds) the pin where positions are not known.
    """

    cluster: str
    written: Position | None = None
    dirty: History | None = None
    nodes: frozenset[str] = frozenset()
    pinned_until: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to carry on."""
        return self.written is None and self.dirty is None and not self.nodes and self.pinned_until == 0.0

    def merge(self, other: Mark) -> Mark:
        """Return the mark that promises what both promise.

        A doubt outweighs a position: the primary settles both. Positions of two histories make one, because nobody can
        tell which holds the other.
        """
        positions = [mark.written for mark in (self, other) if mark.written is not None]
        doubts = {mark.dirty for mark in (self, other) if mark.dirty is not None}
        histories = doubts | {position.history for position in positions}
        agreed = not doubts and len(histories) == 1
        return Mark(
            cluster=self.cluster,
            written=functools.reduce(lambda one, two: one.merge(two), positions) if agreed else None,
            dirty=max(histories) if histories and not agreed else None,
            nodes=self.nodes | other.nodes,
            pinned_until=max(self.pinned_until, other.pinned_until),
        )


@functools.cache
def _unmarked(cluster: str) -> Mark:
    return Mark(cluster=cluster)


class Footprint:
    """What one unit of work did in one cluster. It only grows; the adapter and the edge write it, routing reads it.

    Writes are counted, not flagged: `begun` before one is sent, `ended` when its transaction is over, `settled` once
    its position is known. A flag would let one writer's settling hide another's write.
    """

    __slots__ = (
        "_left",
        "_lock",
        "asker",
        "began",
        "begun",
        "cached",
        "cluster",
        "dirty",
        "ended",
        "holders",
        "in_doubt",
        "incoming",
        "node",
        "nodes",
        "pinned_until",
        "primary_reads",
        "read_primary",
        "read_replica",
        "relaxed",
        "safe_request",
        "settled",
        "version",
        "written",
        "written_at",
    )

    def __init__(self, cluster: str, began: float, mark: Mark | None = None) -> None:
        mark = mark or _unmarked(cluster)
        self.cluster = cluster
        self.began = began
        self.incoming = mark
        self.written = mark.written
        self.dirty = mark.dirty
        self.nodes = mark.nodes
        self.pinned_until = mark.pinned_until
        self.written_at = -math.inf
        self.begun = self.ended = self.settled = self.primary_reads = 0
        self.in_doubt = False
        self.read_primary = False
        self.read_replica = False
        self.safe_request = False
        self.relaxed = False  # it may commit without waiting for the flush
        self.version = 0
        self._left = mark.nodes
        self.node: str | None = None
        self.cached: tuple[object, object, str] | None = None  # an adapter's last answer: (picture, scope, node)
        self.asker: Callable[..., Any] | None = None  # asks the primary on a connection that this unit holds open
        self.holders: list[Callable[[], Any]] = []  # weak references to an adapter's sessions
        self._lock = threading.Lock()

    @property
    def unsettled(self) -> int:
        """How many writes of this unit have no known position yet."""
        return self.begun - self.settled

    @property
    def in_flight(self) -> int:
        """How many writing transactions are still open."""
        return self.begun - self.ended

    def begin_write(self) -> None:
        """Count a write; call it before the write is sent."""
        with self._lock:
            self.begun += 1
            self._changed()

    def end_write(self, *, in_doubt: bool = False) -> None:
        """Say that a counted write's transaction is over; `in_doubt` if nobody knows whether it committed."""
        with self._lock:
            self.ended += 1
            self.in_doubt = self.in_doubt or in_doubt

    def cancel_write(self) -> None:
        """Take a counted write back: it was rolled back, or it was none."""
        with self._lock:
            self.begun -= 1
            self.settled = min(self.settled, self.begun)
            self._changed()

    def saw_primary(self) -> None:
        """Note a read from the primary: what it showed, replicas may not show yet."""
        with self._lock:
            self.primary_reads += 1
            if not self.read_primary:
                self.read_primary = True
                self._changed()

    def choose(self, node: str) -> None:
        """Bind this unit of work to a replica, which is one it read before or known to hold all that those showed."""
        if node != self.node:
            self._left, self.node, self.nodes = self.nodes, node, frozenset((node,))

    def abandon(self) -> None:
        """Unbind from a replica that failed before it showed this unit anything."""
        if self.node is not None and not self.read_replica:
            self.nodes = self._left
        self.node = None
        self._changed()

    def remember(self, picture: object, scope: object, node: str, version: int) -> None:
        """Keep an adapter's answer, unless this unit has written or seen more since `version`."""
        with self._lock:
            if self.version == version:
                self.cached = (picture, scope, node)

    def _changed(self) -> None:
        """What was answered before does not hold any more."""
        self.version += 1
        self.cached = None

    def absorb(self, mark: Mark) -> None:
        """Take over what a session inside this one wrote and saw."""
        with self._lock:
            both = Mark(cluster=self.cluster, written=self.written, dirty=self.dirty, nodes=self.nodes).merge(mark)
            self.written, self.dirty, self.nodes = both.written, both.dirty, both.nodes
            self.pinned_until = max(self.pinned_until, mark.pinned_until)
            self.node = None
            self._changed()

    def settle(
        self, position: Position, count: int, now: float, reads: int | None = None, wall: float = math.inf
    ) -> None:
        """Take the primary's position, asked for after `count` writes had ended: it holds all this unit saw.

        `reads` is how often the unit had read the primary when it was asked; what was read meanwhile it may not hold.
        A doubt with a pin is about a unit of work that may still write: it stays until the pin ends, at `wall` time.
        """
        with self._lock:
            same = self.written is not None and self.written.history == position.history
            self.written = self.written.merge(position) if self.written is not None and same else position
            self.settled = max(self.settled, count)
            self.written_at = now
            self.nodes, self.node, self.read_replica = frozenset(), None, False
            self.dirty = self.dirty if self.pinned_until > wall else None  # not in_doubt: that arose meanwhile
            self._forget_reads(reads)
            self._changed()

    def pin(self, until: float, count: int, reads: int | None = None) -> None:
        """Pin to the primary until a Unix time, in seconds: the position of `count` ended writes cannot be told."""
        with self._lock:
            self.pinned_until = max(self.pinned_until, until)
            self.settled = max(self.settled, count)
            self.dirty = None
            self._forget_reads(reads)
            self._changed()

    def _forget_reads(self, reads: int | None) -> None:
        self.read_primary = self.read_primary and reads is not None and reads != self.primary_reads

    def mark(self, history: History | None, *, tracked: bool) -> Mark:
        """Return what the next unit of work must know. A `tracked` session also reads monotonically."""
        if self.unsettled or self.in_doubt or self.dirty or (tracked and self.read_primary):
            known = {past for past in (history, self.written.history if self.written else None) if past is not None}
            doubt = self.dirty or max(known, default=History(""))
            return Mark(cluster=self.cluster, dirty=doubt, pinned_until=self.pinned_until)
        nodes = self.nodes if tracked else frozenset()
        return Mark(cluster=self.cluster, written=self.written, nodes=nodes, pinned_until=self.pinned_until)


def trimmed(mark: Mark, topology: Topology, footprint: Footprint, *, keyed: bool, wall: float) -> Mark:
    """Drop from a mark what every declared node holds (CORRECTNESS 20), of GTIDs source by source.

    The replica's name goes, too, once all nodes hold everything the session saw before this unit of work, unless the
    session is `keyed` (a user key or a framework session): those read monotonically for as long as they last.
    `wall` is Unix time in seconds.
    """
    passed = 0.0 < mark.pinned_until <= wall
    others = [s for s in topology.nodes.values() if s.name != topology.primary]
    if mark.written is not None:
        kept = [part for part in _parts(mark.written) if not all(_holds(s, part, guessed=passed) for s in others)]
        mark = replace(mark, written=functools.reduce(lambda one, two: one.merge(two), kept) if kept else None)
    if passed and mark.written is None:
        mark = replace(mark, pinned_until=0.0)
    fresh = topology.primary_since(footprint.began)
    if mark.written is None and not keyed and fresh is not None and all(_holds(s, fresh, guessed=True) for s in others):
        mark = replace(mark, nodes=frozenset())
    return mark


def _parts(position: Position) -> Sequence[Position]:
    """Part a position so that holding the parts is holding it: former primaries' GTIDs do not grow any more."""
    return position.split() if isinstance(position, GtidSet | MariaGtids) else (position,)


def _holds(state: NodeState, wanted: Position, *, guessed: bool) -> bool:
    """Tell whether a node holds `wanted`; a blind one is taken to if `guessed`."""
    if state.blind:
        return guessed
    return state.position is not None and state.position.covers(wanted)


class Session:
    """A unit of work (request, job, script): one footprint a cluster, made at its edge and mutated from then on.

    `key` names the user (for consistent hashing and monotonic reads), `keyed` says that there is one or a framework
    session; `began` is the monotonic time of the start, in seconds; `routed=False` sends every read to the primary.
    `clusters` are those that the edge serves, by name: two applications of one process may use one name.
    """

    __slots__ = ("_seal", "began", "clusters", "footprints", "key", "keyed", "marks", "routed")

    def __init__(
        self,
        marks: Iterable[Mark] = (),
        *,
        began: float,
        key: str | None = None,
        keyed: bool = False,
        routed: bool = True,
        clusters: Mapping[str, Any] = MappingProxyType({}),
        seal: Callable[[Session], str] | None = None,
    ) -> None:
        self.marks = {mark.cluster: mark for mark in marks}
        self.began = began
        self.key = key
        self.keyed = keyed or key is not None
        self.routed = routed
        self.clusters = clusters
        self.footprints: dict[str, Footprint] = {}
        self._seal = seal

    def of(self, cluster: str) -> Footprint:
        """Return this unit's footprint in a cluster."""
        found = self.footprints.get(cluster)
        if found is None:  # setdefault: two threads of one request must get the same one
            found = self.footprints.setdefault(cluster, Footprint(cluster, self.began, self.marks.get(cluster)))
        return found

    def tracked(self, footprint: Footprint) -> bool:
        """Tell whether monotonic reads were promised: a token came in, there is a key, or something was written."""
        return self.keyed or not footprint.incoming.empty or footprint.begun > 0 or footprint.written is not None

    def token(self) -> str:
        """Return the signed text that carries what was written and seen to the next unit of work; "" if nothing."""
        return self._seal(self) if self._seal else ""
