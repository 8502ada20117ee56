"""Learning the position of own writes from the primary, at the end of a unit of work: one round trip."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lagless.core.config import CaptureMode
from lagless.core.position import Position
from lagless.core.session import Footprint
from lagless.events import Kind

if TYPE_CHECKING:
    from lagless.cluster import Cluster

_END = CaptureMode.INSERT
"""How a capture is read to learn where the primary's log ends."""


def settle(cluster: Cluster, footprint: Footprint) -> bool:
    """Learn the position of a unit's writes from the primary: one round trip. False leaves them in doubt."""
    count = footprint.begun
    ask = footprint.asker or cluster.asker
    if ask is None or footprint.in_flight or footprint.in_doubt:
        return False
    sent = time.monotonic()
    mode = CaptureMode.INSERT if footprint.relaxed else CaptureMode(cluster.config.capture)
    try:
        row, system = ask(cluster.dialect.capture_statement())
        position, end = (cluster.dialect.read_capture(row, m, system, cluster.config.generation) for m in (mode, _END))
    except Exception as error:  # noqa: BLE001 - any failure leaves the write in doubt; the token says so
        cluster.emit(Kind.SETTLE_FAILED, cluster.topology.primary, type(error).__name__)
        return False
    if not _plausible(cluster, footprint, end):
        return False
    if position is None or any(s.blind for s in cluster.topology.replicas):
        footprint.pin(time.time() + cluster.config.policy.pin_seconds, count)
        cluster.emit(Kind.TIME_PINNED)
    if position is None:
        return True
    if footprint.dirty is not None and footprint.dirty.system and footprint.dirty != position.history:
        cluster.emit(Kind.WRITE_MAYBE_LOST, cluster.topology.primary, "the history changed while a write was in doubt")
    answered = time.monotonic()
    footprint.settle(position, count, answered)
    cluster.emit(Kind.SETTLED)
    cluster.learned(position, sent, answered)
    return True


def _plausible(cluster: Cluster, footprint: Footprint, end: Position | None) -> bool:
    """Compare what the primary says with what the session carries: it may be a zombie, or restored."""
    written = footprint.written
    if end is None:
        return True
    past = written.history if written else footprint.dirty
    if past is not None and past.descends_from(end.history):
        cluster.emit(Kind.SETTLE_FAILED, cluster.topology.primary, "on an older timeline than the session")
        return False
    if written is not None and written.history == end.history and not end.covers(written):
        cluster.emit(Kind.HISTORY_WENT_BACK, cluster.topology.primary, "was it restored? raise `generation` then")
        footprint.written = None  # it means nothing any more: replaced, not merged
    return True
