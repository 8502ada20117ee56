"""MySQL or MariaDB, whichever answers: a URL for MySQL's drivers does not say to which of the two it leads.

Each runs what stands in its own executable comments and takes the other's for plain ones, so that one statement asks
both, and the first column says who answered.
"""

from __future__ import annotations

from collections.abc import Sequence

from lagless.core.config import CaptureMode
from lagless.core.gtid import MARIADB, MYSQL
from lagless.core.position import Position
from lagless.core.topology import Observation, Role
from lagless.dialects.base import Heard, Row
from lagless.dialects.mariadb import MariaDB
from lagless.dialects.mysql import MySQL

_BY_NAME: dict[str | None, MySQL | MariaDB] = {MYSQL: MySQL(), MARIADB: MariaDB()}


class MySQLFamily:
    """What MySQL and MariaDB have in common is how they are asked who they are."""

    name = "mysql_family"

    def probe_statements(self, declared: Role, *, helper: bool) -> Sequence[str]:
        """Ask either server."""
        questions = {name: dialect.probe_statements(declared, helper=helper) for name, dialect in _BY_NAME.items()}
        return [_either({name: statements[-1] for name, statements in questions.items()})]

    def read_probe(self, row: Row | None, heard: Heard) -> Observation:
        """Read a probe's row as whoever answered."""
        dialect, rest = _told(row)
        return dialect.read_probe(rest, heard)

    def doubt_statement(self, seen: Observation) -> str | None:
        """Ask in the words of the server that was seen."""
        return _of(seen).doubt_statement(seen)

    def read_doubt(self, row: Row | None, seen: Observation) -> Observation:
        """Resolve the doubt."""
        return _of(seen).read_doubt(row, seen)

    def capture_statement(self) -> str:
        """Ask either server for its position."""
        return _either({name: dialect.capture_statement() for name, dialect in _BY_NAME.items()})

    def read_capture(self, row: Row | None, mode: CaptureMode, system: str | None, generation: int) -> Position | None:
        """Read a capture's row as whoever answered."""
        if row is None:
            return None
        dialect, rest = _told(row)
        return dialect.read_capture(rest, mode, system, generation)

    def tracking_statement(self) -> str | None:
        """Have commits name their GTIDs, by either server's variable."""
        said = {name: dialect.tracking_statement() or "" for name, dialect in _BY_NAME.items()}
        return _commented({name: text.removeprefix("set session ") for name, text in said.items()}, "set session")

    def own_position(self, gtid: str, generation: int) -> Position | None:
        """Read a GTID: MySQL's begins with a UUID, MariaDB's is three numbers."""
        return _BY_NAME[MYSQL if ":" in gtid else MARIADB].own_position(gtid, generation)

    def config_statement(self) -> str | None:
        """Ask either server for its settings."""
        return _either({name: dialect.config_statement() or "select null" for name, dialect in _BY_NAME.items()})

    def read_config(self, row: Row | None, role: Role) -> Sequence[str]:
        """Read the settings of whoever answered."""
        dialect, rest = _told(row)
        return dialect.read_config(rest, role)

    def setup_statements(self) -> Sequence[str]:
        """Install nothing: any role may read these positions."""
        return ()


def _either(questions: dict[str | None, str]) -> str:
    """Return one SELECT for both servers; its first column is the name of the one that answers."""
    columns = {name: f"'{name}', {question.removeprefix('select ')}" for name, question in questions.items()}
    return _commented(columns, "select")


def _commented(parts: dict[str | None, str], verb: str) -> str:
    return f"{verb} /*M! {parts[MARIADB]} */ /*!80000 {parts[MYSQL]} */"


def _told(row: Row | None) -> tuple[MySQL | MariaDB, Row]:
    """Return the dialect of the server that answered, and the rest of the row. Raises ValueError."""
    if row is None or row[0] not in _BY_NAME:
        raise ValueError("neither MySQL 8.0 or newer nor MariaDB answered")
    return _BY_NAME[row[0]], row[1:]


def _of(seen: Observation) -> MySQL | MariaDB:
    return _BY_NAME[seen.identity.system if seen.identity else MYSQL]
