"""Which nodes may serve a read, and why the others may not: a pure function of the picture and the footprint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from lagless.core.consistency import Level
from lagless.core.gtid import Gtids
from lagless.core.position import Position
from lagless.core.session import Footprint
from lagless.core.topology import NodeState, Role, Topology, behind


class Reason(StrEnum):
    """The closed list of reasons, the same in decisions, events, logs and tools."""

    __hash__ = str.__hash__  # an enum's own is a Python function, and reasons are counted at each decision

    WRITE = "write"
    STRONG = "strong level"
    REPLICA_SCOPE = "inside replica()"
    NO_SESSION = "no session"
    DISABLED = "lagless is disabled"
    NOT_OPTED_IN = "session not opted in"
    TEST = "test environment"
    IN_TRANSACTION = "in a transaction on the primary"
    UNSETTLED = "own write not settled"
    DIRTY = "an earlier write is in doubt"
    READ_PRIMARY = "this unit of work already read the primary"
    UNKNOWN_HISTORY = "token of another history"
    WENT_BACK = "the primary is behind the token"
    ZOMBIE = "the primary is on an older timeline than the token"
    NEWS = "token of a server that the primary does not know"
    SESSION = "replica covers the session"
    AFFINITY = "same replica as before"
    EVENTUAL = "any healthy replica"
    BOUNDED = "replica within max_lag"
    TIME_PIN = "pinned after a write: positions unknown"
    LEAVING = "the session's replica is gone and none is known to be as fresh"
    NONE_COVERS = "no replica covers the session"
    NONE_FRESH = "no replica within max_lag"
    NONE_HEALTHY = "no healthy replica"
    NO_REPLICAS = "no replicas declared"


FALLBACKS = frozenset({Reason.LEAVING, Reason.NONE_COVERS, Reason.NONE_FRESH, Reason.NONE_HEALTHY, Reason.TIME_PIN})
"""Reasons for which the policy decides: the read could have been a replica's had one kept up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a read asks for. Times are seconds; `lag_limit` keeps expired tokens harmless (CORRECTNESS 11)."""

    level: Level = Level.SESSION
    max_lag: float | None = None
    replica_only: bool = False
    lag_limit: float = math.inf


class Choice(NamedTuple):
    """Replicas that may serve, best left to the balancer; none means the primary (or the policy), for `reason`."""

    candidates: tuple[str, ...]
    reason: Reason
    refused: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Decision:
    """Where an operation goes and why; `refused` names each replica that was passed over and the reason."""

    node: str
    reason: Reason
    refused: Mapping[str, str] = field(default_factory=dict)


Filter = Callable[[NodeState], str | None]
"""Says why a node may not serve, None if it may."""


def decide(topology: Topology, footprint: Footprint, terms: Terms, now: float, wall: float) -> Choice:
    """Return the replicas that keep the promise of `terms` for this unit of work.

    `now` is monotonic and `wall` Unix time, both in seconds. Never raises; unknown or in doubt means the primary.
    """
    if not topology.replicas:
        return Choice((), Reason.NO_REPLICAS)
    if terms.level is Level.STRONG:
        return Choice((), Reason.STRONG)
    if terms.replica_only or terms.level is Level.EVENTUAL:
        reason = Reason.REPLICA_SCOPE if terms.replica_only else Reason.EVENTUAL
        choice = _sift(topology, [], reason, Reason.NONE_HEALTHY)
        return _prefer(choice, footprint.node)
    if terms.level is Level.BOUNDED:
        fresh = _within(now, terms.max_lag if terms.max_lag is not None else math.inf)
        return _prefer(_sift(topology, [_one_server, fresh], Reason.BOUNDED, Reason.NONE_FRESH), footprint.node)
    return _for_session(topology, footprint, terms, now, wall)


def _for_session(topology: Topology, footprint: Footprint, terms: Terms, now: float, wall: float) -> Choice:
    doubt = _needs_primary(topology, footprint)
    if doubt is not None:
        return Choice((), doubt)
    limit = terms.lag_limit if terms.max_lag is None else min(terms.lag_limit, terms.max_lag)
    pinned = footprint.pinned_until > wall
    guessed = footprint.pinned_until > 0.0 and not pinned
    tests = [
        _one_server,
        _caught_up,
        _covers(footprint.written, pinned=pinned, guessed=guessed),
        _tells_lag(now, limit),
    ]
    choice = _sift(topology, tests, Reason.SESSION, Reason.TIME_PIN if pinned else Reason.NONE_COVERS)
    if not footprint.nodes:
        return choice
    if len(footprint.nodes) == 1 and (stay := _prefer(choice, *footprint.nodes)) is not choice:
        return Choice(stay.candidates, Reason.AFFINITY, choice.refused)
    return _leave(topology, footprint, choice)


def _needs_primary(topology: Topology, footprint: Footprint) -> Reason | None:
    """Return why no replica may serve this session, whatever its position."""
    if footprint.begun != footprint.settled:
        return Reason.UNSETTLED
    if footprint.dirty is not None and topology.history and footprint.dirty.descends_from(topology.history):
        return Reason.ZOMBIE
    if footprint.dirty is not None or footprint.in_doubt:
        return Reason.DIRTY
    if footprint.read_primary:
        return Reason.READ_PRIMARY
    return _history_doubt(topology, footprint)


def _history_doubt(topology: Topology, footprint: Footprint) -> Reason | None:
    """Return why the position that the session carries means nothing here (CORRECTNESS 3, 12, 13)."""
    written = footprint.written
    if written is None or topology.history is None:
        return None
    if written.history != topology.history:
        return Reason.ZOMBIE if written.history.descends_from(topology.history) else Reason.UNKNOWN_HISTORY
    state = topology.primary_state
    if state is None or state.horizon is None:
        return None
    if state.sent > max(footprint.began, footprint.written_at):
        return None if state.horizon.covers(written) else Reason.WENT_BACK
    # GTIDs have no timeline, but name who wrote: a server of which the primary knew nothing may have succeeded it.
    return Reason.NEWS if isinstance(state.horizon, Gtids) and not state.horizon.knows(written) else None


def _leave(topology: Topology, footprint: Footprint, choice: Choice) -> Choice:
    """Move to a node that holds all the session may have seen: a primary position asked for after it began.

    Whatever was read before this unit of work precedes that question, so no clock crosses machines. What this unit
    itself read may not: then the primary (CORRECTNESS 8).
    """
    fresh = None if footprint.read_replica else topology.primary_since(footprint.began)
    if fresh is None:
        return Choice((), Reason.LEAVING if choice.candidates else choice.reason, choice.refused)
    covering = _covers(fresh, pinned=False, guessed=True)
    kept = {name: covering(topology.nodes[name]) for name in choice.candidates}
    refused = {**choice.refused, **{name: why for name, why in kept.items() if why}}
    candidates = tuple(name for name, why in kept.items() if not why)
    return Choice(candidates, choice.reason if candidates else Reason.LEAVING, refused)


def _sift(topology: Topology, tests: list[Filter], good: Reason, none: Reason) -> Choice:
    """Pass every replica through the tests; the first refusal counts."""
    healthy, ill = _health(topology)
    candidates, refused = [], dict(ill)
    for state in healthy:
        for test in tests:
            if why := test(state):
                refused[state.name] = why
                break
        else:
            candidates.append(state.name)
    return Choice(tuple(candidates), good if candidates else none, refused)


def _prefer(choice: Choice, node: str | None) -> Choice:
    """Narrow to `node` if it is a candidate."""
    return Choice((node,), choice.reason, choice.refused) if node in choice.candidates else choice


def _health(topology: Topology) -> tuple[list[NodeState], dict[str, str]]:
    """Part the replicas in those that may be read at some level and those that must not."""
    if "health" not in topology.memo:
        test = _healthy(topology)
        ill = {state.name: why for state in topology.replicas if (why := test(state))}
        topology.memo["health"] = [s for s in topology.replicas if s.name not in ill], ill
    found: tuple[list[NodeState], dict[str, str]] = topology.memo["health"]
    return found


def _healthy(topology: Topology) -> Filter:
    """Refuse what must not be read at any level."""
    primary = topology.primary_state
    system = topology.history.system if topology.history else None

    def test(state: NodeState) -> str | None:
        if not state.heard:
            return "not heard from yet"
        if state.error is not None:
            return f"down: {state.error}"
        if state.role is Role.PRIMARY:
            same = primary is not None and state.identity == primary.identity and state.name != primary.name
            return "is the primary's own server" if same else "is a primary itself"
        if system is not None and state.identity is not None and state.identity.system != system:
            return "is not a replica of this primary: other system id"
        return _diverged(state, primary)

    return test


def _diverged(state: NodeState, primary: NodeState | None) -> str | None:
    """Refuse a standby that stayed on the timeline the primary left (CORRECTNESS 1)."""
    if primary is None or primary.proven is None or state.proven is None:
        return None
    if not primary.proven.history.descends_from(state.proven.history):
        return None
    reached = getattr(state.proven, "value", None)
    if primary.fork is None or reached is None:
        return "on an older timeline than the primary"
    return "diverged: replayed past the point where the primary's timeline began" if reached > primary.fork else None


def _one_server(state: NodeState) -> str | None:
    return "ambiguous: several servers answer under one address; declare each" if state.ambiguous else None


def _caught_up(state: NodeState) -> str | None:
    """Refuse a node that may stand before what it once had (CORRECTNESS 2).

    Sessions went to it, and tokens were dropped, because of what it had. All of that precedes a primary position asked
    for after its new run was heard of.
    """
    if state.blind or state.restarted < state.fresh_at or state.restarted == -math.inf:
        return None
    return "started again, and not known to have caught up since"


def _covers(wanted: Position | None, *, pinned: bool, guessed: bool) -> Filter:
    """Refuse nodes not known to hold `wanted`; `guessed` if a pin is over, so that a blind node may be taken to."""

    def test(state: NodeState) -> str | None:
        if state.blind and pinned:
            return "cannot tell its position, and the time pin runs"
        if state.blind:
            return None if guessed or wanted is None else "cannot tell its position"
        if wanted is None:
            return None
        if state.position is None:
            return "position unknown"
        if state.position.covers(wanted):
            return None
        gap = behind(state, wanted)
        return "on another history than the session" if gap is None else f"behind the session by {gap}"

    return test


def _tells_lag(now: float, limit: float) -> Filter:
    """Like `_within`, for sessions: a node that cannot tell its position has only the pin to go by."""
    fresh = _within(now, limit)
    return lambda state: None if state.blind else fresh(state)


def _within(now: float, limit: float) -> Filter:
    """Refuse nodes not known to hold all that was committed `limit` seconds ago."""

    def test(state: NodeState) -> str | None:
        lag = now - state.fresh_at
        if lag <= limit and lag < math.inf:
            return None
        return "lag unknown" if lag == math.inf else f"lags {lag:.1f} s, allowed are {limit:g} s"

    return test
