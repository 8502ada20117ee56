"""From one picture and one answer, the next picture: a pure fold, in which split brain is decided, too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from lagless.core.position import History, Position
from lagless.core.topology import NodeState, Observation, Role, Topology, covered, picture

RING = 128
"""How many primary observations are kept; beyond, the older half is thinned to every second."""
AMBIGUOUS_SECONDS = 60.0
"""How long a node stays ambiguous after its identity last alternated (CORRECTNESS 19)."""
ERRANT_SECONDS = 1.0
"""How long the primary must be without what a replica holds: a semi-synchronous one is ahead for a moment."""


def observe(topology: Topology, seen: Observation) -> Topology:
    """Return the picture after one more answer; the same picture if a later-sent answer is already in it."""
    before = topology.nodes[seen.node]
    if seen.sent < before.sent:
        return topology
    seen = _believed(topology, seen)
    nodes = {**topology.nodes, seen.node: _heard(before, seen)}
    primary = _elect(nodes, topology.primary, topology.history)
    state = nodes[primary] if primary else None
    known = state.position if state else None
    history = known.history if known else topology.history
    ring = topology.ring if primary == topology.primary else ()
    captured = topology.captured if seen.node != primary else max(topology.captured, seen.answered)
    # A primary that was demoted is behind the next one, of which nobody has heard yet: what it says bounds nothing.
    if state is not None and seen.node == primary and state.alive and state.role is Role.PRIMARY:
        if known is not None:
            ring = _extend(() if went_back(topology, seen) else ring, seen.sent, known)
        nodes = {name: _judged(_denied(each, seen), state.horizon, seen.sent) for name, each in nodes.items()}
    return picture(_refreshed(nodes, ring), primary, history, ring, captured)


def capture(topology: Topology, position: Position, sent: float, answered: float) -> Topology:
    """Return the picture after a session learned the primary's position from the primary itself."""
    if topology.history != position.history:
        return topology
    ring = _extend(topology.ring, sent, position)
    nodes = _refreshed(dict(topology.nodes), ring)
    return picture(nodes, topology.primary, topology.history, ring, max(answered, topology.captured))


def went_back(topology: Topology, seen: Observation) -> bool:
    """Tell whether the primary now stands before a point that it had reached: a restore that kept its history."""
    seen = _believed(topology, seen)
    end = seen.horizon or seen.position
    last = topology.ring[-1][1] if topology.ring else None
    if end is None or last is None or seen.node != topology.primary or end.history != last.history:
        return False
    if seen.role is not Role.PRIMARY:
        return False  # it was demoted, and replays what another commits
    # A probe that was sent while another question was under way may have been answered before it.
    return seen.sent > max(topology.ring[-1][0], topology.captured) and not end.covers(last)


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
        fork=_fork(before, seen) if same else None,
        blind=seen.position is None and not seen.unproven,
        identity=seen.identity,
        former=former,
        restarted=seen.sent if changed else before.restarted,
        ambiguous_until=seen.sent + AMBIGUOUS_SECONDS if alternates else before.ambiguous_until,
        fresh_at=-math.inf,
        read_only=seen.read_only if seen.claim is None or not same else before.read_only,
        claims=seen.claim is not None,
        local=seen.local,
        suspect=None if seen.local is None else before.suspect,
        errant=before.errant and seen.local is not None,
    )


def _believed(topology: Topology, seen: Observation) -> Observation:
    """Decide on a claim that nobody could resolve: what stopped refusing writes once the primary was gone is promoted.

    The verdict holds for as long as the server runs. Any other declared replica that takes writes is a mistake, and
    electing it when the primary dies would split the brain.
    """
    before, rival = topology.nodes[seen.node], topology.primary_state
    if seen.claim is None or before.identity != seen.identity:
        return seen
    if before.role is Role.PRIMARY:
        return seen.claim
    rivalled = rival is not None and rival is not before and rival.alive and rival.role is Role.PRIMARY
    return seen.claim if before.read_only and not rivalled else seen


def _denied(state: NodeState, seen: Observation) -> NodeState:
    """Forget that a node refused writes once: it takes them, and so does the primary, which answered after it."""
    return replace(state, read_only=False) if state.claims and state.sent < seen.sent else state


def _judged(state: NodeState, horizon: Position | None, sent: float) -> NodeState:
    """Compare what a replica held with what the primary, asked later, holds: the rest was written on the replica."""
    if horizon is None or state.local is None or state.sent >= sent:
        return state
    since, suspect = state.suspect or (sent, None)
    if suspect is not None and state.local.covers(suspect) and not horizon.covers(suspect):
        return replace(state, errant=state.errant or sent - since >= ERRANT_SECONDS)
    return replace(state, suspect=None if horizon.covers(state.local) else (sent, state.local), errant=False)


def _fork(before: NodeState, seen: Observation) -> int | None:
    """Trust where a primary's timeline began only if it was seen to be promoted: a restart moves what it says."""
    return before.fork if before.fork is not None or before.role is not Role.REPLICA else seen.fork


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
    reached = covered(ring, position) if position is not None else 0
    return ring[reached - 1][0] if reached else -math.inf
