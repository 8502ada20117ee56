"""One scenario for every colour and database: what a Session does, an AsyncSession does through run_sync()."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import String

import lagless.sqlalchemy
from lagless.cluster import Cluster
from routing import until

Scenario = Callable[[Session], Any]


class Base(DeclarativeBase):
    """The tables of these tests."""


class Note(Base):
    """Something short."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(100))


@dataclass
class World:
    """Real servers, and how SQLAlchemy reaches them. `trace` holds the node and text of each statement that ran."""

    servers: Any
    driver: str
    asynchronous: bool = False
    database: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    trace: list[tuple[str, str]] = field(default_factory=list)
    factory: Any = None

    @property
    def nodes(self) -> list[str]:
        """Where the statements of the application ran, in order."""
        return [node for node, _ in self.trace]

    @property
    def cluster(self) -> Cluster:
        """lagless's cluster of the play."""
        return self.factory.cluster

    @property
    def is_postgresql(self) -> bool:
        """Whether the servers are PostgreSQL."""
        return self.driver.startswith("postgresql")

    def url(self, node: Any) -> str:
        """Return SQLAlchemy's URL for a server."""
        params = node.connect_params() if hasattr(node, "connect_params") else None
        name = self.database or self.servers.database
        if params is None:
            return f"{self.driver}://{self.servers.user}@{node.host}:{node.port}/{name}"
        return f"{self.driver}://{params['user']}:{params['password']}@{node.host}:{node.port}/{name}"

    def engines(self, **options: Any) -> dict[str, Any]:
        """Return new engines by node name, the primary's first."""
        make = create_async_engine if self.asynchronous else create_engine
        nodes = [self.servers.primary, *self.servers.replicas]
        return {node.name: make(self.url(node), **self.options, **options) for node in nodes}

    def play(self, scenario: Scenario, *, engine_options: dict[str, Any] | None = None, **options: Any) -> Any:
        """Run a scenario with a session in a unit of work, over engines of its own; return what it returns."""
        return self.stage(lambda factory: self._in_unit(factory, scenario), engine_options=engine_options, **options)

    def _in_unit(self, factory: Any, scenario: Scenario) -> Any:
        if not self.asynchronous:
            with lagless.session(), factory() as db:
                return scenario(db)

        async def unit() -> Any:
            async with lagless.session(), factory() as db:
                return await db.run_sync(scenario)

        return unit()

    def stage(self, act: Callable[[Any], Any], *, engine_options: dict[str, Any] | None = None, **options: Any) -> Any:
        """Run `act` with a session factory over new engines, when lagless knows the servers."""
        if self.asynchronous:
            return asyncio.run(self._stage_async(act, engine_options or {}, options))
        with self._set(self.engines(**(engine_options or {})), options) as factory:
            return act(factory)

    async def _stage_async(self, act: Callable[[Any], Any], engine_options: dict[str, Any], options: Any) -> Any:
        engines = self.engines(**engine_options)
        try:
            with self._set(engines, options) as factory:
                return await act(factory)
        finally:
            for engine in engines.values():
                await engine.dispose()

    @contextlib.contextmanager
    def _set(self, engines: dict[str, Any], options: dict[str, Any]) -> Iterator[Any]:
        make = lagless.sqlalchemy.async_sessionmaker if self.asynchronous else lagless.sqlalchemy.sessionmaker
        primary, *replicas = engines
        self.factory = make(primary=engines[primary], replicas={r: engines[r] for r in replicas}, **options)
        self.trace.clear()
        plain = {name: getattr(engine, "sync_engine", engine) for name, engine in engines.items()}
        for name, engine in plain.items():
            self._watch(name, engine)
        try:
            hear(self.cluster)
            yield self.factory
        finally:
            self.cluster.close()
            if not self.asynchronous:
                for engine in plain.values():
                    engine.dispose()

    def _watch(self, name: str, engine: Engine) -> None:
        @event.listens_for(engine, "after_cursor_execute")
        def ran(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
            self.trace.append((name, statement))

    # -- what happens to the servers

    def pause(self, *replicas: Any) -> None:
        """Stop replay, on all replicas by default."""
        for node in replicas or self.servers.replicas:
            node.pause_replay()

    def resume(self) -> None:
        """Let replicas catch up, and lagless hear of it."""
        for node in self.servers.replicas:
            node.resume_replay()
        self.catch_up()

    def catch_up(self) -> None:
        """Wait until the replicas hold everything, and lagless knows."""
        self.servers.wait_replayed()
        hear(self.cluster)


def hear(cluster: Cluster) -> None:
    """Wait until lagless knows that all replicas hold a primary position asked for from now on."""
    import time

    now = time.monotonic()
    cluster.start()
    cluster.monitor.hurry()
    until(lambda: cluster.monitor.hurry() or all(s.alive and s.fresh_at > now for s in cluster.topology.replicas))


def empty(world: World) -> None:
    """Make the tables anew."""
    primary = next(iter(world.engines().values()))
    Base.metadata.drop_all(primary)
    Base.metadata.create_all(primary)
    primary.dispose()


def only(*drivers: str) -> Any:
    """Run a test with these drivers."""
    return pytest.mark.parametrize("world", drivers, indirect=True)


def notes(db: Any) -> int:
    """Read how many notes there are, in a transaction of its own."""
    found = db.scalar(select(func.count()).select_from(Note))
    db.rollback()
    return found


def add(db: Any) -> None:
    """Write a note."""
    db.add(Note(text="a"))
    db.commit()
