"""A throw-away PostgreSQL primary with streaming replicas, on loopback."""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lagless.errors import ConfigurationError
from lagless.testing import _build
from lagless.testing import _replication as replication
from lagless.testing import _roles as roles
from lagless.testing._binaries import find_binaries
from lagless.testing._home import Home
from lagless.testing._node import PostgresNode
from lagless.testing._ports import Claim
from lagless.testing._server import Server

__all__ = ["NodeRef", "PostgresCluster", "PostgresNode"]

NodeRef = PostgresNode | str | int
"""A node, its name, or its index among the replicas."""


class PostgresCluster:
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
        if replicas < 0:
            raise ConfigurationError(f"replicas: {replicas} is negative; 0 means a primary alone")
        self.database = database
        self.user = user
        self.nodes: list[PostgresNode] = []
        self._binaries = find_binaries(bindir)
        self._base_dir = base_dir
        self._settings = dict(settings or {})
        self._ports = [0] * (replicas + 1)
        self._home: Home | None = None
        self._primary: PostgresNode | None = None

    # -- Nodes

    @property
    def primary(self) -> PostgresNode:
        """The primary of now; RuntimeError before the cluster was started."""
        if self._primary is None:
            raise RuntimeError("the cluster was not started: use `with`, or start()")
        return self._primary

    @property
    def replicas(self) -> list[PostgresNode]:
        """Every node but the primary of now, in the order of their names."""
        return [node for node in self.nodes if node is not self._primary]

    def _one(self, ref: NodeRef) -> PostgresNode:
        if isinstance(ref, int):
            return self.replicas[ref]
        for node in self.nodes:
            if ref in (node, node.name):
                return node
        raise ValueError(f"no node {ref!r} here; there are {[node.name for node in self.nodes]}")

    def _each(self, refs: Sequence[NodeRef]) -> list[PostgresNode]:
        return [self._one(ref) for ref in refs] or [node for node in self.replicas if node.running]

    # -- Life and death

    def start(self, *nodes: NodeRef) -> Self:
        """Bring the cluster up; if it is up, start the given nodes (default: all that are dead)."""
        if self._home is None:
            self._create()
        for node in [self._one(ref) for ref in nodes] or self.nodes:
            node.start()
        return self

    def stop(self) -> None:
        """Kill all servers and remove their files. Does nothing in a forked child."""
        if self._home is None or self._home.inherited:
            return
        # A postmaster that ends its backends also buries them; not every container's init does.
        for node in self.nodes:
            node.server.request_stop("immediate")
        for node in self.nodes:
            node.dispose()
        self._home.close()
        self._home = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _create(self) -> None:
        self._home = Home(self._base_dir, self._binaries.account)
        atexit.register(self.stop)
        try:
            self._lay_out(self._home.path)
            _build.initialize(self.primary, self.user, self._settings)
            _build.clone(self.primary, self.replicas)
            self._launch()
        except BaseException:  # Ctrl-C, too, must leave nothing behind
            self.stop()
            raise

    def _lay_out(self, base: Path) -> None:
        names = ["primary", *(f"replica{number}" for number in range(1, len(self._ports)))]
        # A cluster that starts again keeps its addresses, so whoever was told them need not be told again.
        claims = [Claim(port) for port in self._ports]
        self._ports = [claim.port for claim in claims]
        servers = [Server(name, base, self._binaries, claim) for name, claim in zip(names, claims, strict=True)]
        self.nodes = [PostgresNode(server, self) for server in servers]
        self._primary = self.nodes[0]

    def _launch(self) -> None:
        for node in self.nodes:
            node.server.spawn()
        for node in self.nodes:
            node.server.await_ready()
        if self.database != "postgres":
            roles.create_database(self.primary, self.database)
        for node in self.replicas:
            roles.await_database(node)
        roles.await_streaming(self.primary, self.replicas)
        self.wait_replayed()

    def kill(self, *nodes: NodeRef) -> None:
        """`kill()` the given nodes (default: all replicas)."""
        for node in self._each(nodes):
            node.kill()

    def freeze(self, *nodes: NodeRef) -> None:
        """`freeze()` the given nodes (default: all replicas)."""
        for node in self._each(nodes):
            node.freeze()

    def thaw(self, *nodes: NodeRef) -> None:
        """`thaw()` the given nodes (default: all replicas)."""
        for node in self._each(nodes):
            node.thaw()

    # -- Lag

    def pause_replay(self, *nodes: NodeRef) -> None:
        """`pause_replay()` on the given nodes (default: all running replicas)."""
        for node in self._each(nodes):
            node.pause_replay()

    def resume_replay(self, *nodes: NodeRef) -> None:
        """`resume_replay()` on the given nodes (default: all running replicas)."""
        for node in self._each(nodes):
            node.resume_replay()

    def set_apply_delay(self, seconds: float, *nodes: NodeRef) -> None:
        """`set_apply_delay()` on the given nodes (default: all running replicas)."""
        for node in self._each(nodes):
            node.set_apply_delay(seconds)

    def wait_replayed(self, *nodes: NodeRef, timeout: float = 10.0) -> None:
        """Return when the given nodes show all that the primary has flushed; TimeoutError after `timeout` seconds.

        Default: all running replicas that are neither frozen nor paused.
        """
        target = self.primary.flush_lsn()
        for node in [self._one(ref) for ref in nodes] or self._moving():
            roles.await_replay(node, target, timeout)

    def _moving(self) -> list[PostgresNode]:
        return [node for node in roles.awake_replicas(self.replicas) if not replication.paused(node.execute)]

    # -- Roles

    def promote(self, node: NodeRef, *, follow: bool = True) -> None:
        """Make a replica the primary; returns when it accepts writes.

        The other live replicas `follow` it; the old primary is left alone: kill it first, or have two.
        RuntimeError when the node is no replica, TimeoutError when a replica cannot follow: `rejoin()` that one.
        """
        chosen = self._one(node)
        chosen.require_replica()
        replication.promote(chosen.execute, chosen.name)
        self._primary = chosen
        if follow:
            roles.redirect(chosen, self.replicas)

    def rejoin(self, node: NodeRef) -> None:
        """Make a node, dead or alive, a replica of the primary of now, whatever it was; its own data is lost."""
        target = self._one(node)
        if target is self.primary:
            raise RuntimeError(f"{target.name} is the primary: there is nobody it could follow")
        roles.rejoin(self.primary, target)

    def heal(self) -> None:
        """Undo faults and lag: all nodes run and stream, and the first one is the primary. Data is kept.

        After a promotion the data is the promoted server's, and the timeline has moved on.
        """
        for node in self.nodes:
            node.thaw()
            node.start()
        for node in self.replicas:
            roles.heal(self.primary, node)
        if self.primary is not self.nodes[0]:
            self._switch_back()

    def _switch_back(self) -> None:
        former = self.primary
        former.stop()  # a clean stop sends all there is to the replicas
        self.promote(self.nodes[0])
        roles.rejoin(self.primary, former)
