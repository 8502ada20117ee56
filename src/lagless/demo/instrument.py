"""Gives each request a tally and sends it along in the response's headers.

It wraps the whole application rather than being a middleware within, so that it sees what every middleware asks of the
databases after the view, and no policy has to share its place among them.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lagless.demo.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    Environ = dict[str, Any]
    Wsgi = Callable[[Environ, Any], Iterable[bytes]]
    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]
    Asgi = Callable[[Any, Any, Any], Awaitable[None]]  # frameworks differ in how they write the three

CURRENT: ContextVar[Tally | None] = ContextVar("CURRENT", default=None)


def wsgi(application: Wsgi) -> Wsgi:
    """`application` with a tally for each request."""

    def instrumented(environ: Environ, start_response: Any) -> Iterable[bytes]:
        tally = Tally()

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, [*headers, *tally.headers()], *exc_info)

        token = CURRENT.set(tally)
        try:
            return application(environ, start)
        finally:
            CURRENT.reset(token)

    return instrumented


def asgi(application: Asgi) -> Asgi:
    """`application` with a tally for each request."""

    async def instrumented(scope: Any, receive: Any, send: Send) -> None:
        tally = Tally()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_encoded(tally)]}
            await send(message)

        # One task serves one request; the threads that its views run in share the object, not the variable.
        CURRENT.set(tally)
        await application(scope, receive, sending)

    return instrumented


def _encoded(tally: Tally) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in tally.headers()]


def how_served(_request: object) -> dict[str, Any]:
    """For the page's foot: where its own reads ran so far."""
    tally = CURRENT.get()
    return {"read_from": tally.reads if tally else {}}
