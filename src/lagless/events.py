"""What happened, as frozen values, for logs, counters and whoever listens. No host, user or password is in them."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

logger = logging.getLogger("lagless")


class Kind(StrEnum):
    """The closed list of events."""

    NODE_DOWN = "node down"
    NODE_UP = "node up"
    PRIMARY_CHANGED = "primary changed"
    TWO_PRIMARIES = "two primaries"
    HISTORY_WENT_BACK = "history went back"
    AMBIGUOUS = "ambiguous node"
    BLIND = "position cannot be told"
    ERRANT = "written to on a replica"
    MISCONFIGURED = "settings that break the promise"
    WRITE_MAYBE_LOST = "write maybe lost"
    SETTLE_FAILED = "settle failed"
    SETTLED = "settled"
    TIME_PINNED = "time pinned"
    FELL_BACK = "fell back to the primary"
    READ_MOVED = "read run again elsewhere"
    NEEDS_PRIMARY = "statement moved to the primary"
    CUT_FROZEN = "reads cut from a frozen node"
    TOKEN_REFUSED = "token refused"  # noqa: S105 - no password
    LATE_WRITE = "write after the token was sent"


QUIET = frozenset(
    {Kind.SETTLED, Kind.FELL_BACK, Kind.TOKEN_REFUSED, Kind.TIME_PINNED, Kind.NODE_UP, Kind.NEEDS_PRIMARY}
)
"""Events that are counted but logged only at level DEBUG: they are routine, or anybody can cause them."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened in `cluster`, perhaps to `node`; `detail` is for people."""

    kind: Kind
    cluster: str
    node: str | None = None
    detail: str = ""


class Listener(Protocol):
    """Whoever wants to know. It is called where the event happens: be quick and do not raise."""

    def __call__(self, event: Event) -> None:
        """Take one event."""


def log(event: Event) -> None:
    """Log an event; what needs a person's eye is a warning."""
    level = logging.DEBUG if event.kind in QUIET else logging.WARNING
    where = f"{event.cluster}/{event.node}" if event.node else event.cluster
    logger.log(level, "%s: %s%s", where, event.kind, f" ({event.detail})" if event.detail else "")


class Counts:
    """Counts events by kind and decisions by reason, for `status` and metrics."""

    def __init__(self) -> None:
        self.events: Counter[Kind] = Counter()
        self.decisions: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        """Count one event."""
        self.events[event.kind] += 1
