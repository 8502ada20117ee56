"""Does to the real servers what the schedule says, and sets them up for the next policy."""

from __future__ import annotations

import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

from lagless.demo.options import ServerKind
from lagless.demo.policies import RoutingPolicy
from lagless.demo.schedule import Action
from lagless.demo.server import environment
from lagless.demo.site.configuration import SiteConfiguration

if TYPE_CHECKING:
    from lagless.demo.schedule import Cue
    from lagless.testing import PostgresCluster

_TEMPLATE = "board"


def perform(cue: Cue, cluster: PostgresCluster) -> None:
    """Carry out one cue."""
    node = cluster.replicas[cue.replica]
    match cue.action:
        case Action.DELAY:
            node.set_apply_delay(cue.seconds)
        case Action.PAUSE:
            node.pause_replay()
        case Action.RESUME:
            node.resume_replay()
        case Action.KILL:
            node.kill()
        case Action.START:
            node.start()


def prepare(cluster: PostgresCluster) -> None:
    """Make the database that every policy's own is copied from."""
    cluster.primary.execute(f"create database {_TEMPLATE}")
    site = _site(cluster, RoutingPolicy.PRIMARY_ONLY, _TEMPLATE, ServerKind.GUNICORN)
    command = [sys.executable, "-m", "lagless.demo.site.prepare"]
    done = subprocess.run(command, env=environment(site), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"the demo's tables could not be made:\n{done.stderr}")


def set_up(cluster: PostgresCluster, policy: RoutingPolicy, kind: ServerKind) -> SiteConfiguration:
    """Undo what the schedule did, and give the policy a database with the same contents as any other's."""
    cluster.heal()
    database = f"{_TEMPLATE}_{policy.name.lower()}"
    cluster.primary.execute(f"create database {database} template {_TEMPLATE}")
    cluster.wait_replayed()
    return _site(cluster, policy, database, kind)


def _site(cluster: PostgresCluster, policy: RoutingPolicy, database: str, kind: ServerKind) -> SiteConfiguration:
    # Under ASGI every request has a thread of its own, which would keep its connections from all others.
    age = 0 if kind is ServerKind.UVICORN else 600
    primary = cluster.primary.django_settings(NAME=database, CONN_MAX_AGE=age, OPTIONS={"connect_timeout": 2})
    return SiteConfiguration(
        policy=policy,
        secret_key=secrets.token_hex(),
        primary=primary,
        replicas={node.name: {"HOST": node.host, "PORT": str(node.port)} for node in cluster.replicas},
    )
