"""The clusters that LAGLESS declares, and what each alias is to them: read once, never on the hot path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections
from django.db.utils import DEFAULT_DB_ALIAS
from django.utils.module_loading import import_string

from lagless.cluster import Asker, Cluster
from lagless.core.config import ClusterConfig, disjoint, parse_cluster
from lagless.dialects.base import Row
from lagless.django import connecting, vetoes
from lagless.drivers.dbapi import ask as ask_plainly
from lagless.edge import SWITCH, switched_off, use_signer
from lagless.errors import ConfigurationError
from lagless.middleware import fraction
from lagless.token import Signer

SETTINGS = frozenset(
    {
        "LAGLESS", SWITCH, "LAGLESS_SHARE", "LAGLESS_OPT_IN", "LAGLESS_KEY", "LAGLESS_DELEGATE_ROUTERS",
        "LAGLESS_ROUTE_IN_TESTS", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASES",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Link:
    """What an alias is: a node of a cluster, its primary's or a replica's."""

    cluster: Cluster
    alias: str
    is_primary: bool


@dataclass(frozen=True, slots=True)
class Registry:
    """Everything read from settings, checked."""

    enabled: bool
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)
    delegates: tuple[Any, ...] = ()
    share: float = 1.0
    opt_in: Callable[[Any], bool] | None = None
    key: Callable[[Any], str | None] | None = None
    signer: Signer | None = None

    @property
    def sole(self) -> Cluster | None:
        """The one cluster, where there is only one, it holds the default alias, and no delegate has a say."""
        default = self.links.get(DEFAULT_DB_ALIAS)
        return default.cluster if default and len(self.clusters) == 1 and not self.delegates else None


_lock = threading.Lock()
_registry: Registry | None = None


def registry() -> Registry:
    """Return the registry, made from settings at first use. Raises ConfigurationError."""
    global _registry  # noqa: PLW0603 - one for the process
    if _registry is None:
        with _lock:
            if _registry is None:
                _registry = build()
                use_signer(_registry.signer)
    return _registry


def cluster(name: str = "default") -> Cluster:
    """Return the cluster of that name in LAGLESS, to ask it to `explain()`. Raises ConfigurationError."""
    known = registry().clusters
    if name not in known:
        raise ConfigurationError(f"no cluster {name!r} in LAGLESS; there are {', '.join(sorted(known)) or 'none'}")
    return known[name]


def reset() -> None:
    """Close the clusters and read settings anew at the next use; tests that override settings need it."""
    global _registry
    with _lock:
        stale, _registry = _registry, None
    for cluster in stale.clusters.values() if stale else ():
        cluster.close()
    for wrapper in connections.all(initialized_only=True):
        for derived in ("link", "line"):
            wrapper.__dict__.pop(derived, None)


def enabled() -> bool:
    """Tell whether lagless is on: neither the setting LAGLESS_ENABLED nor the environment variable says no."""
    return bool(getattr(settings, SWITCH, True)) and not switched_off()


def configs() -> list[ClusterConfig]:
    """Return the parsed LAGLESS setting. Raises ConfigurationError."""
    declared = getattr(settings, "LAGLESS", None)
    if not isinstance(declared, Mapping) or not declared:
        raise ConfigurationError("LAGLESS is missing or empty; set LAGLESS = {'default': {'replicas': ['replica1']}}")
    parsed = [parse_cluster(name, options) for name, options in declared.items()]
    disjoint(parsed)
    for config in parsed:
        for node in (config.primary, *config.replicas):
            if node.name not in connections.settings:
                raise ConfigurationError(
                    f"LAGLESS[{config.name!r}]: {node.name!r} is not an alias in DATABASES; add it there or remove it"
                )
    return parsed


def build() -> Registry:
    """Read settings. Raises ConfigurationError."""
    if not enabled():
        return _disabled()
    clusters = {config.name: _cluster(config) for config in configs()}
    return Registry(
        enabled=True,
        clusters=clusters,
        links=_links(clusters.values()),
        delegates=tuple(_load(path, "LAGLESS_DELEGATE_ROUTERS")() for path in _paths("LAGLESS_DELEGATE_ROUTERS")),
        share=share(),
        opt_in=_load_setting("LAGLESS_OPT_IN"),
        key=_load_setting("LAGLESS_KEY"),
        signer=signer(max(c.config.token_seconds for c in clusters.values())),
    )


def _route_in_tests() -> bool:
    return bool(getattr(settings, "LAGLESS_ROUTE_IN_TESTS", False))


def signer(max_age: float) -> Signer:
    """Return the signer over Django's own secret keys."""
    return Signer([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS], max_age=max_age)


def share() -> float:
    """Return LAGLESS_SHARE. Raises ConfigurationError unless it is between 0 and 1."""
    return fraction(getattr(settings, "LAGLESS_SHARE", 1.0), "LAGLESS_SHARE")


def _disabled() -> Registry:
    """Switched off: aliases are still known, so that replicas are neither read nor migrated."""
    try:
        clusters = {config.name: Cluster(config=config) for config in configs()}
        for known in clusters.values():
            known.veto = vetoes.disabled
    except ConfigurationError:
        return Registry(enabled=False)
    return Registry(enabled=False, clusters=clusters, links=_links(clusters.values()))


def _cluster(config: ClusterConfig) -> Cluster:
    alias = config.primary.name
    vendor = connecting.vendor(alias)
    dialect = config.dialect or ("postgresql" if vendor == "postgresql" else "heartbeat")
    config = connecting.with_dialect(config, dialect)
    cluster = Cluster(config=config, probes=connecting.probe, asker=_asker(alias))
    cluster.off_loop = _in_thread
    cluster.veto = vetoes.for_cluster(cluster, route_in_tests=_route_in_tests())
    return cluster


def _asker(alias: str) -> Asker:
    def ask(statement: str) -> tuple[Row | None, str | None]:
        wrapper = connections[alias]
        wrapper.ensure_connection()
        if not wrapper.get_autocommit():
            raise RuntimeError("the transaction is still open")
        with wrapper.wrap_database_errors:
            row = ask_plainly(wrapper.connection, [statement])
        return row, connecting.system_of(wrapper.connection)

    return ask


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run in the thread that holds this unit's connections."""
    return await sync_to_async(function)(*args)


def _links(clusters: Any) -> dict[str, Link]:
    links = {}
    for cluster in clusters:
        links[cluster.config.primary.name] = Link(cluster, cluster.config.primary.name, is_primary=True)
        for node in cluster.config.replicas:
            links[node.name] = Link(cluster, node.name, is_primary=False)
    return links


def _paths(setting: str) -> list[str]:
    paths = getattr(settings, setting, ())
    if isinstance(paths, str):
        raise ConfigurationError(f"{setting}: {paths!r} must be a list of dotted paths")
    return list(paths)


def _load_setting(setting: str) -> Any:
    path = getattr(settings, setting, None)
    return _load(path, setting) if path is not None else None


def _load(path: Any, setting: str) -> Any:
    if not isinstance(path, str):
        return path
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigurationError(f"{setting}: cannot import {path!r}: {error}") from None


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting in SETTINGS:
        reset()


setting_changed.connect(_on_setting_changed, dispatch_uid="lagless")
