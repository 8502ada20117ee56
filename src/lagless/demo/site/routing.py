"""The Django settings that make one routing policy of the site."""

from __future__ import annotations

from typing import Any

from lagless.demo.configuration import WAIT, SiteConfiguration
from lagless.demo.policies import PIN_SECONDS, RoutingPolicy

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
