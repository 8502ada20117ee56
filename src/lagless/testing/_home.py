"""The base directory of a cluster, which vanishes with everything in it when its process does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lagless.errors import ConfigurationError
from lagless.testing import _guardian
from lagless.testing._account import Account

_ROOMY = 1 << 30  # bytes
_LONGEST_SOCKET = 103  # bytes of a unix socket's path, on the meanest system
_LONGEST_NAME = ".s.PGSQL.65535"


class Home:
    """A new directory for the servers' files, and the process that removes it should we die first."""

    def __init__(self, parent: str | Path | None, account: Account) -> None:
        parent = parent or _roomy_tmpfs()
        self.path = Path(tempfile.mkdtemp(prefix="lagless-", dir=parent)).resolve()
        self._owner = os.getpid()
        self._guardian: subprocess.Popen[bytes] | None = None
        try:
            self._check()
            account.own(self.path)
            self._guardian = self._guard()
        except BaseException:
            self.close()
            raise

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child's copy: the servers are its parent's."""
        return os.getpid() != self._owner

    def close(self) -> None:
        """Kill what still serves in the directory and remove it."""
        _guardian.clean(str(self.path))
        if self._guardian:
            self._guardian.communicate()  # closes the pipe, which is its sign to end

    def _check(self) -> None:
        if len(os.fsencode(self.path / _LONGEST_NAME)) > _LONGEST_SOCKET:
            raise ConfigurationError(f"base_dir: {self.path} is too long for a unix socket's path; name a shorter one")

    def _guard(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - no shell, and the arguments are ours
            [sys.executable, "-I", "-S", _guardian.__file__, str(self.path)],
            cwd="/", start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def _roomy_tmpfs() -> str | None:
    """Memory is several times as fast as a disk; but containers often have only 64 MB of it here."""
    shared = Path("/dev/shm")  # noqa: S108 - mkdtemp() makes a private directory in it
    try:
        space = os.statvfs(shared)
    except OSError:
        return None
    return str(shared) if space.f_bavail * space.f_frsize > _ROOMY else None
