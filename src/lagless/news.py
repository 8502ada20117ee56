"""What is new between two pictures: a pure comparison, which becomes events."""

from __future__ import annotations

from collections.abc import Iterator

from lagless.core.observing import went_back
from lagless.core.topology import Observation, Role, Topology
from lagless.events import Kind

News = tuple[Kind, str | None, str]


def news(before: Topology, after: Topology, seen: Observation) -> Iterator[News]:
    """Yield what one observation changed, as (kind, node, detail)."""
    if after is before:
        return
    old, new = before.nodes[seen.node], after.nodes[seen.node]
    if new.error is not None and old.error is None:
        yield Kind.NODE_DOWN, seen.node, new.error
    if new.alive and old.error is not None:
        yield Kind.NODE_UP, seen.node, ""
    if new.ambiguous and not old.ambiguous:
        yield Kind.AMBIGUOUS, seen.node, "several servers answer under one address; declare each"
    if new.blind and not old.blind:
        yield Kind.BLIND, seen.node, "time pin instead; `lagless setup` or a GRANT gives the right to see it"
    for name, state in after.nodes.items():
        if state.errant and not before.nodes[name].errant:
            yield Kind.ERRANT, name, "it holds what the primary does not; set read_only=ON and make it a copy again"
    if went_back(before, seen):
        yield Kind.HISTORY_WENT_BACK, seen.node, "was it restored? raise `generation` when that happens"
    yield from _primary_news(before, after)


def _primary_news(before: Topology, after: Topology) -> Iterator[News]:
    if after.primary == before.primary:
        return
    if after.primary is None:
        claims = [s.name for s in after.nodes.values() if s.alive and s.role is Role.PRIMARY]
        yield Kind.TWO_PRIMARIES, None, ", ".join(claims)
    else:
        yield Kind.PRIMARY_CHANGED, after.primary, f"was {before.primary}"
