"""Makes MariaDB's data directories: one by its installer, the others as copies of it or, later, of a running one's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from lagless.testing._mariadb_server import MariaDBServer, options

REPLICATION_USER = "replication"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """The application's database and its account, and the secret that replicas show their primary."""

    database: str
    user: str
    password: str
    secret: str


def identifier(name: str) -> str:
    """A name as SQL has it."""
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """A string as SQL has it."""
    return "'" + value.replace("\\", r"\\").replace("'", "''") + "'"


def creation(database: str, user: str) -> list[str]:
    """Statements that make a database, which with Django's test databases after it is the user's own."""
    # In a grant, a database's name is a pattern.
    own = database.replace("\\", r"\\").replace("_", r"\_").replace("%", r"\%")
    tests = rf"test\_{own}%"
    return [
        f"create database {identifier(database)} character set utf8mb4",
        *(f"grant all on {identifier(pattern)}.* to {text(user)}@'%'" for pattern in (own, tests)),
    ]


def initialize(server: MariaDBServer, tenant: Tenant) -> None:
    """Make a new system: root comes by the unix socket alone, the tenant has what an application needs."""
    script = server.base / "accounts.sql"
    script.write_text("".join(f"{statement};\n" for statement in _accounts(tenant)), encoding="utf-8")
    server.data_dir.mkdir(mode=0o700)  # else the installer makes it, perhaps when all has been removed already
    about_files = {name: value for name, value in server.settings.items() if name.startswith(("innodb", "aria"))}
    server.binaries.install(
        *("--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=normal"),
        *(f"--datadir={server.data_dir}", f"--tmpdir={server.temporary}", f"--extra-file={script}"),
        *options(about_files),
    )
    script.unlink()


def _accounts(tenant: Tenant) -> list[str]:
    user, replicator = f"{text(tenant.user)}@'%'", f"'{REPLICATION_USER}'@'127.0.0.1'"
    return [
        "flush privileges",
        "delete from mysql.global_priv where user not in ('root', 'mariadb.sys') or host <> 'localhost'",
        "flush privileges",
        f"create user {replicator} identified by {text(tenant.secret)}",
        f"grant replication slave on *.* to {replicator}",
        f"create user {user} identified by {text(tenant.password)}",
        f"grant binlog monitor, replica monitor on *.* to {user}",
        *creation(tenant.database, tenant.user),
    ]


def clone(source: MariaDBServer, targets: Sequence[MariaDBServer]) -> None:
    """Copy the data of a server that was never started."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda target: _copy(source, target), targets):
            pass


def recopy(source: MariaDBServer, target: MariaDBServer) -> None:
    """Replace the data of a dead `target` by what `source` has; it stands still for the moment that the copy takes."""
    with suppress(FileNotFoundError):
        shutil.rmtree(target.data_dir)
    with source.standing_still():
        _copy(source, target)


def _copy(source: MariaDBServer, target: MariaDBServer) -> None:
    target.binaries.account.copy(source.data_dir, target.data_dir)
    target.read_only = True
