"""What a session is for: a row by its key, a query, a short transaction that reads, and one that writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from bench.contestants import Situation
from bench.sqlalchemy.contestants import Colour
from bench.sqlalchemy.model import TITLE, Page, Visit
from bench.timing import Sample, call_seconds, pairs, percent

LOOPS = 10
PAIRS = 16
_WARM = 30
"""Calls before the clock starts: all connections have begun, psycopg has prepared the statement on each."""
ROWS = {
    "get": "session.get(), within a transaction",
    "execute": "execute(select), within a transaction",
    "unit": "session opened, execute(select), closed",
    "commit": "session opened, insert, commit, closed",
}
_WITHIN = frozenset({"get", "execute"})
"""Rows whose session is open already."""


def added(row: str, plain: Colour, routed: Colour, unit: Situation) -> Sample:
    """Return what the contestant adds to one call."""
    call = _CALLS[row]
    burst = _within if row in _WITHIN else _whole

    def one() -> float:
        return burst(unit, _factory(plain, row), call)

    def other() -> float:
        return burst(unit, _factory(routed, row), call)

    return pairs(one, other, PAIRS, percent)


def async_added(row: str, plain: Colour, routed: Colour, unit: Situation, runner: asyncio.Runner) -> Sample:
    """Return what the contestant adds to one call that is awaited."""
    call = _ASYNC_CALLS[row]
    burst = _async_within if row in _WITHIN else _async_whole

    def one() -> float:
        return runner.run(burst(unit, _factory(plain, row), call))

    def other() -> float:
        return runner.run(burst(unit, _factory(routed, row), call))

    return pairs(one, other, PAIRS, percent)


def _factory(colour: Colour, row: str) -> Any:
    return colour.writes if row == "commit" else colour.reads


# -- synchronous


def _within(unit: Situation, make: Any, call: Callable[[Any], Any]) -> float:
    with unit(), make() as session:
        call_seconds(call, session, _WARM)
        return call_seconds(call, session, LOOPS)


def _whole(unit: Situation, make: Any, call: Callable[[Any], Any]) -> float:
    def transaction(make: Any) -> None:
        with unit(), make() as session:
            call(session)

    return call_seconds(transaction, make, LOOPS)


def _get(session: Any) -> None:
    session.expunge_all()  # else the identity map answers
    session.get(Page, 1)


def _execute(session: Any) -> None:
    session.execute(TITLE).scalar_one()


def _commit(session: Any) -> None:
    session.add(Visit(note="seen"))
    session.commit()


_CALLS = {"get": _get, "execute": _execute, "unit": _execute, "commit": _commit}

# -- asynchronous


async def _async_within(unit: Situation, make: Any, call: Callable[[Any], Any]) -> float:
    async with unit(), make() as session:
        await _async_seconds(call, session, _WARM)
        return await _async_seconds(call, session, LOOPS)


async def _async_whole(unit: Situation, make: Any, call: Callable[[Any], Any]) -> float:
    async def transaction(make: Any) -> None:
        async with unit(), make() as session:
            await call(session)

    return await _async_seconds(transaction, make, LOOPS)


async def _async_seconds(call: Callable[[Any], Any], argument: Any, loops: int) -> float:
    begun = perf_counter()
    for _ in range(loops):
        await call(argument)
    return (perf_counter() - begun) / loops


async def _async_get(session: Any) -> None:
    session.expunge_all()
    await session.get(Page, 1)


async def _async_execute(session: Any) -> None:
    (await session.execute(TITLE)).scalar_one()


async def _async_commit(session: Any) -> None:
    session.add(Visit(note="seen"))
    await session.commit()


_ASYNC_CALLS = {"get": _async_get, "execute": _async_execute, "unit": _async_execute, "commit": _async_commit}
