"""The edge for WSGI, under a small server of its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from unit.builders import PRIMARY, history, lsn
from unit.serving import KEY, SIGNER, Browser, a_cluster, marks, unit, write

from lagless import Cluster, Reason, primary
from lagless.context import current
from lagless.core.session import Mark
from lagless.events import Kind
from lagless.wsgi import Middleware

PLAIN = [("Content-Type", "text/plain"), ("Content-Length", "2")]
STREAM = PLAIN[:1]


@dataclass
class Answer:
    """What a client received."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    started: list[tuple[object, ...]] = field(default_factory=list)
    body: Iterable[bytes] = ()

    def header(self, name: str) -> str | None:
        """Return one header's value."""
        return dict(self.headers).get(name)


def app(
    handler: Callable[[], object] | None = None,
    *,
    headers: list[tuple[str, str]] = PLAIN,
    status: str = "200 OK",
    body: Callable[[], Iterable[bytes]] = lambda: [b"ok"],
) -> Any:
    """Return an application that calls `handler`, starts its response and returns `body()`."""

    def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if handler:
            handler()
        start_response(status, headers)
        return body()

    return wsgi


def environ_of(browser: Browser | None = None, **extra: str) -> WSGIEnvironment:
    """Return a request's environ."""
    environ: WSGIEnvironment = {"REMOTE_ADDR": "10.0.0.1", "HTTP_USER_AGENT": "test", "QUERY_STRING": ""} | extra
    if browser and browser.cookies:
        environ["HTTP_COOKIE"] = browser.cookies
    setup_testing_defaults(environ)
    return environ


def serve(wsgi: Any, browser: Browser | None = None, **extra: str) -> Answer:
    """Run one request through an application, as a server does."""
    answer = Answer()

    def start_response(status: str, headers: list[tuple[str, str]], *rest: object) -> Callable[[bytes], object]:
        answer.headers = headers
        answer.started.append((status, *rest))
        return answer.chunks.append

    answer.body = body = wsgi(environ_of(browser, **extra), start_response)
    try:
        answer.chunks += body
    finally:
        if hasattr(body, "close"):
            body.close()
    assert current() is None
    if browser:
        browser.take(answer.headers)
    return answer


def within(cluster: Cluster, wsgi: Any, **options: Any) -> Middleware:
    """Return an application within the edge."""
    return Middleware(wsgi, clusters=[cluster], keys=KEY, **options)


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster whose replicas are behind its next commit."""
    return a_cluster()


def test_a_write_is_settled_and_carried_by_a_cookie(cluster: Cluster) -> None:
    """The next request knows the position; its reads find no replica that covers it."""
    browser, seen = Browser(), []
    serve(within(cluster, app(write)), browser, REQUEST_METHOD="POST")
    assert browser.marks()[PRIMARY].written == lsn(100)
    serve(within(cluster, app(lambda: seen.append(cluster.route().reason))), browser)
    assert seen == [Reason.NONE_COVERS]


def test_a_visitor_gets_nothing(cluster: Cluster) -> None:
    """No cookie, no Vary; the application's own list goes on."""
    answer = serve(within(cluster, app(cluster.route)))
    assert answer.headers is PLAIN


def test_what_the_response_says(cluster: Cluster) -> None:
    """The application's headers in their order, Vary, the cookie; Secure if the request is; its list is not touched."""
    shared = [*PLAIN, ("Set-Cookie", "a=1")]
    kept = list(shared)
    answer = serve(within(cluster, app(write, headers=shared)), **{"wsgi.url_scheme": "https"})
    assert shared == kept
    assert answer.headers[:3] == kept
    assert [name for name, _ in answer.headers[3:]] == ["Vary", "Set-Cookie"]
    assert answer.headers[4][1].endswith("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure")
    assert "Secure" not in str(serve(within(cluster, app(write))).headers)


def test_a_header_is_answered_by_a_header(cluster: Cluster) -> None:
    """A client without cookies asks with an empty one, and carries the answer back."""
    token = serve(within(cluster, app(write)), HTTP_LAGLESS_TOKEN="").header("Lagless-Token")
    assert token
    assert marks(token)[PRIMARY].written == lsn(100)
    seen = []
    answer = serve(within(cluster, app(lambda: seen.append(unit().written))), HTTP_LAGLESS_TOKEN=f"x, {token}")
    assert seen == [lsn(100)]
    assert cluster.counts.events[Kind.TOKEN_REFUSED] == 1
    assert answer.headers is PLAIN


@pytest.mark.parametrize("cookie", ["lagless-a", "lagless-a=", "lagless-a=x; b", ';;= "; lagless-a="1~forged"'])
def test_a_bad_cookie_is_counted_and_ignored(cluster: Cluster, cookie: str) -> None:
    """Never an error, never a pin; other cookies may be as they like."""
    seen = []
    serve(within(cluster, app(lambda: seen.append(cluster.route().reason))), HTTP_COOKIE=cookie)
    assert seen == [Reason.SESSION]
    assert cluster.counts.events[Kind.TOKEN_REFUSED] == 1


# -- bodies


def test_an_open_ended_body_of_an_unsafe_method_is_in_doubt(cluster: Cluster) -> None:
    """It may still write after its token left (CORRECTNESS 9); one with a length may not."""
    for headers, dirty in ((STREAM, {history()}), (PLAIN, set())):
        browser = Browser()
        serve(within(cluster, app(headers=headers)), browser, REQUEST_METHOD="POST")
        assert {mark.dirty for mark in browser.marks().values()} == dirty


@pytest.mark.parametrize("extra", [{"REQUEST_METHOD": "HEAD"}, {"REQUEST_METHOD": "GET"}])
def test_a_safe_stream_of_a_visitor_gets_nothing(cluster: Cluster, extra: dict[str, str]) -> None:
    """Nothing was promised."""
    assert serve(within(cluster, app(headers=STREAM)), **extra).headers is STREAM


def test_a_body_is_produced_in_the_session_of_its_request(cluster: Cluster) -> None:
    """Bound for each step and for close(), never between them; scopes may stay open across steps."""
    seen: list[object] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            with primary():
                seen.append(cluster.route().reason)
                yield b"o"
                seen.append(cluster.route().reason)
                yield b"k"
            seen.append(cluster.route().reason)

        def close(self) -> None:
            seen.append(current() is not None)

    answer = Answer()
    body = iter(within(cluster, app(body=Body))(environ_of(), lambda *given: answer.started.append(given)))  # type: ignore[arg-type, return-value]
    for _ in body:
        assert current() is None
    assert seen == [Reason.STRONG, Reason.STRONG, Reason.SESSION]
    assert serve(within(cluster, app(body=Body))).chunks == [b"o", b"k"]
    assert seen[3:] == [Reason.STRONG, Reason.STRONG, Reason.SESSION, True]


def test_making_the_iterator_is_a_step_too(cluster: Cluster) -> None:
    """It may read."""
    seen = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            seen.append(cluster.route().reason)
            return iter([b"ok"])

    assert serve(within(cluster, app(body=Body))).chunks == [b"ok"]
    assert seen == [Reason.SESSION]


def test_a_body_is_closed_once_whatever_happens(cluster: Cluster) -> None:
    """Also if it fails."""
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"o"
            raise KeyError

        def close(self) -> None:
            closed.append(1)

    with pytest.raises(KeyError):
        serve(within(cluster, app(body=Body)))
    assert closed == [1]


def test_a_generator_that_starts_its_response_lazily(cluster: Cluster) -> None:
    """What it wrote before is settled and carried."""

    def lazy(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        write()
        start_response("200 OK", PLAIN)
        yield b"ok"

    browser = Browser()
    assert serve(within(cluster, lazy), browser).chunks == [b"ok"]
    assert browser.marks()[PRIMARY].written == lsn(100)
    assert not cluster.counts.events[Kind.LATE_WRITE]


def test_finished_bodies_keep_their_type(cluster: Cluster) -> None:
    """A server tells a list's length, and sends a file by the kernel."""
    assert serve(within(cluster, app())).body == [b"ok"]
    file = FileWrapper(io.BytesIO(b"ok"))
    environ = environ_of() | {"wsgi.file_wrapper": FileWrapper}
    assert within(cluster, app(body=lambda: file))(environ, lambda *_: print) is file  # type: ignore[arg-type, return-value]


def test_writes_behind_the_response_are_told(cluster: Cluster) -> None:
    """In the body, when it is closed, or after a list was started: once a cluster."""

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            write()
            yield b"ok"

        def close(self) -> None:
            write()

    def late() -> list[bytes]:
        write()
        return [b"ok"]

    serve(within(cluster, app(body=Body)))
    assert cluster.counts.events[Kind.LATE_WRITE] == 1
    serve(within(cluster, app(body=late)))
    assert cluster.counts.events[Kind.LATE_WRITE] == 2


def test_a_write_that_could_not_be_settled_is_not_late(cluster: Cluster) -> None:
    """The token says that it is in doubt."""
    cluster.asker = None
    browser = Browser()
    serve(within(cluster, app(write)), browser)
    assert browser.marks()[PRIMARY].dirty == history()
    assert not cluster.counts.events[Kind.LATE_WRITE]


def test_nothing_is_late_if_nothing_was_sent(cluster: Cluster) -> None:
    """A generator that fails before it starts its response."""

    def fails(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        write()
        raise KeyError
        yield b""

    with pytest.raises(KeyError):
        serve(within(cluster, fails))
    assert not cluster.counts.events[Kind.LATE_WRITE]


# -- the protocol


def test_an_application_that_starts_again_after_an_error(cluster: Cluster) -> None:
    """`exc_info` reaches the server, and the error page carries the token, too."""

    def recovers(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", PLAIN)
        try:
            write()
            raise KeyError
        except KeyError:
            start_response("500 Oops", PLAIN, sys.exc_info())
        return [b"no"]

    browser = Browser()
    answer = serve(within(cluster, recovers), browser)
    assert answer.started[0] == ("200 OK",)
    assert answer.started[1][0] == "500 Oops"
    assert answer.started[1][1][0] is KeyError  # type: ignore[index]
    assert browser.marks()[PRIMARY].written == lsn(100)


def test_the_write_callable(cluster: Cluster) -> None:
    """Works as the server's own."""

    def old(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", PLAIN)(b"o")
        return [b"k"]

    assert serve(within(cluster, old)).chunks == [b"o", b"k"]


def test_it_keeps_the_protocol(cluster: Cluster) -> None:
    """By the standard library's validator, inside and outside."""
    edge = validator(within(cluster, validator(app(write, body=lambda: iter([b"ok"])))))  # type: ignore[arg-type]
    assert serve(edge, Browser()).chunks == [b"ok"]


def test_an_error_out_of_the_application_passes(cluster: Cluster) -> None:
    """The context is as before."""

    def fails() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        serve(within(cluster, app(fails)))
    assert current() is None


def test_who_takes_part(cluster: Cluster) -> None:
    """A key, a predicate and a share, over the environ."""
    seen: list[Reason] = []
    reads = app(lambda: seen.append(cluster.route().reason))
    browser = Browser()
    serve(within(cluster, reads, key=lambda environ: environ["REMOTE_USER"]), browser, REMOTE_USER="anna")
    assert set(browser.marks()) == {PRIMARY}
    serve(within(cluster, reads, opt_in=lambda environ: environ["PATH_INFO"] == "/new"), PATH_INFO="/old")
    serve(within(cluster, reads, share=0))
    assert seen == [Reason.SESSION, Reason.NOT_OPTED_IN, Reason.NOT_OPTED_IN]


def test_unsafe_methods_read_the_primary_if_asked(cluster: Cluster) -> None:
    """As inside primary()."""
    seen = []
    edge = within(cluster, app(lambda: seen.append(cluster.route().reason)), safe_methods_only=True)
    for method in ("DELETE", "HEAD"):
        serve(edge, REQUEST_METHOD=method)
    assert seen == [Reason.STRONG, Reason.SESSION]


def test_switched_off(cluster: Cluster) -> None:
    """The very same callables reach the application, and no session does."""
    seen: list[Any] = []

    def wsgi(*given: Any) -> list[bytes]:
        seen.extend([given, current()])
        return []

    given = (environ_of(), lambda *_: print)
    assert within(cluster, wsgi, enabled=False)(*given) == []  # type: ignore[arg-type]
    assert seen == [given, None]


def test_a_reader_keeps_its_cookie(cluster: Cluster) -> None:
    """A session that came with a token and read nothing passes it on."""
    browser = Browser()
    browser.jar["lagless-abcdef"] = SIGNER.seal([Mark(cluster=PRIMARY, written=lsn(95))])
    before = dict(browser.jar)
    assert serve(within(cluster, app()), browser).headers is PLAIN
    assert browser.jar == before
