"""The sites that every contestant serves: two pages in FastAPI, the same in Flask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from flask import Flask
from sqlalchemy.ext.asyncio import AsyncSession

from bench.sqlalchemy.model import TITLE


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.app.state.make() as session:
        yield session


async def _nothing() -> dict[str, str]:
    return {"title": ""}


async def _row(session: Annotated[AsyncSession, Depends(_session)]) -> dict[str, str]:
    return {"title": (await session.execute(TITLE)).scalar_one()}


def fastapi_site(make: Any) -> FastAPI:
    """Return a site whose sessions a dependency brings."""
    site = FastAPI()
    site.state.make = make
    site.add_api_route("/nothing", _nothing)
    site.add_api_route("/row", _row)
    return site


def flask_site(make: Any) -> Flask:
    """Return a site whose view opens a session."""
    site = Flask("bench")

    @site.get("/nothing")
    def nothing() -> dict[str, str]:
        return {"title": ""}

    @site.get("/row")
    def row() -> dict[str, str]:
        with make() as session:
            return {"title": session.execute(TITLE).scalar_one()}

    return site
