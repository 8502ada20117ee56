from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pymysql
import pytest
from fastapi import HTTPException
from sqlalchemy import create_engine, insert, select

from lagless.demo import gunicorn_settings
from lagless.demo.configuration import SiteConfiguration
from lagless.demo.options import Options, ServerKind, StackName
from lagless.demo.policies import RoutingPolicy
from lagless.demo.site_fastapi import accounts, forms, queries
from lagless.demo.site_fastapi.pinning import PINNED, PinningMiddleware
from lagless.demo.site_fastapi.routing import PinningSession, RandomReplicaSession, routing
from lagless.demo.site_fastapi.tables import User
from lagless.demo.site_fastapi.wire import is_goodbye
from lagless.demo.stacks import stack_for


def served(method: str, cookie: str = "") -> tuple[bool, list[tuple[bytes, bytes]]]:
    """Whether a request was pinned, and the headers that the middleware added."""
    seen: list[bool] = []
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(PINNED.get())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": [(b"cookie", cookie.encode())] if cookie else []}
    asyncio.run(PinningMiddleware(application, 15)(scope, None, send))
    return seen[0], sent[0]["headers"]


def test_a_write_is_pinned_and_leaves_a_cookie() -> None:
    """The request itself, and those that follow within the time."""
    pinned, headers = served("POST")
    assert pinned
    assert headers == [(b"set-cookie", b"pinned=y; Max-Age=15; Path=/; HttpOnly; SameSite=Lax")]


@pytest.mark.parametrize(("cookie", "pinned"), [("", False), ("session=pinned", False), ("a=b; pinned=y", True)])
def test_a_page_is_pinned_by_the_cookie_alone(cookie: str, pinned: bool) -> None:
    """And does not make the pin last longer."""
    assert served("GET", cookie) == (pinned, [])


def test_random_reads_go_to_replicas_and_writes_to_the_primary() -> None:
    """As SQLAlchemy's documentation has it."""
    primary, replica = create_engine("sqlite://"), create_engine("sqlite://")
    kind = type("Kind", (RandomReplicaSession,), {"primary": primary, "replicas": (replica,)})
    assert kind().get_bind(clause=select(User)) is replica
    assert kind().get_bind(clause=insert(User)) is primary
    assert kind().get_bind(clause=queries.replace(1, "x")) is primary


def test_a_pinned_session_reads_the_primary() -> None:
    """Until the cookie is gone."""
    primary, replica = create_engine("sqlite://"), create_engine("sqlite://")
    kind = type("Kind", (PinningSession,), {"primary": primary, "replicas": (replica,)})
    assert kind().get_bind(clause=select(User)) is replica
    held = PINNED.set(True)
    try:
        assert kind().get_bind(clause=select(User)) is primary
    finally:
        PINNED.reset(held)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.exceptions.ConnectionDoesNotExistError(),
        asyncpg.exceptions.AdminShutdownError(),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(104, "reset"),
        pymysql.err.OperationalError(2013, "lost"),
        pymysql.err.OperationalError(1053, "shutdown"),
    ],
)
def test_a_broken_connection_is_no_answer(error: Exception) -> None:
    """The statement died with it."""
    assert is_goodbye(error)


@pytest.mark.parametrize(
    "error", [asyncpg.exceptions.UniqueViolationError(), pymysql.err.IntegrityError(1062, "duplicate")]
)
def test_a_refusal_is_an_answer(error: Exception) -> None:
    """A round trip like any other."""
    assert not is_goodbye(error)


def test_a_password_is_known_by_its_hash() -> None:
    """And where there is none, nobody gets in."""
    kept = accounts.hashed("secret")
    assert accounts.matches("secret", kept)
    assert not accounts.matches("Secret", kept)
    assert not accounts.matches("", "")
    assert len(kept) <= User.__table__.c.password.type.length


def test_a_form_escapes_what_it_shows() -> None:
    """A message is somebody's text, not HTML."""
    shown = str(forms.edit("</textarea><script>").page("<b>")["form"])
    assert "&lt;/textarea&gt;&lt;script&gt;" in shown
    assert "&lt;b&gt;" in shown
    assert "<script>" not in shown


@pytest.mark.parametrize("text", ["", "x" * 2001])
def test_a_field_that_no_page_would_send_is_refused(text: str) -> None:
    """Not by the database, which would be an error of the site's."""
    with pytest.raises(HTTPException) as refusal:
        forms.taken({"text": text}, "text")
    assert refusal.value.status_code == 400
    assert forms.taken({"text": "x" * 2000}, "text") == "x" * 2000


@pytest.mark.parametrize("options", [Options(server=ServerKind.UVICORN), Options(stack=StackName.FASTAPI)])
def test_asgi_is_served_by_two_workers(options: Options) -> None:
    """Of uvicorn, where it is asked to."""
    command = stack_for(options).command("127.0.0.1", 8000)
    assert command[0] == "lagless.demo.uvicorn_server"
    assert " --workers 2 --host 127.0.0.1 --port 8000 " in " ".join(command)


def test_wsgi_is_served_by_two_workers() -> None:
    """Of gunicorn, which keeps the number in its settings."""
    command = stack_for(Options()).command("127.0.0.1", 8000)
    assert command[0] == "gunicorn"
    assert "127.0.0.1:8000" in command
    assert "python:lagless.demo.gunicorn_settings" in command
    assert gunicorn_settings.workers == 2


def test_every_policy_has_a_routing() -> None:
    """Nothing is connected before the first page."""
    url = "postgresql+asyncpg://u@127.0.0.1:{}/x"
    for policy in RoutingPolicy:
        site = SiteConfiguration(
            policy=policy,
            secret_key="k",
            primary={"url": url.format(1)},
            replicas={"replica1": {"url": url.format(2)}, "replica2": {"url": url.format(3)}},
        )
        made = routing(site)
        assert made.engines.keys() == {"primary", "replica1", "replica2"}
        assert made.sessions() is not None
