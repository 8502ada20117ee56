"""The edge for WSGI applications (Flask, Bottle, Pyramid, ...): a middleware around the whole application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from lagless import middleware
from lagless.carriers import HEADER, Header, Received, cookie_tokens
from lagless.context import Frame, frame
from lagless.core.session import Session
from lagless.edge import learn_from_outer, settle, tell_outer
from lagless.web import Edge, begun_writes, holds, may_have_body, report_late_writes, stepwise

ErrorInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write = Callable[[bytes], object]

_HEADER = "HTTP_" + HEADER.upper().replace("-", "_")


class Middleware(middleware.Middleware[WSGIApplication, WSGIEnvironment]):
    """Binds a Session to each request and carries it to the next by a signed cookie, or by a header.

    `app = Middleware(app, clusters=[...])`. What the application wrote is settled when it starts its response. `key`
    and `opt_in` take the environ.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if not self.enabled:
            return self.app(environ, start_response)
        edge = self.edge()
        received = edge.receive(environ.get(_HEADER), cookie_tokens(environ.get("HTTP_COOKIE", "")))
        session = edge.begin(environ, received)
        told: dict[str, float] = {}
        started = False

        def start(status: str, headers: list[Header], exc_info: ErrorInfo | None = None) -> Write:
            nonlocal started
            if session.footprints:
                settle(session)
                told.update(begun_writes(session))
            started = True
            answered = _answered(status, headers, environ, edge, session, received)
            return start_response(status, answered, exc_info) if exc_info else start_response(status, answered)

        def over() -> None:
            if started:
                report_late_writes(session, told)

        learn_from_outer(session)
        bound = edge.frame(session, environ["REQUEST_METHOD"])
        held = frame.set(bound)
        try:
            chunks = self.app(environ, start)
        finally:
            frame.reset(held)
            tell_outer(session)
        if _runs_nothing(chunks, environ):
            over()
            return chunks
        return _Body(chunks, bound, over)

    @staticmethod
    def stranger(request: WSGIEnvironment) -> str:
        """Return a visitor's address and browser."""
        return f"{request.get('REMOTE_ADDR')} {request.get('HTTP_USER_AGENT')}"


def _answered(
    status: str,
    headers: list[Header],
    environ: WSGIEnvironment,
    edge: Edge[WSGIEnvironment],
    session: Session,
    received: Received,
) -> list[Header]:
    """Return a response's headers with what it must say; the application's own list stays as it is."""
    method = environ["REQUEST_METHOD"]
    open_ended = may_have_body(method, int(status[:3])) and not holds(headers, "content-length")
    told = edge.leave(session, received, method=method, open_ended=open_ended)
    return edge.answered(headers, told, secure=environ.get("wsgi.url_scheme") == "https") if told else headers


def _runs_nothing(chunks: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Tell whether a body is a finished one, whose type tells a server something: its length, or that it is a file."""
    of_file = environ.get("wsgi.file_wrapper")
    return isinstance(chunks, list | tuple) or (isinstance(of_file, type) and isinstance(chunks, of_file))


class _Body:
    """A body that is produced, and closed, in the session of its request."""

    def __init__(self, chunks: Iterable[bytes], bound: Frame, over: Callable[[], None]) -> None:
        self._chunks = chunks
        self._bound = bound
        self._over = over

    def __iter__(self) -> Iterator[bytes]:
        return stepwise(self._chunks, self._bound)

    def close(self) -> None:
        """Close the application's body, as the server asks at the end whatever happened."""
        held = frame.set(self._bound)
        try:
            if hasattr(self._chunks, "close"):
                self._chunks.close()
        finally:
            frame.reset(held)
        self._over()
