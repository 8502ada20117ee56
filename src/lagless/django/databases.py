"""DATABASES from one primary and what differs on its replicas."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from lagless.errors import ConfigurationError

ENGINES = {
    "django.db.backends.postgresql": "lagless.django.backends.postgresql",
    "django.db.backends.sqlite3": "lagless.django.backends.sqlite3",
}
"""Django's backends and the thin ones over them."""
CONNECT_TIMEOUT = 2
"""Seconds, libpq's smallest: without it a stalled replica is waited for without end."""

Settings = dict[str, Any]


def databases(
    primary: Mapping[str, Any],
    replicas: Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]],
    *,
    alias: str = "default",
) -> dict[str, Settings]:
    """Return DATABASES entries for a primary and its replicas.

    `primary` is an ordinary entry; each replica overrides it (OPTIONS and TEST key by key). Replicas are named by the
    mapping's keys, or `replica1`, `replica2`, ... for a list. The engine becomes lagless's backend over the same one,
    replicas get ATOMIC_REQUESTS off, a TEST mirror of the primary, and on PostgreSQL a connect_timeout. Merge the
    result of several calls for several clusters. Raises ConfigurationError.
    """
    _mapping(primary, "primary")
    if not primary.get("ENGINE"):
        raise ConfigurationError("databases(): primary has no ENGINE; give django.db.backends.postgresql, for one")
    base = copy.deepcopy(dict(primary))
    base["ENGINE"] = ENGINES.get(base["ENGINE"], base["ENGINE"])
    result = {alias: base}
    for name, overrides in _named(replicas).items():
        if name in result:
            raise ConfigurationError(f"databases(): replica {name!r} has the primary's alias; give it another")
        result[name] = _replica(base, _mapping(overrides, f"replicas[{name!r}]"), alias)
    return result


def _named(replicas: Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    if isinstance(replicas, Mapping):
        return dict(replicas)
    if isinstance(replicas, str) or not isinstance(replicas, Sequence):
        kind = type(replicas).__name__  # not its value, which may hold a password
        raise ConfigurationError(f"databases(): replicas must map aliases to overrides, or list overrides, not {kind}")
    return {f"replica{number}": overrides for number, overrides in enumerate(replicas, 1)}


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"databases(): {where} must be a mapping, not {type(value).__name__}")
    return value


def _replica(base: Settings, overrides: Mapping[str, Any], alias: str) -> Settings:
    entry = copy.deepcopy(base)
    entry.update(copy.deepcopy(dict(overrides)))
    entry["ENGINE"] = ENGINES.get(entry["ENGINE"], entry["ENGINE"])
    for nested in ("OPTIONS", "TEST"):
        entry[nested] = {**base.get(nested, {}), **overrides.get(nested, {})}
    entry["ATOMIC_REQUESTS"] = overrides.get("ATOMIC_REQUESTS", False)
    entry["TEST"] = {**overrides.get("TEST", {})} if "MIRROR" in overrides.get("TEST", {}) else {"MIRROR": alias}
    if entry["ENGINE"].endswith(".postgresql"):
        entry["OPTIONS"].setdefault("connect_timeout", CONNECT_TIMEOUT)
    return entry
