"""Runs a command and ends it, with all its children, when the demo ends it or is gone.

    python -m lagless.demo.keeper COMMAND...

The demo holds the other end of the standard input. However the demo ends, even by SIGKILL, that pipe closes.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

PATIENCE = 3.0  # seconds between asking and killing


def keep(command: list[str]) -> int:
    """Run `command` until it ends or the standard input does."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - the demo's own
    try:
        while process.poll() is None and not select.select([sys.stdin], [], [], 0.1)[0]:
            pass
    finally:
        end(process)
    return process.returncode


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole process group to end, then make it."""
    _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    _signal(process, signal.SIGKILL)  # its leader may be gone and a child not
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
