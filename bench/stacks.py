"""One request through Django's WSGI and ASGI handlers: nothing but Django, then with the contestant."""

from __future__ import annotations

import asyncio
import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter
from typing import Any

from bench.switch import Switch
from bench.timing import Sample, microseconds, pairs

ROWS = {
    "nothing": "reads nothing, writes nothing",
    "row": "reads one row",
    "known": "reads one row, the user has written before",
}
_VIEWS = {"nothing": "nothing", "row": "row", "known": "row"}
_OK = 200


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
        request = self._request(_VIEWS[row], self._cookie() if row == "known" else "")

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
        return {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": f"/sync/{view}",
            "SCRIPT_NAME": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(),
            "wsgi.url_scheme": "http",
            **({"HTTP_COOKIE": cookie} if cookie else {}),
        }

    def _call(self, function: Callable[[], None]) -> None:
        function()

    def _burst(self, handler: Any, request: dict[str, Any]) -> float:
        begun = perf_counter()
        for _ in range(self.loops):
            response = handler(dict(request), _start)
            b"".join(response)
            response.close()
        return (perf_counter() - begun) / self.loops


def _start(status: str, headers: object) -> None:
    """Take the response's start."""
    if not status.startswith(str(_OK)):
        raise RuntimeError(f"the view answered {status}: {headers}")


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
        return {
            "type": "http",
            "method": "GET",
            "path": f"/async/{view}",
            "query_string": b"",
            "headers": [(b"cookie", cookie.encode())] if cookie else [],
        }

    def _call(self, function: Callable[[], None]) -> None:
        from asgiref.sync import sync_to_async

        self._runner.run(sync_to_async(function)())

    def _burst(self, handler: Any, request: dict[str, Any]) -> float:
        return self._runner.run(self._requests(handler, request))

    async def _requests(self, handler: Any, request: dict[str, Any]) -> float:
        begun = perf_counter()
        for _ in range(self.loops):
            await handler(dict(request), _Client(), _take)
        return (perf_counter() - begun) / self.loops


class _Client:
    """A client that sends an empty body, then stays."""

    def __init__(self) -> None:
        self._sent = False

    async def __call__(self) -> dict[str, Any]:
        if self._sent:
            await asyncio.Future()
        self._sent = True
        return {"type": "http.request", "body": b"", "more_body": False}


async def _take(message: dict[str, Any]) -> None:
    """Take a part of the response."""
    if message.get("status", _OK) != _OK:
        raise RuntimeError(f"the view answered {message}")
