"""Pins a browser that has written to the primary for a while, as django-multidb-router does for Django. Pure."""

from __future__ import annotations

from contextvars import ContextVar
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from lagless.demo.instrument import Asgi, Message, Send

COOKIE = "pinned"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

PINNED: ContextVar[bool] = ContextVar("PINNED", default=False)
"""Whether the request that is being served reads the primary."""


class PinningMiddleware:
    """Pins a request that may write, and by a cookie those that follow within `seconds`."""

    def __init__(self, application: Asgi, seconds: int) -> None:
        self._application = application
        self._header = (b"set-cookie", f"{COOKIE}=y; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Lax".encode())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        """Serve one request; one task does, so that nobody else sees what is set for it."""
        writes = scope.get("method", "GET") not in SAFE_METHODS

        async def sending(message: Message) -> None:
            if writes and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], self._header]}
            await send(message)

        PINNED.set(writes or _has_pin(scope))
        await self._application(scope, receive, sending)


def _has_pin(scope: MutableMapping[str, Any]) -> bool:
    return any(name == b"cookie" and COOKIE in SimpleCookie(value.decode()) for name, value in scope.get("headers", ()))
