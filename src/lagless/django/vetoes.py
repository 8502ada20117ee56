"""Why a read stays on the primary, by what only Django knows: tests, transactions, the switch."""

from __future__ import annotations

from typing import Any

from lagless.cluster import Cluster, Veto
from lagless.context import Frame
from lagless.core.selection import Reason
from lagless.django.testing import listed
from lagless.django.tracking import open_blocks


def disabled(held: Frame | None) -> Reason:  # noqa: ARG001 - a Veto
    """Keep every read on the primary: lagless is switched off."""
    return Reason.DISABLED


def for_cluster(cluster: Cluster, *, route_in_tests: bool) -> Veto:
    """Return what keeps a cluster's reads on its primary whatever the replicas hold."""
    primary = cluster.config.primary.name
    replicas = [node.name for node in cluster.config.replicas]

    def veto(held: Frame | None) -> Reason | None:
        block = open_blocks.wrappers.get(primary)
        if block is not None and not _lets_reads_out(block, cluster, held):
            return Reason.IN_TRANSACTION
        return None if route_in_tests or listed(replicas) else Reason.TEST

    return veto


def _lets_reads_out(block: Any, cluster: Cluster, held: Frame | None) -> bool:
    """Tell whether reads may leave a transaction on the primary: for a scope's sake, or by the rule for safe requests.

    That rule is for the block that ATOMIC_REQUESTS put around a safe request that wrote nothing, if no other is open.
    """
    blocks = block.atomic_blocks
    if blocks and blocks[0]._from_testcase:  # noqa: SLF001 - Django's mark for a test's own block
        return False
    scope = held.scope.within(cluster.name) if held and held.scope else None
    if scope is not None and scope.replica_only:
        return True
    footprint = held.session.footprints.get(cluster.name) if held and held.session else None
    return footprint is not None and footprint.safe_request and len(blocks) == 1
