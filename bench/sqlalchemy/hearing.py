"""What lagless knows of the servers while it is measured: one replica holds the user's write, the other does not."""

from __future__ import annotations

import psycopg

from bench.files import REPLICAS
from bench.sqlalchemy.servers import LEADER, Urls
from bench.units import wait
from lagless.cluster import Cluster
from lagless.core.session import Mark
from lagless.edge import default_signer

_HOLDING, _BEHIND = REPLICAS


def stay_behind(urls: Urls) -> None:
    """Stop the second replica's replay for good: what is written from now on shows on the other one alone."""
    with psycopg.connect(urls[_BEHIND], autocommit=True) as behind:
        behind.execute("select pg_wal_replay_pause()")
        wait(lambda: behind.execute("select pg_get_wal_replay_pause_state()").fetchone() == ("paused",))


def hear(cluster: Cluster, urls: Urls) -> str:
    """Let the monitor hear of the nodes, then write; return the token of the user who has written."""
    cluster.start()
    wait(lambda: all(state.alive for state in cluster.topology.nodes.values()))
    before = cluster.topology.primary_state.position
    with psycopg.connect(urls[LEADER], autocommit=True) as leader:
        leader.execute("insert into bench_visit (note) values ('of the user')")
    cluster.monitor.hurry()
    wait(lambda: cluster.topology.primary_state.position != before)
    written = cluster.topology.primary_state.position
    wait(lambda: _holds(cluster, _HOLDING, written))
    if _holds(cluster, _BEHIND, written):
        raise RuntimeError(f"{_BEHIND} was to stay behind, and did not")
    return default_signer().seal([Mark(cluster=cluster.name, written=written, nodes=frozenset([_HOLDING]))])


def _holds(cluster: Cluster, node: str, written: object) -> bool:
    cluster.monitor.hurry(node)
    position = cluster.topology.nodes[node].position
    return position is not None and position.covers(written)
