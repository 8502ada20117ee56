"""The edge for ASGI, under a small driver of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from unit.builders import FIRST, PRIMARY, SECOND, history, lsn
from unit.serving import KEY, SIGNER, Browser, a_cluster, answer, marks, unit, write

from lagless import Cluster, Reason, consistency, replica
from lagless.asgi import Message, Middleware, Receive, Scope, Send
from lagless.context import current
from lagless.core.session import Mark
from lagless.events import Kind

LENGTH = (b"content-length", b"2")
Handler = Callable[[], Awaitable[object]]


@dataclass
class Answer:
    """What a client received."""

    messages: list[Message] = field(default_factory=list)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The response's headers."""
        start = next(m for m in self.messages if m["type"] == "http.response.start")
        return [(name.decode(), value.decode()) for name, value in start["headers"]]

    def header(self, name: str) -> str | None:
        """Return one header's value."""
        return dict(self.headers).get(name)


def app(
    handler: Handler | None = None,
    *,
    headers: Any = (LENGTH,),
    status: int = 200,
    before_body: Handler | None = None,
    after: Handler | None = None,
) -> Any:
    """Return an application that calls `handler`, starts its response, and goes on as told."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if handler:
            await handler()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if before_body:
            await before_body()
        await send({"type": "http.response.body", "body": b"ok"})
        if after:
            await after()

    return asgi


def scope_of(browser: Browser | None = None, **extra: Any) -> Scope:
    """Return an HTTP request's scope."""
    headers = [(b"host", b"localhost"), (b"user-agent", b"test")]
    if browser and browser.cookies:
        headers.append((b"cookie", browser.cookies.encode()))
    return {"type": "http", "method": "GET", "scheme": "http", "client": ("10.0.0.1", 1), "headers": headers} | extra


def serve(asgi: Any, scope: Scope | None = None, browser: Browser | None = None, **extra: Any) -> Answer:
    """Run one request through an application."""
    answer = Answer()

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        answer.messages.append(message)

    asyncio.run(asgi(scope or scope_of(browser, **extra), receive, send))
    if browser:
        browser.take(answer.headers)
    return answer


def within(cluster: Cluster, asgi: Any, **options: Any) -> Middleware:
    """Return an application within the edge."""
    return Middleware(asgi, clusters=[cluster], keys=KEY, **options)


async def writes() -> None:
    """Write and commit."""
    write()


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster whose replicas are behind its next commit."""
    return a_cluster()


# -- a request, then the next


def test_a_write_is_settled_and_carried_by_a_cookie(cluster: Cluster) -> None:
    """The next request knows the position; its reads find no replica that covers it."""
    browser, seen = Browser(), []

    async def reads() -> None:
        seen.append(cluster.route().reason)

    serve(within(cluster, app(writes)), browser=browser, method="POST")
    assert browser.marks()[PRIMARY].written == lsn(100)
    serve(within(cluster, app(reads)), browser=browser)
    assert seen == [Reason.NONE_COVERS]


def test_settling_does_not_block_the_event_loop(cluster: Cluster) -> None:
    """The question runs where the cluster says."""
    threads = []

    def ask(statement: str) -> Any:
        threads.append(threading.current_thread())
        return answer(statement)

    cluster.asker = ask
    serve(within(cluster, app(writes)))
    assert threads
    assert threads[0] is not threading.main_thread()


def test_several_clusters_settle_at_once() -> None:
    """Neither waits for the other's answer."""
    one, other = a_cluster("one"), a_cluster("other")
    both = threading.Barrier(2, timeout=10)

    def ask(statement: str) -> Any:
        both.wait()
        return answer(statement)

    async def handler() -> None:
        write("one")
        write("other")

    one.asker = other.asker = ask
    browser = Browser()
    serve(Middleware(app(handler), clusters=[one, other], keys=KEY), browser=browser)
    assert {name: mark.written for name, mark in browser.marks().items()} == {"one": lsn(100), "other": lsn(100)}


def test_a_visitor_gets_nothing(cluster: Cluster) -> None:
    """No cookie, no Vary: the page stays cacheable."""

    async def reads() -> None:
        cluster.route()

    answer = serve(within(cluster, app(reads, headers=[LENGTH, (b"vary", b"Accept")])))
    assert answer.headers == [("content-length", "2"), ("vary", "Accept")]


def test_a_reader_s_cookie_does_not_change(cluster: Cluster) -> None:
    """Nothing is said if nothing changed."""
    browser = Browser()
    serve(within(cluster, app(writes)), browser=browser)
    before = dict(browser.jar)
    answer = serve(within(cluster, app()), browser=browser)
    assert answer.header("set-cookie") is None
    assert browser.jar == before


def test_a_cookie_that_is_not_needed_any_more_is_deleted(cluster: Cluster) -> None:
    """Every node holds what it says."""
    browser = Browser()
    browser.jar["lagless-abcdef"] = SIGNER.seal([Mark(cluster=PRIMARY, written=lsn(80))])

    async def reads() -> None:
        unit()

    serve(within(cluster, app(reads)), browser=browser)
    assert browser.jar == {}


def test_what_the_cookie_says_of_itself(cluster: Cluster) -> None:
    """HttpOnly, Lax, where and how long; Secure if the request is."""
    browser = Browser()
    options = {"cookie_path": "/shop", "cookie_domain": "example.org"}
    serve(within(cluster, app(writes), **options), browser=browser)
    (line,) = browser.seen
    assert line.split("; ")[1:] == [
        *("Max-Age=3600", "Path=/shop", "Domain=example.org", "HttpOnly", "SameSite=Lax"),
    ]
    other = Browser()
    serve(within(cluster, app(writes)), browser=other, scheme="https")
    assert other.seen[0].endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")


def test_the_application_s_headers_stay(cluster: Cluster) -> None:
    """In their order; a list that it shares between responses is not touched; Vary gains Cookie."""
    shared = [LENGTH, (b"Set-Cookie", b"a=1"), (b"vary", b"Accept"), (b"set-cookie", b"b=2")]
    kept = list(shared)
    answer = serve(within(cluster, app(writes, headers=shared)))
    assert shared == kept
    names = [name for name, _ in answer.headers]
    assert names == ["content-length", "set-cookie", "set-cookie", "vary", "set-cookie"]
    assert answer.header("vary") == "Accept, Cookie"
    assert [value for _, value in answer.headers[:3]] == ["2", "a=1", "b=2"]


def test_headers_may_be_read_once_only(cluster: Cluster) -> None:
    """ASGI asks for an iterable."""
    assert serve(within(cluster, app(headers=iter([LENGTH])))).headers == [("content-length", "2")]


def test_a_header_is_answered_by_a_header(cluster: Cluster) -> None:
    """A client without cookies asks with an empty one, and carries the answer back."""
    first = serve(within(cluster, app(writes)), headers=[(b"lagless-token", b"")])
    token = first.header("lagless-token")
    assert token
    assert first.header("set-cookie") is first.header("vary") is None
    assert marks(token)[PRIMARY].written == lsn(100)
    seen = []

    async def reads() -> None:
        seen.append(unit().written)

    second = serve(within(cluster, app(reads)), headers=[(b"lagless-token", b"x"), (b"lagless-token", token.encode())])
    assert seen == [lsn(100)]
    assert cluster.counts.events[Kind.TOKEN_REFUSED] == 1
    assert second.header("lagless-token") is None


def test_several_cookie_headers(cluster: Cluster) -> None:
    """HTTP/2 may send one for each cookie."""
    one = SIGNER.seal([Mark(cluster=PRIMARY, nodes=frozenset({FIRST}))])
    two = SIGNER.seal([Mark(cluster=PRIMARY, nodes=frozenset({SECOND}))])
    seen = []

    async def reads() -> None:
        seen.append(unit().nodes)

    cookies = [f"a=b; lagless-000001={one}", "c=d", f'lagless-000002="{two}"']
    serve(within(cluster, app(reads)), headers=[(b"cookie", cookie.encode()) for cookie in cookies])
    assert seen == [{FIRST, SECOND}]


@pytest.mark.parametrize("token", ["", "nonsense", "1~t0~default!l!x!1~forged", "\xff\xfe"])
def test_a_bad_token_is_counted_and_ignored(cluster: Cluster, token: str) -> None:
    """Never an error, never a pin."""
    seen = []

    async def reads() -> None:
        seen.append(cluster.route().reason)

    cookie = f"lagless-abcdef={token}".encode("latin-1")
    serve(within(cluster, app(reads)), headers=[(b"cookie", cookie)])
    assert seen == [Reason.SESSION]
    assert cluster.counts.events[Kind.TOKEN_REFUSED] == 1


# -- bodies that are still to be produced


def test_an_unsafe_method_s_open_ended_body_is_in_doubt(cluster: Cluster) -> None:
    """It may still write after its token left (CORRECTNESS 9)."""
    browser = Browser()
    serve(within(cluster, app(writes, headers=[])), browser=browser, method="POST")
    assert browser.marks()[PRIMARY].dirty == history()


@pytest.mark.parametrize("extra", [{"status": 204}, {"status": 304}, {"headers": [(b"Content-Length", b"2")]}])
def test_a_response_that_is_finished_is_in_no_doubt(cluster: Cluster, extra: dict[str, Any]) -> None:
    """Its length is known, or it has no body."""
    browser = Browser()
    serve(within(cluster, app(**{"headers": []} | extra)), browser=browser, method="POST")
    assert browser.jar == {}


def test_a_visitor_s_stream_gets_nothing(cluster: Cluster) -> None:
    """A safe method of whom nothing was promised."""
    assert serve(within(cluster, app(headers=[]))).headers == []


def test_a_keyed_stream_is_bound_to_its_replica(cluster: Cluster) -> None:
    """Before the token leaves, so that it names it; the body reads there."""
    browser, seen = Browser(), []

    async def reads() -> None:
        seen.append(cluster.route().node)

    edge = within(cluster, app(headers=[], before_body=reads), key=lambda scope: 7)
    serve(edge, browser=browser)
    assert browser.marks()[PRIMARY].nodes == set(seen)


def test_a_keyed_stream_that_reads_the_primary_is_in_doubt(cluster: Cluster) -> None:
    """What it will show, no token can tell."""
    browser = Browser()
    browser.jar["lagless-abcdef"] = SIGNER.seal([Mark(cluster=PRIMARY, written=lsn(95))])
    serve(within(cluster, app(headers=[])), browser=browser)
    assert browser.marks()[PRIMARY].dirty == history()


def test_the_start_is_not_held_back(cluster: Cluster) -> None:
    """Server-sent events: the client has the headers before the first event is made."""
    order: list[str] = []

    async def event() -> None:
        order.append("event")

    async def send(message: Message) -> None:
        order.append(message["type"])

    async def receive() -> Message:
        return {"type": "http.request"}

    asyncio.run(within(cluster, app(headers=[], before_body=event))(scope_of(), receive, send))
    assert order == ["http.response.start", "event", "http.response.body"]


# -- after the token left


def test_a_write_behind_the_response_is_told(cluster: Cluster) -> None:
    """Once a cluster, however many there were."""

    async def several() -> None:
        write()
        write()

    assert serve(within(cluster, app(writes, after=several))).header("set-cookie")
    assert cluster.counts.events[Kind.LATE_WRITE] == 1


def test_a_write_in_flight_is_in_doubt(cluster: Cluster) -> None:
    """A dependency that commits late: the token says so, and nothing is missing from it."""
    browser = Browser()

    async def begins() -> None:
        unit().begin_write()

    async def ends() -> None:
        unit().end_write()

    serve(within(cluster, app(begins, after=ends)), browser=browser)
    assert browser.marks()[PRIMARY].dirty == history()
    assert cluster.counts.events[Kind.LATE_WRITE] == 0


def test_a_write_that_was_still_to_be_sent_is_no_news(cluster: Cluster) -> None:
    """The token says that something was left; that it is sent late is not told again."""
    browser = Browser()
    cluster.unsent = lambda _: True

    async def reads() -> None:
        unit()

    async def writes() -> None:
        unit().begin_write()
        unit().end_write()

    serve(within(cluster, app(reads, after=writes)), browser=browser)
    assert browser.marks()[PRIMARY].dirty == history()
    assert cluster.counts.events[Kind.LATE_WRITE] == 0


def test_a_write_that_was_rolled_back_late_is_not_told(cluster: Cluster) -> None:
    """Nothing was written."""

    async def begins() -> None:
        unit().begin_write()

    async def cancels() -> None:
        unit().cancel_write()

    serve(within(cluster, app(begins, after=cancels)))
    assert not cluster.counts.events[Kind.LATE_WRITE]


def test_a_write_that_could_not_be_settled_is_not_late(cluster: Cluster) -> None:
    """The token says that it is in doubt."""
    cluster.asker = None
    browser = Browser()
    serve(within(cluster, app(writes)), browser=browser)
    assert browser.marks()[PRIMARY].dirty == history()
    assert not cluster.counts.events[Kind.LATE_WRITE]


def test_what_is_not_sent_yet_is_in_doubt(cluster: Cluster) -> None:
    """An ORM holds changes that it will commit behind the response."""
    browser = Browser()

    async def touches() -> None:
        unit()

    cluster.unsent = lambda footprint: footprint.cluster == PRIMARY
    serve(within(cluster, app(touches)), browser=browser)
    assert browser.marks()[PRIMARY].dirty == history()


def test_an_error_out_of_the_application_passes(cluster: Cluster) -> None:
    """There is no response to carry a token, and no late write to tell of; the context is as before."""
    sent = []

    async def fails() -> None:
        write()
        raise KeyError

    async def main() -> None:
        with pytest.raises(KeyError):
            await within(cluster, app(fails))(scope_of(), lambda: None, sent.append)  # type: ignore[arg-type, return-value]
        assert current() is None

    asyncio.run(main())
    assert sent == []
    assert not cluster.counts.events[Kind.LATE_WRITE]


# -- who takes part, and where they read


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_pass_without_a_session(cluster: Cluster, kind: str) -> None:
    """The very same callables reach the application."""
    seen: list[Any] = []

    async def asgi(*given: Any) -> None:
        seen.extend([given, current()])

    given = ({"type": kind}, object(), object())
    asyncio.run(within(cluster, asgi)(*given))  # type: ignore[arg-type]
    assert seen == [given, None]


def test_a_user_s_key(cluster: Cluster) -> None:
    """Makes reads monotonic from the first request on; None does not."""
    for user, expected in (("anna", {PRIMARY}), (None, set())):
        browser = Browser()

        async def reads() -> None:
            cluster.route()

        edge = within(cluster, app(reads), key=lambda scope: scope["user"])
        serve(edge, scope=scope_of(user=user), browser=browser)
        assert set(browser.marks()) == expected


def test_opting_in(cluster: Cluster) -> None:
    """A predicate over the scope."""
    seen = []

    async def reads() -> None:
        seen.append(cluster.route().reason)

    edge = within(cluster, app(reads), opt_in=lambda scope: scope["path"] == "/new")
    serve(edge, path="/old")
    serve(edge, path="/new")
    assert seen == [Reason.NOT_OPTED_IN, Reason.SESSION]


def test_a_share_of_the_visitors(cluster: Cluster) -> None:
    """By address and browser: the same ones each time."""
    seen: list[bool] = []

    async def reads() -> None:
        seen.append(cluster.route().reason is Reason.SESSION)

    edge = within(cluster, app(reads), share=0.5)
    for _ in range(2):
        for n in range(100):
            serve(edge, client=(f"10.0.0.{n}", 1))
    assert 25 < sum(seen[:100]) < 75
    assert seen[:100] == seen[100:]
    serve(edge, client=None)


def test_a_share_of_the_users(cluster: Cluster) -> None:
    """By key, wherever they are."""
    seen: dict[str, set[bool]] = {}

    async def reads() -> None:
        held = current()
        assert held
        assert held.session
        seen.setdefault(str(held.session.key), set()).add(held.session.routed)

    edge = within(cluster, app(reads), share=0.5, key=lambda scope: scope["user"])
    for n in range(200):
        serve(edge, client=(f"10.0.0.{n}", 1), user=n % 20)
    assert {len(answers) for answers in seen.values()} == {1}
    assert set.union(*seen.values()) == {True, False}


def test_unsafe_methods_read_the_primary_if_asked(cluster: Cluster) -> None:
    """As inside primary(): a scope inside narrows it again."""
    seen = []

    async def reads() -> None:
        seen.append(cluster.route().reason)
        with replica():
            seen.append(cluster.route().node == PRIMARY)
        with consistency("session"):
            seen.append(cluster.route().reason)

    for method in ("POST", "GET"):
        serve(within(cluster, app(reads), safe_methods_only=True), method=method)
    assert seen == [Reason.STRONG, False, Reason.SESSION, Reason.SESSION, False, Reason.AFFINITY]


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_switched_off(cluster: Cluster, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests pass untouched, without a session."""
    if how == "environment":
        monkeypatch.setenv("LAGLESS_ENABLED", "off")
    seen: list[Any] = []

    async def asgi(*given: Any) -> None:
        seen.extend([given, current()])

    given = (scope_of(), object(), object())
    asyncio.run(within(cluster, asgi, enabled=None if how == "environment" else False)(*given))  # type: ignore[arg-type]
    assert seen == [given, None]


def test_two_applications_use_one_name() -> None:
    """Each settles on its own cluster, although the process finds the last one made by that name."""
    first, second = a_cluster(), a_cluster()
    serve(within(first, app(writes)))
    assert first.counts.events[Kind.SETTLED] == 1
    assert not second.counts.events


def test_requests_do_not_mix(cluster: Cluster) -> None:
    """Concurrent requests of one middleware: one's write is in no other's token."""
    answers = [Answer() for _ in range(6)]

    async def receive() -> Message:
        return {"type": "http.request"}

    async def main() -> None:
        gate = asyncio.Event()

        async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
            await gate.wait()
            if scope["path"] == "/write":
                write()
            await app()(scope, receive, send)

        async def one(edge: Middleware, answer: Answer, path: str) -> None:
            async def send(message: Message) -> None:
                answer.messages.append(message)

            await edge(scope_of(path=path), receive, send)

        edge = within(cluster, asgi)
        tasks = [asyncio.create_task(one(edge, a, "/write" if i == 3 else "/")) for i, a in enumerate(answers)]
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert [i for i, a in enumerate(answers) if a.header("set-cookie")] == [3]
