"""Probes over mysqlclient, whose module is called MySQLdb."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import MySQLdb  # type: ignore[import-untyped]

from lagless.drivers.dbapi import TimedProbe

_NOT_OURS = frozenset({"cursorclass"})
"""An argument of connect() that would change what a probe reads."""


class MySQLdbProbe(TimedProbe):
    """A probe connection made from mysqlclient's connection parameters.

    Its timeouts are whole seconds, so `ask()` rounds up; and where mysqlclient was built with MySQL's library, that
    reads three times before it gives up.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        given = {k: v for k, v in params.items() if k not in _NOT_OURS}
        super().__init__(lambda timeout: MySQLdb.connect(**{**given, **_bounds(timeout)}), _fileno)


def _bounds(timeout: float) -> dict[str, Any]:
    timeouts = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), math.ceil(timeout))
    return {**timeouts, "autocommit": True}


def _fileno(connection: Any) -> int | None:
    fileno = getattr(connection, "fileno", None)  # older versions have none: then it is heard only when asked
    return None if fileno is None else int(fileno())
