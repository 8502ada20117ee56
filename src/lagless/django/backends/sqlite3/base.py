"""Django's SQLite backend, for tests and development: positions come from the heartbeat."""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import base

from lagless.django.backends.wrapper import RoutedWrapper


class DatabaseWrapper(RoutedWrapper, base.DatabaseWrapper):
    """SQLite, routed."""

    def in_transaction(self) -> bool:
        """Ask the driver."""
        connection: Any = self.connection
        return connection is not None and bool(connection.in_transaction)
