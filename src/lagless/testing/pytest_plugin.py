"""pytest fixtures: one PostgreSQL cluster for the whole run, as good as new for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lagless.testing import PostgresCluster


@pytest.fixture(scope="session")
def lagless_postgres_session() -> Iterator[PostgresCluster]:
    """A primary with two replicas, for as long as the tests run. Override it to choose other options."""
    from lagless.testing import PostgresCluster  # noqa: PLC0415 - every pytest run imports this module

    with PostgresCluster(replicas=2) as cluster:
        yield cluster


@pytest.fixture
def lagless_postgres(lagless_postgres_session: PostgresCluster) -> Iterator[PostgresCluster]:
    """The cluster of the run, healed after the test: no fault, no lag, its first node the primary; data is kept."""
    yield lagless_postgres_session
    try:
        lagless_postgres_session.heal()
    except Exception:
        # Beyond repair: this test is told, and the others get a new cluster at the same addresses, without data.
        lagless_postgres_session.stop()
        lagless_postgres_session.start()
        raise
