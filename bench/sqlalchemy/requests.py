"""One request through FastAPI and through Flask: plain SQLAlchemy, then with the contestant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bench.handlers import VIEWS, asgi_seconds, environ, scope, wsgi_seconds
from bench.sqlalchemy.contestants import Colour
from bench.sqlalchemy.sites import fastapi_site, flask_site
from bench.timing import Sample, microseconds, pairs

LOOPS = 3
PAIRS = 20


class Sites:
    """The sites of one contestant, and the same without it."""

    def __init__(self, plain: Colour, routed: Colour, site: Callable[[Any], Any]) -> None:
        self._bare = site(plain.reads)
        self._full = routed.wrap(site(routed.reads))
        self._cookie = routed.cookie

    def added(self, row: str) -> Sample:
        """Return what the contestant adds to one request."""
        request = self._request(f"/{VIEWS[row]}", self._cookie if row == "known" else "")
        return pairs(
            lambda: self._seconds(self._bare, request),
            lambda: self._seconds(self._full, request),
            PAIRS,
            microseconds,
        )

    def _request(self, path: str, cookie: str) -> dict[str, Any]:
        return environ(path, cookie)

    def _seconds(self, site: Any, request: dict[str, Any]) -> float:
        return wsgi_seconds(site, request, LOOPS)


class AsyncSites(Sites):
    """The same in an event loop."""

    def __init__(self, plain: Colour, routed: Colour, site: Callable[[Any], Any], runner: asyncio.Runner) -> None:
        super().__init__(plain, routed, site)
        self._runner = runner

    def _request(self, path: str, cookie: str) -> dict[str, Any]:
        return scope(path, cookie)

    def _seconds(self, site: Any, request: dict[str, Any]) -> float:
        return self._runner.run(asgi_seconds(site, request, LOOPS))


def flask_sites(plain: Colour, routed: Colour) -> Sites:
    """Return Flask, whose middleware goes around its own WSGI application."""
    return Sites(plain, routed, flask_site)


def fastapi_sites(plain: Colour, routed: Colour, runner: asyncio.Runner) -> Sites:
    """Return FastAPI."""
    return AsyncSites(plain, routed, fastapi_site, runner)
