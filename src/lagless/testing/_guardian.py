"""Removes a base directory with everything that runs in it; as a process, when whoever started that process is gone.

Run by path and without site-packages, so the standard library must do. A process rather than the kernel's parent
death signal: that one is bound to the thread that started the server, exists on Linux only, and deletes no files.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_IPC_RMID = 0  # the same on Linux and macOS
_PATIENCE = 10.0  # seconds
_PS_FIELDS = 3
_PROGRAMS = ("postgres", "mariadbd")


def processes_in(directory: str) -> list[int]:
    """The database servers' processes whose data directory is `directory` or lies below it."""
    return _from_proc(directory) if Path("/proc/self/cwd").exists() else _from_ps(directory)


def _from_proc(directory: str) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _serves(entry, directory)]


def _serves(process: Path, directory: str) -> bool:
    # PostgreSQL's backends leave their parent's process group, but all stand in the data directory, as MariaDB does.
    # Somebody's shell may stand there too, hence the look at the program. MariaDB's installer is a shell itself.
    try:
        where, program = (process / "cwd").readlink(), (process / "exe").readlink()
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return False
    stands = f"{where}/".startswith(f"{directory}/") and program.name.startswith(_PROGRAMS)
    return stands or any(_names(word, directory) for word in arguments)


def _names(argument: bytes, directory: str) -> bool:
    return (argument + b"/").startswith(os.fsencode(f"--datadir={directory}/"))


def _from_ps(directory: str) -> list[int]:
    command = ["/bin/ps", "-A", "-ww", "-o", "pid=,ppid=,command="]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a constant
    rows = [row for line in listing.stdout.splitlines() if len(row := line.split(None, 2)) == _PS_FIELDS]
    here = re.compile(rf" (?:-D |--datadir=){re.escape(directory)}[/ ]")
    masters = {pid for pid, _, how in rows if here.search(how)}
    return [int(pid) for pid, parent, _ in rows if pid in masters or parent in masters]


def release_segments(directory: Path) -> None:
    """Remove the System V segments that killed servers left in or below `directory`; their lock files name them."""
    for lock in (*directory.glob("postmaster.pid"), *directory.glob("*/postmaster.pid")):
        with suppress(OSError, IndexError, ValueError):
            segment = int(lock.read_text().splitlines()[6].split()[1])
            ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)


def kill_all(directory: str) -> None:
    """Send SIGKILL to what serves in or below `directory` until nothing does; TimeoutError after ten seconds."""
    deadline = time.monotonic() + _PATIENCE
    files: set[Path] = set()
    while pids := processes_in(directory):
        files.update(*map(_shared_files, pids))  # beforehand: the signals come in one burst
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            msg = f"processes {pids} in {directory} do not die"
            raise TimeoutError(msg)
        time.sleep(0.001)
    for file in files:
        file.unlink(missing_ok=True)


def _shared_files(pid: int) -> set[Path]:
    """What a server leaves in memory when it is killed: ours keep such files among their data, initdb's do not."""
    try:
        mapped = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    except OSError:
        return set()
    return {Path(name) for name in re.findall(r"(?<= )/dev/shm/PostgreSQL\.\d+", mapped)}


def clean(base: str) -> None:
    """Kill what serves below `base` and delete it all."""
    for _ in range(3):  # an initdb that dies right now may write a last file
        kill_all(base)
        release_segments(Path(base))
        shutil.rmtree(base, ignore_errors=True)


def watch(base: str) -> None:
    """Wait until the parent hangs up or is gone, then clean.

    The pipe tells at once; but a forked child of the parent may hold its other end open for long.
    """
    parent = os.getppid()
    while os.getppid() == parent and not select.select([0], [], [], 0.5)[0]:
        pass
    clean(base)


if __name__ == "__main__":
    watch(sys.argv[1])
