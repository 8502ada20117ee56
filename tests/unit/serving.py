"""A cluster to serve, what an adapter does in it, and a browser, for the fast tests of the edges."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http.cookies import SimpleCookie

from unit.builders import FIRST, PRIMARY, SECOND, SYSTEM, of_primary, of_replica

from lagless import Cluster, Node
from lagless.context import current
from lagless.core.session import Footprint, Mark
from lagless.dialects.base import Row
from lagless.token import Signer

KEY = "key"
SIGNER = Signer([KEY])


def answer(statement: str) -> tuple[Row, str]:
    """Say that the primary stands at 100."""
    return ["0/64", "0/64", "on", "00000001"], SYSTEM


def a_cluster(name: str = PRIMARY, **options: object) -> Cluster:
    """Return a cluster whose replicas are behind its next commit."""
    replicas = [Node(FIRST), Node(SECOND)]
    made = Cluster(name, primary=Node(PRIMARY), replicas=replicas, asker=answer, **options)  # type: ignore[arg-type]
    now = time.monotonic()
    for seen in (of_primary(90, now), of_replica(FIRST, 90, now), of_replica(SECOND, 90, now)):
        made.report(seen)
    return made


def unit(cluster: str = PRIMARY) -> Footprint:
    """Return the footprint of the running request."""
    held = current()
    assert held
    assert held.session
    return held.session.of(cluster)


def write(cluster: str = PRIMARY) -> None:
    """Write and commit in the running request."""
    unit(cluster).begin_write()
    unit(cluster).end_write()


def marks(token: str) -> dict[str, Mark]:
    """Return what a token says, by cluster."""
    opened = SIGNER.open(token)
    assert opened, token
    return {mark.cluster: mark for mark in opened.marks}


class Browser:
    """A cookie jar."""

    def __init__(self) -> None:
        self.jar: dict[str, str] = {}
        self.seen: list[str] = []
        """The Set-Cookie headers of the last response."""

    @property
    def cookies(self) -> str:
        """The Cookie header of the next request."""
        return "; ".join(f"{name}={value}" for name, value in self.jar.items())

    def take(self, headers: Iterable[tuple[str, str]]) -> None:
        """Receive a response."""
        self.seen = [value for name, value in headers if name.lower() == "set-cookie"]
        for line in self.seen:
            for name, morsel in SimpleCookie(line).items():
                self.jar[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.jar[name]

    def marks(self) -> dict[str, Mark]:
        """Return what the next request says, by cluster; there is one token, or none."""
        tokens = [value for name, value in self.jar.items() if name.startswith("lagless-")]
        assert len(tokens) <= 1
        return marks(tokens[0]) if tokens else {}
