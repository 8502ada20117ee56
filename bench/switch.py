"""Plain Django and the contestant in one process, switched between blocks: what differs is only the routing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contestants import plain_databases
from bench.files import PRIMARY


class Switch:
    """The routers and the default connection, both ways.

    Connections belong to a thread: call it in the thread that runs the queries.
    """

    def __init__(self, folder: Path) -> None:
        from django.db import connections, router

        self._plain_entry = connections.configure_settings(plain_databases(folder))[PRIMARY]
        self._connections, self._router = connections, router
        self._routers = router.routers
        self._plain: Any = None
        self._routed: Any = None

    def plain(self) -> None:
        """Read the primary's file through Django's own backend, no router asked."""
        if self._plain is None:
            from django.db.backends.sqlite3.base import DatabaseWrapper

            self._routed = self._connections[PRIMARY]
            self._plain = DatabaseWrapper(self._plain_entry, PRIMARY)
        self._connections[PRIMARY] = self._plain
        self._router.routers = []

    def routed(self) -> None:
        """Go by the contestant's router."""
        if self._routed is not None:
            self._connections[PRIMARY] = self._routed
        self._router.routers = self._routers
