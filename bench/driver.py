"""Runs the contestants' processes in turn, a little of everything each round, and sums their samples up."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import files
from bench.contestants import CONTESTANTS
from bench.timing import Figure, Sample

GROUPS = ("decision", "get", "sync", "async")
Cell = tuple[str, str, str]
"""Group, row, column."""


@dataclass(frozen=True, slots=True)
class Results:
    """Figures by group, row and column; `plain` is Django alone, in microseconds, by group and row."""

    figures: Mapping[Cell, Figure]
    plain: Mapping[tuple[str, str], Figure]
    versions: Mapping[str, str]


class Worker:
    """A contestant's process."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.column = CONTESTANTS[name].column
        self._process = process
        hello = self._hear()
        self.rows: dict[str, list[str]] = hello["can"]
        self.versions: dict[str, str] = hello["versions"]

    def measure(self, group: str, row: str) -> Sample:
        """Have it measure once."""
        if self._process.stdin is None:
            raise RuntimeError(f"{self.name} has no stdin")
        self._process.stdin.write(json.dumps([group, row]) + "\n")
        self._process.stdin.flush()
        return Sample(**self._hear())

    def _hear(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.name} ended; its traceback is above")
        return json.loads(line)


@dataclass(slots=True)
class Samples:
    """Everything that was measured."""

    found: dict[Cell, list[float]] = field(default_factory=dict)
    plain: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, cell: Cell, sample: Sample) -> None:
        """Take one worker's answer."""
        self.found.setdefault(cell, []).append(sample.value)
        if sample.plain is not None:
            self.plain.setdefault(cell[:2], []).append(sample.plain)

    def results(self, versions: Mapping[str, str]) -> Results:
        """Sum up."""
        return Results(
            figures={cell: Figure.of(found) for cell, found in self.found.items()},
            plain={row: Figure.of(found) for row, found in self.plain.items()},
            versions=versions,
        )


def run(rounds: int, progress: Callable[[float], None]) -> Results:
    """Measure everything, `rounds` times over."""
    with _workers() as workers:
        samples, order = Samples(), list(workers)
        for number in range(rounds):
            random.shuffle(order)
            for group in GROUPS:
                for worker in order:
                    for row in worker.rows[group]:
                        samples.add((group, row, worker.column), worker.measure(group, row))
            progress((number + 1) / rounds)
        versions = {name: found for worker in workers for name, found in worker.versions.items()}
    return samples.results(versions)


@contextmanager
def _workers() -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lagless-bench-")))
        for name in CONTESTANTS:
            files.make(folder / name)
        yield [Worker(name, stack.enter_context(_process(name, folder / name))) for name in CONTESTANTS]


@contextmanager
def _process(name: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.worker", name, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
