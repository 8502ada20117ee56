"""The contests: who competes in what, and how their processes are started."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import files
from bench.contestants import CONTESTANTS


@dataclass(frozen=True, slots=True)
class Job:
    """A contestant's process: its command, and the column of what it finds."""

    column: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contest:
    """Contestants that are measured side by side; their servers live as long as `jobs()` is open."""

    groups: tuple[str, ...]
    jobs: Callable[[], AbstractContextManager[list[Job]]]


@contextmanager
def _django() -> Iterator[list[Job]]:
    with tempfile.TemporaryDirectory(prefix="lagless-bench-") as made:
        folder = Path(made)
        for name in CONTESTANTS:
            files.make(folder / name)
        yield [Job(each.column, _module("bench.worker", name, folder / name)) for name, each in CONTESTANTS.items()]


@contextmanager
def _sqlalchemy() -> Iterator[list[Job]]:
    from bench.sqlalchemy.contestants import CONTESTANTS
    from bench.sqlalchemy.servers import servers

    with servers() as urls:
        yield [Job(name, _module("bench.sqlalchemy.worker", name, json.dumps(urls))) for name in CONTESTANTS]


def _module(name: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *map(str, arguments))


CONTESTS = {
    "django": Contest(("decision", "get", "sync", "async"), _django),
    "sqlalchemy": Contest(("bind", "call", "await", "fastapi", "flask"), _sqlalchemy),
}
