"""Django's PostgreSQL backend, with the driver's command tags and transaction status."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from lagless.dialects.statements import is_several
from lagless.django.backends.wrapper import RoutedWrapper, tagged

OPEN = frozenset({1, 2, 3})
"""PQTRANS_ACTIVE, INTRANS and INERROR; IDLE is 0, and 4 says that the connection is dead."""


class DatabaseWrapper(RoutedWrapper, base.DatabaseWrapper):
    """PostgreSQL, routed."""

    def wrote(self, cursor: Any, sql: str, *, counted: bool) -> bool:
        """Ask the command tag; a SELECT that was counted for its text stays counted."""
        return tagged(cursor.statusmessage, counted=counted, several=counted and is_several(sql))

    def in_transaction(self) -> bool:
        """Ask the driver: also right for a COMMIT sent as text."""
        connection = self.connection
        return connection is not None and int(connection.info.transaction_status) in OPEN

    def promoted(self) -> bool:
        """Ask the driver: the server reports `in_hot_standby` with each change (PostgreSQL 14 and newer)."""
        connection = self.connection
        return connection is not None and connection.info.parameter_status("in_hot_standby") == "off"

    def _configure_connection(self, connection: Any) -> bool:
        """Probe each new physical connection; a pool calls this once for each, too."""
        changed = bool(super()._configure_connection(connection))  # type: ignore[misc]
        self.probed(connection)
        return changed or self.link is not None
