"""Leaves the site up, for somebody to click around in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich.console import Console

from lagless.demo import stage
from lagless.demo.server import HOST, serve
from lagless.testing import PostgresCluster

if TYPE_CHECKING:
    from lagless.demo.options import ServerKind
    from lagless.demo.policies import RoutingPolicy


def keep_open(policy: RoutingPolicy, kind: ServerKind) -> None:
    """Serve until Ctrl-C."""
    console = Console()
    with PostgresCluster(replicas=2) as cluster:
        stage.prepare(cluster)
        with serve(stage.set_up(cluster, policy, kind), kind) as port:
            _announce(console, cluster, f"http://{HOST}:{port}/", policy)
            _wait(console)


def _announce(console: Console, cluster: PostgresCluster, url: str, policy: RoutingPolicy) -> None:
    lines = [
        f"The board is open at {url}, routed by {policy}. Ctrl-C closes it.",
        *(f"  {node.name:<9} {node.dsn}" for node in cluster.nodes),
        "Let a replica fall behind: select pg_wal_replay_pause(); let it catch up: select pg_wal_replay_resume();",
    ]
    console.print("\n".join(lines), soft_wrap=True, highlight=False)


def _wait(console: Console) -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Closed.")
