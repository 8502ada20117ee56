"""The tables, and the same as JSON."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import decisions, gets, stacks
from bench.driver import Results
from bench.timing import Figure

COLUMNS = ("random", "multidb", "rw-router", "lagless")
METHOD = (
    "Each contestant runs in its own process over SQLite files of its own (a primary, two copies as replicas) and is "
    "measured a little in each round, in random order. A decision is the best of 5 loops, the loop included; for a "
    "first read each call gets a unit of work of its own, whose binding is subtracted. get() and requests run in pairs "
    "inside the contestant's process, plain Django (its own backend, no router, no middleware) against Django with the "
    "contestant, in alternating order, so that drift cancels; a round's value is the median of its pairs. Shown is the "
    "median of the rounds, ± half the distance of their quartiles. lagless's monitor has heard of the nodes and "
    "sleeps; one replica holds the session's write, the other does not. A dash: no such rule, or no middleware."
)
_GROUPS = {
    "decision": ("One decision, ns", decisions.ROWS),
    "get": ("Model.objects.get(pk=1) from a file, added %", gets.ROWS),
    "sync": ("One request, WSGI, added µs", stacks.ROWS),
    "async": ("One request, ASGI, added µs", stacks.ROWS),
}
_UNITS = {"decision": "ns", "get": "%", "sync": "us", "async": "us"}


def versions(results: Results) -> dict[str, str]:
    """Return what was measured, on what."""
    base = {
        "Python": platform.python_version(),
        "Django": version("django"),
        "SQLite": sqlite3.sqlite_version,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }
    return base | dict(results.versions)


def show(results: Results, console: Console) -> None:
    """Print the tables."""
    console.print("  ".join(f"{name} {number}" for name, number in versions(results).items()), highlight=False)
    for group in _GROUPS:
        console.print(_table(results, group))
    console.print(METHOD, highlight=False)


def as_json(results: Results) -> dict[str, Any]:
    """Return everything as JSON values."""
    groups: dict[str, Any] = {group: {row: {} for row in rows} for group, (_, rows) in _GROUPS.items()}
    for (group, row), figure in results.plain.items():
        groups[group][row]["plain Django"] = _figure(figure, "us")
    for (group, row, column), figure in results.figures.items():
        groups[group][row][column] = _figure(figure, _UNITS[group])
    return {"versions": versions(results), "method": METHOD, **groups}


def _figure(figure: Figure, unit: str) -> dict[str, Any]:
    return {"median": figure.median, "low": figure.low, "high": figure.high, "unit": unit}


def _table(results: Results, group: str) -> Table:
    title, rows = _GROUPS[group]
    timed = group != "decision"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", min_width=max(map(len, rows.values())))
    columns = [name for name in COLUMNS if any((group, row, name) in results.figures for row in rows)]
    for column in (*(["plain Django, µs"] if timed else []), *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for row, text in rows.items():
        alone = [_cell(results.plain[group, row], group, signed=False)] if timed else []
        found = [results.figures.get((group, row, column)) for column in columns]
        table.add_row(text, *alone, *(_cell(figure, group, signed=timed) for figure in found))
    return table


def _cell(figure: Figure | None, group: str, *, signed: bool) -> str:
    """Write a median and half the distance of its quartiles."""
    if figure is None:
        return "–"  # noqa: RUF001 - a dash for "does not apply"
    digits = 0 if group == "decision" else 1
    spread = (figure.high - figure.low) / 2
    return f"{figure.median:{'+' if signed else ''}.{digits}f} ± {spread:.{digits}f}"
