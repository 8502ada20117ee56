"""Does to the real servers what the schedule says, and sets them up for the next policy."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from lagless.demo.policies import RoutingPolicy
from lagless.demo.schedule import Action
from lagless.demo.server import environment

if TYPE_CHECKING:
    from lagless.demo.configuration import SiteConfiguration
    from lagless.demo.databases import DemoDatabase
    from lagless.demo.schedule import Cue
    from lagless.demo.stacks import Stack


def perform(cue: Cue, database: DemoDatabase) -> None:
    """Carry out one cue."""
    node = database.cluster.replicas[cue.replica]
    match cue.action:
        case Action.DELAY:
            node.set_apply_delay(database.delay(cue.seconds))
        case Action.PAUSE:
            node.pause_replay()
        case Action.RESUME:
            node.resume_replay()
        case Action.KILL:
            node.kill()
        case Action.START:
            node.start()


def set_up(database: DemoDatabase, stack: Stack, policy: RoutingPolicy) -> SiteConfiguration:
    """Undo what the schedule did, and give the policy a database with the same contents as any other's."""
    database.cluster.heal()
    name = f"board_{policy.name.lower()}"
    database.create(name)
    _fill(stack, stack.configure(database, name, RoutingPolicy.PRIMARY_ONLY))
    database.cluster.wait_replayed()
    return stack.configure(database, name, policy)


def _fill(stack: Stack, site: SiteConfiguration) -> None:
    command = [sys.executable, "-m", stack.preparation]
    done = subprocess.run(command, env=environment(site), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"the demo's tables could not be made:\n{done.stderr}")
