"""The router that many sites begin with."""

from __future__ import annotations

import random
from typing import Any

from lagless.demo.site.settings import SITE

_REPLICAS = list(SITE.replicas)


class RandomReplicaRouter:
    """Reads go to any replica, writes to the primary, and nobody asks how old the replica is."""

    def db_for_read(self, _model: Any, **_hints: Any) -> str:
        """Any replica."""
        return random.choice(_REPLICAS)  # noqa: S311 - no secret depends on it

    def db_for_write(self, _model: Any, **_hints: Any) -> str:
        """The primary."""
        return "default"

    def allow_relation(self, _one: Any, _other: Any, **_hints: Any) -> bool:
        """All aliases hold the same rows."""
        return True
