"""Runs the sampler beside the load and gives what it wrote down to the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Self

from lagless.demo import sampler
from lagless.demo.oracle import PRIMARY, Sample, Track

if TYPE_CHECKING:
    from lagless.testing import PostgresCluster

_PATIENCE = 10.0  # seconds


class Sampling:
    """A sampler that runs while the block does; afterwards `tracks` holds its result."""

    def __init__(self, cluster: PostgresCluster) -> None:
        self.tracks: dict[str, Track] = {}
        questions = {PRIMARY: (sampler.FLUSHED, cluster.primary.dsn)}
        questions |= {node.name: (sampler.REPLAYED, node.dsn) for node in cluster.replicas}
        self._questions = json.dumps(questions)

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        # In a session of its own, so that Ctrl-C in the terminal reaches the demo alone, which then ends the input.
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", sampler.__name__, self._questions],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            written, trouble = self._process.communicate(timeout=_PATIENCE)
        finally:
            self._process.kill()
        if self._process.returncode:
            raise RuntimeError(f"the sampler of positions failed: {trouble}")
        answers = json.loads(written).items()
        self.tracks = {name: Track(Sample(*row) for row in rows) for name, rows in answers}
