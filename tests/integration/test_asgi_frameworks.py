"""The ASGI edge around real frameworks: what they do with contexts, threads, streams and errors."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from unit.builders import PRIMARY, history, lsn
from unit.serving import KEY, a_cluster, marks, unit, write

from lagless import Cluster, Reason, session
from lagless.asgi import Middleware
from lagless.context import current
from lagless.events import Kind


@dataclass
class Site:
    """An application's cluster, and what its handlers noted."""

    cluster: Cluster = field(default_factory=a_cluster)
    notes: list[Any] = field(default_factory=list)

    def note(self) -> str:
        """Note why a read goes where it goes, and return it."""
        self.notes.append(self.cluster.route().reason)
        return str(self.notes[-1])

    def post(self) -> str:
        """Write and commit."""
        write()
        return "written"

    def fail(self) -> str:
        """Commit, then fail."""
        write()
        raise RuntimeError("after the commit")

    async def talk(self, socket: Any) -> None:
        """Answer over a web socket: a message is a unit of work of its own."""
        await socket.accept()
        self.notes.append(current())
        async with session() as inside:
            await socket.send_text(self.note())
        self.notes.append(inside.token())
        await socket.close()

    @asynccontextmanager
    async def life(self, app: object = None) -> AsyncIterator[None]:
        """Note the beginning and the end of the application."""
        self.notes.append(("up", current()))
        yield
        self.notes.append(("down", current()))


def starlette(site: Site, **edge: Any) -> AbstractContextManager[Any]:  # noqa: C901 - many small handlers
    """Return a Starlette application's client, with the edge around the application."""
    applications = pytest.importorskip("starlette.applications")
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.testclient import TestClient

    async def read(request: Any) -> Any:
        return PlainTextResponse(site.note())

    def read_in_thread(request: Any) -> Any:
        site.notes.append(threading.current_thread() is not threading.main_thread())
        return PlainTextResponse(site.note())

    def post(request: Any) -> Any:
        return PlainTextResponse(site.post())

    async def fail(request: Any) -> Any:
        site.fail()

    async def stream(request: Any) -> Any:
        async def body() -> AsyncIterator[str]:
            yield site.note()

        return StreamingResponse(body())

    async def stream_from_thread(request: Any) -> Any:
        def body() -> Iterator[str]:
            yield site.note()

        return StreamingResponse(body())

    async def behind(request: Any) -> Any:
        return PlainTextResponse("soon", background=BackgroundTask(write))

    async def echo(socket: Any) -> None:
        await site.talk(socket)

    paths = {"/read": read, "/thread": read_in_thread, "/fail": fail, "/stream": stream, "/behind": behind}
    routes = [Route(path, view) for path, view in (paths | {"/stream-thread": stream_from_thread}).items()]
    routes += [Route("/post", post, methods=["POST"]), Route("/stream", stream, methods=["POST"])]
    app = applications.Starlette(routes=[*routes, WebSocketRoute("/ws", echo)], lifespan=site.life)
    return TestClient(_edged(app, site, **edge), raise_server_exceptions=False)


def fastapi(site: Site, **edge: Any) -> AbstractContextManager[Any]:  # noqa: C901 - many small handlers
    """Return a FastAPI application's client, with a dependency that commits late."""
    module = pytest.importorskip("fastapi")
    from fastapi.responses import PlainTextResponse, StreamingResponse
    from fastapi.testclient import TestClient

    app = module.FastAPI(lifespan=site.life, default_response_class=PlainTextResponse)

    @app.get("/read")
    async def read() -> str:
        return site.note()

    @app.get("/thread")
    def read_in_thread() -> str:
        site.notes.append(threading.current_thread() is not threading.main_thread())
        return site.note()

    @app.post("/post")
    def post() -> str:
        return site.post()

    @app.get("/fail")
    def fail() -> str:
        return site.fail()

    @app.get("/stream")
    @app.post("/stream")
    async def stream() -> Any:
        async def body() -> AsyncIterator[str]:
            yield site.note()

        return StreamingResponse(body())

    @app.get("/stream-thread")
    def stream_from_thread() -> Any:
        def body() -> Iterator[str]:
            yield site.note()

        return StreamingResponse(body())

    @app.get("/behind")
    async def behind(tasks: module.BackgroundTasks) -> str:  # type: ignore[name-defined]
        tasks.add_task(write)
        return "soon"

    def commits_late() -> Iterator[None]:
        unit().begin_write()
        yield
        unit().end_write()

    @app.post("/late", dependencies=[module.Depends(commits_late)])
    def late() -> str:
        return "late"

    @app.websocket("/ws")
    async def echo(socket: module.WebSocket) -> None:  # type: ignore[name-defined]
        await site.talk(socket)

    return TestClient(_edged(app, site, **edge), raise_server_exceptions=False)


def litestar(site: Site, **edge: Any) -> AbstractContextManager[Any]:  # noqa: C901 - many small handlers
    """Return a Litestar application's client."""
    module = pytest.importorskip("litestar")
    from litestar.background_tasks import BackgroundTask
    from litestar.response import Response, Stream
    from litestar.testing import TestClient

    text = {"media_type": "text/plain"}

    @module.get("/read", **text)
    async def read() -> str:
        return site.note()

    @module.get("/thread", sync_to_thread=True, **text)
    def read_in_thread() -> str:
        site.notes.append(threading.current_thread() is not threading.main_thread())
        return site.note()

    @module.post("/post", sync_to_thread=True, **text)
    def post() -> str:
        return site.post()

    @module.get("/fail", sync_to_thread=True, **text)
    def fail() -> str:
        return site.fail()

    async def body() -> AsyncIterator[str]:
        yield site.note()

    def body_from_thread() -> Iterator[str]:
        yield site.note()

    @module.get("/stream")
    async def stream() -> Stream:
        return Stream(body())

    @module.post("/stream")
    async def stream_post() -> Stream:
        return Stream(body())

    @module.get("/stream-thread")
    async def stream_from_thread() -> Stream:
        return Stream(body_from_thread())

    async def writes() -> None:
        write()

    @module.get("/behind", **text)
    async def behind() -> Response[str]:
        return Response("soon", background=BackgroundTask(writes))

    @module.websocket("/ws")
    async def echo(socket: module.WebSocket) -> None:  # type: ignore[name-defined]
        await site.talk(socket)

    handlers = [read, read_in_thread, post, fail, stream, stream_post, stream_from_thread, behind, echo]
    app = module.Litestar(handlers, lifespan=[site.life], debug=False, logging_config=None)
    return TestClient(_edged(app, site, **edge), raise_server_exceptions=False)


def _edged(app: Any, site: Site, **edge: Any) -> Any:
    return Middleware(app, clusters=[site.cluster], keys=KEY, **edge)


Framework = Callable[..., AbstractContextManager[Any]]
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")  # about its next client
each = pytest.mark.parametrize("framework", [starlette, fastapi, litestar])


def carried(client: Any) -> Any:
    """Return the mark that a client carries, None without a token."""
    tokens = [value for name, value in client.cookies.items() if name.startswith("lagless-")]
    assert len(tokens) <= 1
    return marks(tokens[0])[PRIMARY] if tokens else None


@each
def test_post_then_get(framework: Framework) -> None:
    """The write of a `def` handler, in a thread, is settled and carried; reads know of it."""
    site = Site()
    with framework(site) as client:
        assert client.get("/read").text == str(Reason.SESSION)
        assert carried(client) is None
        assert client.post("/post").text == "written"
        assert carried(client).written == lsn(100)
        assert client.get("/read").text == str(Reason.NONE_COVERS)


@each
def test_a_thread_sees_the_session(framework: Framework) -> None:
    """`def` handlers run in a pool that copies the context."""
    site = Site()
    with framework(site) as client:
        client.post("/post")
        client.get("/thread")
    assert site.notes[1:3] == [True, Reason.NONE_COVERS]


@each
@pytest.mark.parametrize("path", ["/stream", "/stream-thread"])
def test_a_streamed_body_reads_in_the_session(framework: Framework, path: str) -> None:
    """Of its request, on the loop and from a thread."""
    site = Site()
    with framework(site) as client:
        assert client.get(path).text == str(Reason.SESSION)
        assert carried(client) is None
        client.post("/post")
        assert client.get(path).text == str(Reason.NONE_COVERS)


@each
def test_a_stream_after_an_unsafe_method_is_in_doubt(framework: Framework) -> None:
    """It may still write."""
    site = Site()
    with framework(site) as client:
        client.post("/stream")
        assert carried(client).dirty == history()


@each
def test_a_stream_of_a_user_names_its_replica(framework: Framework) -> None:
    """The token leaves before the first read."""
    site = Site()
    with framework(site, key=lambda scope: "anna") as client:
        client.get("/stream")
        assert len(carried(client).nodes) == 1
    assert site.notes[1] is Reason.AFFINITY


@each
def test_a_background_task_that_writes_is_told_of(framework: Framework) -> None:
    """Its write comes after the token."""
    site = Site()
    with framework(site) as client:
        assert client.get("/behind").text == "soon"
        assert carried(client) is None
    assert site.cluster.counts.events[Kind.LATE_WRITE] == 1


@each
def test_an_error_after_a_commit_carries_the_token(framework: Framework) -> None:
    """The framework's page for it is made within the edge, which is around the whole application."""
    site = Site()
    with framework(site) as client:
        assert client.get("/fail").status_code == 500
        assert carried(client).written == lsn(100)


@each
def test_websockets_and_the_lifespan_have_no_session(framework: Framework) -> None:
    """A message is a unit of work of its own: `session()`."""
    site = Site()
    with framework(site) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_text() == str(Reason.SESSION)
    assert site.notes == [("up", None), None, Reason.SESSION, "", ("down", None)]


def test_a_dependency_that_commits_late_is_in_doubt() -> None:
    """FastAPI leaves it after the response was sent; the next request settles."""
    site = Site()
    with fastapi(site) as client:
        assert client.post("/late").text == "late"
        assert carried(client).dirty == history()
        assert site.cluster.counts.events[Kind.LATE_WRITE] == 0  # the token tells of it
        assert client.get("/read").text == str(Reason.DIRTY)
        assert carried(client).dirty == history()  # for a moment, whatever the primary says: it may commit even later


def test_an_edge_within_the_error_page_cannot_reach_it() -> None:
    """Starlette's `add_middleware` is inside what makes the page for an exception: put the edge around it all."""
    applications = pytest.importorskip("starlette.applications")
    from starlette.routing import Route
    from starlette.testclient import TestClient

    site = Site()

    async def fail(request: Any) -> Any:
        site.fail()

    app = applications.Starlette(routes=[Route("/fail", fail)])
    app.add_middleware(Middleware, clusters=[site.cluster], keys=KEY)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/fail").status_code == 500
        assert carried(client) is None
