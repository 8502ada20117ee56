"""What the driver and a contestant's process say to each other: lines of JSON on the process's stdin and stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from bench.timing import Sample


class Bench(Protocol):
    """A contestant, ready to be measured."""

    def can(self) -> dict[str, list[str]]:
        """Return the rows that the contestant has an answer for, by group."""

    def measure(self, group: str, row: str) -> Sample:
        """Return one sample of a row."""


def answer(bench: Bench, versions: Mapping[str, str]) -> None:
    """Measure what is asked for on stdin until it ends."""
    _tell({"can": bench.can(), "versions": versions})
    for line in sys.stdin:
        _tell(asdict(bench.measure(*json.loads(line))))


def _tell(answer: Any) -> None:
    print(json.dumps(answer), flush=True)
