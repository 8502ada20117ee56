"""Who runs the servers, and how their programs are run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

Command = Sequence[str | Path]
Environment = Mapping[str, str]


class Account(NamedTuple):
    """Who runs the servers; no ids: whoever runs us."""

    uid: int | None = None
    gid: int | None = None

    @property
    def groups(self) -> list[int] | None:
        """Supplementary groups: none for an account of its own."""
        return None if self.uid is None else []

    def own(self, path: Path) -> None:
        """Hand `path` over to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def run(self, command: Command, environment: Environment) -> None:
        """Run a program to its end; raises RuntimeError with what it said when it fails."""
        done = subprocess.run(  # noqa: S603 - no shell, and the arguments are ours
            command, cwd="/", env=environment, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            user=self.uid, group=self.gid, extra_groups=self.groups,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{Path(command[0]).name} failed: {done.stdout.decode(errors='replace').strip()}")

    def spawn(self, command: Command, environment: Environment, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a server that writes to `log`, in a session of its own: Ctrl-C is for us alone."""
        return subprocess.Popen(  # noqa: S603 - no shell, and the arguments are ours
            command, cwd="/", env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            user=self.uid, group=self.gid, extra_groups=self.groups,
        )  # fmt: skip

    def copy(self, source: Path, target: Path) -> None:
        """Copy a directory, as the new directory `target`."""
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            # cp's default, to share blocks, is slower on some file systems than to write them.
            self.run(["cp", "-a", "--reflink=never", source, target], environment)
        except RuntimeError:  # not GNU's
            self.run(["cp", "-Rp", source, target], environment)
