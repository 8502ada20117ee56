"""Connections of lagless's own, made from Django's settings, and what is known of each physical connection."""

from __future__ import annotations

import weakref
from dataclasses import replace
from functools import partial
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from lagless.cluster import Cluster
from lagless.core.config import ClusterConfig
from lagless.drivers.dbapi import DbapiProbe, ask
from lagless.greeting import greet
from lagless.monitor import Probe

_systems: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def vendor(alias: str) -> str:
    """Return the vendor of an alias's backend: postgresql, sqlite, mysql, ..."""
    return str(connections[alias].vendor)


def with_dialect(config: ClusterConfig, dialect: str) -> ClusterConfig:
    """Return the configuration with its dialect settled."""
    return replace(config, dialect=dialect)


def probe(alias: str) -> Probe:
    """Return the monitor's probe for an alias."""
    wrapper: Any = _twin(alias)
    params = _parameters(wrapper)
    if wrapper.vendor == "postgresql" and wrapper.Database.__name__ == "psycopg":
        from lagless.drivers.psycopg import PsycopgProbe  # noqa: PLC0415 - only where psycopg is the driver

        return PsycopgProbe(params)
    return DbapiProbe(lambda: wrapper.get_new_connection(params))


def _twin(alias: str) -> BaseDatabaseWrapper:
    """Return a wrapper of the probing thread's own; its class knows how to connect, nobody else uses it."""
    settings = {**connections.settings[alias]}
    settings["OPTIONS"] = {k: v for k, v in settings["OPTIONS"].items() if k != "pool"}
    return connections[alias].__class__(settings, alias)


def _parameters(wrapper: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return connect()'s parameters for the server that the alias itself names, whoever is the primary now."""
    return getattr(wrapper, "own_connection_params", wrapper.get_connection_params)()


def probe_connection(cluster: Cluster, node: str, connection: Any) -> None:
    """Run the probe on a new physical connection, before it serves anything: its answer is an observation."""
    identity = greet(cluster, node, partial(ask, connection))
    if identity is not None:
        _systems[connection] = identity.system


def system_of(connection: Any) -> str | None:
    """Return the system id that a physical connection's probe told."""
    try:
        return _systems.get(connection)
    except TypeError:  # a driver whose connections cannot be referred to weakly, and whose positions need no system
        return None
