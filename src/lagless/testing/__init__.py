"""Real replicated servers and faults for test suites: clusters of PostgreSQL and MariaDB, and a TCP proxy.

The pytest plugin makes every test run import this package, so its parts are loaded when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lagless.testing.mariadb import MariaDBCluster, MariaDBNode
    from lagless.testing.postgres import PostgresCluster, PostgresNode
    from lagless.testing.proxy import FaultProxy

__all__ = ["FaultProxy", "MariaDBCluster", "MariaDBNode", "PostgresCluster", "PostgresNode"]

_HOMES = {
    "FaultProxy": "proxy",
    "MariaDBCluster": "mariadb",
    "MariaDBNode": "mariadb",
    "PostgresCluster": "postgres",
    "PostgresNode": "postgres",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
