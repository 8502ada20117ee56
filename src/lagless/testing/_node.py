"""One server of a cluster, as a test sees it."""

from __future__ import annotations

import os
import signal
from typing import Any
from urllib.parse import quote

import psycopg

from lagless.testing import _replication as replication
from lagless.testing._connection import answers, hung_up, run
from lagless.testing._kept import KeptConnection, Parameters, Row
from lagless.testing._member import Member, Owner
from lagless.testing._polling import until
from lagless.testing._server import Server, StopMode


class PostgresNode(Member[Server]):
    """One PostgreSQL server. Its name stays with it, whatever its role becomes."""

    def __init__(self, server: Server, owner: Owner) -> None:
        opener = lambda: self.connect(autocommit=True, prepare_threshold=None)  # noqa: E731 - reads best
        super().__init__(server, owner, KeptConnection(opener, hung_up))

    # -- Who and where

    @property
    def dsn(self) -> str:
        """The URL to connect to."""
        user, database = (quote(part, safe="") for part in (self._owner.user, self._owner.database))
        return f"postgresql://{user}@{self.host}:{self.port}/{database}"

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
        self.require_awake()
        return self._kept.use(lambda connection: run(connection, sql, params))

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

    def is_replica(self) -> bool:
        """Whether the server is in recovery."""
        return replication.in_recovery(self.execute)

    # -- Life and death

    def stop(self, mode: StopMode = "fast") -> None:
        """Shut down in order: "smart" waits for the clients, "fast" rolls back, "immediate" skips the checkpoint."""
        self.server.request_stop(mode)
        self._kept.drop()  # "smart" waits for this client, too
        self.server.await_exit()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def kill_backend(self) -> None:
        """SIGKILL to one backend, as the kernel does when memory is short; returns after the crash restart."""
        with self.connect() as victim, self.connect() as witness:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            # The postmaster takes connections until it notices; then it ends every other backend.
            until(lambda: hung_up(witness), f"{self.name} to notice")
        self._kept.drop()
        until(lambda: answers(self.connect), f"{self.name} to recover", timeout=30.0)
