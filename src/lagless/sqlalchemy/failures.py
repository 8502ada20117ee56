"""What a failed read on a replica means, by SQLSTATE, MySQL's error numbers and SQLite's names."""

from __future__ import annotations

from enum import Enum, auto

from sqlalchemy.exc import DBAPIError

_GONE = ("08", "57P")
"""SQLSTATE classes that say that the server ends or refuses connections."""
_CONFLICT = ("40001", "40P01")
_READ_ONLY = "25006"
_IN_RECOVERY = "0A000"
_MYSQL_GONE = frozenset({1053, 1077, 1079, 2006, 2012, 2013, 2055, 4031})
_MYSQL_READ_ONLY = frozenset({1290, 1792, 1836})
_SQLITE_GONE = ("SQLITE_CANTOPEN", "SQLITE_IOERR")


class Failure(Enum):
    """What a failure says of the node, and what can be done."""

    LOST = auto()
    """The connection is gone, or never came: the node is reported, the read runs elsewhere."""
    CONFLICT = auto()
    """Replay had to go on, so the standby cancelled the read: another node can run it."""
    REFUSED = auto()
    """A standby does not do this: it is the primary's."""
    OTHER = auto()
    """The statement's own fault, or this process's."""


def judge(error: Exception, *, gone: bool, answers: bool) -> Failure:
    """Return what the error of a statement on a replica means.

    `gone` says that it took its connection with it, `answers` that the node answered its last probe: a time limit of
    the application's own that runs out there is no fault of the node.
    """
    orig = error.orig if isinstance(error, DBAPIError) else error
    if gone:
        return Failure.OTHER if answers and _timed_out(orig) else Failure.LOST
    return _by_code(error) if isinstance(error, DBAPIError) else Failure.OTHER


def _timed_out(error: BaseException | None) -> bool:
    """Tell whether a driver gave up waiting."""
    seen = error
    while seen is not None:
        if isinstance(seen, TimeoutError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _by_code(error: DBAPIError) -> Failure:
    match code_of(error.orig):
        case str(name) if name.startswith(_SQLITE_GONE):
            return Failure.LOST
        case str(name) if name.startswith("SQLITE_"):
            return Failure.REFUSED if name.startswith("SQLITE_READONLY") else Failure.OTHER
        case str(state):
            return _by_state(state, str(error.orig))
        case int(number):
            return _by_number(number)
    return Failure.OTHER


def _by_state(state: str, message: str) -> Failure:
    if state.startswith(_GONE):
        return Failure.LOST
    if state in _CONFLICT:
        return Failure.CONFLICT
    refused = state == _READ_ONLY or (state == _IN_RECOVERY and ("recovery" in message or "standby" in message))
    return Failure.REFUSED if refused else Failure.OTHER


def _by_number(number: int) -> Failure:
    if number in _MYSQL_GONE:
        return Failure.LOST
    return Failure.REFUSED if number in _MYSQL_READ_ONLY else Failure.OTHER


def code_of(error: BaseException | None) -> str | int | None:
    """Return a driver's code for an error: SQLSTATE, MySQL's number, SQLite's name, or None."""
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if isinstance(code := getattr(error, name, None), str):
            return code
    first = error.args[0] if error is not None and error.args else None
    return first if isinstance(first, int) else None
