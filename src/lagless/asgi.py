"""The edge for ASGI applications (Starlette, FastAPI, Litestar, ...): a middleware around the whole application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lagless import middleware
from lagless.carriers import COOKIE_PREFIX, HEADER, Change, Header, Received, cookie_tokens
from lagless.context import frame
from lagless.core.session import Session
from lagless.edge import learn_from_outer, settle_off_loop, tell_outer
from lagless.web import Edge, begun_writes, holds, may_have_body, report_late_writes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER = HEADER.lower().encode()
_PREFIX = COOKIE_PREFIX.encode()
_LATIN = "latin-1"
"""What HTTP's headers are written in."""


class Middleware(middleware.Middleware[App, Scope]):
    """Binds a Session to each HTTP request and carries it to the next by a signed cookie, or by a header.

    `app = Middleware(app, clusters=[...])` around the whole application also reaches the error page for an exception
    after a commit; a framework's own `add_middleware` is within what makes that page. WebSockets and the lifespan pass
    without a session: open `session()` for a message. `key` and `opt_in` take the scope.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not self.enabled:
            await self.app(scope, receive, send)
            return
        edge = self.edge()
        received = edge.receive(*_carried(scope))
        session = edge.begin(scope, received)
        told: dict[str, float] = {}
        started = False

        async def send_told(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                if session.footprints:
                    await settle_off_loop(session)
                    told.update(begun_writes(session))
                message = _start(message, scope, edge, session, received)
                started = True
            await send(message)

        learn_from_outer(session)
        held = frame.set(edge.frame(session, scope["method"]))
        try:
            await self.app(scope, receive, send_told)
        finally:
            frame.reset(held)
            tell_outer(session)
            if started:
                report_late_writes(session, told)

    @staticmethod
    def stranger(request: Scope) -> str:
        """Return a visitor's address and browser."""
        browser = next((value for name, value in request["headers"] if name == b"user-agent"), b"")
        return f"{(request.get('client') or ('',))[0]} {browser.decode(_LATIN)}"


def _carried(scope: Scope) -> tuple[str | None, dict[str, str]]:
    """Return a request's token header, None without one, and its cookies' tokens; HTTP/2 sends several of each."""
    tokens: str | None = None
    cookies = ""
    for name, value in scope["headers"]:
        if name == b"cookie" and _PREFIX in value:
            cookies = f"{cookies};{value.decode(_LATIN)}"
        elif name == _HEADER:
            tokens = value.decode(_LATIN) if tokens is None else f"{tokens},{value.decode(_LATIN)}"
    return tokens, cookie_tokens(cookies)


def _start(message: Message, scope: Scope, edge: Edge[Scope], session: Session, received: Received) -> Message:
    """Return the start of a response with what it must say; the application's own headers stay as they are."""
    headers = list(message.get("headers", ()))
    method = scope["method"]
    open_ended = may_have_body(method, message["status"]) and not holds(headers, b"content-length")
    told = edge.leave(session, received, method=method, open_ended=open_ended)
    return {**message, "headers": _answered(headers, told, edge, scope) if told else headers}


def _answered(headers: list[Any], told: Change, edge: Edge[Scope], scope: Scope) -> list[tuple[bytes, bytes]]:
    written: list[Header] = [(name.decode(_LATIN), value.decode(_LATIN)) for name, value in headers]
    answered = edge.answered(written, told, secure=scope.get("scheme") == "https")
    return [(name.lower().encode(_LATIN), value.encode(_LATIN)) for name, value in answered]
