"""One server of a cluster as a test sees it, whatever its database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from lagless.testing._kept import KeptConnection
from lagless.testing._ports import LOOPBACK
from lagless.testing._process import ServerProcess

ServerT = TypeVar("ServerT", bound=ServerProcess)


class Owner(Protocol):
    """What a node needs of its cluster."""

    database: str
    user: str

    def promote(self, node: str, *, follow: bool = True) -> None:
        """Make the node of this name the primary."""


class Member(ABC, Generic[ServerT]):
    """One server. Its name stays with it, whatever its role becomes."""

    def __init__(self, server: ServerT, owner: Owner, kept: KeptConnection[Any]) -> None:
        self.name = server.name
        self.host = LOOPBACK
        self.port = server.claim.port
        self.data_dir: Path = server.data_dir
        self.log_file: Path = server.log_file
        self.server = server
        self._owner = owner
        self._kept = kept

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.host}:{self.port}>"

    @property
    def pid(self) -> int | None:
        """The server's (first) process id, None when it does not run."""
        return self.server.pid

    @property
    def running(self) -> bool:
        """Whether the server's process lives; a frozen one does."""
        return self.server.running

    @property
    def frozen(self) -> bool:
        """Whether the server was frozen and not thawed."""
        return self.server.frozen

    def require_awake(self) -> None:
        """Raise RuntimeError when this server is frozen."""
        if self.frozen:
            raise RuntimeError(f"{self.name} is frozen and would never answer: thaw() it first")

    def require_replica(self) -> None:
        """Raise RuntimeError when this server is a primary."""
        if not self.is_replica():
            raise RuntimeError(f"{self.name} is a primary: it follows nobody and replays nothing")

    def promote(self, *, follow: bool = True) -> None:
        """Become the cluster's primary; see the cluster's `promote()`."""
        self._owner.promote(self.name, follow=follow)

    # -- Of each database its own

    @abstractmethod
    def is_replica(self) -> bool:
        """Whether the server follows another one."""

    @abstractmethod
    def pause_replay(self) -> None:
        """Show nothing new from now on; returns when that holds."""

    @abstractmethod
    def resume_replay(self) -> None:
        """Undo `pause_replay()`."""

    @abstractmethod
    def set_apply_delay(self, seconds: float) -> None:
        """Show commits `seconds` after they were made; 0 for at once."""

    # -- Life and death

    def start(self) -> None:
        """Start the server unless it runs; returns when it takes connections."""
        if not self.running:
            self.server.spawn()
            self.server.await_ready()

    def kill(self) -> None:
        """SIGKILL to every process of the server: what clients see of a machine's death."""
        self.server.kill()
        self._kept.drop()

    def dispose(self) -> None:
        """End for good: give a server that was asked to end a second, then kill it; its port becomes free."""
        with suppress(TimeoutError):
            self.server.await_exit(timeout=1.0)
        self.kill()
        self.server.claim.release()

    def freeze(self) -> None:
        """SIGSTOP to every process of the server: connections stay open, nothing answers."""
        self.server.freeze()

    def thaw(self) -> None:
        """SIGCONT to every process of the server."""
        self.server.thaw()
