"""The tables, and the same as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import decisions, gets, handlers
from bench.driver import Results
from bench.sqlalchemy import binds, calls
from bench.timing import Figure

COLUMNS = ("plain", "random", "multidb", "rw-router", "recipe", "lagless")
METHOD = (
    "Each contestant runs in its own process over SQLite files of its own (a primary, two copies as replicas) and is "
    "measured a little in each round, in random order. A decision is the best of 5 loops, the loop included; for a "
    "first read each call gets a unit of work of its own, whose binding is subtracted. get() and requests run in pairs "
    "inside the contestant's process, plain Django (its own backend, no router, no middleware) against Django with the "
    "contestant, in alternating order, so that drift cancels; a round's value is the median of its pairs. Shown is the "
    "median of the rounds, ± half the distance of their quartiles. lagless's monitor has heard of the nodes and "
    "sleeps; one replica holds the session's write, the other does not. A dash: no such rule, or no middleware."
)
SQLALCHEMY = (
    "Over a PostgreSQL primary and two streaming replicas on this machine (no fsync, files in memory), each contestant "
    "in its own process: plain SQLAlchemy, which reads the primary; the recipe; lagless. get_bind is timed as a Django "
    "decision is. Calls and requests run in pairs inside the contestant's process, plain against contestant on "
    "connections of their own, in alternating order. Requests are raw WSGI and ASGI calls."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One table: its rows by name, its unit, and what the column of the framework alone is called."""

    title: str
    rows: Mapping[str, str]
    unit: str
    plain: str | None = None


_DJANGO, _PLAIN = "plain Django", "plain"
_GROUPS = {
    "decision": Group(title="One decision, ns", rows=decisions.ROWS, unit="ns"),
    "get": Group(title="Model.objects.get(pk=1) from a file, added %", rows=gets.ROWS, unit="%", plain=_DJANGO),
    "sync": Group(title="One request, WSGI, added µs", rows=handlers.ROWS, unit="us", plain=_DJANGO),
    "async": Group(title="One request, ASGI, added µs", rows=handlers.ROWS, unit="us", plain=_DJANGO),
    "bind": Group(title="SQLAlchemy: one get_bind(mapper, clause=select), ns", rows=binds.ROWS, unit="ns"),
    "call": Group(title="SQLAlchemy over psycopg, added %", rows=calls.ROWS, unit="%", plain=_PLAIN),
    "await": Group(title="SQLAlchemy over asyncpg, added %", rows=calls.ROWS, unit="%", plain=_PLAIN),
    "fastapi": Group(title="One request, FastAPI over asyncpg, added µs", rows=handlers.ROWS, unit="us", plain=_PLAIN),
    "flask": Group(title="One request, Flask over psycopg, added µs", rows=handlers.ROWS, unit="us", plain=_PLAIN),
}


def versions(results: Results) -> dict[str, str]:
    """Return what was measured, on what."""
    base = {
        "Python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }
    return base | dict(results.versions)


def show(results: Results, console: Console) -> None:
    """Print the tables."""
    console.print("  ".join(f"{name} {number}" for name, number in versions(results).items()), highlight=False)
    for name in _measured(results):
        console.print(_table(results, name, _GROUPS[name]))
    for method in _methods(results):
        console.print(method, highlight=False)


def as_json(results: Results) -> dict[str, Any]:
    """Return everything as JSON values."""
    groups: dict[str, Any] = {name: {row: {} for row in _GROUPS[name].rows} for name in _measured(results)}
    for (name, row), figure in results.plain.items():
        groups[name][row][_GROUPS[name].plain] = _figure(figure, "us")
    for (name, row, column), figure in results.figures.items():
        groups[name][row][column] = _figure(figure, _GROUPS[name].unit)
    return {"versions": versions(results), "method": " ".join(_methods(results)), **groups}


def _measured(results: Results) -> list[str]:
    found = {group for group, _, _ in results.figures}
    return [name for name in _GROUPS if name in found]


def _methods(results: Results) -> list[str]:
    found = _measured(results)
    return [method for name, method in (("decision", METHOD), ("bind", SQLALCHEMY)) if name in found]


def _figure(figure: Figure, unit: str) -> dict[str, Any]:
    return {"median": figure.median, "low": figure.low, "high": figure.high, "unit": unit}


def _table(results: Results, name: str, group: Group) -> Table:
    table = Table(title=group.title, title_justify="left", title_style="bold")
    table.add_column("", min_width=max(map(len, group.rows.values())))
    columns = [column for column in COLUMNS if any((name, row, column) in results.figures for row in group.rows)]
    for column in (*([f"{group.plain}, µs"] if group.plain else []), *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for row, text in group.rows.items():
        alone = [_cell(results.plain[name, row], group, signed=False)] if group.plain else []
        found = [results.figures.get((name, row, column)) for column in columns]
        table.add_row(text, *alone, *(_cell(figure, group, signed=bool(group.plain)) for figure in found))
    return table


def _cell(figure: Figure | None, group: Group, *, signed: bool) -> str:
    """Write a median and half the distance of its quartiles."""
    if figure is None:
        return "–"  # noqa: RUF001 - a dash for "does not apply"
    digits = 0 if group.unit == "ns" else 1
    spread = (figure.high - figure.low) / 2
    return f"{figure.median:{'+' if signed else ''}.{digits}f} ± {spread:.{digits}f}"
