"""Which statements of a connection to the primary are writes, and when their transaction is over."""

from __future__ import annotations

from lagless.cluster import Cluster, cluster_named
from lagless.context import current
from lagless.core.session import Footprint
from lagless.dialects.statements import may_write


class Writes:
    """Counts the writes that go through one connection into the footprint of the unit of work that sent them."""

    __slots__ = ("_writers",)

    def __init__(self) -> None:
        self._writers: list[Footprint] = []  # more than one only where sessions nest inside one transaction

    @property
    def pending(self) -> bool:
        """Whether a counted write's transaction is still open."""
        return bool(self._writers)

    @property
    def writers(self) -> list[Footprint]:
        """The units of work whose writes are in the open transaction."""
        return list(self._writers)

    def before(self, footprint: Footprint, sql: str) -> bool:
        """Count a statement that may write, before it is sent; tell whether this call counted it."""
        return may_write(sql) and self.count(footprint)

    def count(self, footprint: Footprint) -> bool:
        """Count a write once a transaction."""
        if any(writer is footprint for writer in self._writers):
            return False
        footprint.begin_write()
        self._writers.append(footprint)
        return True

    def after(
        self, footprint: Footprint, *, counted: bool, wrote: bool, showed_rows: bool, open_transaction: bool
    ) -> None:
        """Take what the driver says of a statement that ran."""
        if wrote:
            self.count(footprint)
        elif counted:
            self._writers.remove(footprint)
            footprint.cancel_write()
        if showed_rows and not wrote:
            footprint.saw_primary()
        if not open_transaction:
            self.committed()

    def committed(self, *, in_doubt: bool = False) -> None:
        """The transaction is over."""
        while self._writers:
            self._writers.pop().end_write(in_doubt=in_doubt)

    def cancelled(self) -> None:
        """The transaction was rolled back, or the statement was no write after all."""
        while self._writers:
            self._writers.pop().cancel_write()


def tracked_footprint(cluster: Cluster) -> Footprint | None:
    """Return the running unit's footprint in `cluster`, None where nothing is to be followed."""
    held = current()
    if held is None or held.session is None or not cluster.tracks:
        return None
    return held.session.of(cluster.name)


def mark_written(cluster: str = "default") -> None:
    """Say that this unit of work wrote where it cannot be seen: `SELECT a_function_that_writes()`, another library.

    Reads go to the primary from here on, and the position is learned at the end.
    """
    held, known = current(), cluster_named(cluster)
    if held is not None and held.session is not None and known is not None:
        footprint = held.session.of(cluster)
        footprint.begin_write()
        footprint.end_write()
