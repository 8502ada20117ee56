"""A throw-away PostgreSQL primary with streaming replicas, on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lagless.testing import _build
from lagless.testing import _roles as roles
from lagless.testing._binaries import find_binaries
from lagless.testing._cluster import ServerCluster
from lagless.testing._node import PostgresNode
from lagless.testing._ports import Claim
from lagless.testing._server import Server

__all__ = ["NodeRef", "PostgresCluster", "PostgresNode"]

NodeRef = PostgresNode | str | int
"""A node, its name, or its index among the replicas."""


class PostgresCluster(ServerCluster[PostgresNode]):
    """A primary and its replicas: a new system each time it starts, gone without trace when it stops.

    `bindir` holds PostgreSQL's programs (else they are looked for), `base_dir` is where the cluster makes its own
    directory (else in memory where there is room), `settings` go to postgresql.conf, and `user` is a superuser who
    needs no password. ConfigurationError when there is no server to run.
    """

    def __init__(
        self,
        replicas: int = 2,
        *,
        bindir: str | Path | None = None,
        base_dir: str | Path | None = None,
        settings: Mapping[str, object] | None = None,
        database: str = "lagless",
        user: str = "lagless",
    ) -> None:
        self._binaries = find_binaries(bindir)
        super().__init__(replicas, base_dir=base_dir, account=self._binaries.account, roles=roles)
        self.database = database
        self.user = user
        self._settings = dict(settings or {})

    def _node(self, name: str, base: Path, claim: Claim) -> PostgresNode:
        return PostgresNode(Server(name, base, self._binaries, claim), self)

    def _bring_up(self) -> None:
        _build.initialize(self.primary, self.user, self._settings)
        _build.clone(self.primary, self.replicas)
        self._launch()
        if self.database != "postgres":
            roles.create_database(self.primary, self.database)
        for node in self.replicas:
            roles.await_database(node)
        roles.await_streaming(self.primary, self.replicas)
        self.wait_replayed()
