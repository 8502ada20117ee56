"""One PostgreSQL server as a process with a data directory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from lagless.testing._binaries import Binaries
from lagless.testing._guardian import kill_all, processes_in
from lagless.testing._ports import Claim

StopMode = Literal["smart", "fast", "immediate"]

_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_READY_LINE = 7  # of postmaster.pid


def until(done: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Poll every 5 ms until `done()`; raises TimeoutError that says `what` did not happen within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.005)


def setting(value: object) -> str:
    """A value as configuration files write it."""
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    return "'" + text.replace("\\", r"\\").replace("'", "''") + "'"


class Server:
    """The process and the files of one server; it knows nothing of replication or SQL."""

    def __init__(self, name: str, base: Path, binaries: Binaries, claim: Claim) -> None:
        self.name = name
        self.base = base
        self.binaries = binaries
        self.claim = claim
        self.data_dir = base / name
        self.log_file = base / f"{name}.log"
        self.frozen = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the postmaster lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process and self.running else None

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

    def await_ready(self, timeout: float = 30.0) -> None:
        """Return when it takes connections; raises RuntimeError with the end of its log when it died instead."""
        until(lambda: self._ready() or not self.running, f"{self.name} to take connections", timeout)
        if not self.running:
            raise RuntimeError(f"{self.name} did not start:\n{self.log_file.read_text(errors='replace')[-2000:]}")

    def _ready(self) -> bool:
        # A killed server leaves this file saying "ready": it must name the present process.
        with suppress(FileNotFoundError):
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
            return len(lines) > _READY_LINE and lines[0] == str(self.pid) and lines[_READY_LINE].strip() == "ready"
        return False

    def request_stop(self, mode: StopMode) -> None:
        """Ask the postmaster to end; a frozen one is thawed, or it would not hear."""
        self.thaw()
        if self._process and self.running:
            self._process.send_signal(_SIGNALS[mode])

    def await_exit(self, timeout: float = 30.0) -> None:
        """Return when the postmaster is gone; raises TimeoutError after `timeout` seconds."""
        until(lambda: not self.running, f"{self.name} to stop", timeout)

    def kill(self) -> None:
        """SIGKILL to every process of the server."""
        # In one burst, so that no backend can still tell its client that the postmaster is gone.
        kill_all(str(self.data_dir))
        if self._process:  # a postmaster just born is not in its data directory yet
            self._process.kill()
            self._process.wait()
        self.frozen = False

    def freeze(self) -> None:
        """SIGSTOP to every process of the server."""
        self._signal_all(signal.SIGSTOP)
        self.frozen = self.running

    def thaw(self) -> None:
        """SIGCONT to every process of the server."""
        if self.frozen:
            self._signal_all(signal.SIGCONT)
        self.frozen = False

    def _signal_all(self, number: signal.Signals) -> None:
        told: set[int] = set()
        # Look again afterwards: one more may have been forked before the postmaster heard.
        while fresh := set(processes_in(str(self.data_dir))) - told:
            for pid in fresh:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= fresh
