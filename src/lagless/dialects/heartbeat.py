"""Heartbeat: a one-row counter table, which gives any database with replication a position.

The primary's probe increments the counter; replication carries it along in commit order. What was committed before a
capture read the value v is on every replica that shows v + 1, because that beat is committed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from lagless.core.config import CaptureMode
from lagless.core.position import Counter, History
from lagless.core.topology import Identity, Observation, Role
from lagless.dialects.base import Heard, Plain, Row

TABLE = "lagless_heartbeat"
# MySQL keeps the word "system" for itself, and lacks a select without FROM but with WHERE in its older versions.
_READ = f"select origin, beat from {TABLE} where id = 1"
_COLUMNS = "(id smallint primary key, origin varchar(32) not null, beat bigint not null)"
_ONLY_ONCE = f"where not exists (select 1 from {TABLE} where id = 1)"
_BEAT = f"update {TABLE} set beat = beat + 1 where id = 1"


class Heartbeat(Plain):
    """Any database: roles are as declared, a failover is not seen, and the primary is written to at each probe."""

    name = "heartbeat"

    def probe_statements(self, declared: Role, *, helper: bool) -> Sequence[str]:
        """Beat on the primary, read everywhere."""
        return (_BEAT, _READ) if declared is Role.PRIMARY else (_READ,)

    def read_probe(self, row: Row | None, heard: Heard) -> Observation:
        """Read the counter; no row means that setup was not run, so no position."""
        position = self._position(row, heard.generation, ahead=0)
        return Observation(
            node=heard.node,
            sent=heard.sent,
            role=heard.declared,
            position=position,
            horizon=Counter(position.history, position.value + 1) if position else None,
            identity=Identity(position.history.system) if position else None,
        )

    def capture_statement(self) -> str:
        """Read the counter on the primary."""
        return _READ

    def read_capture(self, row: Row | None, mode: CaptureMode, system: str | None, generation: int) -> Counter | None:
        """Take the next beat: it is committed after all that was committed before."""
        return self._position(row, generation, ahead=1)

    def setup_statements(self) -> Sequence[str]:
        """Create the table and its row."""
        return (
            f"create table if not exists {TABLE} {_COLUMNS}",
            f"insert into {TABLE} (id, origin, beat) select 1, '{uuid4().hex}', 0 from (select 1) as once {_ONLY_ONCE}",
        )

    @staticmethod
    def _position(row: Row | None, generation: int, *, ahead: int) -> Counter | None:
        if row is None or row[0] is None or row[1] is None:
            return None
        return Counter(History(row[0], 0, generation), int(row[1]) + ahead)
