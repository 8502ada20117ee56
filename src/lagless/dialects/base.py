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

    def doubt_statement(self, seen: Observation) -> str | None:
        """Return the question that tells a promoted server from a replica that takes writes; None without doubt."""

    def read_doubt(self, row: Row | None, seen: Observation) -> Observation:
        """Return `seen` with the doubt resolved, as far as the answer (None: no row) resolves it."""

    def capture_statement(self) -> str:
        """Return the query that learns the primary's position after a commit: one round trip."""

    def read_capture(self, row: Row | None, mode: CaptureMode, system: str | None, generation: int) -> Position | None:
        """Return the position of everything committed before the capture; None if it cannot be told."""

    def tracking_statement(self) -> str | None:
        """Return what makes a session's commits name their own GTIDs (`session_track.own_gtid`); None if nothing."""

    def own_position(self, gtid: str, generation: int) -> Position | None:
        """Return the position of one own GTID; None for a text that is none, or where there are no GTIDs."""

    def config_statement(self) -> str | None:
        """Return the query, one row, of the server settings on which the promise rests; None if there are none."""

    def read_config(self, row: Row | None, role: Role) -> Sequence[str]:
        """Return what is wrong with a server's settings in its role, each with the fix; nothing if nothing is."""

    def setup_statements(self) -> Sequence[str]:
        """Return the statements, run once on the primary by a privileged user, that install what probes need."""


class Plain:
    """The answers of a dialect whose servers are never in doubt, have no GTIDs and no settings to check."""

    def doubt_statement(self, seen: Observation) -> str | None:
        """Return None: the server says which role it has."""
        return None

    def read_doubt(self, row: Row | None, seen: Observation) -> Observation:
        """Return what was seen."""
        return seen

    def tracking_statement(self) -> str | None:
        """Return None: commits name nothing."""
        return None

    def own_position(self, gtid: str, generation: int) -> Position | None:
        """Return None: there are no GTIDs."""
        return None

    def config_statement(self) -> str | None:
        """Return None: there is nothing to check."""
        return None

    def read_config(self, row: Row | None, role: Role) -> Sequence[str]:
        """Return nothing."""
        return ()
