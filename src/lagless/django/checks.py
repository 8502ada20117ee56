"""System checks: each wrong setting gets one message that names the setting and the fix.

lagless.E001  LAGLESS or another LAGLESS_* setting is wrong
lagless.E002  an alias's ENGINE is not a lagless backend
lagless.E003  lagless.django.Router is missing from DATABASE_ROUTERS
lagless.E004  a replica has no TEST MIRROR
lagless.E005  a replica's settings name the primary's own server
lagless.E006  a replica has ATOMIC_REQUESTS
lagless.E007  a replica runs SERIALIZABLE, which a standby refuses
lagless.E008  a replica's database differs in kind from the primary's
lagless.E009  (--database) a replica is not a replica of this primary
lagless.W010  the middleware is missing or not first
lagless.W011  (--database) the role cannot see a replica's timeline: time pin instead of positions
lagless.W012  (--database) synchronous standbys: a replica can be ahead of what the primary shows
lagless.W013  (--database) a server could not be asked
lagless.W014  lagless is switched off
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.db import connections

from lagless.core.config import ClusterConfig
from lagless.core.topology import Observation, Role
from lagless.dialects import PostgreSQL, dialect_named
from lagless.dialects.base import Heard
from lagless.django import connecting, registry
from lagless.django.backends.wrapper import RoutedWrapper
from lagless.errors import ConfigurationError

ROUTER = "lagless.django.Router"
MIDDLEWARE = "lagless.django.Middleware"


def check_settings(app_configs: Any, **_: Any) -> list[CheckMessage]:  # noqa: ARG001 - Django's signature
    """Check settings without asking a server."""
    try:
        configs = registry.configs()
        registry.share()
        registry.registry()
    except ConfigurationError as error:
        return [Error(str(error), id="lagless.E001")]
    found: list[CheckMessage] = []
    if not registry.enabled():
        found.append(
            Warning(
                "lagless is switched off: everything goes to the primary", hint="LAGLESS_ENABLED", id="lagless.W014"
            )
        )
    for config in configs:
        found += _primary_checks(config)
        for replica in config.replicas:
            found += _replica_checks(config, replica.name)
    return [*found, *_wiring()]


def _wiring() -> Iterator[CheckMessage]:
    routers = [r if isinstance(r, str) else f"{type(r).__module__}.{type(r).__qualname__}" for r in _routers()]
    if not any(path.startswith("lagless.") for path in routers):
        yield Error(f"{ROUTER!r} is not in DATABASE_ROUTERS: nothing is routed", hint="Add it.", id="lagless.E003")
    middleware = list(settings.MIDDLEWARE or ())
    if MIDDLEWARE not in middleware:
        yield Warning(
            f"{MIDDLEWARE!r} is not in MIDDLEWARE: web requests have no session, so all their reads go to the primary",
            hint="Put it first.",
            id="lagless.W010",
        )
    elif before := [m for m in middleware[: middleware.index(MIDDLEWARE)] if "contrib" in m and "security" not in m]:
        yield Warning(
            f"{MIDDLEWARE!r} stands behind {before[0]!r}, whose reads and writes it cannot see",
            hint="Put it first in MIDDLEWARE.",
            id="lagless.W010",
        )


def _routers() -> Sequence[Any]:
    return settings.DATABASE_ROUTERS or ()


def _primary_checks(config: ClusterConfig) -> Iterator[CheckMessage]:
    yield from _engine_check(config.primary.name)


def _engine_check(alias: str) -> Iterator[CheckMessage]:
    if not isinstance(connections[alias], RoutedWrapper):
        engine = connections.settings[alias]["ENGINE"]
        yield Error(
            f"DATABASES[{alias!r}]: ENGINE {engine!r} is not a lagless backend, so writes and failures are not seen",
            hint="Build DATABASES with lagless.django.databases(), or wrap the backend with "
            "lagless.django.backends.routed().",
            id="lagless.E002",
        )


def _replica_checks(config: ClusterConfig, alias: str) -> Iterator[CheckMessage]:
    entry, primary = connections.settings[alias], connections.settings[config.primary.name]
    yield from _engine_check(alias)
    if not entry["TEST"].get("MIRROR"):
        yield Error(
            f"DATABASES[{alias!r}]: TEST has no MIRROR, so tests would create a database of its own",
            hint=f"Set 'TEST': {{'MIRROR': {config.primary.name!r}}}; lagless.django.databases() does.",
            id="lagless.E004",
        )
    if _server(entry) == _server(primary) and not registry_in_tests():
        yield Error(
            f"DATABASES[{alias!r}] names the same server and database as the primary {config.primary.name!r}",
            hint="Set its HOST or PORT to the replica's.",
            id="lagless.E005",
        )
    if entry.get("ATOMIC_REQUESTS"):
        yield Error(
            f"DATABASES[{alias!r}]: ATOMIC_REQUESTS opens a transaction on a replica for every request",
            hint="Set it to False; the primary's may stay.",
            id="lagless.E006",
        )
    if "SERIALIZABLE" in str(entry["OPTIONS"].get("isolation_level", "")).upper() or _serializable(entry):
        yield Error(
            f"DATABASES[{alias!r}]: isolation_level SERIALIZABLE is refused by a standby",
            hint="Use REPEATABLE READ on replicas.",
            id="lagless.E007",
        )
    if connecting.vendor(alias) != connecting.vendor(config.primary.name):
        yield Error(
            f"DATABASES[{alias!r}] is {connecting.vendor(alias)}, its primary {connecting.vendor(config.primary.name)}",
            hint="A replica is a copy of its primary: give it the same ENGINE.",
            id="lagless.E008",
        )


def registry_in_tests() -> bool:
    """Tell whether mirrors are in force, where replica and primary are one server on purpose."""
    from lagless.django.testing import in_test_environment  # noqa: PLC0415 - avoids a cycle

    return in_test_environment()


def _server(entry: dict[str, Any]) -> tuple[Any, ...]:
    return (*(str(entry.get(k) or "") for k in ("HOST", "PORT", "NAME")), str(entry["OPTIONS"].get("service")))


def _serializable(entry: dict[str, Any]) -> bool:
    level = entry["OPTIONS"].get("isolation_level")
    return getattr(level, "name", "") == "SERIALIZABLE" or (isinstance(level, int) and level == _SERIALIZABLE)


_SERIALIZABLE = 4
"""psycopg's IsolationLevel.SERIALIZABLE."""


# -- with --database: ask the servers


def check_servers(app_configs: Any, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Ask the servers of the clusters whose aliases are checked."""
    if not databases or not registry.enabled():
        return []
    try:
        configs = registry.configs()
    except ConfigurationError:
        return []  # E001 says it
    found: list[CheckMessage] = []
    for config in configs:
        if {config.primary.name, *(n.name for n in config.replicas)} & set(databases):
            found += _cluster_check(config)
    return found


def _cluster_check(config: ClusterConfig) -> Iterator[CheckMessage]:
    vendor = connecting.vendor(config.primary.name)
    dialect = dialect_named(config.dialect or ("postgresql" if vendor == "postgresql" else "heartbeat"))
    answers: dict[str, Observation] = {}
    for alias in (config.primary.name, *(n.name for n in config.replicas)):
        role = Role.PRIMARY if alias == config.primary.name else Role.REPLICA
        try:
            answers[alias] = _ask(dialect, alias, role, config)
        except Exception as error:  # noqa: BLE001 - a server that does not answer is a finding, not a crash
            yield Warning(f"{alias!r} could not be asked: {type(error).__name__}", id="lagless.W013")
    primary = answers.get(config.primary.name)
    for alias, seen in answers.items():
        if alias != config.primary.name:
            yield from _answer_check(alias, seen, primary)
    for alias, seen in answers.items():
        yield from _settings_check(dialect, alias, seen.role or Role.REPLICA)


def _ask(dialect: Any, alias: str, role: Role, config: ClusterConfig) -> Observation:
    """Probe through a connection of the check's own, with the function that setup installs where it is needed."""
    heard = Heard(alias, role, time.monotonic(), config.generation)
    probe = connecting.probe(alias)
    try:
        seen: Observation = dialect.read_probe(probe.ask(dialect.probe_statements(role, helper=False), 5.0), heard)
        if seen.position is None and not seen.unproven:
            seen = _through_helper(dialect, probe, role, heard) or seen
        return seen
    finally:
        probe.close()


def _through_helper(dialect: Any, probe: Any, role: Role, heard: Heard) -> Observation | None:
    try:
        found: Observation = dialect.read_probe(probe.ask(dialect.probe_statements(role, helper=True), 5.0), heard)
    except Exception:  # noqa: BLE001 - not installed
        return None
    return found


def _answer_check(alias: str, seen: Observation, primary: Observation | None) -> Iterator[CheckMessage]:
    here, there = seen.identity, primary.identity if primary else None
    if here and there and here.system != there.system:
        yield Error(
            f"{alias!r} is not a replica of this primary: its system id is {here.system}, the primary's {there.system}",
            hint="Point it at a replica of the primary, or re-clone it.",
            id="lagless.E009",
        )
    elif seen.role is Role.PRIMARY and here != there:
        yield Error(f"{alias!r} is not a replica: it accepts writes", hint="Is it promoted?", id="lagless.E009")
    elif seen.role is Role.PRIMARY:
        yield Error(f"{alias!r} is the primary's own server", hint="Set its HOST or PORT.", id="lagless.E005")
    elif seen.position is None and not seen.unproven:
        user = connections.settings[alias]["USER"] or "the role"
        yield Warning(
            f"{alias!r} cannot tell its position: level session becomes a time pin after each write",
            hint=f"Run `manage.py lagless setup` as a privileged user, or: {PostgreSQL.grant(user)}",
            id="lagless.W011",
        )


def _settings_check(dialect: Any, alias: str, role: Role) -> Iterator[CheckMessage]:
    """Say which settings of a server weaken or break the promise."""
    statement = dialect.config_statement()
    if statement is None:
        return
    probe = connecting.probe(alias)
    try:
        found = dialect.read_config(probe.ask([statement], 5.0), role)
    finally:
        probe.close()
    for message in found:
        yield Warning(f"{alias!r}: {message}", hint="See docs/guarantees.md.", id="lagless.W012")
