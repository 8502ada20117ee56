"""Serves the demo's site over HTTP with one routing policy, by a real server in processes of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from lagless.demo import keeper
from lagless.demo.configuration import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lagless.demo.configuration import SiteConfiguration
    from lagless.demo.stacks import Stack

HOST = "127.0.0.1"
_PATIENCE = 20.0  # seconds until the first page


@contextmanager
def serve(site: SiteConfiguration, stack: Stack) -> Iterator[int]:
    """Serve `site`; gives the port and ends with all the server's processes."""
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", keeper.__name__, sys.executable, "-m", *stack.command(HOST, port)],
            env=environment(site),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _await_page(process, port, log.fileno())
            yield port
        finally:
            _end(process)


def environment(site: SiteConfiguration) -> dict[str, str]:
    """What a process of the site needs to know."""
    return os.environ | {VARIABLE: site.dump()}


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _await_page(process: subprocess.Popen[bytes], port: int, log: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the site did not start:\n{_tail(log)}")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/login/")
        return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _tail(log: int) -> str:
    return os.pread(log, 4000, max(0, os.fstat(log).st_size - 4000)).decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.communicate(timeout=2 * keeper.PATIENCE)  # closes its input
