"""The databases: a primary and two copies of it as replicas, SQLite files."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from lagless.dialects.heartbeat import TABLE, Heartbeat

PRIMARY = "default"
REPLICAS = ("replica1", "replica2")
BEATS = {"replica1": 1_000_000, "replica2": 10}
"""How far the replicas have come: one holds whatever the benchmark writes, the other not its later writes."""
WRITTEN = 1_000
"""Where the primary stands when the user of the benchmark writes."""
_SCHEMA = (
    "create table bench_page (id integer primary key, title text not null, body text not null)",
    "insert into bench_page values (1, 'A title', 'A body')",
    *Heartbeat().setup_statements(),
)


def path(folder: Path, alias: str) -> Path:
    """Return the file of an alias."""
    return folder / f"{alias}.sqlite3"


def make(folder: Path) -> None:
    """Create the primary, then copy it."""
    folder.mkdir()
    _execute(folder, PRIMARY, *_SCHEMA)
    for alias in REPLICAS:
        shutil.copy(path(folder, PRIMARY), path(folder, alias))
        beat(folder, alias, BEATS[alias])


def beat(folder: Path, alias: str, count: int) -> None:
    """Set the heartbeat of a node."""
    _execute(folder, alias, f"update {TABLE} set beat = {count}")


def _execute(folder: Path, alias: str, *statements: str) -> None:
    with closing(sqlite3.connect(path(folder, alias))) as connection, connection:
        for statement in statements:
            connection.execute(statement)
