"""What MySQL and MariaDB share: who is in doubt, and how replication's own status resolves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lagless.core.topology import Observation, Role
from lagless.dialects.base import Row

WRITABLE_REPLICA = (
    "read_only is OFF on a replica: a write that strays there is missing everywhere else, and the replica may be taken "
    "for a primary; set read_only=ON (MySQL: super_read_only=ON) there and in its configuration file"
)


class Gtid:
    """A server tells that it takes writes, not whether it should: a promoted replica and a careless one look alike.

    So a declared replica that takes writes is a replica with a claim (`Observation.claim`), until the status of its
    replication has been asked for. Electing it for being writable would split the brain when the primary dies.
    """

    status = ""
    """The statement that has a row for each source that this server replicates from."""
    receiver = 0
    """The column of that row that tells whether its receiving thread runs."""

    def doubt_statement(self, seen: Observation) -> str | None:
        """Ask whether a server that claims to be the primary replicates from another."""
        return self.status if seen.claim else None

    def read_doubt(self, row: Row | None, seen: Observation) -> Observation:
        """Without a source it is a primary; with one that it receives from, a replica.

        A stopped receiver leaves it open: operators promote by stopping it, and stop it for repairs.
        """
        if row is None:
            return seen.claim or seen
        if row[self.receiver] == "No":
            return seen
        return replace(seen, claim=None)

    def setup_statements(self) -> Sequence[str]:
        """Install nothing: any role may read these positions."""
        return ()


def is_on(value: str | None) -> bool:
    """Tell whether a system variable is on, however the driver or the server writes it."""
    return value is not None and value.lower() not in {"", "0", "off", "no", "false"}


def refuse_demoted(read_only: str) -> None:
    """Raise ValueError for the position of a server that takes no writes: it was the primary, and is none any more."""
    if is_on(read_only):
        raise ValueError("it takes no writes")


def checked(row: Row | None, columns: int) -> list[str]:
    """Return a row's values, NULL as "". Raises ValueError unless it has so many `columns`."""
    if row is None or len(row) != columns:
        raise ValueError(f"an answer of {columns} columns was expected")
    return [value or "" for value in row]


def role_in(declared: Role, *, writable: bool) -> Role:
    """Return the role that a server has until more is known: what takes no writes is no primary."""
    return declared if writable else Role.REPLICA
