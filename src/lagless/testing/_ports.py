"""Loopback ports that stay ours while nobody listens on them."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

LOOPBACK = "127.0.0.1"


class Claim:
    """A loopback port, kept from everybody who asks the system for a free one.

    A dead server must find its port again, although a client's end of some connection could have been given it
    meanwhile. Linux lets a server listen on a port that is bound with SO_REUSEADDR and not listened on, and gives
    such a port to nobody else. Other systems refuse the server too, so there the port is only chosen.
    """

    def __init__(self, preferred: int = 0) -> None:
        """Claim `preferred`, or any free port when it is 0 or taken."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            self._socket.bind((LOOPBACK, preferred))
        self.port: int = self._socket.getsockname()[1]
        if not self.port:
            self._socket.bind((LOOPBACK, 0))
            self.port = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self.release()

    def release(self) -> None:
        """Give the port back."""
        self._socket.close()
