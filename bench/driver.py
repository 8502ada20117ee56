"""Runs the contestants' processes in turn, a little of everything each round, and sums their samples up."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench.contests import Contest, Job
from bench.timing import Figure, Sample

Cell = tuple[str, str, str]
"""Group, row, column."""


@dataclass(frozen=True, slots=True)
class Results:
    """Figures by group, row and column; `plain` is the framework alone, in microseconds, by group and row."""

    figures: Mapping[Cell, Figure]
    plain: Mapping[tuple[str, str], Figure]
    versions: Mapping[str, str]


class Worker:
    """A contestant's process."""

    def __init__(self, job: Job, process: subprocess.Popen[str]) -> None:
        self.column = job.column
        self._process = process
        hello = self._hear()
        self.rows: dict[str, list[str]] = hello["can"]
        self.versions: dict[str, str] = hello["versions"]

    def measure(self, group: str, row: str) -> Sample:
        """Have it measure once."""
        if self._process.stdin is None:
            raise RuntimeError(f"{self.column} has no stdin")
        self._process.stdin.write(json.dumps([group, row]) + "\n")
        self._process.stdin.flush()
        return Sample(**self._hear())

    def _hear(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.column} ended; its traceback is above")
        return json.loads(line)


@dataclass(slots=True)
class Samples:
    """Everything that was measured."""

    found: dict[Cell, list[float]] = field(default_factory=dict)
    plain: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def add(self, cell: Cell, sample: Sample) -> None:
        """Take one worker's answer."""
        self.found.setdefault(cell, []).append(sample.value)
        if sample.plain is not None:
            self.plain.setdefault(cell[:2], []).append(sample.plain)

    def results(self) -> Results:
        """Sum up."""
        return Results(
            figures={cell: Figure.of(found) for cell, found in self.found.items()},
            plain={row: Figure.of(found) for row, found in self.plain.items()},
            versions=self.versions,
        )


def run(contests: Sequence[Contest], rounds: int, progress: Callable[[float], None]) -> Results:
    """Measure everything, `rounds` times over, one contest after the other."""
    samples = Samples()
    for number, contest in enumerate(contests):
        with _workers(contest) as workers:
            for worker in workers:
                samples.versions |= worker.versions
            for done in range(rounds):
                _round(contest, workers, samples)
                progress((number + (done + 1) / rounds) / len(contests))
    return samples.results()


def _round(contest: Contest, workers: list[Worker], samples: Samples) -> None:
    order = random.sample(workers, len(workers))
    for group in contest.groups:
        for worker in order:
            for row in worker.rows[group]:
                samples.add((group, row, worker.column), worker.measure(group, row))


@contextmanager
def _workers(contest: Contest) -> Iterator[list[Worker]]:
    with contest.jobs() as jobs, ExitStack() as stack:
        yield [Worker(job, stack.enter_context(_process(job))) for job in jobs]


@contextmanager
def _process(job: Job) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(job.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
