"""Notes over FastAPI and asynchronous SQLAlchemy: replicas are read, and everybody sees what they wrote.

Run it with `uvicorn fastapi_app:app`; DATABASE_URL, REPLICA_URLS (joined by commas) and LAGLESS_SECRET are taken from
the environment.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.responses import RedirectResponse
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import lagless.asgi
from lagless.sqlalchemy import async_sessionmaker

primary = create_async_engine(os.environ["DATABASE_URL"])
replicas = [create_async_engine(url) for url in os.environ["REPLICA_URLS"].split(",")]
Session = async_sessionmaker(primary=primary, replicas=replicas, expire_on_commit=False)


class Base(DeclarativeBase):
    """The tables."""


class Note(Base):
    """What somebody wrote."""

    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(200))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Make the tables; in the end close the probes and the pools."""
    async with primary.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    Session.cluster.close()
    for engine in (primary, *replicas):
        await engine.dispose()


async def session() -> AsyncIterator[AsyncSession]:
    """Give a request its database session."""
    async with Session() as db:
        yield db


Database = Annotated[AsyncSession, Depends(session)]
api = FastAPI(lifespan=lifespan)


@api.post("/notes")
async def write(db: Database, text: Annotated[str, Body(embed=True)]) -> RedirectResponse:
    """Write a note, and show it. The commit comes before the response, so its cookie can tell of it."""
    note = Note(text=text)
    db.add(note)
    await db.commit()
    return RedirectResponse(f"/notes/{note.id}", status_code=303)


@api.get("/notes/{number}")
async def show(db: Database, number: int) -> dict[str, str]:
    """Show a note: read from a replica that has what this browser wrote."""
    note = await db.get(Note, number)
    if note is None:
        raise HTTPException(404)
    return {"text": note.text}


@api.get("/notes")
async def index(db: Database) -> list[str]:
    """List all notes."""
    return list(await db.scalars(select(Note.text).order_by(Note.id)))


# Around the whole application, so that error pages carry the cookie, too.
app = lagless.asgi.Middleware(api, clusters=[Session])
