"""pytest fixtures: one cluster of each database for the whole run, as good as new for each test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lagless.testing import MariaDBCluster, PostgresCluster

    AnyCluster = TypeVar("AnyCluster", MariaDBCluster, PostgresCluster)


def require(missing: str | None) -> None:
    """Skip the test for the reason `missing`, if any; under LAGLESS_REQUIRE_SERVERS=1 fail instead."""
    if missing and os.environ.get("LAGLESS_REQUIRE_SERVERS"):
        pytest.fail(missing, pytrace=False)
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="session")
def lagless_postgres_session() -> Iterator[PostgresCluster]:
    """A primary with two replicas, for as long as the tests run. Override it to choose other options."""
    from lagless.testing import PostgresCluster  # noqa: PLC0415 - every pytest run imports this module

    with PostgresCluster(replicas=2) as cluster:
        yield cluster


@pytest.fixture
def lagless_postgres(lagless_postgres_session: PostgresCluster) -> Iterator[PostgresCluster]:
    """The cluster of the run, healed after the test: no fault, no lag, its first node the primary; data is kept."""
    yield from _healed_afterwards(lagless_postgres_session)


@pytest.fixture(scope="session")
def lagless_mariadb_session() -> Iterator[MariaDBCluster]:
    """A primary with two replicas, for as long as the tests run; skips where MariaDB is not installed."""
    from lagless.testing import MariaDBCluster, mariadb  # noqa: PLC0415 - every pytest run imports this module

    require(mariadb.available())
    with MariaDBCluster(replicas=2) as cluster:
        yield cluster


@pytest.fixture
def lagless_mariadb(lagless_mariadb_session: MariaDBCluster) -> Iterator[MariaDBCluster]:
    """The cluster of the run, healed after the test: no fault, no lag, its first node the primary; data is kept."""
    yield from _healed_afterwards(lagless_mariadb_session)


def _healed_afterwards(cluster: AnyCluster) -> Iterator[AnyCluster]:
    yield cluster
    try:
        cluster.heal()
    except Exception:
        # Beyond repair: this test is told, and the others get a new cluster at the same addresses, without data.
        cluster.stop()
        cluster.start()
        raise
