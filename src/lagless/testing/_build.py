"""Makes the data directories: one by initdb, the others as copies of it or, later, as base backups."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from lagless.testing._guardian import release_segments
from lagless.testing._node import PostgresNode
from lagless.testing._ports import LOOPBACK

_FASTER_THAN_SAFE = {"fsync": False, "autovacuum": False, "shared_buffers": "16MB"}
_SMALL = {"max_wal_size": "128MB", "wal_keep_size": "128MB"}
_PROMPT = {"wal_retrieve_retry_interval": "20ms", "wal_receiver_status_interval": "1s"}
_SETTINGS: Mapping[str, object] = {
    **_FASTER_THAN_SAFE,
    **_SMALL,
    **_PROMPT,
    "listen_addresses": LOOPBACK,
    "dynamic_shared_memory_type": "mmap",  # "posix" leaves files in /dev/shm when the server is killed
}
_SINCE_18: Mapping[str, object] = {"io_method": "sync"}  # else every server has three processes more


def initialize(node: PostgresNode, user: str, settings: Mapping[str, object]) -> None:
    """Make a new system, with an identifier of its own."""
    binaries = node.server.binaries
    # Small segments are quick to make and to copy.
    binaries.run(
        "initdb", "-D", node.data_dir, "-U", user, "-A", "trust", "-E", "UTF8",
        "--locale=C", "--no-sync", "--no-instructions", "--wal-segsize=1",
    )  # fmt: skip
    newer = _SINCE_18 if binaries.version >= 18 else {}  # noqa: PLR2004 - PostgreSQL 18
    node.server.configure({**_SETTINGS, **newer, **settings}, file="postgresql.conf")


def clone(source: PostgresNode, targets: list[PostgresNode]) -> None:
    """Make `targets` replicas of a source that was never started: cleanly closed, it may simply be copied."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda target: _copy(source, target), targets):
            pass


def _copy(source: PostgresNode, target: PostgresNode) -> None:
    target.server.binaries.account.copy(source.data_dir, target.data_dir)
    _make_replica(target, source)


def recopy(source: PostgresNode, target: PostgresNode) -> None:
    """Replace the data of a dead `target` by a base backup of the running `source`."""
    release_segments(target.data_dir)
    with suppress(FileNotFoundError):
        shutil.rmtree(target.data_dir)
    target.server.binaries.run(
        "pg_basebackup", "-D", target.data_dir, "-d", source.conninfo(source.host, source.port),
        "-X", "stream", "-c", "fast", "--no-sync",
    )  # fmt: skip
    _make_replica(target, source)


def _make_replica(target: PostgresNode, source: PostgresNode) -> None:
    target.server.configure({"primary_conninfo": source.conninfo(source.host, source.port)})
    target.server.configure({}, file="standby.signal")
