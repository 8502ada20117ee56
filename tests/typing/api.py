"""The whole public API as its users write it, for type checkers: never run, only checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type

import lagless
from lagless import (
    BalancerName,
    Cluster,
    ConfigurationError,
    ConsistencyTimeout,
    Counter,
    Decision,
    Event,
    History,
    Identity,
    LaglessError,
    Level,
    Lsn,
    Node,
    NoNodeAvailable,
    Observation,
    OnStale,
    Policy,
    Position,
    PrimaryUnavailable,
    ReadOnlyViolation,
    Reason,
    ReplicaUnavailable,
    Role,
    Session,
    Topology,
    consistency,
    primary,
    replica,
    session,
)

# -- construction: words or members, lists or tuples

cluster = Cluster(
    "default",
    primary=Node("default"),
    replicas=[Node("replica1", weight=2), Node("replica2")],
    level="session",
    policy=Policy(on_stale="primary", wait=0.0, max_lag=None, pin_seconds=15.0),
    balancer="random",
)
strict = Cluster(
    primary=Node("main"),
    replicas=(Node("other", 0.5),),
    level=Level.BOUNDED,
    policy=Policy(on_stale=OnStale.WAIT, wait=1, max_lag=5),
    balancer=BalancerName.LEAST_LOADED,
    generation=1,
    capture="flush",
    dialect="heartbeat",
    token_seconds=600,
    probe_timeout=0.5,
    idle_interval=0.25,
    max_probe_rate=50,
)

# -- units of work and scopes


def handle(user: int, token: str | None) -> str:
    """Serve one unit of work."""
    with session(token, key=user) as unit:
        assert_type(unit, Session)
        with primary(), replica("default"), consistency("eventual"), consistency(Level.BOUNDED, max_lag=2.5):
            assert_type(cluster.route(), Decision)
        assert_type(cluster.route("write").node, str)
    return assert_type(unit.token(), str)


async def handle_async(user: str) -> str:
    """Serve one unit of work in a coroutine."""
    async with session(key=user) as unit:
        assert_type(unit, Session)
    return unit.token()


@primary()
def exact(number: int, *, text: str = "") -> float:
    """Keep its own signature under a decorator."""
    return number + len(text)


@replica("default")
async def report(days: int) -> list[str]:
    """Keep its own signature under a decorator, coroutine or not."""
    return [str(days)]


@consistency("bounded", "default", max_lag=10)
def recent() -> None:
    """Return nothing."""


async def call() -> None:
    """Call what was decorated."""
    assert_type(exact(1, text="x"), float)
    assert_type(await report(7), list[str])
    recent()


# -- what is known and decided

decision = cluster.explain()
assert_type(decision, Decision)
assert_type(decision.reason, Reason)
assert_type(decision.refused, Mapping[str, str])
assert_type(cluster.topology, Topology)
assert_type(cluster.topology.primary, str | None)

line = History("7431111111111111111", 1, 0)
position: Position = Lsn.parse(line, "0/16B3748")
beat: Position = Counter(line, 7)
assert_type(position.covers(beat), bool)
assert_type(position.text(), str)
assert_type(position.history, History)
seen = Observation(
    node="replica1", sent=1.0, role=Role.REPLICA, position=position, identity=Identity(line.system, "run")
)
cluster.report(seen)
cluster.start()
cluster.close()


def listener(event: Event) -> None:
    """Take one event."""
    assert_type(event.cluster, str)
    assert_type(event.node, str | None)


cluster.listen(listener)

# -- errors


def careful() -> Mapping[str, str] | None:
    """Catch each of them."""
    try:
        cluster.route()
    except (PrimaryUnavailable, ReplicaUnavailable) as error:
        return error.refused
    except NoNodeAvailable as error:
        return error.refused
    except ConsistencyTimeout as error:
        timeout: TimeoutError = error
        raise timeout from None
    except ConfigurationError as error:
        value: ValueError = error
        raise value from None
    except (ReadOnlyViolation, LaglessError):
        return None
    return None


assert_type(lagless.__version__, str)
