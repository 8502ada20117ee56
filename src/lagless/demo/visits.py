"""What the clients write down about each request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lagless.demo.pages import Fact


@dataclass(frozen=True, slots=True)
class Served:
    """What the site's own count says of one request; see `lagless.demo.tally`."""

    reads: dict[str, int] = field(default_factory=dict)
    trips: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, reads: str, trips: str) -> Served:
        """From the two headers."""
        return cls(_pairs(reads), _pairs(trips))


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of one client, from outside; times are monotonic seconds."""

    client: int
    method: str
    path: str
    started: float
    ended: float
    status: int
    error: str = ""
    stale: tuple[Fact, ...] = ()
    backward: tuple[Fact, ...] = ()
    served: Served = field(default_factory=Served)

    @property
    def complaints(self) -> list[str]:
        """What was wrong, in words."""
        found = {"stale": self.stale, "backward": self.backward}
        facts = [f"{kind}: {' '.join(fact).strip()}" for kind, wrong in found.items() for fact in wrong]
        return [self.error, *facts] if self.error else facts

    @property
    def wrote(self) -> bool:
        """Whether the databases were changed."""
        return self.served.trips.get("writes", 0) > 0

    @property
    def is_read(self) -> bool:
        """The unit of read accounting: a GET that read the databases and changed nothing."""
        return self.method == "GET" and not self.error and bool(self.served.reads) and not self.wrote

    @property
    def on_replicas(self) -> bool:
        """Whether all its reads ran on replicas."""
        return self.is_read and "primary" not in self.served.reads


def _pairs(text: str) -> dict[str, int]:
    return {name: int(count) for name, _, count in (pair.partition("=") for pair in text.split())}
