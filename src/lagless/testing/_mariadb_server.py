"""One MariaDB server as a process with a data directory."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lagless.testing._mariadb_binaries import Binaries
from lagless.testing._ports import LOOPBACK, Claim
from lagless.testing._process import ServerProcess

_FASTER_THAN_SAFE = {
    "innodb_flush_log_at_trx_commit": 2,  # survives a SIGKILL, not a power cut
    "innodb_flush_method": "nosync",
    "sync_binlog": 0,
}
_SMALL = {
    "performance_schema": False,
    "key_buffer_size": "1M",
    "aria_pagecache_buffer_size": "1M",
    "innodb_buffer_pool_size": "8M",
    "innodb_log_file_size": "4M",
    "innodb_log_buffer_size": "2M",
    "innodb_data_file_path": "ibdata1:4M:autoextend",
    "innodb_temp_data_file_path": "ibtmp1:4M:autoextend",
    "innodb_autoextend_increment": 1,  # megabytes; else the system table space grows by 64 at once
    "innodb_read_io_threads": 1,
    "innodb_write_io_threads": 1,
}
_REPLICATING = {
    "log_bin": "bin",
    "relay_log": "relay",
    "log_slave_updates": True,
    "gtid_strict_mode": True,
    "slave_net_timeout": 5,  # seconds
    "session_track_system_variables": "last_gtid",
}
_SETTINGS: Mapping[str, object] = {
    **_FASTER_THAN_SAFE,
    **_SMALL,
    **_REPLICATING,
    "bind_address": LOOPBACK,
    "skip_name_resolve": True,
    "max_connections": 200,
    "character_set_server": "utf8mb4",
    "innodb_use_native_aio": False,  # else the kernel may go on writing for a server that stands still
}


def options(settings: Mapping[str, object]) -> list[str]:
    """Settings as a command line has them."""
    words = {True: "ON", False: "OFF"}
    texts = {name: words[value] if isinstance(value, bool) else value for name, value in settings.items()}
    return [f"--{name.replace('_', '-')}={text}" for name, text in texts.items()]


class MariaDBServer(ServerProcess):
    """The one process that a MariaDB server is, and its files; `read_only` is how it starts."""

    def __init__(
        self, name: str, base: Path, binaries: Binaries, claim: Claim, *, number: int, settings: Mapping[str, object]
    ) -> None:
        super().__init__(name, base, claim)
        self.binaries = binaries
        self.number = number
        self.settings = {**_SETTINGS, **settings}
        self.socket = base / f"{name}.sock"
        self.read_only = False
        # Where two servers share a directory for this, one that starts removes the other's files.
        self.temporary = base / f"{name}.tmp"
        self.temporary.mkdir()

    def spawn(self) -> None:
        """Start the process; `await_ready()` waits for it."""
        own = {
            "datadir": self.data_dir,
            "tmpdir": self.temporary,
            "socket": self.socket,
            "pid_file": self.base / f"{self.name}.pid",
            "port": self.claim.port,
            "server_id": self.number,
            "read_only": self.read_only,
        }
        self.socket.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self._process = self.binaries.spawn(log, *options({**own, **self.settings}))
        self.frozen = False

    def _ready(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            client.connect(str(self.socket))
            return bool(client.recv(1))  # it greets whom it would serve
        return False

    def end(self) -> None:
        """SIGKILL: there is one process, and we bury it."""
        self.kill()

    def stop(self) -> None:
        """Ask for an orderly end, and wait for it."""
        self.ask_to_end(signal.SIGTERM)
        self.await_exit()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """No write reaches the files meanwhile: they are as after a SIGKILL, and may be copied."""
        froze = self.running and not self.frozen
        self.freeze()
        if self._process and self.running:
            # A signal is only under way: the parent is told when every thread has stopped.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        try:
            yield
        finally:
            if froze:
                self.thaw()
