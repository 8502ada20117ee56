"""lagless's errors as SQLAlchemy's own: an `except OperationalError` written for one server keeps working."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.exc import DBAPIError, InternalError, OperationalError

from lagless import errors


class _Twin:
    """Makes one of lagless's errors one of SQLAlchemy's, too: without a statement, and with the message as it is."""

    def __init__(self, message: str, refused: Mapping[str, str] | None = None) -> None:
        DBAPIError.__init__(self, None, None, Exception(message))  # type: ignore[arg-type]
        self.args = (message,)
        self.refused = dict(refused or {})


class PrimaryUnavailable(_Twin, errors.PrimaryUnavailable, OperationalError):
    """No server may be taken for the primary."""


class ReplicaUnavailable(_Twin, errors.ReplicaUnavailable, OperationalError):
    """No replica may serve this read and the policy forbids the primary."""


class ConsistencyTimeout(_Twin, errors.ConsistencyTimeout, OperationalError):
    """The policy's wait is over and no replica covers what the session wrote and saw."""


class ReadOnlyViolation(_Twin, errors.ReadOnlyViolation, InternalError):
    """A write inside `replica()`, or after a replica was read in strict mode."""


def as_sqlalchemy(error: errors.LaglessError) -> errors.LaglessError:
    """Return the same error as one that is also SQLAlchemy's."""
    match error:
        case errors.PrimaryUnavailable():
            return PrimaryUnavailable(str(error), error.refused)
        case errors.ReplicaUnavailable():
            return ReplicaUnavailable(str(error), error.refused)
        case errors.ConsistencyTimeout():
            return ConsistencyTimeout(str(error))
        case errors.ReadOnlyViolation():
            return ReadOnlyViolation(str(error))
    return error
