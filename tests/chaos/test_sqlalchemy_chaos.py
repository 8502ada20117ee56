"""Clients of an async application keep what one server promised while replicas lag, freeze, die and come back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

import lagless
from alchemy import Note, World, hear

SECONDS = 6.0
CLIENTS = 8


@dataclass
class Client:
    """One visitor with a note of its own, a token, and a log of what went wrong."""

    number: int
    token: str | None = None
    acknowledged: int = 0
    seen: int = 0
    units: int = 0
    complaints: list[str] = field(default_factory=list)

    async def visit(self, factory: Callable[[], AsyncSession], *, writes: bool) -> None:
        """Write or read the note in a unit of work of its own, as a request with a cookie does."""
        async with lagless.session(self.token, key=self.number) as unit, factory() as db:
            if writes:
                value = self.acknowledged + 1
                await db.execute(update(Note).where(Note.id == self.number).values(text=str(value)))
                await db.commit()
                self.acknowledged = value
            await self._read(db)
        self.token = unit.token()
        self.units += 1

    async def _read(self, db: AsyncSession) -> None:
        text = await db.scalar(select(Note.text).where(Note.id == self.number))
        value = int(text or 0)
        if value < self.acknowledged:
            self.complaints.append(f"stale: {value}, wrote {self.acknowledged}")
        if value < self.seen:
            self.complaints.append(f"backward: {value}, saw {self.seen}")
        self.seen = max(self.seen, value)


async def _visit_until(stop: asyncio.Event, client: Client, factory: Callable[[], AsyncSession]) -> None:
    dice = random.Random(client.number)
    while not stop.is_set():
        try:
            await client.visit(factory, writes=dice.random() < 0.3)
        except Exception as error:  # noqa: BLE001 - whatever a visitor gets to see is a complaint
            client.complaints.append(f"error: {type(error).__name__}: {error}")
        await asyncio.sleep(dice.random() * 0.01)


async def _trouble(servers: Any) -> None:
    """Do to the replicas what happens to replicas, one thing after the other."""
    one, other = servers.replicas
    loop = asyncio.get_running_loop()
    for step in (
        one.pause_replay, other.kill, one.resume_replay, other.start, one.freeze, other.pause_replay, one.thaw,
        one.kill, other.resume_replay, one.start,
    ):  # fmt: skip
        await asyncio.sleep(SECONDS / 10)
        await loop.run_in_executor(None, step)


@pytest.mark.parametrize("world", ["postgresql+asyncpg async", "mysql+aiomysql async"], indirect=True)
def test_nobody_notices_what_happens_to_replicas(world: World) -> None:
    """No error, no stale read, none backwards; and replicas served when they could."""
    clients = [Client(number) for number in range(1, CLIENTS + 1)]

    async def act(factory: Any) -> None:
        async with factory() as db:
            db.add_all([Note(id=client.number, text="0") for client in clients])
            await db.commit()
        world.servers.wait_replayed()
        hear(factory.cluster)
        stop = asyncio.Event()
        visits = [asyncio.create_task(_visit_until(stop, client, factory)) for client in clients]
        await _trouble(world.servers)
        stop.set()
        await asyncio.gather(*visits)

    world.stage(act, probe_timeout=0.5)
    assert [complaint for client in clients for complaint in client.complaints] == []
    assert sum(client.units for client in clients) > 20 * CLIENTS
    assert world.nodes.count("primary") < len(world.nodes)
