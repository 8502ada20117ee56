"""What lagless itself raises; errors of a driver pass through as they are.

    LaglessError
      ConfigurationError (ValueError)    a setting is wrong; raised at construction, names the field and the fix
      NoNodeAvailable                    says why each node was refused
        PrimaryUnavailable               a write or a strong read
        ReplicaUnavailable               only where the policy forbids the primary
      ConsistencyTimeout (TimeoutError)  waited, and no replica covers the session
      ReadOnlyViolation                  a write inside `replica()`

Adapters raise subclasses that also derive from their framework's OperationalError, so an `except` block written
for one server keeps working.
"""

from __future__ import annotations

from collections.abc import Mapping


class LaglessError(Exception):
    """The root of what lagless raises."""


class ConfigurationError(LaglessError, ValueError):
    """A setting is wrong; the message names the field and the fix."""


class NoNodeAvailable(LaglessError):
    """No node may serve this; `refused` maps each node's name to the reason."""

    def __init__(self, message: str, refused: Mapping[str, str] | None = None) -> None:
        self.refused = dict(refused or {})
        why = "; ".join(f"{name}: {reason}" for name, reason in self.refused.items())
        super().__init__(f"{message} ({why})" if why else message)


class PrimaryUnavailable(NoNodeAvailable):
    """A write or a strong read, and no server may be taken for the primary."""


class ReplicaUnavailable(NoNodeAvailable):
    """No replica may serve this read and the policy forbids the primary."""


class ConsistencyTimeout(LaglessError, TimeoutError):
    """The policy's wait is over and no replica covers what the session wrote and saw."""


class ReadOnlyViolation(LaglessError):
    """A write inside `replica()`."""
