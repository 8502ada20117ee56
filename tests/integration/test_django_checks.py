"""Every wrong setting has one clear message that names the setting and the fix."""

from __future__ import annotations

import copy

import pytest
from django.test import override_settings

from lagless.testing import PostgresCluster
from routing import REPLICAS

pytestmark = pytest.mark.usefixtures("pg")


def found(**settings):
    """Run the checks under other settings; return messages by id."""
    from lagless.django.checks import check_settings

    with override_settings(**settings):
        return {message.id: f"{message.msg} {message.hint or ''}" for message in check_settings(None)}


def with_database(alias, **changes):
    """Run the checks with one alias's settings changed."""
    from django.db import connections

    kept = copy.deepcopy(connections.settings[alias])
    try:
        connections.settings[alias].update(changes)
        return found()
    finally:
        connections.settings[alias].clear()
        connections.settings[alias].update(kept)


def test_right_settings_pass():
    """The project's own settings are right."""
    assert found() == {}


WRONG = {
    "not a mapping": ({"default": ["replica1"]}, "must be a mapping"),
    "unknown alias": ({"default": {"replicas": ["nowhere"]}}, "'nowhere' is not an alias in DATABASES"),
    "replica is the primary": ({"default": {"replicas": ["default"]}}, "'default' is the primary itself"),
    "replica twice": ({"default": {"replicas": ["replica1", "replica1"]}}, "listed twice"),
    "shared node": (
        {"default": {"replicas": ["replica1"]}, "other": {"replicas": ["replica1"]}},
        "share the node 'replica1'",
    ),
    "weight": ({"default": {"replicas": {"replica1": 0}}}, "weight 0 must be a number above 0"),
    "level": ({"default": {"replicas": ["replica1"], "level": "strict"}}, "level: 'strict' is unknown; choose one of"),
    "balancer": ({"default": {"replicas": ["replica1"], "balancer": "best"}}, "balancer: 'best' is unknown"),
    "unknown key": ({"default": {"replica": ["replica1"]}}, "unknown setting 'replica'; did you mean 'replicas'?"),
    "policy key": ({"default": {"policy": {"on_fail": "x"}}}, "unknown setting 'on_fail'"),
    "policy value": ({"default": {"policy": {"on_stale": "x"}}}, "policy.on_stale: 'x' is unknown"),
    "negative wait": ({"default": {"policy": {"wait": -1}}}, "policy.wait: -1 must be a number at least 0"),
    "dialect": ({"default": {"dialect": "oracle"}}, "dialect 'oracle' is unknown"),
    "bounded without max_lag": ({"default": {"level": "bounded"}}, "needs policy.max_lag"),
    "a string of replicas": ({"default": {"replicas": "replica1"}}, "must be a list of names"),
    "empty": ({}, "LAGLESS is missing or empty"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_lagless(mistake):
    """A mistake in LAGLESS is E001, and its text names the setting."""
    setting, text = WRONG[mistake]
    assert text in found(LAGLESS=setting)["lagless.E001"]


def test_wrong_share_and_paths():
    """LAGLESS_SHARE out of range and paths that cannot be imported are E001."""
    assert "LAGLESS_SHARE" in found(LAGLESS_SHARE=2)["lagless.E001"]
    assert "LAGLESS_OPT_IN: cannot import 'no.where'" in found(LAGLESS_OPT_IN="no.where")["lagless.E001"]
    assert "LAGLESS_DELEGATE_ROUTERS" in found(LAGLESS_DELEGATE_ROUTERS="a.b")["lagless.E001"]


def test_wiring():
    """A missing router, a missing or late middleware, and the kill switch are told."""
    assert "lagless.E003" in found(DATABASE_ROUTERS=[])
    assert "lagless.W010" in found(MIDDLEWARE=[])
    late = ["django.contrib.sessions.middleware.SessionMiddleware", "lagless.django.Middleware"]
    assert "stands behind" in found(MIDDLEWARE=late)["lagless.W010"]
    assert "lagless.W014" in found(LAGLESS_ENABLED=False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"TEST": {"MIRROR": None}}, "lagless.E004"),
        ({"ATOMIC_REQUESTS": True}, "lagless.E006"),
        ({"OPTIONS": {"isolation_level": 4}}, "lagless.E007"),
    ],
)
def test_wrong_replica(changes, expected):
    """A replica's entry that cannot work is an error of its own."""
    assert expected in with_database("replica1", **changes)


def test_replica_that_is_the_primary():
    """A replica at the primary's address is refused by its settings."""
    from django.db import connections

    primary = connections.settings["default"]
    assert "lagless.E005" in with_database("replica1", HOST=primary["HOST"], PORT=primary["PORT"])


def test_plain_engine():
    """An alias without lagless's backend is E002, with the fix."""
    from django.db import connections

    from lagless.django.registry import reset

    kept = connections.settings["replica1"]["ENGINE"]
    connections.settings["replica1"]["ENGINE"] = "django.db.backends.postgresql"
    del connections["replica1"]
    try:
        assert "lagless.django.databases()" in found()["lagless.E002"]
    finally:
        connections.settings["replica1"]["ENGINE"] = kept
        del connections["replica1"]
        reset()


def servers():
    """Run the checks that ask servers; return messages by id."""
    from lagless.django.checks import check_servers

    return {message.id: f"{message.msg} {message.hint or ''}" for message in check_servers(None, databases=["default"])}


def test_right_servers_pass():
    """Healthy servers and a role with rights: nothing to say."""
    assert servers() == {}


def test_replica_of_another_primary():
    """A server with another system id is not a replica of this primary."""
    from django.db import connections

    kept = dict(connections.settings["replica1"])
    with PostgresCluster(replicas=0) as stranger:
        connections.settings["replica1"].update(HOST=stranger.primary.host, PORT=stranger.primary.port)
        try:
            assert "other" in servers()["lagless.E009"] or "system id" in servers()["lagless.E009"]
        finally:
            connections.settings["replica1"].update(kept)


def test_role_without_rights(pg):
    """A role that cannot see the timeline: the warning prints the GRANT."""
    from django.db import connections

    pg.primary.execute("drop role if exists poor; create role poor login")
    pg.wait_replayed()
    for alias in REPLICAS:
        connections.settings[alias]["USER"] = "poor"
    try:
        assert "GRANT pg_read_all_stats TO poor;" in servers()["lagless.W011"]
    finally:
        for alias in REPLICAS:
            connections.settings[alias]["USER"] = connections.settings["default"]["USER"]
        pg.primary.execute("drop role poor")


def test_synchronous_standbys(pg):
    """Synchronous replication is warned about: a replica can be ahead of what the primary shows."""
    pg.primary.execute("alter system set synchronous_standby_names = 'replica1'")
    pg.primary.execute("select pg_reload_conf()")
    try:
        assert "lagless.W012" in servers()
    finally:
        pg.primary.execute("alter system reset synchronous_standby_names")
        pg.primary.execute("select pg_reload_conf()")


def test_dead_replica_is_a_warning(pg):
    """A replica that is down when the checks run does not stop a deployment."""
    pg.kill("replica1")
    assert "'replica1' could not be asked" in servers()["lagless.W013"]
