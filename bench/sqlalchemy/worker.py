"""A process with one contestant: it measures what it is told to, line by line, and sleeps meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
from functools import cached_property
from importlib.metadata import version
from typing import Any

import psycopg

from bench.handlers import ROWS
from bench.sqlalchemy import binds, calls
from bench.sqlalchemy.contestants import CONTESTANTS
from bench.sqlalchemy.servers import LEADER, Urls
from bench.talk import answer
from bench.timing import Sample

DISTRIBUTIONS = ("SQLAlchemy", "psycopg", "asyncpg", "FastAPI", "Flask")


class Bench:
    """The contestant, ready to be measured, and plain SQLAlchemy beside it."""

    def __init__(self, name: str, urls: Urls, runner: asyncio.Runner) -> None:
        self._urls = urls
        self._runner = runner
        self._plain = CONTESTANTS["plain"](urls)
        self._own = self._plain if name == "plain" else CONTESTANTS[name](urls)

    def can(self) -> dict[str, list[str]]:
        """Return the rows that the contestant has an answer for, by group."""
        measured = self._own is not self._plain
        groups = {"call": calls.ROWS, "await": calls.ROWS, "fastapi": ROWS, "flask": ROWS}
        return {"bind": list(self._own.decisions)} | {g: list(rows) if measured else [] for g, rows in groups.items()}

    def measure(self, group: str, row: str) -> Sample:
        """Return one sample of a row."""
        plain, own = self._plain, self._own
        match group:
            case "bind":
                return binds.nanoseconds(own.decisions[row], own.sync.reads, self._urls)
            case "call":
                return calls.added(row, plain.sync, own.sync, own.unit)
            case "await":
                return calls.async_added(row, plain.asynchronous, own.asynchronous, own.unit, self._runner)
            case "fastapi":
                return self._fastapi.added(row)
            case _:
                return self._flask.added(row)

    @cached_property
    def _fastapi(self) -> Any:
        from bench.sqlalchemy.requests import fastapi_sites

        return fastapi_sites(self._plain.asynchronous, self._own.asynchronous, self._runner)

    @cached_property
    def _flask(self) -> Any:
        from bench.sqlalchemy.requests import flask_sites

        return flask_sites(self._plain.sync, self._own.sync)


def _versions(urls: Urls) -> dict[str, str]:
    with psycopg.connect(urls[LEADER]) as connection:
        server = connection.info.server_version // 10000
    return (
        {"PostgreSQL": str(server)} | {name: version(name) for name in DISTRIBUTIONS} | {"lagless": version("lagless")}
    )


def main(name: str, urls: str) -> None:
    """Answer requests from stdin until it ends."""
    nodes = json.loads(urls)
    with asyncio.Runner() as runner:
        answer(Bench(name, nodes, runner), _versions(nodes))


if __name__ == "__main__":
    main(*sys.argv[1:])
