"""A primary with its replicas, whatever their database: who is who, life and death, and the verbs of a test."""

from __future__ import annotations

import atexit
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from lagless.errors import ConfigurationError
from lagless.testing._account import Account
from lagless.testing._home import Home
from lagless.testing._member import Member
from lagless.testing._ports import Claim

NodeT = TypeVar("NodeT", bound=Member[Any])


class Roles(Protocol[NodeT]):
    """The steps that take two nodes or more, in a database's own way."""

    def moving(self, replicas: Sequence[NodeT], /) -> list[NodeT]:
        """Those that run, answer, follow somebody and are not paused."""

    def await_replayed(self, primary: NodeT, nodes: Sequence[NodeT], timeout: float, /) -> None:
        """Return when the nodes show what the primary has written."""

    def promote(self, node: NodeT, /) -> None:
        """Make a replica a primary; returns when it accepts writes."""

    def redirect(self, primary: NodeT, replicas: Sequence[NodeT], /) -> None:
        """Have the live replicas follow a new primary."""

    def rejoin(self, primary: NodeT, target: NodeT, /) -> None:
        """Make `target` a new replica."""

    def heal(self, primary: NodeT, node: NodeT, /) -> None:
        """Make a running node a replica without lag."""

    def retire(self, former: NodeT, heir: NodeT, /) -> None:
        """End a primary, once its heir has or will have all that it wrote."""


class ServerCluster(ABC, Generic[NodeT]):
    """A new system each time it starts, gone without trace when it stops."""

    def __init__(
        self, replicas: int, *, base_dir: str | Path | None, account: Account, roles: Roles[NodeT]
    ) -> None:  # fmt: skip
        if replicas < 0:
            raise ConfigurationError(f"replicas: {replicas} is negative; 0 means a primary alone")
        self.nodes: list[NodeT] = []
        self._base_dir = base_dir
        self._account = account
        self._roles = roles
        self._ports = [0] * (replicas + 1)
        self._home: Home | None = None
        self._primary: NodeT | None = None

    # -- Of each database its own

    @abstractmethod
    def _node(self, name: str, base: Path, claim: Claim) -> NodeT:
        """A node that does not run yet."""

    @abstractmethod
    def _bring_up(self) -> None:
        """Make the data, start the servers, and return when the replicas have all there is."""

    # -- Nodes

    @property
    def primary(self) -> NodeT:
        """The primary of now; RuntimeError before the cluster was started."""
        if self._primary is None:
            raise RuntimeError("the cluster was not started: use `with`, or start()")
        return self._primary

    @property
    def replicas(self) -> list[NodeT]:
        """Every node but the primary of now, in the order of their names."""
        return [node for node in self.nodes if node is not self._primary]

    @property
    def running(self) -> bool:
        """Whether the cluster was started and not stopped, whatever became of its nodes."""
        return self._home is not None

    def _one(self, ref: NodeT | str | int) -> NodeT:
        if isinstance(ref, int):
            return self.replicas[ref]
        for node in self.nodes:
            if ref in (node, node.name):
                return node
        raise ValueError(f"no node {ref!r} here; there are {[node.name for node in self.nodes]}")

    def _each(self, refs: Sequence[NodeT | str | int]) -> list[NodeT]:
        return [self._one(ref) for ref in refs] or [node for node in self.replicas if node.running]

    # -- Life and death

    def start(self, *nodes: NodeT | str | int) -> Self:
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
        for node in self.nodes:
            node.server.end()
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
        self._home = Home(self._base_dir, self._account)
        atexit.register(self.stop)
        try:
            self._lay_out(self._home.path)
            self._bring_up()
        except BaseException:  # Ctrl-C, too, must leave nothing behind
            self.stop()
            raise

    def _lay_out(self, base: Path) -> None:
        names = ["primary", *(f"replica{number}" for number in range(1, len(self._ports)))]
        # A cluster that starts again keeps its addresses, so whoever was told them need not be told again.
        claims = [Claim(port) for port in self._ports]
        self._ports = [claim.port for claim in claims]
        self.nodes = [self._node(name, base, claim) for name, claim in zip(names, claims, strict=True)]
        self._primary = self.nodes[0]

    def _launch(self) -> None:
        for node in self.nodes:
            node.server.spawn()
        for node in self.nodes:
            node.server.await_ready()

    def kill(self, *nodes: NodeT | str | int) -> None:
        """`kill()` the given nodes (default: all replicas)."""
        for node in self._each(nodes):
            node.kill()

    def freeze(self, *nodes: NodeT | str | int) -> None:
        """`freeze()` the given nodes (default: all replicas)."""
        for node in self._each(nodes):
            node.freeze()

    def thaw(self, *nodes: NodeT | str | int) -> None:
        """`thaw()` the given nodes (default: all replicas)."""
        for node in self._each(nodes):
            node.thaw()

    # -- Lag

    def pause_replay(self, *nodes: NodeT | str | int) -> None:
        """`pause_replay()` on the given nodes (default: all running replicas)."""
        for node in self._each(nodes):
            node.pause_replay()

    def resume_replay(self, *nodes: NodeT | str | int) -> None:
        """`resume_replay()` on the given nodes (default: all running replicas)."""
        for node in self._each(nodes):
            node.resume_replay()

    def set_apply_delay(self, seconds: float, *nodes: NodeT | str | int) -> None:
        """`set_apply_delay()` on the given nodes (default: all running replicas)."""
        for node in self._each(nodes):
            node.set_apply_delay(seconds)

    def wait_replayed(self, *nodes: NodeT | str | int, timeout: float = 10.0) -> None:
        """Return when the given nodes show all that the primary has written; TimeoutError after `timeout` seconds.

        Default: all running replicas that are neither frozen nor paused.
        """
        chosen = [self._one(ref) for ref in nodes] or self._roles.moving(self.replicas)
        self._roles.await_replayed(self.primary, chosen, timeout)

    # -- Roles

    def promote(self, node: NodeT | str | int, *, follow: bool = True) -> None:
        """Make a replica the primary; returns when it accepts writes.

        The other live replicas `follow` it; the old primary is left alone: kill it first, or have two.
        RuntimeError when the node is no replica, TimeoutError or RuntimeError when another one cannot follow:
        `rejoin()` that one.
        """
        chosen = self._one(node)
        chosen.require_replica()
        self._roles.promote(chosen)
        self._primary = chosen
        if follow:
            self._roles.redirect(chosen, self.replicas)

    def rejoin(self, node: NodeT | str | int) -> None:
        """Make a node, dead or alive, a replica of the primary of now, whatever it was; its own data is lost."""
        target = self._one(node)
        if target is self.primary:
            raise RuntimeError(f"{target.name} is the primary: there is nobody it could follow")
        self._roles.rejoin(self.primary, target)

    def heal(self) -> None:
        """Undo faults and lag: all nodes run and stream, and the first one is the primary. Data is kept.

        After a promotion the data is the promoted server's, and the history has moved on.
        """
        for node in self.nodes:
            node.thaw()
            node.start()
        for node in self.replicas:
            self._roles.heal(self.primary, node)
        if self.primary is not self.nodes[0]:
            self._switch_back()

    def _switch_back(self) -> None:
        former = self.primary
        self._roles.retire(former, self.nodes[0])
        self.promote(self.nodes[0])
        self._roles.rejoin(self.primary, former)
