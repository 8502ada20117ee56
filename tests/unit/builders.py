"""Short ways to say what was heard, for the fast tests."""

from __future__ import annotations

import dataclasses

from lagless.core.observing import observe
from lagless.core.position import Counter, History, Lsn
from lagless.core.session import Footprint, Mark
from lagless.core.topology import Identity, Node, Observation, Role, Topology

SYSTEM = "7431111111111111111"
PRIMARY, FIRST, SECOND = "default", "replica1", "replica2"


def history(timeline: int = 1, *, system: str = SYSTEM, generation: int = 0) -> History:
    """Return one line of history."""
    return History(system, timeline, generation)


def lsn(value: int, timeline: int = 1, *, system: str = SYSTEM, generation: int = 0) -> Lsn:
    """Return a position."""
    return Lsn(history(timeline, system=system, generation=generation), value)


def beat(value: int, system: str = "a1") -> Counter:
    """Return a heartbeat's position."""
    return Counter(History(system), value)


def server(node: str, run: str = "1", system: str = SYSTEM) -> Identity:
    """Return who answers under a node's name; another `run` is the same server started again."""
    return Identity(system, f"{node}/{run}")


def of_primary(
    value: int,
    sent: float,
    *,
    node: str = PRIMARY,
    timeline: int = 1,
    horizon: int | None = None,
    fork: int | None = None,
    run: str = "1",
    system: str = SYSTEM,
    generation: int = 0,
) -> Observation:
    """Return the answer of a primary that stands at `value`."""
    at = lsn(value, timeline, system=system, generation=generation)
    end = dataclasses.replace(at, value=value if horizon is None else horizon)
    return Observation(
        node=node,
        sent=sent,
        role=Role.PRIMARY,
        position=at,
        horizon=end,
        fork=fork,
        identity=server(node, run, system),
    )


def of_replica(
    node: str, value: int, sent: float, *, timeline: int = 1, run: str = "1", system: str = SYSTEM
) -> Observation:
    """Return the answer of a standby that has replayed `value`."""
    at = lsn(value, timeline, system=system)
    return Observation(node=node, sent=sent, role=Role.REPLICA, position=at, identity=server(node, run, system))


def unproven(node: str, sent: float, run: str = "1") -> Observation:
    """Return the answer of a standby whose upstream is gone: its timeline cannot be proven."""
    return Observation(node=node, sent=sent, role=Role.REPLICA, unproven=True, identity=server(node, run))


def of_blind(node: str, sent: float) -> Observation:
    """Return the answer of a standby that may not tell its position."""
    return Observation(node=node, sent=sent, role=Role.REPLICA, identity=server(node))


def down(node: str, sent: float, error: str = "TimeoutError") -> Observation:
    """Return what a failed probe says."""
    return Observation(node=node, sent=sent, error=error)


def picture(*seen: Observation, replicas: tuple[str, ...] = (FIRST, SECOND)) -> Topology:
    """Return the topology after some observations."""
    topology = Topology.declared(Node(PRIMARY), [Node(name) for name in replicas])
    for each in seen:
        topology = observe(topology, each)
    return topology


def steady(primary: int = 100, first: int = 100, second: int = 100, sent: float = 10.0) -> Topology:
    """Return a healthy cluster, heard at `sent`."""
    start = of_primary(1, sent - 9)  # so that the lag of one that is behind is known
    return picture(start, of_primary(primary, sent), of_replica(FIRST, first, sent), of_replica(SECOND, second, sent))


def footprint(began: float = 5.0, **mark: object) -> Footprint:
    """Return the footprint of a unit of work that began with the token `mark`."""
    return Footprint(PRIMARY, began, Mark(cluster=PRIMARY, **mark))  # type: ignore[arg-type]
