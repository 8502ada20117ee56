"""The site for an ASGI server."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from lagless.demo import instrument
from lagless.demo.configuration import VARIABLE, SiteConfiguration
from lagless.demo.site_fastapi.routing import routing
from lagless.demo.site_fastapi.views import router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lagless.demo.instrument import Asgi


def failed(_request: Request, error: Exception) -> Response:
    """An error page; without it the server would also hang up on the visitor."""
    logging.getLogger(__name__).error("a page failed", exc_info=error)
    return Response("Something went wrong.", 500)


def site_for(configuration: SiteConfiguration) -> Asgi:
    """The site that is described."""
    chosen = routing(configuration)

    @asynccontextmanager
    async def lifespan(site: FastAPI) -> AsyncIterator[None]:
        site.state.sessions = chosen.sessions
        yield
        await chosen.close()

    site = FastAPI(openapi_url=None, lifespan=lifespan)
    site.include_router(router)
    for kind in (SQLAlchemyError, OSError):  # asyncpg's failed connects are the latter
        site.add_exception_handler(kind, failed)
    return instrument.asgi(chosen.around(site))


application = site_for(SiteConfiguration.load(os.environ[VARIABLE]))
