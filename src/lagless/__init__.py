"""Read from replicas, never stale.

lagless splits reads and writes between a primary and its replicas and keeps what people had with one server: they see
their own writes, time never runs backwards, a dead replica is not an error. Importing it loads no framework and
starts no thread.
"""

from lagless.cluster import Cluster
from lagless.context import consistency, primary, replica
from lagless.core.balancer import BalancerName
from lagless.core.consistency import Level, OnStale, Policy
from lagless.core.position import Counter, History, Lsn, Position
from lagless.core.selection import Decision, Reason
from lagless.core.session import Session
from lagless.core.topology import Identity, Node, Observation, Role, Topology
from lagless.edge import session
from lagless.errors import (
    ConfigurationError,
    ConsistencyTimeout,
    LaglessError,
    NoNodeAvailable,
    PrimaryUnavailable,
    ReadOnlyViolation,
    ReplicaUnavailable,
)
from lagless.events import Event

__all__ = [
    "BalancerName",
    "Cluster",
    "ConfigurationError",
    "ConsistencyTimeout",
    "Counter",
    "Decision",
    "Event",
    "History",
    "Identity",
    "LaglessError",
    "Level",
    "Lsn",
    "NoNodeAvailable",
    "Node",
    "Observation",
    "OnStale",
    "Policy",
    "Position",
    "PrimaryUnavailable",
    "ReadOnlyViolation",
    "Reason",
    "ReplicaUnavailable",
    "Role",
    "Session",
    "Topology",
    "consistency",
    "primary",
    "replica",
    "session",
]

__version__ = "0.1.0"
