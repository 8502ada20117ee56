"""lagless's errors as Django's own: an `except OperationalError` written for one server keeps working."""

from __future__ import annotations

from django.db import InternalError, OperationalError

from lagless import errors


class PrimaryUnavailable(errors.PrimaryUnavailable, OperationalError):
    """No server may be taken for the primary."""


class ReplicaUnavailable(errors.ReplicaUnavailable, OperationalError):
    """No replica may serve this read and the policy forbids the primary."""


class ConsistencyTimeout(errors.ConsistencyTimeout, OperationalError):
    """The policy's wait is over and no replica covers what the session wrote and saw."""


class ReadOnlyViolation(errors.ReadOnlyViolation, InternalError):
    """A write inside `replica()`; InternalError is what a standby's own refusal becomes."""


def as_django(error: errors.LaglessError) -> errors.LaglessError:
    """Return the same error as one that is also Django's."""
    match error:
        case errors.PrimaryUnavailable():
            return _twin(PrimaryUnavailable, error)
        case errors.ReplicaUnavailable():
            return _twin(ReplicaUnavailable, error)
        case errors.ConsistencyTimeout():
            return ConsistencyTimeout(str(error))
    return error


def _twin(kind: type[PrimaryUnavailable | ReplicaUnavailable], error: errors.NoNodeAvailable) -> errors.LaglessError:
    twin = kind(str(error))
    twin.refused = error.refused
    return twin
