"""Says in plain words what the table shows, and whether lagless kept its promise. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lagless.demo.policies import RoutingPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lagless.demo.report import Result

SHARE = 0.95
"""How much of what an oracle could send to replicas lagless must send there."""


def broken_promises(result: Result) -> list[str]:
    """What lagless promised and did not keep; empty when it kept everything."""
    checks = {
        f"{result.errors} requests failed": result.errors > 0,
        f"{result.stale_reads} pages lacked the reader's own write": result.stale_reads > 0,
        f"{result.backward_reads} pages were older than one seen before": result.backward_reads > 0,
        f"replicas served {_of_oracle(result):.2f} of what an oracle could have sent there": _of_oracle(result) < SHARE,
        "pages read from replicas cost extra round trips": result.extra_on_replica_only_requests > 0,
        "a request cost more than one extra round trip": result.max_extra_per_request > 1,
    }
    return [promise for promise, broken in checks.items() if broken]


def sentences(results: Mapping[RoutingPolicy, Result]) -> list[str]:
    """One sentence about lagless and one about the others, as far as they took part."""
    said = [_about_lagless(results[RoutingPolicy.LAGLESS])] if RoutingPolicy.LAGLESS in results else []
    others = dict(results)
    others.pop(RoutingPolicy.LAGLESS, None)
    return said + ([_about_others(others)] if others else [])


def _about_lagless(result: Result) -> str:
    if broken := broken_promises(result):
        return f"lagless broke its promise: {'; '.join(broken)}."
    return (
        f"lagless: no stale page, none backwards, no error, with {result.replica_share:.0%} of the pages read from "
        f"replicas; a router that knew every replica's true position could have reached {result.oracle_share:.0%}."
    )


def _about_others(results: Mapping[RoutingPolicy, Result]) -> str:
    return f"The same visitors, routed otherwise: {'; '.join(_briefly(*row) for row in results.items())}."


def _briefly(name: RoutingPolicy, result: Result) -> str:
    wrong = f"{result.stale_reads} stale and {result.backward_reads} backward pages, {result.errors} errors"
    return f"{name} gave {wrong} at {result.replica_share:.0%} on replicas"


def _of_oracle(result: Result) -> float:
    return result.replica_reads / max(result.oracle_replica_reads, 1)
