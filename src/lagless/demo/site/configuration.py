"""What the demo tells its site, and the Django settings that make one routing policy of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lagless.demo.policies import PIN_SECONDS, RoutingPolicy

VARIABLE = "LAGLESS_DEMO_SITE"
"""The environment variable that carries a `SiteConfiguration` to the server's processes."""

WAIT = 0.01
"""Seconds that a read may wait for a replica that is about to have what its reader wrote; then the primary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfiguration:
    """One site: its policy and where its servers are."""

    policy: RoutingPolicy
    secret_key: str
    primary: dict[str, Any]
    replicas: dict[str, dict[str, Any]]

    def dump(self) -> str:
        """As the environment carries it."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> SiteConfiguration:
        """The reverse of `dump()`."""
        values = json.loads(text)
        return cls(**values | {"policy": RoutingPolicy(values["policy"])})


NOWHERE = SiteConfiguration(
    policy=RoutingPolicy.PRIMARY_ONLY,
    secret_key="not served to anybody",  # noqa: S106 - what a type checker imports the settings with
    primary={"ENGINE": "django.db.backends.postgresql", "NAME": "board"},
    replicas={},
)


def routing(site: SiteConfiguration) -> dict[str, Any]:
    """The settings that differ between the policies; MIDDLEWARE and INSTALLED_APPS list additions only."""
    match site.policy:
        case RoutingPolicy.PRIMARY_ONLY:
            return {"DATABASES": {"default": site.primary}}
        case RoutingPolicy.RANDOM_REPLICA:
            return _plain(site) | {"DATABASE_ROUTERS": ["lagless.demo.site.routers.RandomReplicaRouter"]}
        case RoutingPolicy.PIN_1 | RoutingPolicy.PIN_15:
            return _plain(site) | {
                "DATABASE_ROUTERS": ["multidb.PinningReplicaRouter"],
                "MIDDLEWARE": ["multidb.middleware.PinningRouterMiddleware"],
                "MULTIDB_PINNING_SECONDS": PIN_SECONDS[site.policy],
            }
        case RoutingPolicy.LAGLESS:
            return _lagless(site)


def _plain(site: SiteConfiguration) -> dict[str, Any]:
    replicas = {alias: site.primary | where for alias, where in site.replicas.items()}
    return {"DATABASES": {"default": site.primary, **replicas}, "REPLICA_DATABASES": list(replicas)}


def _lagless(site: SiteConfiguration) -> dict[str, Any]:
    # Imported here: the other policies' processes must not load what they do not use.
    from lagless.django import databases  # noqa: PLC0415

    return {
        "DATABASES": databases(site.primary, replicas=site.replicas),
        "DATABASE_ROUTERS": ["lagless.django.Router"],
        "MIDDLEWARE": ["lagless.django.Middleware"],
        "INSTALLED_APPS": ["lagless.django"],
        "LAGLESS": {"default": {"replicas": list(site.replicas), "level": "session", "policy": {"wait": WAIT}}},
    }
