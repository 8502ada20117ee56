"""The databases: a PostgreSQL primary with two streaming replicas, and engines for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session

from bench.files import REPLICAS
from bench.sqlalchemy.model import Base, Page
from lagless.testing import PostgresCluster

LEADER = "primary"
Urls = Mapping[str, str]
"""The servers' addresses, by node name."""


@contextmanager
def servers() -> Iterator[Urls]:
    """Start the servers, with a row to read on each."""
    with PostgresCluster(replicas=len(REPLICAS)) as cluster:
        urls = {node.name: node.dsn for node in cluster.nodes}
        _fill(urls)
        cluster.wait_replayed()
        yield urls


def _fill(urls: Urls) -> None:
    engine = engines(urls)[LEADER]
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Page(id=1, title="A title", body="A body"))
        session.commit()
    engine.dispose()


def engines(urls: Urls) -> dict[str, Engine]:
    """Return engines of their own for one contestant."""
    return {node: create_engine(make_url(url).set(drivername="postgresql+psycopg")) for node, url in urls.items()}


def async_engines(urls: Urls) -> dict[str, AsyncEngine]:
    """Return engines of their own for one contestant's event loop."""
    return {node: create_async_engine(make_url(url).set(drivername="postgresql+asyncpg")) for node, url in urls.items()}
