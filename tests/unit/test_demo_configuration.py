from __future__ import annotations

import pytest

from lagless.demo.configuration import SiteConfiguration
from lagless.demo.policies import RoutingPolicy
from lagless.demo.site.routing import routing

PRIMARY = {"ENGINE": "django.db.backends.postgresql", "NAME": "board", "HOST": "127.0.0.1", "PORT": "1"}
REPLICAS = {"replica1": {"HOST": "127.0.0.1", "PORT": "2"}, "replica2": {"HOST": "127.0.0.1", "PORT": "3"}}


def site(policy: RoutingPolicy) -> SiteConfiguration:
    """A site with two replicas."""
    return SiteConfiguration(policy=policy, secret_key="k", primary=PRIMARY, replicas=REPLICAS)


def test_a_configuration_survives_the_environment() -> None:
    """Text there, the same value back."""
    before = site(RoutingPolicy.PIN_15)
    after = SiteConfiguration.load(before.dump())
    assert after == before
    assert after.policy is RoutingPolicy.PIN_15


def test_without_replicas_there_is_one_database_and_no_router() -> None:
    """The site as it was before anybody added replicas."""
    settings = routing(site(RoutingPolicy.PRIMARY_ONLY))
    assert settings == {"DATABASES": {"default": PRIMARY}}


@pytest.mark.parametrize("policy", [RoutingPolicy.RANDOM_REPLICA, RoutingPolicy.PIN_1, RoutingPolicy.PIN_15])
def test_plain_replicas_differ_from_the_primary_in_their_address_only(policy: RoutingPolicy) -> None:
    """Every policy gets the same options."""
    databases = routing(site(policy))["DATABASES"]
    assert databases["replica2"] == PRIMARY | {"PORT": "3"}
    assert databases["default"] == PRIMARY


def test_the_pins_last_as_long_as_their_names_say() -> None:
    """The real router from PyPI, with its own setting."""
    one, fifteen = routing(site(RoutingPolicy.PIN_1)), routing(site(RoutingPolicy.PIN_15))
    assert one["DATABASE_ROUTERS"] == fifteen["DATABASE_ROUTERS"] == ["multidb.PinningReplicaRouter"]
    assert (one["MULTIDB_PINNING_SECONDS"], fifteen["MULTIDB_PINNING_SECONDS"]) == (1, 15)


def test_lagless_is_set_up_as_its_documentation_says() -> None:
    """Five settings."""
    settings = routing(site(RoutingPolicy.LAGLESS))
    assert list(settings) == ["DATABASES", "DATABASE_ROUTERS", "MIDDLEWARE", "INSTALLED_APPS", "LAGLESS"]
    assert settings["DATABASES"]["replica1"]["PORT"] == "2"
