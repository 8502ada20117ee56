"""Learning the position of own writes from the primary, at the end of a unit of work: one round trip."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lagless.core.config import CaptureMode
from lagless.core.gtid import MariaGtids
from lagless.core.position import Position
from lagless.core.session import Footprint
from lagless.events import Kind

if TYPE_CHECKING:
    from lagless.cluster import Asker, Cluster

_END = CaptureMode.INSERT
"""How a capture is read to learn where the primary's log ends."""


def settle(cluster: Cluster, footprint: Footprint, ask: Asker | None = None) -> bool:
    """Learn the position of a unit's writes from the primary: one round trip. False leaves them in doubt.

    `ask` is for who has a connection at hand; else the unit's own open one is asked, or one of the cluster's.
    """
    count, reads = footprint.begun, footprint.primary_reads
    ask = ask or footprint.asker or cluster.asker
    if ask is None or footprint.in_flight or footprint.in_doubt:
        return False
    sent = time.monotonic()
    mode = CaptureMode.INSERT if footprint.relaxed else CaptureMode(cluster.config.capture)
    try:
        row, system = ask(cluster.dialect.capture_statement())
        position, end = (cluster.dialect.read_capture(row, m, system, cluster.config.generation) for m in (mode, _END))
    except Exception as error:  # noqa: BLE001 - any failure leaves the write in doubt; the token says so
        cluster.emit(Kind.SETTLE_FAILED, cluster.topology.primary, type(error).__name__)
        if cluster.monitor:
            cluster.monitor.hurry()  # it may be no primary any more
        return False
    if not _plausible(cluster, footprint, end):
        return False
    if position is None or any(s.blind for s in cluster.topology.replicas):
        footprint.pin(time.time() + cluster.config.policy.pin_seconds, count, reads)
        cluster.emit(Kind.TIME_PINNED)
    if position is None:
        return True
    if footprint.dirty is not None and footprint.dirty.system and footprint.dirty != position.history:
        cluster.emit(Kind.WRITE_MAYBE_LOST, cluster.topology.primary, "the history changed while a write was in doubt")
    answered = time.monotonic()
    footprint.settle(position, count, answered, reads, time.time())
    cluster.emit(Kind.SETTLED)
    cluster.learned(position, sent, answered)
    return True


def settle_own(cluster: Cluster, footprint: Footprint, own: Position | None, reads: int) -> bool:
    """Take the position that a commit's answer named: no round trip. False where it does not stand for all.

    It stands for what the transaction wrote, and for whatever was visible before it, which comes before it in the one
    order of the log. `reads` is how often this unit had read the primary when the commit was sent.
    """
    count = footprint.begun
    alone = count - footprint.settled == 1 and not footprint.in_flight and footprint.primary_reads == reads
    if own is None or not alone or footprint.dirty or footprint.in_doubt or not _in_order(cluster, footprint, own):
        return False
    footprint.settle(own, count, time.monotonic(), reads)
    cluster.emit(Kind.SETTLED)
    if cluster.monitor:
        cluster.monitor.want(own)
    return True


def _in_order(cluster: Cluster, footprint: Footprint, own: Position) -> bool:
    """Tell whether the primary's log has one order, and holds what the session brought along."""
    state = cluster.topology.primary_state
    end = state.horizon if state is not None else None
    if end is None or any(s.blind for s in cluster.topology.replicas):
        return False
    if isinstance(own, MariaGtids) and not (isinstance(end, MariaGtids) and len(end.domains | own.domains) == 1):
        return False
    return footprint.written is None or end.covers(footprint.written)


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
