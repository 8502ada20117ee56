"""The promise asked for, and what to do when no replica can keep it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from lagless.errors import ConfigurationError

E = TypeVar("E", bound=StrEnum)


class Level(StrEnum):
    """The field's names for what a read may miss, weakest first."""

    EVENTUAL = "eventual"
    """Any healthy replica."""
    BOUNDED = "bounded"
    """Nothing older than `max_lag` seconds."""
    SESSION = "session"
    """Your own writes, and never backwards: read-your-writes, monotonic reads, consistent prefix."""
    STRONG = "strong"
    """The primary."""


class OnStale(StrEnum):
    """What happens to a read that no replica can serve at its level."""

    PRIMARY = "primary"
    """Wait up to `wait` seconds, then read the primary."""
    WAIT = "wait"
    """Wait up to `wait` seconds, then raise ConsistencyTimeout."""
    ERROR = "error"
    """Raise ReplicaUnavailable at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to do when no replica can keep the promise.

    `wait` and `max_lag` are seconds; `max_lag` also refuses replicas at level session that lag more; `pin_seconds` is
    how long a session stays on the primary after a write where replicas cannot tell their position.
    Raises ConfigurationError for values that make no sense.
    """

    on_stale: OnStale | str = OnStale.PRIMARY
    wait: float = 0.0
    max_lag: float | None = None
    pin_seconds: float = 15.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "on_stale", choice(OnStale, self.on_stale, "policy.on_stale"))
        for field in ("wait", "pin_seconds"):
            number(getattr(self, field), f"policy.{field}", least=0)
        if self.max_lag is not None:
            number(self.max_lag, "policy.max_lag", above=0)
        if self.on_stale is OnStale.WAIT and not self.wait:
            raise ConfigurationError("policy.wait: on_stale='wait' needs a time; set wait to the seconds to wait")
        if self.on_stale is OnStale.ERROR and self.wait:
            raise ConfigurationError("policy.wait: on_stale='error' never waits; use on_stale='wait' or drop wait")


def choice(kind: type[E], value: object, field: str) -> E:
    """Return the member that `value` names; ConfigurationError names the field and the members."""
    try:
        return kind(value)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(kind)
        raise ConfigurationError(f"{field}: {value!r} is unknown; choose one of {known}") from None


def number(value: object, field: str, *, least: float | None = None, above: float | None = None) -> float:
    """Return `value` if it is a finite number within the bound; ConfigurationError names the field otherwise."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if not usable or (least is not None and value < least) or (above is not None and value <= above):  # type: ignore[operator]
        bound = f"at least {least:g}" if least is not None else f"above {above:g}" if above is not None else "finite"
        raise ConfigurationError(f"{field}: {value!r} must be a number {bound}")
    return float(value)  # type: ignore[arg-type]
