"""The settings of a cluster: frozen, checked once, with messages that name the field and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from lagless.core.balancer import BalancerName
from lagless.core.consistency import Level, Policy, choice, number
from lagless.core.topology import Node
from lagless.errors import ConfigurationError


class CaptureMode(StrEnum):
    """Which LSN stands for an own write (CORRECTNESS 4)."""

    AUTO = "auto"
    """The flush LSN, unless the session runs with synchronous_commit=off."""
    FLUSH = "flush"
    INSERT = "insert"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """A cluster's settings. Times are seconds.

    `generation` is bumped after a restore, PITR or re-clone; `token_seconds` is a token's life; a replica that lags
    longer than that (less a tenth) is not read at level session; `probe_timeout` bounds a probe's connect and answer;
    `idle_interval` is how often a quiet cluster is probed; `max_probe_rate` caps probes a second, node and process.
    Raises ConfigurationError.
    """

    name: str = "default"
    primary: Node
    replicas: tuple[Node, ...] = ()
    level: Level = Level.SESSION
    policy: Policy = field(default_factory=Policy)
    balancer: BalancerName = BalancerName.RANDOM
    generation: int = 0
    capture: CaptureMode = CaptureMode.AUTO
    dialect: str | None = None
    token_seconds: float = 3600.0
    probe_timeout: float = 1.0
    idle_interval: float = 0.5
    max_probe_rate: float = 100.0

    def __post_init__(self) -> None:
        where = f"cluster {self.name!r}"
        _checked_name(self.name)
        for name, kind in (("level", Level), ("balancer", BalancerName), ("capture", CaptureMode)):
            object.__setattr__(self, name, choice(kind, getattr(self, name), f"{where}: {name}"))
        for name in ("token_seconds", "probe_timeout", "idle_interval", "max_probe_rate"):
            number(getattr(self, name), f"{where}: {name}", above=0)
        if isinstance(self.generation, bool) or not isinstance(self.generation, int) or self.generation < 0:
            raise ConfigurationError(f"{where}: generation {self.generation!r} must be a whole number from 0")
        if not isinstance(self.policy, Policy):
            raise ConfigurationError(f"{where}: policy {self.policy!r} must be a lagless.Policy")
        if self.level is Level.BOUNDED and self.policy.max_lag is None:
            raise ConfigurationError(f"{where}: level 'bounded' needs policy.max_lag, in seconds")
        _distinct(where, self.primary, self.replicas)

    @property
    def lag_limit(self) -> float:
        """How far a replica may lag at level session so that an expired token misses nothing (CORRECTNESS 11)."""
        return self.token_seconds * 0.9


def _checked_name(name: object) -> None:
    if not isinstance(name, str) or not name.isascii() or not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigurationError(f"cluster name {name!r} must be ASCII letters, digits, '_' and '-'")


def _distinct(where: str, primary: Node, replicas: Sequence[Node]) -> None:
    for kind, node in (("primary", primary), *(("replica", node) for node in replicas)):
        if not isinstance(node, Node):
            raise ConfigurationError(f"{where}: {kind} {node!r} must be a lagless.Node")
    seen = {primary.name}
    for node in replicas:
        if node.name == primary.name:
            raise ConfigurationError(f"{where}: replica {node.name!r} is the primary itself; remove it from replicas")
        if node.name in seen:
            raise ConfigurationError(f"{where}: replica {node.name!r} is listed twice; list it once")
        seen.add(node.name)


def disjoint(configs: Sequence[ClusterConfig]) -> None:
    """Raise ConfigurationError if two clusters share a node."""
    owner: dict[str, str] = {}
    for config in configs:
        for node in (config.primary, *config.replicas):
            if node.name in owner:
                raise ConfigurationError(
                    f"clusters {owner[node.name]!r} and {config.name!r} share the node {node.name!r}; "
                    "a node belongs to one cluster"
                )
            owner[node.name] = config.name


def parse_cluster(name: str, options: object, *, where: str | None = None) -> ClusterConfig:
    """Read one cluster from a settings mapping: `primary` (the cluster's name by default), `replicas`, and the rest.

    Replicas are names, or a mapping of names to weights or to `{"weight": 2}`. `where` begins the messages of errors.
    Raises ConfigurationError.
    """
    where = where or f"LAGLESS[{name!r}]"
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"{where}: {options!r} must be a mapping such as {{'replicas': ['replica1']}}")
    known = {f.name for f in fields(ClusterConfig)} - {"name"}
    unknown_key(where, options, known)
    given: dict[str, Any] = dict(options)
    given["primary"] = _node(where, given.get("primary", name), 1.0)
    given["replicas"] = _nodes(where, given.get("replicas", ()))
    given["policy"] = _policy(where, given.get("policy", Policy()))
    return ClusterConfig(name=name, **given)


def unknown_key(where: str, options: Mapping[str, object], known: set[str]) -> None:
    """Raise ConfigurationError for a key that is not known, with the nearest that is."""
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
            raise ConfigurationError(f"{where}: unknown setting {key!r}{hint}")


def _policy(where: str, given: object) -> Policy:
    if isinstance(given, Policy):
        return given
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where}: policy {given!r} must be a mapping or a lagless.Policy")
    unknown_key(f"{where}: policy", given, {f.name for f in fields(Policy)})
    return Policy(**given)


def _nodes(where: str, given: object) -> tuple[Node, ...]:
    if isinstance(given, Mapping):
        return tuple(_node(where, name, weight) for name, weight in given.items())
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigurationError(
            f"{where}: replicas {given!r} must be a list of names or a mapping of names to weights"
        )
    return tuple(n if isinstance(n, Node) else _node(where, n, 1.0) for n in given)


def _node(where: str, name: object, weight: object) -> Node:
    if isinstance(weight, Mapping):
        unknown_key(f"{where}: replica {name!r}", weight, {"weight"})
        weight = weight.get("weight", 1.0)
    if isinstance(name, Node):
        return name
    try:
        return Node(name, weight)  # type: ignore[arg-type]
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None
