"""What a MariaDB node is asked and told about replication, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lagless.testing._kept import Parameters, Row
from lagless.testing._mariadb_build import REPLICATION_USER
from lagless.testing._polling import until

Status = Mapping[str, Any]
"""The row of SHOW SLAVE STATUS; empty on a server that follows nobody."""

_HISTORY_ENDS = (1236, 1950)  # the primary lacks what this server has; this server has what comes again


class Replica(Protocol):
    """What these functions need of a node."""

    name: str

    def execute(self, sql: str, params: Parameters | None = None, /) -> list[Row]:
        """Run a statement as an administrator."""

    def status(self) -> Status:
        """What the server says of its replication."""


def written(node: Replica) -> str:
    """The position of what is in this node's own log."""
    return str(node.execute("select @@global.gtid_binlog_pos")[0][0])


def replayed(node: Replica) -> str:
    """The position of what this node has shown of others' logs."""
    return str(node.execute("select @@global.gtid_slave_pos")[0][0])


def paused(status: Status) -> bool:
    """Whether replay was stopped, not by an error."""
    return bool(status) and status["Slave_SQL_Running"] == "No" and not status["Last_SQL_Errno"]


def delayed(status: Status) -> bool:
    """Whether an apply delay is in force."""
    return bool(status.get("SQL_Delay"))


def streaming(status: Status) -> bool:
    """Whether a primary sends its log; until it does, it has not named a file of it."""
    return bool(status) and status["Slave_IO_Running"] == "Yes" and bool(status["Master_Log_File"])


def require_history(node: Replica) -> Status:
    """The status of a node, unless its history is none of its primary's: then RuntimeError."""
    status = node.status()
    errors = {status.get("Last_IO_Errno"), status.get("Last_SQL_Errno")}
    if not errors.isdisjoint(_HISTORY_ENDS):
        raise RuntimeError(f"{node.name} cannot follow, its history is another one: rejoin() it")
    return status


def set_apply_delay(node: Replica, seconds: int) -> None:
    """Hold every transaction back for so long; a pause stays."""
    _change(node, f"master_delay = {seconds}")


def follow(node: Replica, host: str, port: int, secret: str) -> None:
    """Replicate from another server, from where this one is; a pause and a delay stay."""
    _change(
        node,
        f"master_host = '{host}', master_port = {port}, master_user = '{REPLICATION_USER}', "
        f"master_password = '{secret}', master_use_gtid = slave_pos, master_connect_retry = 1, "
        "master_heartbeat_period = 1",
    )


def _change(node: Replica, how: str) -> None:
    threads = "io_thread" if paused(node.status()) else ""
    node.execute(f"stop slave; set global read_only = on; change master to {how}; start slave {threads}")


def reconnect(node: Replica) -> None:
    """Have a replica that waits to try its primary again try at once."""
    if node.status().get("Slave_IO_Running") == "Connecting":
        node.execute("stop slave io_thread; start slave io_thread")


def shows(node: Replica, position: str) -> bool:
    """Whether a node has replayed as many transactions as `position` counts."""
    return bool(node.execute("select master_gtid_wait(%s, 0.01)", [position]) == [(0,)])


def reaches(node: Replica, position: str) -> bool:
    """Whether a node shows `position`; RuntimeError when it never will."""
    require_history(node)
    if not shows(node, position):
        return False
    # The server only counts and does not look who wrote.
    if forked(replayed(node), position):
        raise RuntimeError(f"{node.name} shows {replayed(node)} where its primary has {position}: rejoin() it")
    return True


def forked(one: str, other: str) -> bool:
    """Whether two positions name different transactions of one number."""
    ones, others = _by_domain(one), _by_domain(other)
    return any(ones[domain][1] == gtid[1] and ones[domain] != gtid for domain, gtid in others.items() if domain in ones)


def _by_domain(position: str) -> dict[str, tuple[str, str]]:
    gtids = [gtid.split("-") for gtid in position.split(",") if gtid]
    return {domain: (server, number) for domain, server, number in gtids}


def drain(node: Replica) -> None:
    """Replay what was received, and take no more."""
    # In this order: a server whose threads have both stopped throws away what it received.
    node.execute("start slave sql_thread; stop slave io_thread")
    received = str(node.status()["Gtid_IO_Pos"])
    done = lambda: shows(node, received) or node.status()["Slave_SQL_Running"] == "No"  # noqa: E731 - reads best
    until(done, f"{node.name} to replay what it received", timeout=30.0)
