"""A cluster at run time: the one mutable reference to the picture, and the verbs around it."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict, Unpack

from lagless.context import Frame, Narrowing, current
from lagless.core.balancer import BalancerName, Dice, balancer
from lagless.core.config import CaptureMode, ClusterConfig
from lagless.core.consistency import Level, OnStale, Policy
from lagless.core.position import Position
from lagless.core.selection import FALLBACKS, Choice, Decision, Reason, Terms, decide
from lagless.core.session import Footprint, Session
from lagless.core.topology import Node, Observation, Topology, capture, observe
from lagless.dialects import Dialect, dialect_named
from lagless.dialects.base import Row
from lagless.errors import ConfigurationError, ConsistencyTimeout, PrimaryUnavailable, ReplicaUnavailable
from lagless.events import Counts, Event, Kind, Listener, log, logger
from lagless.inflight import InFlight
from lagless.monitor import Monitor, ProbeSource
from lagless.news import news
from lagless.waiting import in_event_loop, pauses

Asker = Callable[[str], tuple[Row | None, str | None]]
"""Runs a query on the primary, on the unit's own connection; returns its row and the server's system id."""

Veto = Callable[[Frame | None], Reason | None]
"""Says why a read stays on the primary whatever the replicas hold; None if nothing keeps it there."""

_END = CaptureMode.INSERT
"""How a capture is read to learn where the primary's log ends."""

_clusters: weakref.WeakValueDictionary[str, Cluster] = weakref.WeakValueDictionary()


class ClusterOptions(TypedDict, total=False):
    """Keyword arguments of Cluster; see ClusterConfig for their meaning."""

    primary: Node
    replicas: Sequence[Node]
    level: Level | str
    policy: Policy
    balancer: BalancerName | str
    generation: int
    capture: CaptureMode | str
    dialect: str | None
    token_seconds: float
    probe_timeout: float
    idle_interval: float
    max_probe_rate: float


class Cluster:
    """A primary and its replicas.

    Settings come as keyword arguments, or parsed as `config`. `probes` gives the monitor its connections (an adapter
    brings them; without it, feed `report()` yourself); `asker` runs the capture query of `settle()`. Raises
    ConfigurationError for settings that make no sense.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        config: ClusterConfig | None = None,
        probes: ProbeSource | None = None,
        asker: Asker | None = None,
        listeners: Sequence[Listener] = (),
        **options: Unpack[ClusterOptions],
    ) -> None:
        config = config or _parsed(name, options)
        self.name = config.name
        self.config = config
        self.dialect: Dialect = dialect_named(config.dialect or "postgresql")
        self.topology = Topology.declared(config.primary, config.replicas)
        self.asker = asker
        self.veto: Veto | None = None
        """What only the adapter knows: open transactions, tests, the switch."""
        self.in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread
        self.through_helper: set[str] = set()
        """Nodes whose position is asked for through the function that setup installs."""
        self.counts = Counts()
        self.in_flight = InFlight()
        self._listeners: tuple[Listener, ...] = (log, self.counts, *listeners)
        self._lock = threading.Lock()
        self._turn = itertools.count()
        self._balance = balancer(BalancerName(config.balancer), config.replicas)
        self.tracks = config.level is Level.SESSION
        """Whether sessions' writes are followed here: only level session promises something across requests."""
        self._default_terms = self._terms(None)
        self.monitor = Monitor(self, probes) if probes else None
        _clusters[self.name] = self

    # -- routing: pure, but for the bookkeeping of this unit of work

    def route(self, intent: str = "read") -> Decision:
        """Return where an operation of the running unit of work goes. `intent` is "read" or "write".

        Raises PrimaryUnavailable, ReplicaUnavailable or ConsistencyTimeout where the policy leaves no node.
        """
        if intent == "write":
            return Decision(self._primary(Reason.WRITE), Reason.WRITE)
        return self.read(current())

    def read(self, frame: Frame | None) -> Decision:
        """Return where a read of this frame goes, and bind the unit of work to the replica chosen."""
        scope = frame.scope.within(self.name) if frame and frame.scope else None
        session = frame.session if frame else None
        if session is None and (scope is None or scope.level is Level.SESSION):
            return Decision(self._primary(Reason.NO_SESSION), Reason.NO_SESSION)
        if session is not None and not session.routed and scope is None:
            return Decision(self._primary(Reason.NOT_OPTED_IN), Reason.NOT_OPTED_IN)
        footprint = session.of(self.name) if session else Footprint(self.name, time.monotonic())
        terms = self._terms(scope) if scope else self._default_terms
        if self.monitor:
            self.monitor.touch()
        choice = self._settled_choice(footprint, terms)
        node = self._pick(choice, footprint, session.key if session else None)
        self.counts.decisions[choice.reason] += 1
        if choice.candidates and terms.level is Level.SESSION:
            footprint.choose(node)
            self._help_to_forget(footprint, session)
        return Decision(node, choice.reason, choice.refused)

    def explain(self) -> Decision:
        """Return where a read would go right here, and why, without binding anything. Never raises."""
        frame = current()
        scope = frame.scope.within(self.name) if frame and frame.scope else None
        session = frame.session if frame else None
        primary = self.topology.primary or ""
        if self.veto is not None and (why := self.veto(frame)):
            return Decision(primary, why)
        if session is None and (scope is None or scope.level is Level.SESSION):
            return Decision(primary, Reason.NO_SESSION)
        if session is not None and not session.routed and scope is None:
            return Decision(primary, Reason.NOT_OPTED_IN)
        footprint = session.of(self.name) if session else Footprint(self.name, time.monotonic())
        choice = decide(self.topology, footprint, self._terms(scope), time.monotonic(), time.time())
        node = footprint.node if footprint.node in choice.candidates else next(iter(choice.candidates), primary)
        return Decision(node or primary, choice.reason, choice.refused)

    def _settled_choice(self, footprint: Footprint, terms: Terms) -> Choice:
        """Decide; where the policy allows, wait for a replica; say what the monitor should look for."""
        choice = decide(self.topology, footprint, terms, time.monotonic(), time.time())
        if choice.candidates:
            return choice
        self._look_for(footprint, choice.reason)
        patience = self._patience(choice.reason)
        if not patience or in_event_loop():
            return choice
        for _ in pauses(patience):
            choice = decide(self.topology, footprint, terms, time.monotonic(), time.time())
            if choice.candidates or choice.reason not in (*FALLBACKS, Reason.ZOMBIE):
                break
        return choice

    def _patience(self, reason: Reason) -> float:
        """Return for how many seconds a replica is worth waiting for: not at all while the quickest lags more."""
        if reason is Reason.ZOMBIE:
            return self.config.probe_timeout
        if reason not in FALLBACKS:
            return 0.0
        wait, lag = self.config.policy.wait, self.monitor.least_lag() if self.monitor else 0.0
        return wait if lag <= wait or self.config.policy.on_stale is OnStale.WAIT else 0.0

    def _look_for(self, footprint: Footprint, reason: Reason) -> None:
        """Ask the monitor for what would have changed this decision."""
        if self.monitor is None:
            return
        if reason is Reason.ZOMBIE or reason is Reason.NONE_HEALTHY:
            self.monitor.hurry()
        elif reason is Reason.LEAVING and self.topology.primary:
            self.monitor.hurry(self.topology.primary)
        elif footprint.written is not None and not footprint.unsettled:
            self.monitor.want(footprint.written)

    def _help_to_forget(self, footprint: Footprint, session: Session | None) -> None:
        """Ask for a primary position newer than this unit, by which a visitor's token may be dropped at its end."""
        if self.monitor is None or session is None or session.keyed or footprint.incoming.empty:
            return
        positions = [s.position for s in self.topology.replicas]
        written = footprint.written
        if self.topology.primary and all(p is not None and (written is None or p.covers(written)) for p in positions):
            self.monitor.hurry(self.topology.primary)

    def _pick(self, choice: Choice, footprint: Footprint, key: str | None) -> str:
        """Let the balancer choose, or the policy where there is nothing to choose from."""
        if not choice.candidates:
            return self._without_replica(choice)
        if footprint.node in choice.candidates:
            return footprint.node
        if len(choice.candidates) == 1:
            return choice.candidates[0]
        dice = Dice(random.random(), next(self._turn), key, self.in_flight.load)  # noqa: S311 - not for secrets
        return self._balance(choice.candidates, dice)

    def _without_replica(self, choice: Choice) -> str:
        policy = self.config.policy
        if choice.reason in FALLBACKS:
            self.emit(Kind.FELL_BACK, detail=choice.reason)
        # Leaving a node that is gone is no lack of a replica: one read of the primary is how the session moves on.
        if choice.reason not in FALLBACKS - {Reason.LEAVING}:
            return self._primary(choice.reason)
        if policy.on_stale is OnStale.ERROR:
            raise ReplicaUnavailable(f"{choice.reason}; policy.on_stale is 'error'", choice.refused)
        if policy.on_stale is OnStale.WAIT and not in_event_loop():
            raise ConsistencyTimeout(f"waited {policy.wait:g} s: {choice.reason}")
        return self._primary(choice.reason)

    def _primary(self, reason: Reason) -> str:
        name = self.topology.primary
        if name is None:
            raise PrimaryUnavailable("two servers claim to be the primary; stop one of them", self._claims())
        if reason is Reason.ZOMBIE:
            raise PrimaryUnavailable(
                "the primary is on an older timeline than the session's last write; if a snapshot was restored, "
                "raise `generation`",
                self._claims(),
            )
        return name

    def writable(self, footprint: Footprint | None) -> str:
        """Return the primary for a write. Raises PrimaryUnavailable for two primaries or a zombie."""
        if footprint is not None and self._is_zombie_to(footprint):
            self._await_successor(footprint)
        return self._primary(Reason.WRITE)

    def _is_zombie_to(self, footprint: Footprint) -> bool:
        """Tell whether the session wrote on a newer timeline than the primary's."""
        past = footprint.written.history if footprint.written else footprint.dirty
        history = self.topology.history
        return past is not None and history is not None and past.descends_from(history)

    def _await_successor(self, footprint: Footprint) -> None:
        """A session that knows of a promotion is news: look for the new primary. Raises PrimaryUnavailable."""
        if self.monitor and not in_event_loop():
            self.monitor.touch()
            self.monitor.hurry()
            for _ in pauses(self.config.probe_timeout):
                if not self._is_zombie_to(footprint):
                    return
        self._primary(Reason.ZOMBIE)

    def _claims(self) -> dict[str, str]:
        return {s.name: s.error or f"role {s.role or 'unknown'}" for s in self.topology.nodes.values()}

    def _terms(self, scope: Narrowing | None) -> Terms:
        config = self.config
        level = scope.level if scope and scope.level else Level(config.level)
        if level is Level.SESSION and not self.tracks:
            level = Level.STRONG  # sessions are not followed here: only the primary keeps that promise
        lag = scope.max_lag if scope and scope.max_lag is not None else config.policy.max_lag
        only = scope.replica_only if scope else False
        return Terms(level=level, max_lag=lag, replica_only=only, lag_limit=config.lag_limit)

    # -- what was heard

    def report(self, seen: Observation) -> None:
        """Fold one observation into the picture."""
        if seen.node not in self.topology.nodes:
            raise ConfigurationError(f"cluster {self.name!r} has no node {seen.node!r}")
        with self._lock:  # observers only; routing reads the reference without it
            before = self.topology
            self.topology = after = observe(before, seen)
        for kind, node, detail in news(before, after, seen):
            self.emit(kind, node, detail)
        if self.monitor and after.nodes[seen.node].restarted > before.nodes[seen.node].restarted:
            self.monitor.hurry()  # what it lost, and whether it has caught up, shows against a newer primary position

    def failed(self, node: str, error: BaseException, sent: float | None = None) -> None:
        """Report that a connection to `node` failed; the monitor looks at once whether the node did."""
        moment = time.monotonic() if sent is None else sent
        self.report(Observation(node=node, sent=moment, error=type(error).__name__))
        if self.monitor:
            self.monitor.hurry(*([] if node == self.topology.primary else [node]))

    def frozen(self, node: str) -> None:
        """End the reads that hang on a node that did not answer its probe in time; they run again elsewhere."""
        if node != self.topology.primary and (cut := self.in_flight.cut(node)):
            self.emit(Kind.CUT_FROZEN, node, f"{cut} in flight")

    # -- own writes

    def settle(self, footprint: Footprint) -> bool:
        """Learn the position of a unit's writes from the primary: one round trip. False leaves them in doubt."""
        count = footprint.begun
        if self.asker is None or footprint.in_flight or footprint.in_doubt:
            return False
        sent = time.monotonic()
        mode = CaptureMode.INSERT if footprint.relaxed else CaptureMode(self.config.capture)
        try:
            row, system = self.asker(self.dialect.capture_statement())
            position, end = (self.dialect.read_capture(row, m, system, self.config.generation) for m in (mode, _END))
        except Exception as error:  # noqa: BLE001 - any failure leaves the write in doubt; the token says so
            self.emit(Kind.SETTLE_FAILED, self.topology.primary, type(error).__name__)
            return False
        if not self._plausible(footprint, end):
            return False
        if position is None or any(s.blind for s in self.topology.replicas):
            footprint.pin(time.time() + self.config.policy.pin_seconds, count)
            self.emit(Kind.TIME_PINNED)
        if position is None:
            return True
        if footprint.dirty is not None and footprint.dirty.system and footprint.dirty != position.history:
            self.emit(Kind.WRITE_MAYBE_LOST, self.topology.primary, "the history changed while a write was in doubt")
        footprint.settle(position, count, sent)
        self.emit(Kind.SETTLED)
        with self._lock:
            self.topology = capture(self.topology, sent, position)
        if self.monitor:
            self.monitor.want(position)
        return True

    def _plausible(self, footprint: Footprint, end: Position | None) -> bool:
        """Compare what the primary says with what the session carries: it may be a zombie, or restored."""
        written = footprint.written
        if written is None or end is None:
            return True
        if written.history.descends_from(end.history):
            self.emit(Kind.SETTLE_FAILED, self.topology.primary, "on an older timeline than the session")
            return False
        if written.history == end.history and not end.covers(written):
            self.emit(Kind.HISTORY_WENT_BACK, self.topology.primary, "was it restored? raise `generation` then")
            footprint.written = None  # it means nothing any more: replaced, not merged
        return True

    # -- life

    def start(self) -> None:
        """Start the monitor now rather than at the first routed read."""
        if self.monitor:
            self.monitor.touch()

    def close(self) -> None:
        """Stop the monitor and close its connections."""
        if self.monitor:
            self.monitor.close()

    def after_fork(self) -> None:
        """In a child process: new locks, and nothing heard, because nobody watched the servers for a moment."""
        self._lock = threading.Lock()
        self.in_flight = InFlight()
        self.topology = self.topology.forget()

    def emit(self, kind: Kind, node: str | None = None, detail: str = "") -> None:
        """Tell the listeners."""
        event = Event(kind, self.name, node, detail)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - whoever listens must not stop what it listens to
                logger.exception("a listener failed on %s", kind)

    def listen(self, listener: Listener) -> None:
        """Add a listener for events."""
        self._listeners = (*self._listeners, listener)


def _parsed(name: str, options: ClusterOptions) -> ClusterConfig:
    if "primary" not in options:
        raise ConfigurationError(f"cluster {name!r}: primary is missing; give primary=Node(...)")
    settings: dict[str, Any] = {**options, "replicas": tuple(options.get("replicas", ()))}
    return ClusterConfig(name=name, **settings)


def cluster_named(name: str) -> Cluster | None:
    """Return the living cluster of that name, the last one made."""
    return _clusters.get(name)
