"""Reads in flight by node: the load that a balancer weighs, and the sockets to cut when a node freezes.

A connection registers once; saying that a read is under way is one attribute, because it is said for every query.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable


class Line:
    """A connection to a node: `busy` while a read is under way; `fileno` gives its socket's descriptor."""

    __slots__ = ("__weakref__", "busy", "fileno", "node")

    def __init__(self, node: str, fileno: Callable[[], int] | None = None) -> None:
        self.node = node
        self.fileno = fileno
        self.busy = False


class InFlight:
    """The lines of a cluster."""

    def __init__(self) -> None:
        self._lines: weakref.WeakSet[Line] = weakref.WeakSet()
        self._lock = threading.Lock()

    def open(self, node: str, fileno: Callable[[], int] | None = None) -> Line:
        """Register a connection, for as long as the line is held; `fileno` None if it must not be cut."""
        line = Line(node, fileno)
        with self._lock:
            self._lines.add(line)
        return line

    def load(self, node: str) -> int:
        """Return how many reads are under way on a node."""
        return sum(line.busy and line.node == node for line in self._held())

    def cut(self, node: str) -> int:
        """Shut the sockets of all reads under way on `node`; return how many."""
        return sum(_shut(line) for line in self._held() if line.node == node and line.busy)

    def _held(self) -> list[Line]:
        with self._lock:
            return list(self._lines)


def _shut(line: Line) -> bool:
    """Shut a line's socket without closing the descriptor, which is the driver's."""
    with contextlib.suppress(Exception):  # closed meanwhile: there is nothing to cut
        if line.fileno is None:
            return False
        descriptor = line.fileno()
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            # The driver may have closed the descriptor before it was doubled, and somebody else opened it again.
            if line.busy and line.fileno() == descriptor:
                twin.shutdown(socket.SHUT_RDWR)
                return True
    return False
