"""Probing a new connection before it serves anything: its server may not be what it was (CORRECTNESS 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lagless.cluster import Cluster
from lagless.core.topology import Identity
from lagless.dialects.base import Heard, Row

Ask = Callable[[Sequence[str]], Row | None]
"""Runs statements on the new connection; returns the last one's first row as text."""


def greet(cluster: Cluster, node: str, ask: Ask) -> Identity | None:
    """Probe a new connection to `node`, report what it answers, and return which server it is. Raises as `ask` does."""
    declared = cluster.topology.nodes[node].declared
    sent = time.monotonic()
    helper = node in cluster.through_helper
    try:
        row = ask(cluster.dialect.probe_statements(declared, helper=helper))
    except Exception:
        cluster.through_helper.discard(node)  # it may have been dropped: the next connection asks plainly
        raise
    seen = cluster.dialect.read_probe(row, Heard(node, declared, sent, cluster.config.generation))
    if seen.position is not None or seen.unproven or cluster.topology.nodes[node].blind:
        cluster.report(replace(seen, answered=time.monotonic()))
    return seen.identity
