"""One PostgreSQL server as a process with a data directory."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from lagless.testing._binaries import Binaries
from lagless.testing._ports import Claim
from lagless.testing._process import ServerProcess

StopMode = Literal["smart", "fast", "immediate"]

_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_READY_LINE = 7  # of postmaster.pid


def setting(value: object) -> str:
    """A value as configuration files write it."""
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    return "'" + text.replace("\\", r"\\").replace("'", "''") + "'"


class Server(ServerProcess):
    """The postmaster with its backends, and their files."""

    def __init__(self, name: str, base: Path, binaries: Binaries, claim: Claim) -> None:
        super().__init__(name, base, claim)
        self.binaries = binaries

    def configure(self, settings: Mapping[str, object], *, file: str = "postgresql.auto.conf") -> None:
        """Replace a configuration file of a server that does not run."""
        lines = [f"{name} = {setting(value)}\n" for name, value in settings.items()]
        (self.data_dir / file).write_text("".join(lines))
        self.binaries.account.own(self.data_dir / file)

    def spawn(self) -> None:
        """Start the process; `await_ready()` waits for it."""
        with self.log_file.open("ab") as log:
            self._process = self.binaries.spawn(
                log, "-D", self.data_dir, "-p", str(self.claim.port), "-k", self.base, "-c", f"cluster_name={self.name}"
            )
        self.frozen = False

    def _ready(self) -> bool:
        # A killed server leaves this file saying "ready": it must name the present process.
        with suppress(FileNotFoundError):
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
            return len(lines) > _READY_LINE and lines[0] == str(self.pid) and lines[_READY_LINE].strip() == "ready"
        return False

    def request_stop(self, mode: StopMode) -> None:
        """Ask the postmaster to end."""
        self.ask_to_end(_SIGNALS[mode])

    def end(self) -> None:
        """Ask for an immediate end: a postmaster also buries its backends; not every container's init does."""
        self.request_stop("immediate")
