"""Who follows whom among MariaDB servers: the steps that take two nodes or more."""

from __future__ import annotations

from collections.abc import Sequence

from lagless.testing import _mariadb_build as build
from lagless.testing import _mariadb_replication as replication
from lagless.testing._mariadb_node import MariaDBNode
from lagless.testing._polling import until


def awake_replicas(nodes: Sequence[MariaDBNode]) -> list[MariaDBNode]:
    """Those that run, answer, and are replicas indeed: not a former primary that was left alone."""
    return [node for node in nodes if node.running and not node.frozen and node.is_replica()]


def moving(replicas: Sequence[MariaDBNode]) -> list[MariaDBNode]:
    """Those of them that are not paused either."""
    return [node for node in awake_replicas(replicas) if not replication.paused(node.status())]


def await_replayed(primary: MariaDBNode, nodes: Sequence[MariaDBNode], timeout: float) -> None:
    """Wait until these nodes show what is in the primary's log."""
    position = primary.position()
    for node in nodes:
        _await_replay(node, position, timeout)


def _await_replay(node: MariaDBNode, position: str, timeout: float) -> None:
    until(lambda: replication.reaches(node, position), f"{node.name} to replay up to {position}", timeout)


def await_streaming(nodes: Sequence[MariaDBNode]) -> None:
    """Wait until these nodes stream from their primary; RuntimeError when one's history is another one."""
    for node in nodes:
        replication.reconnect(node)
        _await_stream(node)


def _await_stream(node: MariaDBNode) -> None:
    until(lambda: replication.streaming(replication.require_history(node)), f"{node.name} to stream from its primary")


def promote(node: MariaDBNode) -> None:
    """Make a replica a primary, which takes writes when this returns."""
    if not replication.delayed(node.status()):
        replication.drain(node)
    node.server.read_only = False
    node.execute("stop slave; reset slave all; set global read_only = off")


def redirect(primary: MariaDBNode, replicas: Sequence[MariaDBNode]) -> None:
    """Have the live replicas follow a new primary."""
    followers = awake_replicas(replicas)
    for node in followers:
        node.attach(primary.host, primary.port)
    await_streaming(followers)


def rejoin(primary: MariaDBNode, target: MariaDBNode) -> None:
    """Make `target` a new replica.

    Always by a new copy: a server that was told to go on from its own position keeps what only it has, and two that
    wrote apart may count alike.
    """
    target.kill()
    build.recopy(primary.server, target.server)
    target.start()
    target.execute("set global gtid_slave_pos = @@global.gtid_binlog_pos")
    target.attach(primary.host, primary.port)
    await_streaming([target])


def heal(primary: MariaDBNode, node: MariaDBNode) -> None:
    """Make a running node a replica without lag."""
    if node.is_replica():
        _release(node)
    if not _follows(primary, node):
        rejoin(primary, node)


def _release(node: MariaDBNode) -> None:
    if replication.delayed(node.status()):
        node.set_apply_delay(0)
    node.execute("start slave")  # also the half that receives, which a test may have stopped
    replication.reconnect(node)


def _follows(primary: MariaDBNode, node: MariaDBNode) -> bool:
    if node.status().get("Master_Port") != primary.port:
        return False
    try:
        _await_stream(node)
        _await_replay(node, primary.position(), timeout=10.0)
    except (RuntimeError, TimeoutError):
        return False
    # What it wrote itself is in its own log only.
    return not replication.paused(node.status()) and not _strayed(node)


def _strayed(node: MariaDBNode) -> bool:
    try:
        until(lambda: node.position() == replication.replayed(node), f"{node.name} to have replayed its log", 1.0)
    except TimeoutError:
        return True
    return False


def retire(former: MariaDBNode, heir: MariaDBNode) -> None:
    """End a primary when its heir has all that it wrote; unlike PostgreSQL it would not send it while it ends."""
    former.execute("set global read_only = on")
    await_replayed(former, [heir], timeout=30.0)
    former.kill()
