"""The port between the runtime and a database: statements out, rows of text in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lagless.core.config import CaptureMode
from lagless.core.position import Position
from lagless.core.topology import Observation, Role

Row = Sequence[str | None]
"""One row of an answer, every value as text."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Who was asked, in which declared role, when (monotonic seconds), in which generation."""

    node: str
    declared: Role
    sent: float
    generation: int


class Dialect(Protocol):
    """What to ask and how to read the answer."""

    name: str

    def probe_statements(self, declared: Role, *, helper: bool) -> Sequence[str]:
        """Return the statements of a probe; the last one's row is the answer. `helper`: through what setup made."""

    def read_probe(self, row: Row | None, heard: Heard) -> Observation:
        """Return what a probe's answer says. Raises ValueError for a row that is no answer."""

    def capture_statement(self) -> str:
        """Return the query that learns the primary's position after a commit: one round trip."""

    def read_capture(self, row: Row | None, mode: CaptureMode, system: str | None, generation: int) -> Position | None:
        """Return the position of everything committed before the capture; None if it cannot be told."""

    def setup_statements(self) -> Sequence[str]:
        """Return the statements, run once on the primary by a privileged user, that install what probes need."""
