"""The edge for web requests: one class for both colours, with no thread hop for requests that wrote nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from lagless.carriers import COOKIE_PREFIX, HEADER, Change, Received
from lagless.context import Frame, current, frame
from lagless.core.session import Session
from lagless.django.registry import Registry, registry
from lagless.edge import needs_settling, settle
from lagless.token import Signer
from lagless.web import SAFE_METHODS, Edge, begun_writes, report_late_writes, stepwise

_META_HEADER = "HTTP_" + HEADER.upper().replace("-", "_")
GetResponse = Callable[[HttpRequest], HttpResponseBase]


class Middleware:
    """Binds a Session to each request and carries it to the next by a signed cookie, or by a header.

    It belongs first in MIDDLEWARE, around whatever reads or writes the database.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse | Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self._registry = registry()
        if not self._registry.enabled:
            raise MiddlewareNotUsed("LAGLESS_ENABLED is off")
        self.get_response: Any = get_response
        self._edge = _edge(self._registry)
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)
        if any(_atomic_requests(self._registry)):  # only where it is needed: it is a call a request
            self.process_view = self._aprocess_view if self._async else self._process_view

    def __call__(self, request: HttpRequest) -> Any:
        """Serve one request."""
        if self._async:
            return self._acall(request)
        received, session = self._begin(request)
        held = frame.set(Frame(session))
        try:
            response = self.get_response(request)
        finally:
            frame.reset(held)
        if session.footprints and needs_settling(session):
            settle(session)
        return self._end(request, response, received, session)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        received, session = self._begin(request)
        held = frame.set(Frame(session))
        try:
            response = await self.get_response(request)
        finally:
            frame.reset(held)
        if session.footprints and needs_settling(session):
            await sync_to_async(settle)(session)  # in the thread that holds the open connection
        return self._end(request, response, received, session)

    # -- in

    def _begin(self, request: HttpRequest) -> tuple[Received, Session]:
        received = self._edge.receive(request.META.get(_META_HEADER), _token_cookies(request))
        return received, self._edge.begin(request, received)

    def _process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Under ATOMIC_REQUESTS, let a safe request read replicas until it writes."""
        held = current()
        if request.method not in SAFE_METHODS or held is None or held.session is None:
            return
        exempt = getattr(view, "_non_atomic_requests", ())
        for alias in _atomic_requests(self._registry):
            if alias not in exempt:
                held.session.of(self._registry.links[alias].cluster.name).safe_request = True

    async def _aprocess_view(self, *args: Any) -> None:
        """The same on the event loop, without a hop to a thread."""
        self._process_view(*args)

    # -- out

    def _end(
        self, request: HttpRequest, response: HttpResponseBase, received: Received, session: Session
    ) -> HttpResponseBase:
        streaming = response.streaming
        if not (session.footprints or received.tokens or streaming):
            return response
        if streaming:
            self._bind_stream(response, session)
        self._send(
            request, response, self._edge.leave(session, received, method=request.method or "", open_ended=streaming)
        )
        return response

    def _send(self, request: HttpRequest, response: HttpResponseBase, told: Change) -> None:
        if not told:
            return
        if told.set and told.set[0] == HEADER:
            response.headers[HEADER] = told.set[1]
            return
        where: dict[str, Any] = {"path": settings.SESSION_COOKIE_PATH, "domain": settings.SESSION_COOKIE_DOMAIN}
        for name in told.delete:
            response.delete_cookie(name, samesite="Lax", **where)
        if told.set:
            name, token = told.set
            response.set_cookie(
                name,
                token,
                max_age=int(self._edge.signer.max_age),
                httponly=True,
                samesite="Lax",
                secure=request.is_secure(),
                **where,
            )
        patch_vary_headers(response, ("Cookie",))

    def _bind_stream(self, response: Any, session: Session) -> None:
        """Bind the session while the body is produced, which happens after this middleware has returned."""
        content, told = response.streaming_content, begun_writes(session)
        bound = _abound if getattr(response, "is_async", False) else _bound
        response.streaming_content = bound(content, session, told)


def _edge(known: Registry) -> Edge[HttpRequest]:
    """Return what the settings say of requests; without LAGLESS_KEY, Django's session cookie is a request's key."""
    cookie = settings.SESSION_COOKIE_NAME  # once: each look at the settings costs
    return Edge(
        clusters=known.clusters,
        signer=cast(Signer, known.signer),
        stranger=lambda request: f"{request.META.get('REMOTE_ADDR')} {request.META.get('HTTP_USER_AGENT')}",
        key=known.key or (lambda request: request.COOKIES.get(cookie)),
        share=known.share,
        opt_in=known.opt_in,
    )


def _token_cookies(request: HttpRequest) -> dict[str, str]:
    cookies = request.COOKIES
    return {name: cookies[name] for name in cookies if name.startswith(COOKIE_PREFIX)}


def _bound(chunks: Iterable[bytes], session: Session, told: dict[str, float]) -> Iterator[bytes]:
    yield from stepwise(chunks, Frame(session))
    report_late_writes(session, told)


async def _abound(chunks: AsyncIterator[bytes], session: Session, told: dict[str, float]) -> AsyncIterator[bytes]:
    iterator, bound = aiter(chunks), Frame(session)
    while True:
        held = frame.set(bound)
        try:
            chunk = await anext(iterator, None)
            bound = current() or bound
        finally:
            frame.reset(held)
        if chunk is None:
            report_late_writes(session, told)
            return
        yield chunk


def _atomic_requests(known: Registry) -> list[str]:
    """Return the primaries' aliases with ATOMIC_REQUESTS."""
    return [
        link.alias
        for link in known.links.values()
        if link.is_primary and connections.settings[link.alias].get("ATOMIC_REQUESTS")
    ]
