"""What the demo tells a site's processes: its policy, and where its servers are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lagless.demo.policies import RoutingPolicy

VARIABLE = "LAGLESS_DEMO_SITE"
"""The environment variable that carries a `SiteConfiguration` to the server's processes."""

WAIT = 0.01
"""Seconds that a read may wait for a replica that is about to have what its reader wrote; then the primary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfiguration:
    """One site. How `primary` and `replicas` are written is its stack's business."""

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
