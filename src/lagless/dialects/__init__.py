"""Dialects: what to ask a server and how to read its answer. Pure; no driver is imported."""

from __future__ import annotations

from lagless.dialects.base import Dialect
from lagless.dialects.heartbeat import Heartbeat
from lagless.dialects.postgresql import PostgreSQL
from lagless.errors import ConfigurationError

__all__ = ["Dialect", "Heartbeat", "PostgreSQL", "dialect_named"]


def dialect_named(name: str) -> Dialect:
    """Return the dialect called `name`; ConfigurationError if there is none."""
    match name:
        case "postgresql":
            return PostgreSQL()
        case "heartbeat":
            return Heartbeat()
    raise ConfigurationError(f"dialect {name!r} is unknown; choose one of heartbeat, postgresql")
