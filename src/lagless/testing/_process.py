"""One server as a process with a data directory, whatever its database."""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from lagless.testing._guardian import kill_all, processes_in
from lagless.testing._polling import until
from lagless.testing._ports import Claim


class ServerProcess(ABC):
    """The process and the files of one server; it knows nothing of replication or SQL."""

    def __init__(self, name: str, base: Path, claim: Claim) -> None:
        self.name = name
        self.base = base
        self.claim = claim
        self.data_dir = base / name
        self.log_file = base / f"{name}.log"
        self.frozen = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the first process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The first process's id while it runs."""
        return self._process.pid if self._process and self.running else None

    @abstractmethod
    def spawn(self) -> None:
        """Start the process; `await_ready()` waits for it."""

    @abstractmethod
    def end(self) -> None:
        """Begin the quickest end that leaves no unburied process behind."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the present process takes connections."""

    def await_ready(self, timeout: float = 30.0) -> None:
        """Return when it takes connections; raises RuntimeError with the end of its log when it died instead."""
        until(lambda: self._ready() or not self.running, f"{self.name} to take connections", timeout)
        if not self.running:
            raise RuntimeError(f"{self.name} did not start:\n{self.log_file.read_text(errors='replace')[-2000:]}")

    def ask_to_end(self, number: signal.Signals) -> None:
        """Signal the first process; a frozen server is thawed, or it would not hear."""
        self.thaw()
        if self._process and self.running:
            self._process.send_signal(number)

    def await_exit(self, timeout: float = 30.0) -> None:
        """Return when the first process is gone; raises TimeoutError after `timeout` seconds."""
        until(lambda: not self.running, f"{self.name} to stop", timeout)

    def kill(self) -> None:
        """SIGKILL to every process of the server."""
        # In one burst, so that no backend can still tell its client that the first process is gone.
        kill_all(str(self.data_dir))
        if self._process:  # a process just born is not in its data directory yet
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
        # Look again afterwards: one more may have been forked before the first process heard.
        while fresh := set(processes_in(str(self.data_dir))) - told:
            for pid in fresh:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            told |= fresh
