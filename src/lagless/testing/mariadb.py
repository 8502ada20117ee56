"""A throw-away MariaDB primary with GTID replicas, on loopback."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from lagless.errors import ConfigurationError
from lagless.testing import _mariadb_build as build
from lagless.testing import _mariadb_roles as roles
from lagless.testing._cluster import ServerCluster
from lagless.testing._mariadb_binaries import find_binaries
from lagless.testing._mariadb_driver import pymysql
from lagless.testing._mariadb_node import MariaDBNode
from lagless.testing._mariadb_server import MariaDBServer
from lagless.testing._ports import Claim

__all__ = ["MariaDBCluster", "MariaDBNode", "NodeRef", "available"]

NodeRef = MariaDBNode | str | int
"""A node, its name, or its index among the replicas."""


def available() -> str | None:
    """Why no MariaDBCluster can run here, in a sentence that says what to install; None when one can."""
    try:
        find_binaries()
        pymysql()
    except ConfigurationError as error:
        return str(error)
    return None


class MariaDBCluster(ServerCluster[MariaDBNode]):
    """A primary and its replicas: a new system each time it starts, gone without trace when it stops.

    `bindir` holds MariaDB's server (else it is looked for), `base_dir` is where the cluster makes its own directory
    (else in memory where there is room), and `settings` are options of the server. `user` owns `database` and may see
    positions, but is bound by the replicas' `read_only`. ConfigurationError when there is no server to run, or no
    PyMySQL.
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
        password: str = "lagless",  # noqa: S107 - of servers that live for a test
    ) -> None:
        pymysql()
        self._binaries = find_binaries(bindir)
        super().__init__(replicas, base_dir=base_dir, account=self._binaries.account, roles=roles)
        self.database = database
        self.user = user
        self.password = password
        self.secret = secrets.token_hex(16)
        self._settings = dict(settings or {})

    def create_database(self, name: str) -> None:
        """Make one more database that is the user's own, on the primary; `wait_replayed()` before a replica is asked.

        Django's test database of that name is the user's to make, too.
        """
        for statement in build.creation(name, self.user):
            self.primary.execute(statement)

    def _node(self, name: str, base: Path, claim: Claim) -> MariaDBNode:
        number = 1 + self._ports.index(claim.port)
        server = MariaDBServer(name, base, self._binaries, claim, number=number, settings=self._settings)
        return MariaDBNode(server, self)

    def _bring_up(self) -> None:
        tenant = build.Tenant(database=self.database, user=self.user, password=self.password, secret=self.secret)
        build.initialize(self.primary.server, tenant)
        build.clone(self.primary.server, [node.server for node in self.replicas])
        self._launch()
        for node in self.replicas:
            node.attach(self.primary.host, self.primary.port)
        roles.await_streaming(self.replicas)
        self.wait_replayed()
