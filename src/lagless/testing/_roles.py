"""Who follows whom: the steps that take two nodes or more."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from lagless.testing import _build
from lagless.testing import _replication as replication
from lagless.testing._connection import answers
from lagless.testing._node import PostgresNode
from lagless.testing._polling import until


def awake_replicas(nodes: Sequence[PostgresNode]) -> list[PostgresNode]:
    """Those that run, answer, and are replicas indeed: not a former primary that was left alone."""
    return [node for node in nodes if node.running and not node.frozen and node.is_replica()]


def moving(replicas: Sequence[PostgresNode]) -> list[PostgresNode]:
    """Those of them that are not paused either."""
    return [node for node in awake_replicas(replicas) if not replication.paused(node.execute)]


def create_database(primary: PostgresNode, name: str) -> None:
    """Create a database, whatever its name."""
    statement = sql.SQL("create database {}").format(sql.Identifier(name))
    with primary.connect(dbname="postgres", autocommit=True) as connection:
        connection.execute(statement)


def await_database(node: PostgresNode) -> None:
    """Wait until a replica has replayed the creation of its cluster's database."""
    until(lambda: answers(node.connect), f"{node.name} to have its database")


def await_replayed(primary: PostgresNode, nodes: Sequence[PostgresNode], timeout: float) -> None:
    """Wait until these nodes show the log up to where the primary has flushed it."""
    position = primary.flush_lsn()
    for node in nodes:
        _await_replay(node, position, timeout)


def _await_replay(node: PostgresNode, position: int, timeout: float) -> None:
    until(lambda: node.replay_lsn() >= position, f"{node.name} to replay up to {position}", timeout)


def await_streaming(primary: PostgresNode, nodes: Sequence[PostgresNode]) -> None:
    """Wait until these nodes stream the timeline that the primary writes."""
    names, timeline = {node.name for node in nodes}, primary.timeline()
    until(lambda: names <= replication.streaming(primary.execute), f"{names} to stream from {primary.name}")
    until(lambda: all(node.timeline() == timeline for node in nodes), f"{names} to follow timeline {timeline}")


def promote(node: PostgresNode) -> None:
    """Make a replica a primary; returns when it accepts writes."""
    replication.promote(node.execute, node.name)


def redirect(primary: PostgresNode, replicas: Sequence[PostgresNode]) -> None:
    """Have the live replicas follow a new primary."""
    followers = awake_replicas(replicas)
    for node in followers:
        node.follow(primary.host, primary.port)
    # A replica that holds back its replay changes over when it goes on.
    await_streaming(primary, [node for node in followers if not replication.held_back(node.execute)])


def rejoin(primary: PostgresNode, target: PostgresNode) -> None:
    """Make `target` a new replica.

    Always by a new base backup: pg_rewind takes two servers that were promoted apart, to timelines of one number,
    for one history, and is no faster on data of a test's size.
    """
    target.kill()
    _build.recopy(primary, target)
    target.start()
    await_streaming(primary, [target])


def heal(primary: PostgresNode, node: PostgresNode) -> None:
    """Make a running node a replica without lag."""
    if node.is_replica():
        _release(node)  # first, for whoever holds back its replay may not even connect
    if not _follows(primary, node):
        rejoin(primary, node)


def _release(node: PostgresNode) -> None:
    if replication.delayed(node.execute):
        node.set_apply_delay(0)
    node.resume_replay()


def _follows(primary: PostgresNode, node: PostgresNode) -> bool:
    follows = replication.ask(node.execute, "select current_setting('primary_conninfo')")
    if not node.is_replica() or follows != node.conninfo(primary.host, primary.port):
        return False
    try:  # a receiver may have to come back first
        until(lambda: node.name in replication.streaming(primary.execute), f"{node.name} to stream", timeout=1.0)
    except TimeoutError:
        return False
    return True


def retire(former: PostgresNode, _heir: PostgresNode) -> None:
    """End a primary in order, which sends all there is to its replicas; a promotion replays what was received."""
    former.stop()
