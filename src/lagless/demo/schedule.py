"""What happens to the replicas while a policy is under load: data, the same for every policy. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Action(StrEnum):
    """What is done to one replica."""

    DELAY = "delay"
    PAUSE = "pause"
    RESUME = "resume"
    KILL = "kill"
    START = "start"


@dataclass(frozen=True, slots=True)
class Cue:
    """At `at`, a share of the run, `action` is done to a replica."""

    at: float
    action: Action
    replica: int
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a stretch of the run is called; it lasts until the next one begins."""

    begins: float
    name: str


CUES = (
    Cue(0.10, Action.DELAY, 0, 2.2),
    Cue(0.10, Action.DELAY, 1, 1.2),
    Cue(0.38, Action.DELAY, 0),
    Cue(0.38, Action.DELAY, 1),
    Cue(0.46, Action.PAUSE, 0),
    Cue(0.58, Action.RESUME, 0),
    Cue(0.70, Action.KILL, 1),
    Cue(0.82, Action.START, 1),
)

SCENES = (
    Scene(0.00, "replicas milliseconds behind"),
    Scene(0.10, "replica1 over 2 s behind, replica2 over 1 s"),
    Scene(0.38, "replicas milliseconds behind"),
    Scene(0.46, "replica1 paused"),
    Scene(0.58, "replicas milliseconds behind"),
    Scene(0.70, "replica2 killed"),
    Scene(0.82, "replica2 started again"),
)


def due(cues: Sequence[Cue], after: float, until: float) -> Iterator[Cue]:
    """The cues in (`after`, `until`], in order; both are shares of the run."""
    return (cue for cue in sorted(cues, key=lambda cue: cue.at) if after < cue.at <= until)


def scene(scenes: Sequence[Scene], share: float) -> str:
    """What the stretch at `share` of the run is called."""
    return max((each for each in scenes if each.begins <= share), key=lambda each: each.begins).name
