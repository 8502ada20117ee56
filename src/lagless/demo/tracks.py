"""Runs the sampler beside the load and gives what it wrote down to the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import astuple
from typing import TYPE_CHECKING, Self

from lagless.demo import sampler
from lagless.demo.oracle import Sample, Track

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lagless.demo.databases import Question

_PATIENCE = 10.0  # seconds


class Sampling:
    """A sampler that runs while the block does; afterwards `tracks` holds its result."""

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self.tracks: dict[str, Track] = {}
        self._questions = json.dumps({name: astuple(question) for name, question in questions.items()})

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
