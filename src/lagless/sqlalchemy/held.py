"""What is known of one physical connection: whose writes are open in it, who uses it, what its server told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lagless.core.session import Footprint
from lagless.inflight import Line
from lagless.tracking import Writes


class Guard(Protocol):
    """Lets one at a time use a connection."""

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as a lock has it
        """Take it; False if it is taken, and that was not to be waited for."""

    def release(self) -> None:
        """Give it back."""


class Flag:
    """A guard among the tasks of one event loop, whose drivers keep statements apart by themselves."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = False

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as a lock has it
        """Take it, whoever has it, unless that is to be respected."""
        if self._taken and not blocking:
            return False
        self._taken = True
        return True

    def release(self) -> None:
        """Give it back."""
        self._taken = False


class Shown:
    """Whether a transaction has got rows from a replica; it outlives the connection, which may be lost."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = False


def _never() -> bool:
    return False


class Held:
    """What is known of one physical connection, kept in its `info`.

    `guard` is taken while a statement runs; `was_promoted` tells what the connection itself knows of its server;
    `running` tells whether the session that chose this replica can run a statement elsewhere; `stands` says that
    something was done that no rollback undoes; `told` are the units of work whose writes the last commit held, and how
    often each had read the primary when it was sent.
    """

    __slots__ = (
        *("committing", "counted", "dead", "greeted", "guard", "is_new", "line", "routed", "running", "shown"),
        *("stands", "streaming", "system", "told", "was_promoted", "writes"),
    )

    def __init__(self, line: Line | None, guard: Guard, was_promoted: Callable[[], bool] = _never) -> None:
        self.writes = Writes()
        self.line = line
        self.guard = guard
        self.was_promoted = was_promoted
        self.running: Callable[[], bool] | None = None
        self.shown: Shown | None = None
        self.system: str | None = None
        self.told: dict[Footprint, int] = {}
        self.is_new = True
        self.greeted = self.dead = False
        self.committing = self.counted = False
        self.let_go()

    def let_go(self) -> None:
        """Forget what belonged to a transaction."""
        self.routed = self.streaming = self.stands = False
        self.running = self.shown = None

    def undone(self) -> None:
        """Say that the transaction was rolled back. What stands all the same is settled like any write."""
        if self.stands:
            self.writes.committed()
        else:
            self.writes.cancelled()
        self.stands = False
