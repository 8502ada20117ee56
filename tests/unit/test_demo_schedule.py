from __future__ import annotations

from itertools import pairwise

import pytest

from lagless.demo import schedule
from lagless.demo.schedule import CUES, SCENES, Action, Cue


def test_every_cue_is_due_once_however_the_run_is_cut() -> None:
    """No tick may miss a cue or repeat it."""
    ticks = [0.0, 0.119, 0.12, 0.12, 0.3, 0.5, 0.61, 0.93, 1.0]
    played = [cue for a, b in pairwise(ticks) for cue in schedule.due(CUES, a, b)]
    assert played == sorted(CUES, key=lambda cue: cue.at)


def test_cues_come_in_the_order_of_their_times() -> None:
    """The data need not be sorted."""
    late, early = Cue(0.9, Action.RESUME, 0), Cue(0.1, Action.PAUSE, 0)
    assert list(schedule.due([late, early], 0.0, 1.0)) == [early, late]


def test_the_run_ends_with_healthy_replicas() -> None:
    """What is paused is resumed, what is killed is started, and delays end at 0."""
    last = {(cue.replica, cue.action): cue for cue in CUES}
    state = {replica: [cue for cue in CUES if cue.replica == replica] for replica in (0, 1)}
    assert last[0, Action.RESUME].at > last[0, Action.PAUSE].at
    assert last[1, Action.START].at > last[1, Action.KILL].at
    for cues in state.values():
        assert [cue.seconds for cue in cues if cue.action is Action.DELAY][-1] == 0


def test_one_replica_always_runs() -> None:
    """The site under a good policy never has to do without replicas for long."""
    killed = {cue.replica for cue in CUES if cue.action is Action.KILL}
    assert len(killed) == 1


@pytest.mark.parametrize(("share", "name"), [(0.0, SCENES[0].name), (0.10, SCENES[1].name), (1.0, SCENES[-1].name)])
def test_a_scene_lasts_until_the_next_begins(share: float, name: str) -> None:
    """Every moment of the run has a name."""
    assert schedule.scene(SCENES, share) == name


def test_scenes_change_where_something_happens() -> None:
    """What the progress bar says agrees with what is done."""
    assert {scene.begins for scene in SCENES} == {0.0} | {cue.at for cue in CUES}
