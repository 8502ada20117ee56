"""Reads in flight by node: the load that a balancer weighs, and the sockets to cut when a node freezes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable


class Read:
    """One read in flight on a node; `fileno` gives its connection's socket."""

    __slots__ = ("fileno", "node")

    def __init__(self, node: str, fileno: Callable[[], int] | None) -> None:
        self.node = node
        self.fileno = fileno


class InFlight:
    """The reads in flight, by node."""

    def __init__(self) -> None:
        self.load: dict[str, int] = {}
        self._reads: set[Read] = set()
        self._lock = threading.Lock()

    def enter(self, node: str, fileno: Callable[[], int] | None) -> Read:
        """Register a read before it is sent; `fileno` None if its socket must not be cut."""
        read = Read(node, fileno)
        with self._lock:
            self._reads.add(read)
            self.load[node] = self.load.get(node, 0) + 1
        return read

    def leave(self, read: Read) -> None:
        """Take it out again, whatever became of it."""
        with self._lock:
            self._reads.discard(read)
            self.load[read.node] -= 1

    def cut(self, node: str) -> int:
        """Shut the sockets of all reads in flight on `node`; return how many."""
        # Under the lock no read can leave, so its connection is open and the descriptor is still its own.
        with self._lock:
            return sum(_shut(read.fileno) for read in self._reads if read.node == node and read.fileno)


def _shut(fileno: Callable[[], int]) -> bool:
    """Shut the socket behind a descriptor without closing the descriptor, which is the driver's."""
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)
        return True
    return False
