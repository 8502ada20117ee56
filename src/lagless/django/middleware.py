"""The edge for web requests: one class for both colours, with no thread hop for requests that wrote nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from lagless.carriers import COOKIE_PREFIX, HEADER, Change, Received, change, split_header
from lagless.context import Frame, current, frame
from lagless.core.session import Session
from lagless.django.registry import Registry, registry
from lagless.edge import begin, in_doubt, needs_settling, outcome, settle
from lagless.errors import LaglessError
from lagless.events import Kind
from lagless.token import Opened, Signer

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_META_HEADER = "HTTP_" + HEADER.upper().replace("-", "_")
_NOTHING = Received({})
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
        self._session_cookie = settings.SESSION_COOKIE_NAME  # once: each look at the settings costs
        self._signer = cast(Signer, self._registry.signer)
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
        received = self._receive(request)
        key = self._registry.key(request) if self._registry.key else request.COOKIES.get(self._session_cookie)
        session = begin(
            received.tokens.values(), self._signer, key=key, keyed=key is not None, routed=self._routed(request, key)
        )
        return received, session

    def _receive(self, request: HttpRequest) -> Received:
        header = request.META.get(_META_HEADER)
        if header is not None:
            found = {str(i): self._open(token) for i, token in enumerate(split_header(header))}
        else:
            cookies = request.COOKIES
            found = {name: self._open(cookies[name]) for name in cookies if name.startswith(COOKIE_PREFIX)}
            if not found:
                return _NOTHING
        return Received({name: opened for name, opened in found.items() if opened}, by_header=header is not None)

    def _open(self, token: str) -> Opened | None:
        opened = self._signer.open(token)
        if opened is None:
            for cluster in self._registry.clusters.values():
                cluster.emit(Kind.TOKEN_REFUSED)
        return opened

    def _routed(self, request: HttpRequest, key: str | None) -> bool:
        """Tell whether this request takes part: an opt-in predicate decides, or the share of sessions."""
        if self._registry.opt_in is not None:
            return bool(self._registry.opt_in(request))
        share = self._registry.share
        if share >= 1:
            return True
        who = key or f"{request.META.get('REMOTE_ADDR')} {request.META.get('HTTP_USER_AGENT')}"
        return int.from_bytes(hashlib.blake2b(who.encode(), digest_size=4).digest()) < share * 2**32

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
        doubt = response.streaming and self._open_ended(request, session)
        if response.streaming:
            self._bind_stream(response, session)
        if not session.footprints and not received.tokens and not doubt:
            return response
        marks = in_doubt(session, self._registry.clusters.values()) if doubt else outcome(session)
        if marks or received.tokens:
            self._send(request, response, change(received, marks, self._signer, time.time()))
        return response

    def _open_ended(self, request: HttpRequest, session: Session) -> bool:
        """Tell whether a body that is still to be produced may write, or show what no token will tell of.

        A session that reads monotonically is bound to its replica now, so that the token names it.
        """
        if request.method not in SAFE_METHODS:
            return True
        bound = Frame(session)
        for cluster in self._registry.clusters.values():
            if not cluster.tracks or not (session.keyed or cluster.name in session.marks):
                continue
            try:
                if cluster.read(bound).node == cluster.topology.primary:
                    return True
            except LaglessError:
                return True
        return False

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
                max_age=int(self._signer.max_age),
                httponly=True,
                samesite="Lax",
                secure=request.is_secure(),
                **where,
            )
        patch_vary_headers(response, ("Cookie",))

    def _bind_stream(self, response: Any, session: Session) -> None:
        """Bind the session while the body is produced, which happens after this middleware has returned."""
        content = response.streaming_content
        bound = _abound if getattr(response, "is_async", False) else _bound
        response.streaming_content = bound(content, session)


def _bound(chunks: Iterator[bytes], session: Session) -> Iterator[bytes]:
    iterator, bound = iter(chunks), Frame(session)
    while True:
        held = frame.set(bound)
        try:
            chunk = next(iterator, None)
            bound = current() or bound  # a scope may be open between the steps
        finally:
            frame.reset(held)
        if chunk is None:
            return _report_late_writes(session)
        yield chunk


async def _abound(chunks: AsyncIterator[bytes], session: Session) -> AsyncIterator[bytes]:
    iterator, bound = aiter(chunks), Frame(session)
    while True:
        held = frame.set(bound)
        try:
            chunk = await anext(iterator, None)
            bound = current() or bound
        finally:
            frame.reset(held)
        if chunk is None:
            _report_late_writes(session)
            return
        yield chunk


def _report_late_writes(session: Session) -> None:
    """A write in a streamed body comes after the token left: say so, it is a case for an unsafe method."""
    for cluster in needs_settling(session):
        if session.of(cluster.name).unsettled:
            cluster.emit(Kind.LATE_WRITE)


def _atomic_requests(known: Registry) -> list[str]:
    """Return the primaries' aliases with ATOMIC_REQUESTS."""
    return [
        link.alias
        for link in known.links.values()
        if link.is_primary and connections.settings[link.alias].get("ATOMIC_REQUESTS")
    ]
