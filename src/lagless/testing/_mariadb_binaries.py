"""Finds MariaDB's server programs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lagless.errors import ConfigurationError
from lagless.testing._account import Account

_OLDEST = (10, 6)
_SERVER, _INSTALLER = "mariadbd", "mariadb-install-db"
_BESIDE = (".", "../bin", "../sbin", "../scripts")  # of the server's directory; every packager has an order of its own
_ADVICE = (
    "MariaDB is not installed; on Debian and Ubuntu: apt-get install mariadb-server-core mariadb-client-core "
    "(programs alone, no service), or name the directory of mariadbd in LAGLESS_MARIADB_BINDIR or bindir="
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """One MariaDB's programs, which run under our own account: MariaDB has nothing against root."""

    server: Path
    installer: Path
    account: Account

    def install(self, *arguments: str) -> None:
        """Make a data directory; raises RuntimeError with what the program said."""
        base = f"--basedir={self.server.parents[1]}"
        self.account.run([self.installer, "--no-defaults", base, *_as_root(), *arguments], _environment())

    def spawn(self, log: IO[bytes], *arguments: str) -> subprocess.Popen[bytes]:
        """Start a server that writes to `log`."""
        return self.account.spawn([self.server, "--no-defaults", *_as_root(), *arguments], _environment(), log)


def find_binaries(directory: str | Path | None = None) -> Binaries:
    """Look in `directory`, else $LAGLESS_MARIADB_BINDIR, PATH, /usr/sbin.

    Raises ConfigurationError when no server is found there, or one older than MariaDB 10.6.
    """
    server = _locate(directory)
    installers = [server.parent / place / _INSTALLER for place in _BESIDE]
    for installer in installers:
        if installer.is_file():
            _require_version(server)
            return Binaries(server, installer, Account())
    raise ConfigurationError(f"bindir: {server.parent} has {_SERVER}, but {_INSTALLER} is neither there nor beside it")


def _locate(directory: str | Path | None) -> Path:
    if named := directory or os.environ.get("LAGLESS_MARIADB_BINDIR"):
        if not (Path(named) / _SERVER).is_file():
            raise ConfigurationError(
                f"bindir: {named} has no {_SERVER}; bindir= and LAGLESS_MARIADB_BINDIR name the directory that holds it"
            )
        return (Path(named) / _SERVER).absolute()
    for candidate in _on_path():
        if candidate.is_file():
            return candidate
    raise ConfigurationError(f"bindir: {_ADVICE}")


def _on_path() -> list[Path]:
    found = shutil.which(_SERVER)
    # An ordinary user's PATH has no sbin.
    return [Path(place) for place in (found, f"/usr/sbin/{_SERVER}", f"/usr/local/sbin/{_SERVER}") if place]


def _require_version(server: Path) -> None:
    said = subprocess.run([server, "--no-defaults", "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"Ver (\d+)\.(\d+)", said.stdout)
    if not found:
        raise ConfigurationError(f"bindir: {server} does not run: {said.stderr.strip()}")
    if (int(found[1]), int(found[2])) < _OLDEST:
        raise ConfigurationError(f"bindir: {server} is MariaDB {found[1]}.{found[2]}; 10.6 or newer is needed")


def _as_root() -> list[str]:
    # Root must say that it means it.
    return ["--user=root"] if os.geteuid() == 0 else []


def _environment() -> Mapping[str, str]:
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MYSQL", "MARIADB"))}
    return {**outer, "LC_ALL": "C"}
