"""Units of work for lagless, and a picture of the servers that does not change while they are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import files
from bench.contestants import SITE_COOKIE
from bench.files import PRIMARY, REPLICAS
from lagless import Session, session
from lagless.carriers import cookie_name
from lagless.context import Frame, current, frame
from lagless.core.session import Mark
from lagless.edge import default_signer

KEY = "bench"
"""The user's key, as in the session cookie."""
_PATIENCE = 5.0
"""Seconds to wait for the monitor."""


def hear(folder: Path) -> str:
    """Let the monitor hear of the nodes, then write; return the token of the user who has written.

    The first replica holds the write, the second does not.
    """
    from lagless.django.registry import registry

    cluster = registry().clusters[PRIMARY]
    cluster.start()
    wait(lambda: all(state.alive for state in cluster.topology.nodes.values()))
    files.beat(folder, PRIMARY, files.WRITTEN)
    cluster.monitor.hurry()
    wait(lambda: cluster.topology.primary_state.position.value > files.WRITTEN)
    written = cluster.topology.primary_state.position
    return default_signer().seal([Mark(cluster=cluster.name, written=written, nodes=frozenset(REPLICAS[:1]))])


def wait(heard: Callable[[], bool]) -> None:
    """Wait until the monitor has heard of something."""
    deadline = time.monotonic() + _PATIENCE
    while not heard():
        if time.monotonic() > deadline:
            raise RuntimeError("the monitor did not hear of the servers")
        time.sleep(0.01)


def cookie(token: str) -> str:
    """Return the Cookie header of a user who has written."""
    return f"{SITE_COOKIE}; {cookie_name(token)}={token}"


def units(count: int, token: str = "") -> list[Frame]:
    """Return as many units of work that have just begun, to be bound by hand."""
    return [_begun(token) for _ in range(count)]


def _begun(token: str) -> Frame:
    with session(token or None, key=KEY):
        held = current()
    if held is None:
        raise RuntimeError("session() bound nothing")
    return held


@contextmanager
def unit(token: str = "") -> Iterator[Session | None]:
    """Bind a unit of work; unlike `session()`, leave it without asking the primary for anything."""
    before = frame.set(held := _begun(token))
    try:
        yield held.session
    finally:
        frame.reset(before)


@contextmanager
def writing_unit(cluster: str = PRIMARY) -> Iterator[None]:
    """Bind a unit of work with a write that is not settled."""
    with unit() as held:
        held.of(cluster).begin_write()
        yield


@contextmanager
def atomic_unit() -> Iterator[None]:
    """Bind a unit of work and open a transaction on the primary."""
    from django.db import transaction

    with unit(), transaction.atomic():
        yield
