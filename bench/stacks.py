"""One request through Django's WSGI and ASGI handlers: nothing but Django, then with the contestant."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from bench.handlers import VIEWS, asgi_seconds, environ, scope, wsgi_seconds
from bench.switch import Switch
from bench.timing import Sample, microseconds, pairs


class Stack(ABC):
    """Two handlers of one colour, and a request to send through them."""

    loops: int
    pairs: int

    def __init__(self, middleware: str, switch: Switch, cookie: Callable[[], str]) -> None:
        self._bare = self._handler([])
        self._full = self._handler([middleware])
        self._switch = switch
        self._cookie = cookie

    def added(self, row: str) -> Sample:
        """Return what the contestant adds to one request."""
        request = self._request(VIEWS[row], self._cookie() if row == "known" else "")

        def plain() -> float:
            self._call(self._switch.plain)
            return self._burst(self._bare, request)

        def routed() -> float:
            self._call(self._switch.routed)
            return self._burst(self._full, request)

        return pairs(plain, routed, self.pairs, microseconds)

    def _handler(self, middleware: list[str]) -> Any:
        from django.conf import settings

        settings.MIDDLEWARE = middleware
        return self._new_handler()

    @abstractmethod
    def _new_handler(self) -> Any:
        """Return a handler with the middleware of the settings."""

    @abstractmethod
    def _request(self, view: str, cookie: str) -> Any:
        """Return what the server would hand over."""

    @abstractmethod
    def _call(self, function: Callable[[], None]) -> None:
        """Call in the thread that runs the queries."""

    @abstractmethod
    def _burst(self, handler: Any, request: Any) -> float:
        """Return the seconds that one request takes."""


class SyncStack(Stack):
    """WSGI, as a server's worker thread would call it."""

    loops = 5
    pairs = 20

    def _new_handler(self) -> Any:
        from django.core.handlers.wsgi import WSGIHandler

        return WSGIHandler()

    def _request(self, view: str, cookie: str) -> dict[str, Any]:
        return environ(f"/sync/{view}", cookie)

    def _call(self, function: Callable[[], None]) -> None:
        function()

    def _burst(self, handler: Any, request: dict[str, Any]) -> float:
        return wsgi_seconds(handler, request, self.loops)


class AsyncStack(Stack):
    """ASGI, in one event loop."""

    loops = 3
    pairs = 10

    def __init__(self, *args: Any) -> None:
        self._runner = asyncio.Runner()
        super().__init__(*args)

    def _new_handler(self) -> Any:
        from django.core.handlers.asgi import ASGIHandler

        return ASGIHandler()

    def _request(self, view: str, cookie: str) -> dict[str, Any]:
        return scope(f"/async/{view}", cookie)

    def _call(self, function: Callable[[], None]) -> None:
        from asgiref.sync import sync_to_async

        self._runner.run(sync_to_async(function)())

    def _burst(self, handler: Any, request: dict[str, Any]) -> float:
        return self._runner.run(asgi_seconds(handler, request, self.loops))
