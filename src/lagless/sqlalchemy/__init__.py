"""Read/write splitting for SQLAlchemy, synchronous and asynchronous: `sessionmaker()` instead of SQLAlchemy's own."""

from __future__ import annotations

from lagless.sqlalchemy.engines import Engines
from lagless.sqlalchemy.errors import ConsistencyTimeout, PrimaryUnavailable, ReadOnlyViolation, ReplicaUnavailable
from lagless.sqlalchemy.factories import AsyncSessionFactory, SessionFactory, async_sessionmaker, routed, sessionmaker
from lagless.sqlalchemy.session import RoutingSession
from lagless.tracking import mark_written

__all__ = [
    "AsyncSessionFactory",
    "ConsistencyTimeout",
    "Engines",
    "PrimaryUnavailable",
    "ReadOnlyViolation",
    "ReplicaUnavailable",
    "RoutingSession",
    "SessionFactory",
    "async_sessionmaker",
    "mark_written",
    "routed",
    "sessionmaker",
]
