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

from lagless import routing, settling
from lagless.context import Frame, current
from lagless.core.balancer import BalancerName, Dice, balancer
from lagless.core.config import CaptureMode, ClusterConfig
from lagless.core.consistency import Level, Policy
from lagless.core.observing import capture, observe
from lagless.core.position import Position
from lagless.core.selection import Decision, Reason
from lagless.core.session import Footprint
from lagless.core.topology import Node, Observation, Topology
from lagless.dialects import Dialect, dialect_named
from lagless.dialects.base import Row
from lagless.errors import ConfigurationError
from lagless.events import Counts, Event, Kind, Listener, log, logger
from lagless.inflight import InFlight
from lagless.monitor import Monitor, ProbeSource
from lagless.news import news
from lagless.waiting import Pause, in_thread

Asker = Callable[[str], tuple[Row | None, str | None]]
"""Runs a query on the primary, on the unit's own connection; returns its row and the server's system id."""

Veto = Callable[[Frame | None], Reason | None]
"""Says why a read stays on the primary whatever the replicas hold; None if nothing keeps it there."""

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
        self.off_loop: Callable[..., Awaitable[Any]] = asyncio.to_thread
        """Runs what waits for a server, such as `settle`, without blocking the event loop."""
        self.pause: Pause = in_thread
        """How a read waits for a replica where it is; None where it must not."""
        self.unsent: Callable[[Footprint], bool] = _nothing_unsent
        """Tells whether the adapter holds changes of a unit of work that are still to be sent to the primary."""
        self.through_helper: set[str] = set()
        """Nodes whose position is asked for through the function that setup installs."""
        self.counts = Counts()
        self.in_flight = InFlight()
        self._listeners: tuple[Listener, ...] = (log, self.counts, *listeners)
        self._lock = threading.Lock()
        self._turn = itertools.count()
        self.balance = balancer(BalancerName(config.balancer), config.replicas)
        self.tracks = config.level is Level.SESSION
        """Whether sessions' writes are followed here: only level session promises something across requests."""
        self.default_terms = routing.terms(self, None)
        self.monitor = Monitor(self, probes) if probes else None
        _clusters[self.name] = self

    # -- routing

    def route(self, intent: str = "read") -> Decision:
        """Return where an operation of the running unit of work goes. `intent` is "read" or "write".

        Raises PrimaryUnavailable, ReplicaUnavailable or ConsistencyTimeout where the policy leaves no node, and
        ReadOnlyViolation for a write inside `replica()`.
        """
        frame = current()
        if intent == "write":
            return routing.write(self, frame)
        return self.read(frame)

    def read(self, frame: Frame | None) -> Decision:
        """Return where a read of this frame goes, and bind the unit of work to the replica. Raises as route() does."""
        return routing.read(self, frame)

    def explain(self) -> Decision:
        """Return where a read would go right here, and why, without binding anything. Never raises."""
        return routing.explain(self, current())

    def writable(self, footprint: Footprint | None) -> str:
        """Return the primary for a write. Raises PrimaryUnavailable for two primaries or a zombie."""
        return routing.writable(self, footprint)

    def toss(self, key: str | None) -> Dice:
        """Return the dice for one choice of the balancer."""
        return Dice(random.random(), next(self._turn), key, self.in_flight.load)  # noqa: S311 - not for secrets

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
        return settling.settle(self, footprint)

    def learned(self, position: Position, sent: float, answered: float) -> None:
        """Fold in the primary's position that a session asked for (monotonic times), and look for it."""
        with self._lock:
            self.topology = capture(self.topology, position, sent, answered)
        if self.monitor:
            self.monitor.want(position)

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


def _nothing_unsent(footprint: Footprint) -> bool:  # noqa: ARG001 - for adapters that send each change at once
    return False


def _parsed(name: str, options: ClusterOptions) -> ClusterConfig:
    if "primary" not in options:
        raise ConfigurationError(f"cluster {name!r}: primary is missing; give primary=Node(...)")
    settings: dict[str, Any] = {**options, "replicas": tuple(options.get("replicas", ()))}
    return ClusterConfig(name=name, **settings)


def living_clusters() -> list[Cluster]:
    """Return the clusters of this process."""
    return list(_clusters.values())


def cluster_named(name: str) -> Cluster | None:
    """Return the living cluster of that name, the last one made."""
    return _clusters.get(name)
