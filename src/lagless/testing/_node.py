"""One server of a cluster, as a test sees it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import psycopg

from lagless.testing import _replication as replication
from lagless.testing._connection import KeptConnection, Parameters, Row, answers, hung_up
from lagless.testing._ports import LOOPBACK
from lagless.testing._server import Server, StopMode, until


class Owner(Protocol):
    """What a node needs of its cluster."""

    database: str
    user: str

    def promote(self, node: PostgresNode, *, follow: bool = True) -> None:
        """Make `node` the primary."""


class PostgresNode:
    """One PostgreSQL server. Its name stays with it, whatever its role becomes."""

    def __init__(self, server: Server, owner: Owner) -> None:
        self.name = server.name
        self.host = LOOPBACK
        self.port = server.claim.port
        self.data_dir: Path = server.data_dir
        self.log_file: Path = server.log_file
        self.server = server
        self._owner = owner
        self._kept = KeptConnection(lambda: self.connect(autocommit=True, prepare_threshold=None))

    def __repr__(self) -> str:
        return f"<PostgresNode {self.name} {self.host}:{self.port}>"

    # -- Who and where

    @property
    def dsn(self) -> str:
        """The URL to connect to."""
        user, database = (quote(part, safe="") for part in (self._owner.user, self._owner.database))
        return f"postgresql://{user}@{self.host}:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None when it does not run."""
        return self.server.pid

    @property
    def running(self) -> bool:
        """Whether the server's process lives; a frozen one does."""
        return self.server.running

    @property
    def frozen(self) -> bool:
        """Whether the server was frozen and not thawed."""
        return self.server.frozen

    def django_settings(self, **overrides: Any) -> dict[str, Any]:
        """An entry for Django's DATABASES; keyword arguments replace or add its keys."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self._owner.database,
            "USER": self._owner.user,
            "PASSWORD": "",
            "HOST": self.host,
            "PORT": str(self.port),
            "OPTIONS": {},
            **overrides,
        }

    # -- SQL

    def connect(self, **options: Any) -> psycopg.Connection[Row]:
        """Open a connection as the superuser; `options` are those of `psycopg.connect()`. Close it yourself."""
        return psycopg.connect(self.dsn, **{"connect_timeout": 10, **options})

    def execute(self, sql: str, params: Parameters | None = None) -> list[Row]:
        """Run a statement on a kept autocommit connection and return its rows; RuntimeError when frozen."""
        if self.frozen:
            raise RuntimeError(f"{self.name} is frozen and would never answer: thaw() it first")
        return self._kept.execute(sql, params)

    def flush_lsn(self) -> int:
        """The position up to which the log is on this server's disk."""
        return replication.flush_lsn(self.execute)

    def replay_lsn(self) -> int:
        """The position up to which readers of this server see the log; on a primary its flush position."""
        return replication.replay_lsn(self.execute)

    def timeline(self) -> int:
        """The timeline that a primary writes or a replica streams; TimeoutError when a replica streams none."""
        return replication.timeline(self.execute, self.name)

    # -- Lag

    def pause_replay(self) -> None:
        """Show nothing new from now on; returns when that holds. A restart forgets it."""
        self.require_replica()
        replication.pause(self.execute, self.name)

    def resume_replay(self) -> None:
        """Undo `pause_replay()`."""
        self.require_replica()
        self.execute("select pg_wal_replay_resume()")

    def set_apply_delay(self, seconds: float) -> None:
        """Show commits `seconds` after they were made; 0 for at once. Returns when that holds."""
        replication.set_apply_delay(self.execute, seconds)
        # The postmaster signals its processes before it takes the next connection.
        self.connect().close()

    def follow(self, host: str, port: int) -> None:
        """Replicate from whatever serves there: a primary, a replica (cascading) or a FaultProxy before one."""
        self.require_replica()
        replication.follow(self.execute, self.conninfo(host, port))

    def conninfo(self, host: str, port: int) -> str:
        """How a replica addresses the server it follows."""
        return f"host={host} port={port} user={self._owner.user}"

    def promote(self, *, follow: bool = True) -> None:
        """Become the cluster's primary; see `PostgresCluster.promote()`."""
        self._owner.promote(self, follow=follow)

    def require_replica(self) -> None:
        """Raise RuntimeError when this server is a primary."""
        if not replication.in_recovery(self.execute):
            raise RuntimeError(f"{self.name} is a primary: it follows nobody and replays nothing")

    # -- Life and death

    def start(self) -> None:
        """Start the server unless it runs; returns when it takes connections."""
        if not self.running:
            self.server.spawn()
            self.server.await_ready()

    def stop(self, mode: StopMode = "fast") -> None:
        """Shut down in order: "smart" waits for the clients, "fast" rolls back, "immediate" skips the checkpoint."""
        self.server.request_stop(mode)
        self._kept.drop()  # "smart" waits for this client, too
        self.server.await_exit()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """SIGKILL to every process of the server: what clients see of a machine's death."""
        self.server.kill()
        self._kept.drop()

    def dispose(self) -> None:
        """End for good: give a server that was asked to stop a second, then kill it; its port becomes free."""
        with suppress(TimeoutError):
            self.server.await_exit(timeout=1.0)
        self.kill()
        self.server.claim.release()

    def kill_backend(self) -> None:
        """SIGKILL to one backend, as the kernel does when memory is short; returns after the crash restart."""
        with self.connect() as victim, self.connect() as witness:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            # The postmaster takes connections until it notices; then it ends every other backend.
            until(lambda: hung_up(witness), f"{self.name} to notice")
        self._kept.drop()
        until(lambda: answers(self.connect), f"{self.name} to recover", timeout=30.0)

    def freeze(self) -> None:
        """SIGSTOP to every process of the server: connections stay open, nothing answers."""
        self.server.freeze()

    def thaw(self) -> None:
        """SIGCONT to every process of the server."""
        self.server.thaw()
