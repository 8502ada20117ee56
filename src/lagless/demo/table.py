"""Draws the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lagless.demo.policies import RoutingPolicy
    from lagless.demo.report import Result

_COLUMNS = (
    "requests",
    "errors",
    "stale",
    "backward",
    "replica\nshare",
    "oracle\nshare",
    "p50\nms",
    "p99\nms",
    "extra\ntrips",
)


def draw(results: Mapping[RoutingPolicy, Result]) -> Table:
    """One row for each policy."""
    table = Table(
        title="The same visitors, seed and lag under each policy",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,  # so that it fits into 80 columns
    )
    table.add_column("policy", style="bold", no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for policy, result in results.items():
        table.add_row(policy, *_cells(result))
    return table


def _cells(result: Result) -> tuple[str, ...]:
    return (
        str(result.requests),
        _alarming(result.errors),
        _alarming(result.stale_reads),
        _alarming(result.backward_reads),
        f"{result.replica_share:.2f}",
        f"{result.oracle_share:.2f}",
        f"{result.p50_ms:.0f}",
        f"{result.p99_ms:.0f}",
        str(result.extra_round_trips),
    )


def _alarming(count: int) -> str:
    return f"[red]{count}[/red]" if count else "[green]0[/green]"
