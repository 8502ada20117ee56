"""The probe loop: one thread a node, so that a frozen node delays no other.

A watch sleeps in `poll()` on its probe's socket, so the end of that connection is heard at once (CORRECTNESS 2). It
starts at the first routed read, starts anew after a fork, and stops asking when nobody routes.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import random
import select
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lagless.core.cadence import Allowance, Pace, estimate_lag, next_probe
from lagless.core.position import Position
from lagless.core.topology import Identity, NodeState, Observation
from lagless.dialects.base import Heard, Row
from lagless.events import Kind

if TYPE_CHECKING:
    from lagless.cluster import Cluster

ASLEEP_AFTER = 10.0
"""Seconds without a routed unit of work after which probing stops."""
MAX_WANTED = 256
ASK_AGAIN = 10.0
"""Seconds until a question that a node refused is asked again."""


class Probe(Protocol):
    """A connection of the monitor's own to one node; used by one thread."""

    def ask(self, statements: Sequence[str], timeout: float) -> Row | None:
        """Run statements, connecting first if need be; return the last one's first row. Raises what went wrong."""

    def fileno(self) -> int | None:
        """Return the socket to watch, None if there is none."""

    def ended(self) -> bool:
        """Tell, when the socket became readable, whether the server ended the connection."""

    def close(self) -> None:
        """Close the connection, if any."""


ProbeSource = Callable[[str], Probe]
"""Makes the probe for the node of a name."""


class Monitor:
    """The watches of one cluster."""

    def __init__(self, cluster: Cluster, source: ProbeSource) -> None:
        self._cluster = weakref.ref(cluster)
        self._source = source
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._wanted: list[tuple[float, Position]] = []
        self._touched = time.monotonic()
        self.closed = False
        _monitors.add(self)

    def touch(self) -> None:
        """Note that somebody routes: start or wake the watches."""
        now = time.monotonic()
        slept = now - self._touched > ASLEEP_AFTER
        self._touched = now
        if not self._watches:
            self._start()
        elif slept:
            self.hurry()

    @property
    def asleep(self) -> bool:
        """Whether nobody routed for a while."""
        return time.monotonic() - self._touched > ASLEEP_AFTER

    def want(self, position: Position) -> None:
        """Ask for news of a position until some replica covers it."""
        now = time.monotonic()
        with self._lock:
            if any(p.covers(position) for _, p in self._wanted[-1:]):
                return
            if len(self._wanted) >= MAX_WANTED:
                self._wanted.pop()
            self._wanted.append((now, position))
            first = len(self._wanted) == 1
        if first:  # otherwise the watches look for an older one, and find this on their way
            self._wake([s.name for s in self._replicas()])

    def wanted_since(self) -> float | None:
        """Return since when the oldest position that nobody covers has been wanted.

        What the primary itself, asked since, does not hold is lost: no replica will ever have it.
        """
        states, primary = self._replicas(), self._primary()
        with self._lock:
            self._wanted = [
                (since, p)
                for since, p in self._wanted
                if not any(s.position and s.position.covers(p) for s in states) and not _lacks(primary, since, p)
            ]
            return self._wanted[0][0] if self._wanted else None

    def least_lag(self) -> float:
        """Return the lag, in seconds, of the quickest replica that answers, as its last probe showed it."""
        alive = [s.name for s in self._replicas() if s.alive]
        return min((self._watches[name].lag for name in alive if name in self._watches), default=math.inf)

    def hurry(self, *nodes: str) -> None:
        """Probe these nodes, or all, at once."""
        self._wake(nodes or tuple(self._watches), now=True)

    def close(self) -> None:
        """Stop for good."""
        self.closed = True
        self.stop()

    def stop(self) -> None:
        """Stop the watches until somebody routes again; returns when they have ended, at most a second later."""
        watches = list(self._watches.values())
        for watch in watches:
            watch.stop()
        for watch in watches:
            watch.join(1.0)
        self._watches = {}

    def _replicas(self) -> Sequence[NodeState]:
        cluster = self._cluster()
        return cluster.topology.replicas if cluster else ()

    def _primary(self) -> NodeState | None:
        cluster = self._cluster()
        return cluster.topology.primary_state if cluster else None

    def _wake(self, nodes: Sequence[str], *, now: bool = False) -> None:
        for name in nodes:
            if watch := self._watches.get(name):
                watch.wake(now=now)

    def _start(self) -> None:
        with self._lock:
            cluster = self._cluster()
            if self._watches or cluster is None or self.closed:
                return
            watches = {name: Watch(self, self._cluster, name, self._source) for name in cluster.topology.nodes}
            for watch in watches.values():
                watch.start()
            self._watches = watches

    def after_fork(self) -> None:
        """In a child process: threads are gone, sockets are the parent's; start over at the next route."""
        for watch in self._watches.values():
            watch.abandon()
        self._lock = threading.Lock()
        self._watches = {}
        self._wanted = []
        if cluster := self._cluster():
            cluster.after_fork()


class Watch(threading.Thread):
    """The thread that watches one node."""

    def __init__(self, monitor: Monitor, cluster: weakref.ref[Cluster], node: str, source: ProbeSource) -> None:
        super().__init__(name=f"lagless-{node}", daemon=True)
        self._monitor = monitor
        self._cluster = cluster
        self._node = node
        self._source = source
        self._stopping = False
        self._now = False
        self._pace = Pace(last=-math.inf)
        self._idle = 0.0
        self._is_primary = False
        self._no_doubts_until = -math.inf
        self._examined: Identity | None = None
        self._allowance = Allowance(time.monotonic())
        self._pipe = threading.Lock()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)

    def wake(self, *, now: bool = False) -> None:
        """Interrupt the sleep; `now` probes at once."""
        if now and self._now:
            return  # asked for already, and not begun yet
        self._now = self._now or now
        with self._pipe, contextlib.suppress(OSError):  # full: a wake is already on its way
            if self._writer >= 0:
                os.write(self._writer, b"!")

    @property
    def lag(self) -> float:
        """The node's lag in seconds as the last probe showed it."""
        return self._pace.lag

    def stop(self) -> None:
        """End the thread soon."""
        self._stopping = True
        self.wake()

    def abandon(self) -> None:
        """Close the pipe; in a forked child, where the thread does not exist, without its lock, which may be held."""
        reader, writer, self._reader, self._writer = self._reader, self._writer, -1, -1
        os.close(reader)
        os.close(writer)

    def run(self) -> None:
        """Probe, sleep, again."""
        probe = self._source(self._node)
        try:
            while not self._stopping and (cluster := self._cluster()) is not None:
                self._probe(cluster, probe)
                earliest = self._earliest(cluster)
                del cluster  # one that nobody else holds may go while this thread sleeps
                self._sleep(probe, earliest)
        finally:
            probe.close()
            with self._pipe:  # its descriptors will be somebody else's soon
                self.abandon()

    # -- one probe

    def _probe(self, cluster: Cluster, probe: Probe) -> None:
        self._now = False
        sent = time.monotonic()
        try:
            seen = self._ask(cluster, probe, sent)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises means: no answer
            probe.close()
            seen = Observation(node=self._node, sent=sent, error=type(error).__name__)
            if isinstance(error, TimeoutError):
                cluster.frozen(self._node)
        before = cluster.topology.nodes[self._node].position
        cluster.report(replace(seen, answered=time.monotonic()))
        state = cluster.topology.nodes[self._node]
        lag = estimate_lag(state.position, cluster.topology.ring, sent, self._pace.lag)
        self._is_primary = cluster.topology.primary == self._node
        waiting = self._wanted_since() is not None
        misses = self._pace.misses + 1 if waiting and state.position == before else 0
        self._pace = Pace(time.monotonic(), lag, misses)

    def _ask(self, cluster: Cluster, probe: Probe, sent: float) -> Observation:
        config, dialect = cluster.config, cluster.dialect
        declared = cluster.topology.nodes[self._node].declared
        heard = Heard(self._node, declared, sent, config.generation)
        helper = self._node in cluster.through_helper
        cluster.through_helper.discard(self._node)  # until it has answered: it may have been dropped meanwhile
        row = probe.ask(dialect.probe_statements(declared, helper=helper), config.probe_timeout)
        if helper:
            cluster.through_helper.add(self._node)
        seen = dialect.read_probe(row, heard)
        if seen.position is None and not seen.unproven and not helper:
            seen = self._through_helper(cluster, probe, heard, seen)
        seen = self._without_doubt(cluster, probe, seen)
        if seen.identity != self._examined:
            self._examine(cluster, probe, seen)
        return seen

    def _examine(self, cluster: Cluster, probe: Probe, seen: Observation) -> None:
        """Look once at the settings of a server on which the promise rests, and say what is wrong with them."""
        self._examined = seen.identity
        statement = cluster.dialect.config_statement()
        if statement is None or seen.role is None:
            return
        try:
            found = cluster.dialect.read_config(probe.ask((statement,), cluster.config.probe_timeout), seen.role)
        except TimeoutError:
            raise
        except Exception:  # noqa: BLE001 - the role may not see them: nothing is known to be wrong
            probe.close()
            return
        for message in found:
            cluster.emit(Kind.MISCONFIGURED, self._node, message)

    def _without_doubt(self, cluster: Cluster, probe: Probe, seen: Observation) -> Observation:
        """A second question where the answer leaves open whether the node was promoted."""
        statement = cluster.dialect.doubt_statement(seen)
        if statement is None or seen.sent < self._no_doubts_until:
            return seen
        try:
            row = probe.ask((statement,), cluster.config.probe_timeout)
        except TimeoutError:
            raise
        except Exception:  # noqa: BLE001 - the role may not ask: what was seen of the node before decides
            probe.close()
            self._no_doubts_until = seen.sent + ASK_AGAIN
            return seen
        return cluster.dialect.read_doubt(row, seen)

    def _through_helper(self, cluster: Cluster, probe: Probe, heard: Heard, seen: Observation) -> Observation:
        """The role may not see the position: ask through the function that setup installs, where there is one."""
        statements = cluster.dialect.probe_statements(heard.declared, helper=True)
        if statements == cluster.dialect.probe_statements(heard.declared, helper=False):
            return seen  # there is no other way to ask
        try:
            row = probe.ask(statements, cluster.config.probe_timeout)
        except Exception:  # noqa: BLE001 - not installed: the plain answer stands, and the node is blind
            probe.close()
            return seen
        cluster.through_helper.add(self._node)
        return cluster.dialect.read_probe(row, heard)

    # -- sleeping

    def _earliest(self, cluster: Cluster) -> float:
        """Return when the rate allows the next probe, and draw how long an idle node is left alone."""
        now = time.monotonic()
        self._idle = cluster.config.idle_interval * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        return now + self._allowance.take(now, cluster.config.max_probe_rate)

    def _sleep(self, probe: Probe, earliest: float) -> None:
        """Sleep until the next probe is due; the end of the probe's connection ends the sleep."""
        while not self._stopping:
            due = self._due(earliest)
            timeout = None if due is None else max(0.0, due - time.monotonic())
            if timeout == 0.0:
                return
            fd = probe.fileno()
            ready = _readable([self._reader] if fd is None else [self._reader, fd], timeout)
            if self._reader in ready:
                os.read(self._reader, 4096)
            if fd in ready and probe.ended():
                self._lost(probe)
                return

    def _due(self, earliest: float) -> float | None:
        """Return when to probe next; None: when woken."""
        if self._now:
            return earliest
        if self._monitor.asleep:
            return None
        return max(earliest, next_probe(self._pace, wanted_since=self._wanted_since(), idle=self._idle))

    def _wanted_since(self) -> float | None:
        """Return since when a position is wanted of this node; the primary has them all."""
        return None if self._is_primary else self._monitor.wanted_since()

    def _lost(self, probe: Probe) -> None:
        """The server ended the connection: whatever it had replayed, it may not have any more."""
        probe.close()
        if cluster := self._cluster():
            cluster.report(Observation(node=self._node, sent=time.monotonic(), error="connection ended"))


def _lacks(primary: NodeState | None, since: float, position: Position) -> bool:
    """Tell whether the primary, asked after `since`, stands before a position."""
    if primary is None or primary.horizon is None or primary.sent <= since:
        return False
    return not primary.horizon.covers(position)


def _readable(fds: Sequence[int], timeout: float | None) -> set[int]:
    """Wait until one of the descriptors can be read; poll(), because select() ends at descriptor 1023."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(None if timeout is None else math.ceil(timeout * 1000))}


_monitors: weakref.WeakSet[Monitor] = weakref.WeakSet()


def _after_fork() -> None:
    for monitor in list(_monitors):
        monitor.after_fork()


def _at_exit() -> None:
    for monitor in list(_monitors):
        monitor.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
