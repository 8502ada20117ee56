"""What a run of the demo is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lagless.demo.policies import RoutingPolicy


class ServerKind(StrEnum):
    """What serves the site."""

    GUNICORN = "gunicorn"
    UVICORN = "uvicorn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The defaults make the whole demo last less than two minutes."""

    policies: tuple[RoutingPolicy, ...] = tuple(RoutingPolicy)
    seconds: float = 16.0
    clients: int = 20
    seed: int = 1
    server: ServerKind = ServerKind.GUNICORN
