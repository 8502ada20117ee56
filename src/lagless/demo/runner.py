"""Runs the whole demo: servers, then each policy in turn under the same load and schedule."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from lagless.demo import schedule, stage
from lagless.demo.databases import DemoDatabase, database_named
from lagless.demo.load import Load
from lagless.demo.report import Result, summarise
from lagless.demo.server import HOST, serve
from lagless.demo.stacks import stack_for
from lagless.demo.tracks import Sampling

if TYPE_CHECKING:
    from lagless.demo.options import Options
    from lagless.demo.policies import RoutingPolicy
    from lagless.demo.visits import Visit

_ARRIVAL = 8.0  # seconds that the visitors get to sign up
_TICK = 0.05  # seconds


class Watcher(Protocol):
    """Is told how far the run has come."""

    def __call__(self, policy: RoutingPolicy, share: float, scene: str) -> None:
        """`share` of this policy's run is over."""


def run(options: Options, watch: Watcher) -> dict[RoutingPolicy, Result]:
    """Every policy's result, in the order asked."""
    database = database_named(options.database)
    with database.cluster:
        return {policy: run_policy(database, policy, options, watch) for policy in options.policies}


def run_policy(database: DemoDatabase, policy: RoutingPolicy, options: Options, watch: Watcher) -> Result:
    """One policy from its first visitor to its result."""
    watch(policy, 0.0, "starting")
    stack = stack_for(options)
    site = stage.set_up(database, stack, policy)
    with serve(site, stack) as port, Sampling(database.questions()) as sampling:
        sessions = _drive(database, policy, options, port, watch)
    return summarise(sessions, sampling.tracks)


def _drive(
    database: DemoDatabase, policy: RoutingPolicy, options: Options, port: int, watch: Watcher
) -> list[list[Visit]]:
    with Load(HOST, port, clients=options.clients, seed=options.seed) as load:
        load.wait_for_arrivals(_ARRIVAL)
        _play(database, policy, options.seconds, watch)
    return load.visits()


def _play(database: DemoDatabase, policy: RoutingPolicy, seconds: float, watch: Watcher) -> None:
    """Let the visitors visit while the schedule happens to the replicas."""
    begun, share = time.monotonic(), 0.0
    while share < 1.0:
        time.sleep(_TICK)
        before, share = share, min(1.0, (time.monotonic() - begun) / seconds)
        for cue in schedule.due(schedule.CUES, before, share):
            stage.perform(cue, database)
        watch(policy, share, schedule.scene(schedule.SCENES, share))
