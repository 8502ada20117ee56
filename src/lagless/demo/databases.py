"""The databases that the demo runs on: their servers, and what each of them is asked and told in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

from lagless.demo.options import DatabaseName
from lagless.demo.oracle import PRIMARY
from lagless.testing import MariaDBCluster, PostgresCluster

if TYPE_CHECKING:
    from lagless.testing import MariaDBNode, PostgresNode

_PATIENCE = 2  # seconds to connect


@dataclass(frozen=True, slots=True)
class Question:
    """How the sampler asks one server how far its log has come; the answer is one whole number."""

    driver: str
    connect: dict[str, Any]
    statement: str


class DemoDatabase(Protocol):
    """A primary with two replicas, and how they are spoken to."""

    @property
    def cluster(self) -> PostgresCluster | MariaDBCluster:
        """The servers."""

    @property
    def pausing(self) -> tuple[str, str]:
        """What makes a replica fall behind, and what lets it catch up."""

    def create(self, name: str) -> None:
        """Make an empty database on the primary."""

    def url(self, node: Any, name: str) -> str:
        """Where an asynchronous SQLAlchemy engine finds a database on one of the servers."""

    def shell(self, node: Any) -> str:
        """The command that opens a shell on one of the servers."""

    def delay(self, seconds: float) -> float:
        """What to set a replica's delay to, so that it lags at most a second more than this, and not less."""

    def questions(self) -> dict[str, Question]:
        """What the sampler asks each server."""


@dataclass(frozen=True, slots=True)
class OnPostgres:
    """PostgreSQL: a position is a place in the log, in bytes."""

    cluster: PostgresCluster = field(default_factory=lambda: PostgresCluster(replicas=2))
    pausing: tuple[str, str] = ("select pg_wal_replay_pause();", "select pg_wal_replay_resume();")

    def create(self, name: str) -> None:
        """Make an empty database on the primary."""
        self.cluster.primary.execute(f"create database {name}")

    def url(self, node: PostgresNode, name: str) -> str:
        """Over asyncpg."""
        return f"postgresql+asyncpg://{self.cluster.user}@{node.host}:{node.port}/{name}"

    def shell(self, node: PostgresNode) -> str:
        """Over the network."""
        return f"psql {node.dsn}"

    def delay(self, seconds: float) -> float:
        """PostgreSQL counts in milliseconds."""
        return seconds

    def questions(self) -> dict[str, Question]:
        """What is flushed on the primary, what is replayed on a replica."""
        flushed, replayed = "pg_current_wal_flush_lsn()", "pg_last_wal_replay_lsn()"
        nodes = {PRIMARY: (self.cluster.primary, flushed)}
        nodes |= {node.name: (node, replayed) for node in self.cluster.replicas}
        return {name: _postgres_question(node.dsn, told) for name, (node, told) in nodes.items()}


def _postgres_question(dsn: str, told: str) -> Question:
    options = {"conninfo": dsn, "autocommit": True, "connect_timeout": _PATIENCE}
    return Question("psycopg", options, f"select ({told} - '0/0')::bigint")


@dataclass(frozen=True, slots=True)
class OnMariaDB:
    """MariaDB: a position is a GTID, whose last number counts the transactions of the one domain that there is."""

    cluster: MariaDBCluster = field(default_factory=lambda: MariaDBCluster(replicas=2))
    pausing: tuple[str, str] = ("stop slave sql_thread;", "start slave sql_thread;")

    def create(self, name: str) -> None:
        """Make an empty database on the primary."""
        self.cluster.create_database(name)

    def url(self, node: MariaDBNode, name: str) -> str:
        """Over aiomysql."""
        return node.url("aiomysql", database=name)

    def shell(self, node: MariaDBNode) -> str:
        """As an administrator, over the socket."""
        return f"mariadb --user=root --socket={node.server.socket}"

    def delay(self, seconds: float) -> float:
        """MariaDB counts in seconds that have begun, so of a delay of two at least one passes."""
        return ceil(seconds)

    def questions(self) -> dict[str, Question]:
        """What is in the primary's log, what a replica has shown of it."""
        nodes = {PRIMARY: (self.cluster.primary, "gtid_binlog_pos")}
        nodes |= {node.name: (node, "gtid_slave_pos") for node in self.cluster.replicas}
        return {name: _mariadb_question(node.connect_params(), told) for name, (node, told) in nodes.items()}


def _mariadb_question(params: dict[str, Any], told: str) -> Question:
    options = {**params, "autocommit": True, "connect_timeout": _PATIENCE}
    statement = f"select cast(substring_index(@@global.{told}, '-', -1) as unsigned)"
    return Question("pymysql", options, statement)


def database_named(name: DatabaseName) -> DemoDatabase:
    """The database of a name; its servers do not run yet."""
    return OnMariaDB() if name is DatabaseName.MARIADB else OnPostgres()
