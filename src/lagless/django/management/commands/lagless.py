"""`manage.py lagless status | explain | setup`."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from lagless.cluster import Cluster
from lagless.core.topology import NodeState
from lagless.django.registry import registry
from lagless.edge import session
from lagless.errors import ConfigurationError

HEAR_SECONDS = 3.0


class Command(BaseCommand):
    """What lagless knows, what it would do, and what it needs installed."""

    help = "Show what lagless knows of the servers, explain a read, or install what its probes need."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the actions."""
        parser.add_argument("action", choices=["status", "explain", "setup"])
        parser.add_argument("--cluster", help="only this cluster; default: all")
        parser.add_argument("--token", help="explain: the token of the session to explain, as its cookie holds it")
        parser.add_argument("--print", action="store_true", help="setup: print the statements instead of running them")

    def handle(self, *_: Any, **options: Any) -> None:
        """Run one action."""
        try:
            known = registry()
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        wanted = options["cluster"]
        if wanted is not None and wanted not in known.clusters:
            raise CommandError(f"no cluster {wanted!r}; there are {', '.join(sorted(known.clusters)) or 'none'}")
        if not known.enabled:
            self.stdout.write("lagless is switched off (LAGLESS_ENABLED): everything goes to the primary")
        for cluster in known.clusters.values():
            if wanted in (None, cluster.name):
                getattr(self, f"_{options['action']}")(cluster, options)

    def _status(self, cluster: Cluster, options: dict[str, Any]) -> None:
        _hear(cluster)
        self.stdout.write(f"cluster {cluster.name}: level {cluster.config.level}, primary {cluster.topology.primary}")
        for state in cluster.topology.nodes.values():
            self.stdout.write("  " + _line(state))

    def _explain(self, cluster: Cluster, options: dict[str, Any]) -> None:
        _hear(cluster)
        with session(options["token"]):
            decision = cluster.explain()
        self.stdout.write(f"cluster {cluster.name}: a read would go to {decision.node}: {decision.reason}")
        for name, why in decision.refused.items():
            self.stdout.write(f"  not {name}: {why}")

    def _setup(self, cluster: Cluster, options: dict[str, Any]) -> None:
        statements = cluster.dialect.setup_statements()
        if options["print"]:
            self.stdout.write("\n".join(f"{statement};" for statement in statements))
            return
        with connections[cluster.config.primary.name].cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        self.stdout.write(f"cluster {cluster.name}: installed what {cluster.dialect.name} probes need")


def _hear(cluster: Cluster) -> None:
    """Start probing and wait until every node has answered or failed to."""
    cluster.start()
    deadline = time.monotonic() + HEAR_SECONDS
    while time.monotonic() < deadline and not all(s.heard for s in cluster.topology.nodes.values()):
        time.sleep(0.01)
    time.sleep(2 * cluster.config.idle_interval)  # a second look, so that lag is known


def _line(state: NodeState) -> str:
    if not state.heard:
        return f"{state.name:<12} not heard from"
    if state.error is not None:
        return f"{state.name:<12} down: {state.error}"
    position = state.position.text() if state.position else "unknown"
    timeline = f" timeline {state.position.history.timeline}" if state.position else ""
    fresh = state.sent - state.fresh_at
    lag = f" holds all of {max(0.0, fresh):.1f} s ago" if fresh < float("inf") else " lag unknown"
    return f"{state.name:<12} {state.role or '?':<8} {position}{timeline}{lag}{' ambiguous' if state.ambiguous else ''}"
