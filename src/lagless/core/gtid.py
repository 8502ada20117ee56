"""GTID positions: MySQL's sets of transactions by source, MariaDB's sequence numbers by domain and server.

Neither server tells an identifier of its cluster, so their histories bear the database's name alone: clusters that
have nothing to do with each other are kept apart by their names in lagless, and a log that was started anew (RESET, a
restore, a fresh copy under old names) by the operator's `generation`.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar
from uuid import UUID

from lagless.core.position import History, Position

MYSQL, MARIADB = "mysql", "mariadb"
"""The systems of GTID histories."""

Interval = tuple[int, int]
"""Transaction numbers from the first to the last, both included."""

Intervals = tuple[Interval, ...]
Stream = tuple[int, int]
"""MariaDB's domain and server id: sequence numbers grow within a domain, whichever server of it writes."""

Key = TypeVar("Key", str, Stream)
Held = TypeVar("Held", Intervals, int)


@dataclass(frozen=True, slots=True)
class Gtids(Generic[Key, Held]):
    """What is held of each source, sorted by source; make one with `of()`."""

    history: History
    parts: tuple[tuple[Key, Held], ...]
    by_source: dict[Key, Held] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_source", dict(self.parts))

    @classmethod
    def of(cls, history: History, held: Mapping[Key, Held]) -> Self:
        """Return the position that holds, of each source, what `held` says."""
        return cls(history, tuple(sorted(held.items())))

    def covers(self, other: Position) -> bool:
        """Tell whether every part of `other` is held; never across histories or databases."""
        if type(other) is not type(self) or other.history != self.history:
            return False
        for source, wanted in other.parts:  # routing asks this for each replica: a loop is quicker than all()
            held = self.by_source.get(source)
            if held is None or not self._contains(held, wanted):
                return False
        return True

    def knows(self, other: Position) -> bool:
        """Tell whether something is held of every source of `other`, however little."""
        return isinstance(other, Gtids) and other.by_source.keys() <= self.by_source.keys()

    def merge(self, other: Self) -> Self:
        """Return what either holds; ValueError if they are of different histories."""
        if type(other) is not type(self) or other.history != self.history:
            raise ValueError(f"positions of different histories do not merge: {self.history}, {other.history}")
        held = dict(self.by_source)
        for source, more in other.parts:
            held[source] = self._union(held[source], more) if source in held else more
        return self.of(self.history, held)

    def split(self) -> tuple[Self, ...]:
        """Return one position for each source: together they are this one."""
        return tuple(type(self)(self.history, (part,)) for part in self.parts)

    @staticmethod
    @abstractmethod
    def _contains(held: Held, wanted: Held) -> bool:
        """Tell whether one source's `wanted` is in `held`."""

    @staticmethod
    @abstractmethod
    def _union(one: Held, other: Held) -> Held:
        """Return what either holds of one source."""


@dataclass(frozen=True, slots=True)
class GtidSet(Gtids[str, Intervals]):
    """A set of MySQL's transactions; a source is a server's UUID, or `uuid:tag` (MySQL 8.3 and newer)."""

    @classmethod
    def parse(cls, history: History, text: str) -> GtidSet:
        """Read the server's notation, as in `uuid:1-5:7:tag:1-3, uuid:9`; ValueError if it is not that."""
        found: dict[str, list[Interval]] = {}
        for item in filter(None, map(str.strip, text.split(","))):
            uuid, *pieces = item.split(":")
            source = server = str(UUID(uuid.strip()))
            if not pieces:
                raise ValueError(f"no GTID set: {item!r}")
            for piece in map(str.strip, pieces):
                if piece[:1].isdigit():
                    found.setdefault(source, []).append(_interval(piece))
                else:
                    source = f"{server}:{_tag(piece)}"
        return cls.of(history, {source: joined(intervals) for source, intervals in found.items()})

    def text(self) -> str:
        """Return the server's notation on one line; a server's tags follow its own transactions."""
        servers: dict[str, list[str]] = {}
        for source, intervals in self.parts:
            server, _, tag = source.partition(":")
            written = ":".join(str(a) if a == b else f"{a}-{b}" for a, b in intervals)
            servers.setdefault(server, []).append(f"{tag}:{written}" if tag else written)
        return ",".join(f"{server}:{':'.join(written)}" for server, written in servers.items())

    def lacks(self, other: GtidSet) -> int:
        """Return how many transactions of `other` are not here."""
        return sum(_count(wanted) - _shared(self.by_source.get(source, ()), wanted) for source, wanted in other.parts)

    @staticmethod
    def _contains(held: Intervals, wanted: Intervals) -> bool:
        """Find each wanted interval's only candidate: intervals are disjoint, sorted and do not touch."""
        if len(held) == 1 and len(wanted) == 1:
            return held[0][0] <= wanted[0][0] and held[0][1] >= wanted[0][1]
        if held == wanted:
            return True
        for first, last in wanted:
            at = bisect_right(held, (first, _ENDLESS)) - 1
            if at < 0 or held[at][1] < last:
                return False
        return True

    @staticmethod
    def _union(one: Intervals, other: Intervals) -> Intervals:
        return one if one == other else joined((*one, *other))


@dataclass(frozen=True, slots=True)
class MariaGtids(Gtids[Stream, int]):
    """The last sequence number that is held of each of MariaDB's streams, and with it all before."""

    @classmethod
    def parse(cls, history: History, text: str) -> MariaGtids:
        """Read the server's notation, as in `0-1-7,0-2-9`; ValueError if it is not that."""
        return cls.of(history, sequences(text))

    def text(self) -> str:
        """Return the server's notation: domain, server, sequence number."""
        return ",".join(f"{domain}-{server}-{last}" for (domain, server), last in self.parts)

    @property
    def domains(self) -> frozenset[int]:
        """The domains, each of which has an order of its own."""
        return frozenset(domain for domain, _ in self.by_source)

    def lacks(self, other: MariaGtids) -> int:
        """Return by how many sequence numbers this is behind, all domains together.

        A server that is not known here yet writes on from where its domain stands.
        """
        reached = _by_domain(self.by_source)
        wanted = _by_domain({s: n for s, n in other.parts if self.by_source.get(s, 0) < n})
        return sum(max(1, last - reached.get(domain, 0)) for domain, last in wanted.items())

    @staticmethod
    def _contains(held: int, wanted: int) -> bool:
        return held >= wanted

    @staticmethod
    def _union(one: int, other: int) -> int:
        return max(one, other)


_ENDLESS = 2**64


def joined(intervals: Iterable[Interval]) -> Intervals:
    """Return intervals sorted and joined where they overlap or touch."""
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return tuple(found)


def sequences(text: str) -> dict[Stream, int]:
    """Read MariaDB's `domain-server-sequence,...`: the highest number of each stream. ValueError if it is not that."""
    found: dict[Stream, int] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        domain, server, last = map(_number, item.split("-"))
        found[domain, server] = max(last, found.get((domain, server), 0))
    return found


def _by_domain(held: Mapping[Stream, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for (domain, _), last in held.items():
        found[domain] = max(last, found.get(domain, 0))
    return found


def _interval(text: str) -> Interval:
    first, dash, last = text.partition("-")
    low, high = _number(first), _number(last if dash else first)
    if not 1 <= low <= high:
        raise ValueError(f"no interval of transactions: {text!r}")
    return low, high


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"not a number of a GTID: {text!r}")
    return int(text)


def _tag(text: str) -> str:
    if not (text.isascii() and text.isidentifier()):
        raise ValueError(f"not a GTID's tag: {text!r}")
    return text.lower()


def _count(intervals: Intervals) -> int:
    return sum(last - first + 1 for first, last in intervals)


def _shared(one: Intervals, other: Intervals) -> int:
    """Return how many transactions two sorted lists of intervals share."""
    shared = i = j = 0
    while i < len(one) and j < len(other):
        shared += max(0, min(one[i][1], other[j][1]) - max(one[i][0], other[j][0]) + 1)
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return shared
