"""Fills an empty database: the tables, and a few threads to begin with. Run as a process, once a policy."""

from __future__ import annotations

import asyncio
import os

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from lagless.demo.configuration import VARIABLE, SiteConfiguration
from lagless.demo.openings import HOST, OPENINGS
from lagless.demo.site_fastapi import queries
from lagless.demo.site_fastapi.tables import Base, User


async def prepare(url: str) -> None:
    """Make the tables and write the opening threads."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        await _open_threads(session)
    await engine.dispose()


async def _open_threads(session: AsyncSession) -> None:
    host = (await session.execute(insert(User).values(username=HOST).returning(User.id))).scalar_one()
    for title, text in OPENINGS.items():
        thread = (await session.execute(queries.start(host, title))).scalar_one()
        await session.execute(queries.say(host, thread, text))


if __name__ == "__main__":
    asyncio.run(prepare(SiteConfiguration.load(os.environ[VARIABLE]).primary["url"]))
