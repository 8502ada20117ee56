"""How far a log has come, and the one question that matters: whether it contains another position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, runtime_checkable

PAGE = 8192
PAGE_HEADERS = (24, 40)
"""Sizes of a WAL page's header: an ordinary page, the first page of a segment."""


class History(NamedTuple):
    """One line of history; positions of different histories do not compare (CORRECTNESS 3).

    `system` names the database (PostgreSQL's system identifier; MySQL and MariaDB tell none, and are called that),
    `timeline` counts its promotions where the database does, `generation` is bumped by the operator after a restore or
    a re-clone, which no server reports.
    """

    system: str
    timeline: int = 0
    generation: int = 0

    def descends_from(self, other: History) -> bool:
        """Tell whether `other` is an earlier timeline of the same system and generation."""
        return (self.system, self.generation) == (other.system, other.generation) and self.timeline > other.timeline


@runtime_checkable
class Position(Protocol):
    """A point in a server's log. Positions are partially ordered by `covers`."""

    @property
    def history(self) -> History:
        """The history in which this point lies."""

    def covers(self, other: Position) -> bool:
        """Tell whether everything committed up to `other` is contained here."""

    def merge(self, other: Self) -> Self:
        """Return the least position that covers both; ValueError if they are of different histories."""

    def lacks(self, other: Self) -> int:
        """Return how much of `other`, which is of the same history, is missing here: bytes, beats, transactions."""

    def text(self) -> str:
        """Return the point in the notation of its database, without the history."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A position that is one growing number within its history."""

    history: History
    value: int

    def covers(self, other: Position) -> bool:
        """Compare numerically, and only within one history: the text order of LSNs is not their order."""
        return type(other) is type(self) and self.history == other.history and self.value >= other.value

    def merge(self, other: Self) -> Self:
        """Return the farther of the two."""
        if type(other) is not type(self) or other.history != self.history:
            raise ValueError(f"positions of different histories do not merge: {self.history}, {other.history}")
        return self if self.value >= other.value else other

    def lacks(self, other: Self) -> int:
        """Return the difference, 0 if there is none to the worse."""
        return max(0, other.value - self.value)

    def text(self) -> str:
        """Return the number in decimal."""
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Lsn(Scalar):
    """A PostgreSQL log sequence number, in bytes."""

    @classmethod
    def parse(cls, history: History, text: str) -> Lsn:
        """Read PostgreSQL's `hi/lo` notation; ValueError if it is not that."""
        return cls(history, parse_lsn(text))

    def text(self) -> str:
        """Return PostgreSQL's notation, such as `0/16B3748`."""
        return f"{self.value >> 32:X}/{self.value & 0xFFFFFFFF:X}"


@dataclass(frozen=True, slots=True)
class Counter(Scalar):
    """The value of a heartbeat row, which the primary increments and replication carries along."""


def parse_lsn(text: str) -> int:
    """Return the number of bytes that `hi/lo` stands for; ValueError if it is not that."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"not an LSN: {text!r}")
    return (int(high, 16) << 32) | int(low, 16)


def last_record_end(insert: int) -> int:
    """Round an insert LSN at a page's edge down to where the last record ended.

    `pg_current_wal_insert_lsn()` names where the *next* record will start. At a page edge that lies behind the page's
    header, a place that no standby reports before something more is written.
    """
    return insert - insert % PAGE if insert % PAGE in PAGE_HEADERS else insert
