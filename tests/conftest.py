"""Real servers, and a Django project routed over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from alchemy import World, empty
from lagless.testing import PostgresCluster
from routing import REPLICAS, hear, the_cluster


@pytest.fixture(scope="session")
def servers() -> Iterator[PostgresCluster]:
    """A primary and two streaming replicas for the whole run."""
    with PostgresCluster(replicas=2, settings={"max_prepared_transactions": 10}) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def project(servers: PostgresCluster) -> PostgresCluster:
    """The Django project over the servers, migrated."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    import lagless.django

    settings.configure(
        SECRET_KEY="integration",
        USE_TZ=True,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="project.urls",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            **lagless.django.databases(
                servers.primary.django_settings(CONN_MAX_AGE=None),
                replicas={r.name: {"HOST": r.host, "PORT": r.port} for r in servers.replicas},
            ),
            "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        },
        DATABASE_ROUTERS=["lagless.django.Router"],
        MIDDLEWARE=["lagless.django.Middleware", "django.contrib.sessions.middleware.SessionMiddleware"],
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "lagless.django",
            "project",
        ],
        LAGLESS={"default": {"replicas": list(REPLICAS)}},
    )
    django.setup()
    call_command("migrate", verbosity=0, run_syncdb=True)
    servers.wait_replayed()
    return servers


@pytest.fixture
def pg(project: PostgresCluster) -> Iterator[PostgresCluster]:
    """Healthy servers, empty tables, and a lagless that has just heard of them."""
    from django.db import connections

    from lagless.django.registry import reset

    project.heal()
    connections.close_all()
    reset()
    project.primary.execute("truncate project_note, project_note_tags, project_author, project_tag, django_session")
    project.wait_replayed()
    hear()
    yield project
    connections.close_all()
    reset()


@pytest.fixture
def cluster(pg: PostgresCluster) -> Any:
    """lagless's cluster over the servers."""
    return the_cluster()


@pytest.fixture
def using_database(pg: PostgresCluster) -> Iterator[Callable[..., None]]:
    """Change settings of an alias for one test."""
    from django.db import connections

    from lagless.django.registry import reset

    kept: dict[str, dict[str, Any]] = {}

    def change(alias: str = "default", **settings: Any) -> None:
        connections.close_all()
        kept[alias] = dict(connections[alias].settings_dict)
        connections.settings[alias].update(settings)
        del connections[alias]
        reset()
        hear()

    yield change
    for alias, settings in kept.items():
        connections[alias].close()
        connections.settings[alias].clear()
        connections.settings[alias].update(settings)
        del connections[alias]
    reset()


@pytest.fixture
def pooled(using_database: Callable[..., None]) -> Iterator[None]:
    """One connection an alias, out of psycopg's pools."""
    pytest.importorskip("psycopg_pool")
    from django.db import connections

    pool = {"min_size": 1, "max_size": 1}
    for alias in ("default", *REPLICAS):
        using_database(alias, CONN_MAX_AGE=0, OPTIONS={**connections.settings[alias]["OPTIONS"], "pool": pool})
    yield
    connections.close_all()
    for alias in ("default", *REPLICAS):
        connections[alias].close_pool()


@pytest.fixture(
    params=[
        "postgresql+psycopg",
        "postgresql+psycopg async",
        "postgresql+asyncpg async",
        "mysql+pymysql",
        "mysql+aiomysql async",
        "mysql+asyncmy async",
    ]
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Healthy servers with an empty table, and a driver in its colour; tests may choose drivers by `indirect`."""
    driver, _, colour = request.param.partition(" ")
    postgresql = driver.startswith("postgresql")
    servers = request.getfixturevalue("servers" if postgresql else "lagless_mariadb_session")
    servers.heal()
    empty(World(servers, "postgresql+psycopg" if postgresql else "mysql+pymysql"))
    servers.wait_replayed()
    yield World(servers, driver, asynchronous=bool(colour))
    servers.heal()
