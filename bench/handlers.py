"""Requests without a server or a client: WSGI and ASGI applications, called as a server would call them."""

from __future__ import annotations

import asyncio
import io
from time import perf_counter
from typing import Any

ROWS = {
    "nothing": "reads nothing, writes nothing",
    "row": "reads one row",
    "known": "reads one row, the user has written before",
}
VIEWS = {"nothing": "nothing", "row": "row", "known": "row"}
"""The page that each row asks for."""
_OK = 200


def environ(path: str, cookie: str) -> dict[str, Any]:
    """Return a GET as a WSGI server hands it over."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "http",
        **({"HTTP_COOKIE": cookie} if cookie else {}),
    }


def scope(path: str, cookie: str) -> dict[str, Any]:
    """Return a GET as an ASGI server hands it over."""
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(b"cookie", cookie.encode())] if cookie else [],
    }


def wsgi_seconds(application: Any, request: dict[str, Any], loops: int) -> float:
    """Return the seconds that one request takes."""
    begun = perf_counter()
    for _ in range(loops):
        response = application(dict(request), _start)
        b"".join(response)
        if hasattr(response, "close"):
            response.close()
    return (perf_counter() - begun) / loops


async def asgi_seconds(application: Any, request: dict[str, Any], loops: int) -> float:
    """Return the seconds that one request takes."""
    begun = perf_counter()
    for _ in range(loops):
        await application(dict(request), _Client(), _take)
    return (perf_counter() - begun) / loops


def _start(status: str, headers: object, exc_info: Any = None) -> None:
    """Take the response's start."""
    if not status.startswith(str(_OK)):
        raise RuntimeError(f"the view answered {status}: {headers}") from (exc_info[1] if exc_info else None)


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
