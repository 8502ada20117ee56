"""The examples as they are, served over HTTP and over real replicas that lag."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn
from werkzeug.serving import make_server

from routing import until

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def servers_of_notes(servers: Any) -> Iterator[Any]:
    """Healthy servers without notes."""
    servers.heal()
    servers.primary.execute("drop table if exists note")
    servers.wait_replayed()
    yield servers
    servers.heal()
    servers.primary.execute("drop table if exists note")


@pytest.fixture
def environment(servers_of_notes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what puts the servers into the environment, as URLs for a driver."""
    servers = servers_of_notes

    def told(driver: str) -> None:
        def url(node: Any) -> str:
            return f"{driver}://{servers.user}@{node.host}:{node.port}/{servers.database}"

        monkeypatch.setenv("DATABASE_URL", url(servers.primary))
        monkeypatch.setenv("REPLICA_URLS", ",".join(map(url, servers.replicas)))
        monkeypatch.setenv("SECRET_KEY", "an example")
        monkeypatch.setenv("LAGLESS_SECRET", "an example")

    return told


def load(name: str) -> ModuleType:
    """Import an example anew."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fastapi_url(environment: Any) -> Iterator[str]:
    """Serve the FastAPI example."""
    environment("postgresql+asyncpg")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(load("fastapi_app").app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def flask_url(environment: Any) -> Iterator[str]:
    """Serve the Flask example."""
    environment("postgresql+psycopg")
    module = load("flask_app")
    app = module.create_app()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()
    app.extensions["lagless"].clusters["default"].close()
    with app.app_context():
        for engine in module.db.engines.values():
            engine.dispose()
    assert not thread.is_alive()


def post_redirect_get(servers: Any, url: str, body: dict[str, Any]) -> None:
    """While both replicas lag the writer sees the note and others do not; then everybody does, from replicas."""
    servers.wait_replayed()
    with httpx.Client(base_url=url) as writer, httpx.Client(base_url=url) as reader:
        until(lambda: reader.get("/notes").json() == [])
        servers.pause_replay()
        servers.primary.execute("insert into note (text) values ('unseen')")
        until(lambda: reader.get("/notes").json() == [])  # a replica's answer, once lagless knows them
        response = writer.post("/notes", follow_redirects=True, **body)
        assert response.json() == {"text": "hello"}
        path = response.url.path
        assert reader.get(path).status_code == 404
        assert writer.get("/notes").json() == ["unseen", "hello"]
        servers.resume_replay()
        servers.wait_replayed()
        until(lambda: (writer.get(path), not writer.cookies)[1])
        assert reader.get(path).json() == {"text": "hello"}


def test_fastapi(servers_of_notes: Any, fastapi_url: str) -> None:
    """Served by uvicorn, with asyncpg."""
    post_redirect_get(servers_of_notes, fastapi_url, {"json": {"text": "hello"}})


def test_flask(servers_of_notes: Any, flask_url: str) -> None:
    """Served by Werkzeug's threads, with psycopg."""
    post_redirect_get(servers_of_notes, flask_url, {"data": {"text": "hello"}})


def test_a_decorated_view_of_flask(servers_of_notes: Any, flask_url: str) -> None:
    """It shows what others have just written."""
    servers_of_notes.wait_replayed()
    servers_of_notes.pause_replay()
    servers_of_notes.primary.execute("insert into note (text) values ('unseen')")
    with httpx.Client(base_url=flask_url) as reader:
        until(lambda: reader.get("/notes").json() == [])
        assert reader.get("/audit").json() == ["unseen"]
