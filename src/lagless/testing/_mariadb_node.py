"""One MariaDB server of a cluster, as a test sees it."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import quote

from lagless.testing import _mariadb_driver as driver
from lagless.testing import _mariadb_replication as replication
from lagless.testing import _member
from lagless.testing._kept import KeptConnection, Parameters, Row
from lagless.testing._mariadb_server import MariaDBServer


class Owner(_member.Owner, Protocol):
    """What a node needs of its cluster."""

    password: str
    secret: str


class MariaDBNode(_member.Member[MariaDBServer]):
    """One MariaDB server. Its name stays with it, whatever its role becomes."""

    def __init__(self, server: MariaDBServer, owner: Owner) -> None:
        super().__init__(server, owner, KeptConnection(self._open, driver.hung_up))
        self._owner: Owner = owner

    def _open(self) -> Any:
        return driver.connect(unix_socket=str(self.server.socket), user="root", database=self._owner.database)

    # -- Who and where

    def connect_params(self) -> dict[str, Any]:
        """What a driver's `connect()` wants, for the application's account: host, port, user, password, database."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self._owner.user,
            "password": self._owner.password,
            "database": self._owner.database,
        }

    def url(self, driver: str = "pymysql", *, database: str | None = None) -> str:
        """SQLAlchemy's URL for the application's account, over a driver, to the cluster's or another `database`."""
        name = self._owner.database if database is None else database
        parts = (self._owner.user, self._owner.password, name)
        user, password, name = (quote(part, safe="") for part in parts)
        return f"mysql+{driver}://{user}:{password}@{self.host}:{self.port}/{name}"

    def django_settings(self, **overrides: Any) -> dict[str, Any]:
        """An entry for Django's DATABASES; keyword arguments replace or add its keys."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": self._owner.database,
            "USER": self._owner.user,
            "PASSWORD": self._owner.password,
            "HOST": self.host,
            "PORT": str(self.port),
            "OPTIONS": {"charset": "utf8mb4"},
            **overrides,
        }

    # -- SQL

    def connect(self, **options: Any) -> Any:
        """Open a PyMySQL connection as the application; `options` are those of its `connect()`. Close it yourself."""
        return driver.pymysql().connect(**{**self.connect_params(), "connect_timeout": 10, **options})

    def execute(self, sql: str, params: Parameters | None = None) -> list[Row]:
        """Run a statement as root, whom `read_only` does not bind, on a kept autocommit connection.

        Returns the rows, of the last statement if there are several; RuntimeError when frozen.
        """
        self.require_awake()
        return self._kept.use(lambda connection: driver.run(connection, sql, params))

    def status(self) -> dict[str, Any]:
        """The row of SHOW SLAVE STATUS by column; empty on a server that follows nobody."""
        self.require_awake()
        rows = self._kept.use(lambda connection: driver.run_named(connection, "show slave status"))
        return rows[0] if rows else {}

    def position(self) -> str:
        """The GTIDs up to which this server's own log goes: of writes on a primary, of replay on a replica."""
        return replication.written(self)

    def is_replica(self) -> bool:
        """Whether the server has somebody to follow."""
        return bool(self.status())

    # -- Lag

    def pause_replay(self) -> None:
        """Show nothing new from now on, and go on receiving; returns when that holds. A restart forgets it."""
        self.require_replica()
        self.execute("stop slave sql_thread")

    def resume_replay(self) -> None:
        """Undo `pause_replay()`."""
        self.require_replica()
        self.execute("start slave sql_thread")

    def set_apply_delay(self, seconds: float) -> None:
        """Show commits `seconds` after they were made; 0 for at once. Returns when that holds.

        MariaDB counts in whole seconds, else ValueError: of a delay of two at least one passes, at most two.
        """
        if seconds != int(seconds) or seconds < 0:
            raise ValueError(f"seconds: {seconds:g} is not a whole number from 0; MariaDB counts whole seconds")
        self.require_replica()
        replication.set_apply_delay(self, int(seconds))

    def follow(self, host: str, port: int) -> None:
        """Replicate from whatever serves there: a primary, a replica (cascading) or a FaultProxy before one."""
        self.require_replica()
        self.attach(host, port)

    def attach(self, host: str, port: int) -> None:
        """Become a replica of whatever serves there, in whatever state this server is."""
        self.server.read_only = True
        replication.follow(self, host, port, self._owner.secret)

    # -- Life and death

    def stop(self) -> None:
        """Shut down in order."""
        self.server.stop()
        self._kept.drop()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()
