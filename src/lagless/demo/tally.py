"""The count of what one request asked of the databases. Pure."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_READS = ("SELECT",)
_NEITHER = ("SAVEPOINT", "RELEASE", "ROLLBACK")


@dataclass(slots=True)
class Tally:
    """Two views of one request that must agree: what the application asked, and what the driver sent.

    `statements` are the application's, counted where it hands them to its framework's backend. `answered` are all those
    that a server answered, counted where the driver sends them. What is answered beyond the application's
    statements was added by somebody in between: an extra round trip. What is sent while a connection is being made is
    counted apart (`probes`), and what died with its connection is no round trip at all (`failed`).
    """

    reads: dict[str, int] = field(default_factory=dict)
    writes: int = 0
    statements: int = 0
    answered: int = 0
    probes: int = 0
    failed: int = 0
    connecting: bool = False
    asked: str | None = None

    @property
    def extra(self) -> int:
        """Round trips that the application did not ask for."""
        return self.answered - self.statements

    @contextmanager
    def statement(self, sql: str = "") -> Iterator[None]:
        """The application's statement `sql` is under way; what the backend sends meanwhile belongs to it.

        Without `sql`, `name()` tells it when it is known.
        """
        self.asked, before = sql, self.answered
        try:
            yield
        finally:
            sql, self.asked = self.asked, None
            # Without any answer there was no round trip: the statement fails, or is asked again elsewhere.
            self.statements += self.answered > before
            self.writes += bool(sql) and not sql.startswith(_READS + _NEITHER)

    def name(self, sql: str) -> None:
        """Tell the text of the statement that is under way, if one is; a second try of it has the same."""
        if self.asked is not None:
            self.asked = sql

    def answer(self, query: object, place: str) -> None:
        """A server answered `query`."""
        if self.connecting:
            self.probes += not _prepares(query)
            return
        self.answered += 1
        if query == self.asked and str(query).startswith(_READS):
            self.reads[place] = self.reads.get(place, 0) + 1

    def refuse(self) -> None:
        """A server answered with an error: a round trip, and no read."""
        if not self.connecting:
            self.answered += 1

    def headers(self) -> list[tuple[str, str]]:
        """As the client reads it."""
        trips = {name: getattr(self, name) for name in ("statements", "writes", "extra", "probes", "failed")}
        return [("Demo-Reads", _pairs(self.reads)), ("Demo-Trips", _pairs(trips))]


def _prepares(query: object) -> bool:
    """Whether it sets up a new connection, as Django does under every policy."""
    return str(query).startswith(("SET ", "SELECT set_config("))


def _pairs(counts: dict[str, int]) -> str:
    return " ".join(f"{name}={count}" for name, count in counts.items())
