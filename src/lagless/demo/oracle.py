"""What a router that knew every replica's true position could have sent to a replica. Pure.

It judges afterwards, from positions that a process beside the site sampled on the same clock. Where the samples leave
doubt the oracle gets the benefit, so its share is an upper bound, and being close to it means a little more.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of one server: asked at `sent`, and how far its log had come; None when it did not answer."""

    sent: float
    position: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a session: a read of the named servers, or (`wrote`) a write."""

    started: float
    ended: float
    places: frozenset[str]
    wrote: bool = False


class Track:
    """What one server answered, in the order it was asked."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = sorted(samples, key=lambda sample: sample.sent)
        self._times = [sample.sent for sample in self._samples]

    def around(self, moment: float) -> tuple[Sample, ...]:
        """The last sample sent before `moment` and the first one sent since."""
        index = bisect_left(self._times, moment)
        return tuple(self._samples[max(index - 1, 0) : index + 1])

    def before(self, moment: float) -> int:
        """The position in the last answer to a question sent before `moment`; 0 when there is none."""
        for sample in reversed(self._samples[: bisect_left(self._times, moment)]):
            if sample.position is not None:
                return sample.position
        return 0

    def covers(self, required: int, moment: float) -> bool:
        """Whether this server, alive around `moment`, had come that far."""
        return any(sample.position is not None and sample.position >= required for sample in self.around(moment))


def could_use_replica(steps: Sequence[Step], tracks: Mapping[str, Track]) -> list[bool]:
    """For each step of one session, in order: could a replica have served it? False for writes."""
    replicas = [track for name, track in tracks.items() if name != PRIMARY]
    required = 0
    verdicts = []
    for step in steps:
        covered = any(track.covers(required, step.started) for track in replicas)
        verdicts.append(covered and not step.wrote)
        required = max(required, _shown(step, tracks))
    return verdicts


def _shown(step: Step, tracks: Mapping[str, Track]) -> int:
    """How far the session has certainly seen, or written, by the end of this step."""
    if step.wrote or PRIMARY in step.places:
        return tracks[PRIMARY].before(step.ended)
    return max((tracks[place].before(step.started) for place in step.places), default=0)
