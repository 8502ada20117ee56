"""Where an operation goes: decide, wait where the policy says so, let the balancer choose, bind the unit of work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lagless.context import Frame, Narrowing
from lagless.core.consistency import Level, OnStale
from lagless.core.selection import FALLBACKS, Choice, Decision, Reason, Terms, decide
from lagless.core.session import Footprint, Session
from lagless.errors import ConsistencyTimeout, PrimaryUnavailable, ReadOnlyViolation, ReplicaUnavailable
from lagless.events import Kind
from lagless.waiting import pauses

if TYPE_CHECKING:
    from lagless.cluster import Cluster


_NEWS = (Reason.ZOMBIE, Reason.NEWS)
"""Reasons that tell of a promotion of which nobody has heard yet."""


def read(cluster: Cluster, frame: Frame | None) -> Decision:
    """Return where a read of this frame goes, and bind the unit of work to the replica chosen."""
    scope = frame.scope.within(cluster.name) if frame and frame.scope else None
    session = frame.session if frame else None
    if unrouted := _unrouted(session, scope):
        return Decision(_primary(cluster, unrouted), unrouted)
    footprint = session.of(cluster.name) if session else Footprint(cluster.name, time.monotonic())
    wanted = terms(cluster, scope) if scope else cluster.default_terms
    if cluster.monitor:
        cluster.monitor.touch()
    choice = _settled_choice(cluster, footprint, wanted)
    node = _pick(cluster, choice, footprint, session.key if session else None)
    cluster.counts.decisions[choice.reason] += 1
    if choice.candidates and wanted.level is Level.SESSION:
        footprint.choose(node)
        _help_to_forget(cluster, footprint, session)
    return Decision(node, choice.reason, choice.refused)


def write(cluster: Cluster, frame: Frame | None) -> Decision:
    """Return where a write of this frame goes."""
    scope = frame.scope.within(cluster.name) if frame and frame.scope else None
    if scope is not None and scope.replica_only:
        raise ReadOnlyViolation("a write inside replica(); move it out of the block or open primary() around it")
    footprint = frame.session.of(cluster.name) if frame and frame.session else None
    return Decision(writable(cluster, footprint), Reason.WRITE)


def explain(cluster: Cluster, frame: Frame | None) -> Decision:
    """Return where a read would go right here, and why, without binding anything. Never raises."""
    scope = frame.scope.within(cluster.name) if frame and frame.scope else None
    session = frame.session if frame else None
    primary = cluster.topology.primary or ""
    why = (cluster.veto(frame) if cluster.veto is not None else None) or _unrouted(session, scope)
    if why is not None:
        return Decision(primary, why)
    footprint = session.of(cluster.name) if session else Footprint(cluster.name, time.monotonic())
    choice = decide(cluster.topology, footprint, terms(cluster, scope), time.monotonic(), time.time())
    node = footprint.node if footprint.node in choice.candidates else next(iter(choice.candidates), primary)
    return Decision(node or primary, choice.reason, choice.refused)


def _unrouted(session: Session | None, scope: Narrowing | None) -> Reason | None:
    """Return why a read takes no part in routing: nobody opened a session, or it was left out."""
    if session is None:
        return Reason.NO_SESSION if scope is None or scope.level is Level.SESSION else None
    return Reason.NOT_OPTED_IN if not session.routed and scope is None else None


def _settled_choice(cluster: Cluster, footprint: Footprint, wanted: Terms) -> Choice:
    """Decide; where the policy allows, wait for a replica; say what the monitor should look for."""
    choice = decide(cluster.topology, footprint, wanted, time.monotonic(), time.time())
    if choice.candidates:
        return choice
    _look_for(cluster, footprint, choice.reason)
    patience = _patience(cluster, choice.reason)
    sleep = cluster.pause() if patience else None
    if sleep is None:
        return choice
    for _ in pauses(patience, sleep):
        choice = decide(cluster.topology, footprint, wanted, time.monotonic(), time.time())
        if choice.candidates or choice.reason not in (*FALLBACKS, *_NEWS):
            break
    return choice


def _patience(cluster: Cluster, reason: Reason) -> float:
    """Return for how many seconds a replica is worth waiting for: not at all while the quickest lags more."""
    if reason in _NEWS:
        return cluster.config.probe_timeout
    if reason not in FALLBACKS:
        return 0.0
    wait, lag = cluster.config.policy.wait, cluster.monitor.least_lag() if cluster.monitor else 0.0
    return wait if lag <= wait or cluster.config.policy.on_stale is OnStale.WAIT else 0.0


def _look_for(cluster: Cluster, footprint: Footprint, reason: Reason) -> None:
    """Ask the monitor for what would have changed this decision."""
    if cluster.monitor is None:
        return
    if reason in _NEWS or reason is Reason.NONE_HEALTHY:
        cluster.monitor.hurry()
    elif reason is Reason.LEAVING and cluster.topology.primary:
        cluster.monitor.hurry(cluster.topology.primary)
    elif footprint.written is not None and not footprint.unsettled:
        cluster.monitor.want(footprint.written)


def _help_to_forget(cluster: Cluster, footprint: Footprint, session: Session | None) -> None:
    """Ask for a primary position newer than this unit, by which a visitor's token may be dropped at its end."""
    if cluster.monitor is None or session is None or session.keyed or footprint.incoming.empty:
        return
    positions = [s.position for s in cluster.topology.replicas]
    written = footprint.written
    if cluster.topology.primary and all(p is not None and (written is None or p.covers(written)) for p in positions):
        cluster.monitor.hurry(cluster.topology.primary)


def _pick(cluster: Cluster, choice: Choice, footprint: Footprint, key: str | None) -> str:
    """Let the balancer choose, or the policy where there is nothing to choose from."""
    if not choice.candidates:
        return _without_replica(cluster, choice)
    if footprint.node in choice.candidates:
        return footprint.node
    if len(choice.candidates) == 1:
        return choice.candidates[0]
    return cluster.balance(choice.candidates, cluster.toss(key))


def _without_replica(cluster: Cluster, choice: Choice) -> str:
    policy = cluster.config.policy
    if choice.reason in FALLBACKS:
        cluster.emit(Kind.FELL_BACK, detail=choice.reason)
    # Leaving a node that is gone is no lack of a replica: one read of the primary is how the session moves on.
    if choice.reason not in FALLBACKS - {Reason.LEAVING}:
        return _primary(cluster, choice.reason)
    if policy.on_stale is OnStale.ERROR:
        raise ReplicaUnavailable(f"{choice.reason}; policy.on_stale is 'error'", choice.refused)
    if policy.on_stale is OnStale.WAIT and cluster.pause() is not None:
        raise ConsistencyTimeout(f"waited {policy.wait:g} s: {choice.reason}")
    return _primary(cluster, choice.reason)


def _primary(cluster: Cluster, reason: Reason) -> str:
    name = cluster.topology.primary
    if name is None:
        raise PrimaryUnavailable("two servers claim to be the primary; stop one of them", _claims(cluster))
    if reason is Reason.ZOMBIE:
        raise PrimaryUnavailable(
            "the primary is on an older timeline than the session's last write; if a snapshot was restored, "
            "raise `generation`",
            _claims(cluster),
        )
    return name


def writable(cluster: Cluster, footprint: Footprint | None) -> str:
    """Return the primary for a write. Raises PrimaryUnavailable for two primaries or a zombie."""
    if footprint is not None and _is_zombie_to(cluster, footprint):
        _await_successor(cluster, footprint)
    return _primary(cluster, Reason.WRITE)


def _is_zombie_to(cluster: Cluster, footprint: Footprint) -> bool:
    """Tell whether the session wrote on a newer timeline than the primary's."""
    past = footprint.written.history if footprint.written else footprint.dirty
    history = cluster.topology.history
    return past is not None and history is not None and past.descends_from(history)


def _await_successor(cluster: Cluster, footprint: Footprint) -> None:
    """A session that knows of a promotion is news: look for the new primary. Raises PrimaryUnavailable."""
    sleep = cluster.pause()
    if cluster.monitor and sleep:
        cluster.monitor.touch()
        cluster.monitor.hurry()
        for _ in pauses(cluster.config.probe_timeout, sleep):
            if not _is_zombie_to(cluster, footprint):
                return
    _primary(cluster, Reason.ZOMBIE)


def _claims(cluster: Cluster) -> dict[str, str]:
    return {s.name: s.error or f"role {s.role or 'unknown'}" for s in cluster.topology.nodes.values()}


def terms(cluster: Cluster, scope: Narrowing | None) -> Terms:
    """Return what a read in this scope asks for; None is the cluster's own level."""
    config = cluster.config
    level = scope.level if scope and scope.level else Level(config.level)
    if level is Level.SESSION and not cluster.tracks:
        level = Level.STRONG  # sessions are not followed here: only the primary keeps that promise
    lag = scope.max_lag if scope and scope.max_lag is not None else config.policy.max_lag
    only = scope.replica_only if scope else False
    return Terms(level=level, max_lag=lag, replica_only=only, lag_limit=config.lag_limit)
