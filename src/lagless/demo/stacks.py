"""The frameworks that the demo's site is written with: what each is told, what fills its database, what serves it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lagless.demo.configuration import SiteConfiguration
from lagless.demo.options import ServerKind, StackName

if TYPE_CHECKING:
    from lagless.demo.databases import DemoDatabase
    from lagless.demo.options import Options
    from lagless.demo.policies import RoutingPolicy

_PATIENCE = 2  # seconds to connect
_KEPT = 600  # seconds that a thread keeps a connection


class Stack(Protocol):
    """One site over one framework."""

    @property
    def preparation(self) -> str:
        """The module that fills an empty database when it is run."""

    def configure(self, database: DemoDatabase, name: str, policy: RoutingPolicy) -> SiteConfiguration:
        """What the site's processes are told: a policy, and the database `name` on each server."""

    def command(self, host: str, port: int) -> list[str]:
        """What serves the site, as arguments of `python -m`."""


@dataclass(frozen=True, slots=True)
class DjangoStack:
    """Django over PostgreSQL, under a WSGI or an ASGI server."""

    server: ServerKind
    preparation: str = "lagless.demo.site.prepare"

    def configure(self, database: DemoDatabase, name: str, policy: RoutingPolicy) -> SiteConfiguration:
        """An entry for DATABASES, and what of it differs for each replica."""
        # Under ASGI every request has a thread of its own, which would keep its connections from all others.
        age = 0 if self.server is ServerKind.UVICORN else _KEPT
        options = {"NAME": name, "CONN_MAX_AGE": age, "OPTIONS": {"connect_timeout": _PATIENCE}}
        return SiteConfiguration(
            policy=policy,
            secret_key=secrets.token_hex(),
            primary=database.cluster.primary.django_settings(**options),
            replicas={node.name: {"HOST": node.host, "PORT": str(node.port)} for node in database.cluster.replicas},
        )

    def command(self, host: str, port: int) -> list[str]:
        """Either server."""
        if self.server is ServerKind.UVICORN:
            return _uvicorn(host, port, "lagless.demo.site.asgi:application")
        config = ["--config", "python:lagless.demo.gunicorn_settings"]
        return ["gunicorn", "lagless.demo.site.wsgi:application", "--bind", f"{host}:{port}", *config]


@dataclass(frozen=True, slots=True)
class FastAPIStack:
    """FastAPI over asynchronous SQLAlchemy."""

    preparation: str = "lagless.demo.site_fastapi.prepare"

    def configure(self, database: DemoDatabase, name: str, policy: RoutingPolicy) -> SiteConfiguration:
        """The URL of an engine for each server."""
        cluster = database.cluster
        return SiteConfiguration(
            policy=policy,
            secret_key=secrets.token_hex(),
            primary={"url": database.url(cluster.primary, name)},
            replicas={node.name: {"url": database.url(node, name)} for node in cluster.replicas},
        )

    def command(self, host: str, port: int) -> list[str]:
        """Uvicorn alone."""
        return _uvicorn(host, port, "lagless.demo.site_fastapi.app:application")


def _uvicorn(host: str, port: int, application: str) -> list[str]:
    served = ["lagless.demo.uvicorn_server", application, "--workers", "2", "--host", host, "--port", str(port)]
    return [*served, "--log-level", "warning", "--timeout-keep-alive", "30"]


def stack_for(options: Options) -> Stack:
    """The stack that a run asks for."""
    return FastAPIStack() if options.stack is StackName.FASTAPI else DjangoStack(options.server)
