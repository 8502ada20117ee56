"""ASGI: the same promise on an event loop, in its threads, and across both."""

from __future__ import annotations

import asyncio

import pytest

import lagless
from routing import REPLICAS, note_table_alias, the_cluster, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def loop_run():
    """Run a coroutine function in a fresh event loop, and close what its threads opened."""
    from asgiref.sync import sync_to_async
    from django.db import connections

    async def whole(function):
        try:
            return await function()
        finally:
            await sync_to_async(connections.close_all)()

    return lambda function: asyncio.run(whole(function))


def test_post_redirect_get(pg, loop_run):
    """The asynchronous stack, views and ORM: own writes are seen, then replicas serve again."""
    from django.test import AsyncClient

    async def visit():
        browser = AsyncClient()
        pg.pause_replay()
        path = (await browser.post("/apost", {"text": "hello"})).headers["Location"]
        paused = [(await browser.get(path)).json() for _ in range(3)]
        pg.resume_replay()
        pg.wait_replayed()
        for _ in range(500):
            answer = (await browser.get(path)).json()
            if answer["alias"] != "default":
                break
            await asyncio.sleep(0.01)
        return paused, answer

    paused, resumed = loop_run(visit)
    assert paused == [{"alias": "default", "text": "hello"}] * 3
    assert resumed["alias"] in REPLICAS
    assert resumed["text"] == "hello"


def test_sync_view_under_asgi(pg, loop_run):
    """A synchronous view in the asynchronous stack writes into the session of its request."""
    from django.test import AsyncClient

    async def visit():
        browser = AsyncClient()
        pg.pause_replay()
        answer = (await browser.get("/write-in-get")).json()
        return answer, (await browser.get("/read")).json()

    wrote, read = loop_run(visit)
    assert wrote["before"] in REPLICAS
    assert wrote["after"] == "default"
    assert read == {"alias": "default", "count": 1}


def test_gather(pg, loop_run):
    """Writes in gathered tasks belong to the request: all of its reads see them."""
    from django.test import AsyncClient

    async def visit():
        browser = AsyncClient()
        pg.pause_replay()
        return (await browser.get("/gather")).json()

    answer = loop_run(visit)
    assert answer["before"] in REPLICAS
    assert answer["aliases"] == ["default"] * 3
    assert answer["count"] == 3


def test_streaming(pg, loop_run):
    """An asynchronously streamed body is read in the session of its request."""
    from django.test import AsyncClient

    async def visit():
        response = await AsyncClient().get("/astream")
        return b"".join([chunk async for chunk in response.streaming_content])

    assert loop_run(visit) in (b"replica1 0", b"replica2 0")


def test_sessions_do_not_mix(pg, loop_run):
    """Concurrent requests keep their sessions apart: one's write does not move the other's reads."""
    from django.test import AsyncClient

    async def visit():
        pg.pause_replay()
        writer, readers = AsyncClient(), [AsyncClient() for _ in range(8)]
        answers = await asyncio.gather(
            writer.post("/apost", {"text": "x"}), *(reader.get("/read") for reader in readers)
        )
        return [answer.json()["alias"] for answer in answers[1:]]

    assert set(loop_run(visit)) <= set(REPLICAS)


def test_requests_that_wrote_nothing_hop_no_thread(loop_run, monkeypatch):
    """The middleware stays on the event loop unless the request must be settled."""
    from django.http import HttpResponse
    from django.test import RequestFactory

    from lagless.django import middleware

    hops = []
    real = middleware.sync_to_async
    monkeypatch.setattr(middleware, "sync_to_async", lambda f: hops.append(f) or real(f))

    async def view(request):
        if request.path == "/write":
            from project.models import Note

            await Note.objects.acreate(text="x")
        return HttpResponse("ok")

    async def visit():
        stack = middleware.Middleware(view)
        for _ in range(5):
            await stack(RequestFactory().get("/plain"))
        quiet = len(hops)
        await stack(RequestFactory().post("/write"))
        return quiet, len(hops)

    assert loop_run(visit) == (0, 1)


def test_async_session_scope(pg, loop_run):
    """`async with session()` settles without blocking the loop; scopes are plain `with` in coroutines."""
    from project.models import Note

    async def work():
        pg.pause_replay()
        async with lagless.session() as s:
            await Note.objects.acreate(text="x")
        async with lagless.session(s.token()) as after:
            count = await Note.objects.acount()
            with lagless.replica():
                stale = await Note.objects.acount()
        return s.token(), count, stale, after

    token, count, stale, _ = loop_run(work)
    assert "!d!" not in token
    assert (count, stale) == (1, 0)


def test_scopes_in_concurrent_tasks(loop_run):
    """A scope in one task does not leak into another that runs at the same time."""

    async def forced(event):
        with lagless.primary():
            event.set()
            await asyncio.sleep(0.02)
            return note_table_alias()

    async def free(event):
        await event.wait()
        return note_table_alias()

    async def work():
        async with lagless.session():
            event = asyncio.Event()
            return await asyncio.gather(forced(event), free(event), free(event))

    forced_alias, *free_aliases = loop_run(work)
    assert forced_alias == "default"
    assert set(free_aliases) <= set(REPLICAS)


def test_wait_policy_never_blocks_the_loop(pg, loop_run):
    """A policy that waits does so in threads only."""
    from django.conf import settings
    from django.test import override_settings

    from routing import hear

    options = {**settings.LAGLESS["default"], "policy": {"wait": 2.0}}

    async def work():
        async with lagless.session(key="u") as s:
            from project.models import Note

            await Note.objects.acreate(text="x")
        async with lagless.session(s.token(), key="u"):
            before = asyncio.get_running_loop().time()
            alias = note_table_alias()
            return alias, asyncio.get_running_loop().time() - before

    with override_settings(LAGLESS={"default": options}):
        hear()
        pg.pause_replay()
        alias, took = loop_run(work)
    assert alias == "default"
    assert took < 0.5


def test_wait_policy_waits_for_a_replica(pg):
    """With policy.wait a read waits for a replica to catch up instead of going to the primary."""
    import threading

    from django.conf import settings
    from django.test import override_settings

    from project.models import Note
    from routing import hear

    options = {**settings.LAGLESS["default"], "policy": {"wait": 5.0}}
    with override_settings(LAGLESS={"default": options}):
        hear()
        pg.pause_replay()
        with lagless.session() as s:
            Note.objects.create(text="x")
        threading.Timer(0.2, pg.resume_replay).start()
        with lagless.session(s.token()):
            assert note_table_alias() in REPLICAS
            assert Note.objects.count() == 1
    until(lambda: the_cluster())
