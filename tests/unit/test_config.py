"""Settings: each mistake is named with its field and its fix."""

from __future__ import annotations

import math

import pytest

from lagless.core.balancer import BalancerName
from lagless.core.config import CaptureMode, ClusterConfig, disjoint, parse_cluster
from lagless.core.consistency import Level, OnStale, Policy
from lagless.core.topology import Node
from lagless.dialects import Heartbeat, PostgreSQL, dialect_named
from lagless.errors import ConfigurationError, LaglessError

HOME = Node("default")


def config(**options: object) -> ClusterConfig:
    """Return settings with a primary."""
    return ClusterConfig(**{"primary": HOME, **options})  # type: ignore[arg-type]


def test_the_defaults_are_the_documented_ones() -> None:
    """Session level, fall back to the primary at once."""
    settings = config()
    assert settings.level is Level.SESSION
    assert settings.balancer is BalancerName.RANDOM
    assert settings.capture is CaptureMode.AUTO
    assert settings.policy == Policy(on_stale="primary", wait=0.0, max_lag=None, pin_seconds=15.0)


def test_names_become_members() -> None:
    """Settings files hold text."""
    settings = config(level="eventual", balancer="weighted", capture="insert")
    assert settings.level is Level.EVENTUAL
    assert settings.balancer is BalancerName.WEIGHTED
    assert settings.capture is CaptureMode.INSERT
    assert Policy(on_stale="wait", wait=1).on_stale is OnStale.WAIT


def test_the_lag_limit_is_a_tokens_life_less_a_tenth() -> None:
    """A margin for clocks and for a request's own time (CORRECTNESS 11)."""
    assert config(token_seconds=100).lag_limit == 90


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "sesion"}, r"cluster 'default': level: 'sesion' is unknown; choose one of eventual, bounded, se"),
        ({"level": None}, "level: None is unknown; choose one of"),
        ({"level": []}, r"level: \[\] is unknown; choose one of"),
        ({"balancer": "best"}, "balancer: 'best' is unknown; choose one of round_robin, random, weighted"),
        ({"capture": "now"}, "capture: 'now' is unknown; choose one of auto, flush, insert"),
        ({"token_seconds": 0}, "token_seconds: 0 must be a number above 0"),
        ({"token_seconds": "60"}, "token_seconds: '60' must be a number above 0"),
        ({"probe_timeout": -1}, "probe_timeout: -1 must be a number above 0"),
        ({"idle_interval": math.nan}, "idle_interval: nan must be a number above 0"),
        ({"max_probe_rate": math.inf}, "max_probe_rate: inf must be a number above 0"),
        ({"max_probe_rate": True}, "max_probe_rate: True must be a number above 0"),
        ({"generation": -1}, "generation -1 must be a whole number from 0"),
        ({"generation": 1.5}, "generation 1.5 must be a whole number from 0"),
        ({"generation": True}, "generation True must be a whole number from 0"),
        ({"level": "bounded"}, r"level 'bounded' needs policy.max_lag, in seconds"),
        ({"replicas": (HOME,)}, "replica 'default' is the primary itself; remove it from replicas"),
        ({"replicas": (Node("a"), Node("a"))}, "replica 'a' is listed twice; list it once"),
        ({"replicas": ("a",)}, r"replica 'a' must be a lagless.Node"),
        ({"primary": "default"}, r"primary 'default' must be a lagless.Node"),
        ({"policy": {"wait": 1}}, r"policy \{'wait': 1\} must be a lagless.Policy"),
        ({"name": ""}, r"cluster name '' must be ASCII letters, digits, '_' and '-'"),
        ({"name": "a!b"}, r"cluster name 'a!b' must be ASCII letters"),
        ({"name": "größe"}, r"cluster name 'größe' must be ASCII letters"),
        ({"name": 7}, r"cluster name 7 must be ASCII letters"),
    ],
)
def test_a_mistake_in_a_cluster_is_named(options: dict[str, object], message: str) -> None:
    """The message names the cluster's field and the fix."""
    with pytest.raises(ConfigurationError, match=message):
        config(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_stale": "retry"}, "policy.on_stale: 'retry' is unknown; choose one of primary, wait, error"),
        ({"wait": -1}, "policy.wait: -1 must be a number at least 0"),
        ({"pin_seconds": "15"}, "policy.pin_seconds: '15' must be a number at least 0"),
        ({"max_lag": 0}, "policy.max_lag: 0 must be a number above 0"),
        ({"on_stale": "wait"}, "policy.wait: on_stale='wait' needs a time; set wait to the seconds to wait"),
        ({"on_stale": "error", "wait": 1}, "policy.wait: on_stale='error' never waits; use on_stale='wait'"),
    ],
)
def test_a_mistake_in_a_policy_is_named(options: dict[str, object], message: str) -> None:
    """The message names the policy's field and the fix."""
    with pytest.raises(ConfigurationError, match=message):
        Policy(**options)  # type: ignore[arg-type]


def test_a_configuration_error_is_a_value_error_too() -> None:
    """Whoever catches either gets it."""
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(ConfigurationError, LaglessError)


def test_a_cluster_is_read_from_a_mapping() -> None:
    """The primary is named like the cluster unless told otherwise."""
    parsed = parse_cluster("main", {"replicas": ["a", Node("b", 3)], "level": "session", "policy": {"wait": 0.5}})
    assert parsed == config(
        name="main", primary=Node("main"), replicas=(Node("a"), Node("b", 3)), policy=Policy(wait=0.5)
    )
    assert parse_cluster("main", {"primary": "writer"}).primary == Node("writer")


def test_replicas_are_read_with_weights() -> None:
    """As numbers or as options."""
    parsed = parse_cluster("main", {"replicas": {"a": 2, "b": {"weight": 0.5}, "c": {}}})
    assert parsed.replicas == (Node("a", 2), Node("b", 0.5), Node("c", 1.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a"], r"LAGLESS\['main'\]: \['a'\] must be a mapping such as"),
        ({"replica": ["a"]}, r"LAGLESS\['main'\]: unknown setting 'replica'; did you mean 'replicas'\?"),
        ({"zzz": 1}, r"unknown setting 'zzz'; known are balancer, capture"),
        ({"name": "x"}, r"unknown setting 'name'"),
        ({"replicas": "a"}, r"replicas 'a' must be a list of names or a mapping of names to weights"),
        ({"replicas": 3}, r"replicas 3 must be a list of names or a mapping"),
        ({"replicas": {"a": {"wieght": 2}}}, r"replica 'a': unknown setting 'wieght'; did you mean 'weight'\?"),
        ({"replicas": {"a": 0}}, r"LAGLESS\['main'\]: node 'a': weight 0 must be a number above 0"),
        ({"replicas": [7]}, r"LAGLESS\['main'\]: node.name: 7 must be a non-empty string"),
        ({"primary": None}, r"LAGLESS\['main'\]: node.name: None must be a non-empty string"),
        ({"policy": "wait"}, r"policy 'wait' must be a mapping or a lagless.Policy"),
        ({"policy": {"on_stall": "wait"}}, r"policy: unknown setting 'on_stall'; did you mean 'on_stale'\?"),
        ({"policy": {"max_lag": -1}}, r"policy.max_lag: -1 must be a number above 0"),
    ],
)
def test_a_mistake_in_a_mapping_is_named(options: object, message: str) -> None:
    """With the nearest known key, where there is one."""
    with pytest.raises(ConfigurationError, match=message):
        parse_cluster("main", options)


def test_two_clusters_share_no_node() -> None:
    """A node belongs to one cluster."""
    one = config(name="one", primary=Node("a"), replicas=(Node("r"),))
    other = config(name="other", primary=Node("b"), replicas=(Node("r"),))
    disjoint([one])
    with pytest.raises(ConfigurationError, match="clusters 'one' and 'other' share the node 'r'; a node belongs to"):
        disjoint([one, other])


def test_dialects_have_names() -> None:
    """Closed list."""
    assert isinstance(dialect_named("postgresql"), PostgreSQL)
    assert isinstance(dialect_named("heartbeat"), Heartbeat)
    known = "heartbeat, mariadb, mysql, mysql_family, postgresql"
    with pytest.raises(ConfigurationError, match=f"dialect 'oracle' is unknown; choose one of {known}"):
        dialect_named("oracle")
