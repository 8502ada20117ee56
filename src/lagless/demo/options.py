"""What a run of the demo is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lagless.demo.policies import RoutingPolicy


class StackName(StrEnum):
    """What the site is written with."""

    DJANGO = "django"
    FASTAPI = "fastapi"


class DatabaseName(StrEnum):
    """What keeps its rows."""

    POSTGRESQL = "postgresql"
    MARIADB = "mariadb"


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
    stack: StackName = StackName.DJANGO
    database: DatabaseName = DatabaseName.POSTGRESQL
    server: ServerKind = ServerKind.GUNICORN


def server_of(stack: StackName) -> ServerKind:
    """What serves a site unless somebody chooses."""
    return ServerKind.UVICORN if stack is StackName.FASTAPI else ServerKind.GUNICORN


def contradiction(stack: StackName, database: DatabaseName, server: ServerKind | None) -> str | None:
    """Why these do not go together; None when they do."""
    if stack is StackName.DJANGO and database is DatabaseName.MARIADB:
        return "lagless.django has no backend for MariaDB; try --stack fastapi"
    if stack is StackName.FASTAPI and server is ServerKind.GUNICORN:
        return "gunicorn serves WSGI, and FastAPI is ASGI; leave --server out"
    return None
