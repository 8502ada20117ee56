"""Leaves the site up, for somebody to click around in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich.console import Console

from lagless.demo import stage
from lagless.demo.databases import DemoDatabase, database_named
from lagless.demo.policies import RoutingPolicy
from lagless.demo.server import HOST, serve
from lagless.demo.stacks import stack_for

if TYPE_CHECKING:
    from lagless.demo.options import Options


def keep_open(options: Options) -> None:
    """Serve the one policy that was asked for, else lagless, until Ctrl-C."""
    console = Console()
    policy = options.policies[0] if len(options.policies) == 1 else RoutingPolicy.LAGLESS
    database, stack = database_named(options.database), stack_for(options)
    with database.cluster, serve(stage.set_up(database, stack, policy), stack) as port:
        _announce(console, database, f"http://{HOST}:{port}/", policy)
        _wait(console)


def _announce(console: Console, database: DemoDatabase, url: str, policy: RoutingPolicy) -> None:
    behind, again = database.pausing
    lines = [
        f"The board is open at {url}, routed by {policy}. Ctrl-C closes it.",
        *(f"  {node.name:<9} {database.shell(node)}" for node in database.cluster.nodes),
        f"Let a replica fall behind: {behind} let it catch up: {again}",
    ]
    console.print("\n".join(lines), soft_wrap=True, highlight=False)


def _wait(console: Console) -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Closed.")
