"""Helpers of the tests over real servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

REPLICAS = ("replica1", "replica2")


def until(claim: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """Return the first true answer of `claim`; fail if none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := claim()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.002)
    return answer


def the_cluster() -> Any:
    """Return lagless's cluster."""
    from lagless.django.registry import registry

    return registry().clusters["default"]


def hear() -> None:
    """Wait until lagless knows the servers, with a primary position that the replicas hold."""
    cluster = the_cluster()
    cluster.start()
    until(lambda: all(s.alive and s.fresh_at > 0 for s in cluster.topology.replicas))


def note_table_alias() -> str:
    """Return where a read of this unit of work goes."""
    from django.db import router

    from project.models import Note

    return router.db_for_read(Note)


def token_of(**known: Any) -> str:
    """Return the token of a session that carries on what is `known` of the cluster: the fields of a Mark."""
    from lagless.core.session import Mark
    from lagless.django.registry import registry

    return registry().signer.seal([Mark(cluster="default", **known)])
