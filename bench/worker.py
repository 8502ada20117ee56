"""A process with one contestant: it measures what it is told to, line by line, and sleeps meanwhile."""

from __future__ import annotations

import secrets
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from bench.contestants import CONTESTANTS, Contestant
from bench.handlers import ROWS
from bench.talk import answer
from bench.timing import Sample


class Bench:
    """The contestant, ready to be measured."""

    def __init__(self, contestant: Contestant, folder: Path) -> None:
        settings.configure(
            DATABASES=contestant.databases(folder),
            DATABASE_ROUTERS=[contestant.router],
            ROOT_URLCONF="bench.site",
            SECRET_KEY=secrets.token_hex(),
            **contestant.settings,
        )
        django.setup()
        from bench.site import Page
        from bench.switch import Switch

        self._contestant = contestant
        self._model = Page
        self._ready = contestant.ready(folder)
        self._switch = Switch(folder)
        self._stacks: dict[str, Any] = {}

    def can(self) -> dict[str, list[str]]:
        """Return the rows that the contestant has an answer for, by group."""
        rows = list(ROWS) if self._contestant.middleware and self._ready.gets else []
        return {"decision": list(self._ready.decisions), "get": list(self._ready.gets), "sync": rows, "async": rows}

    def measure(self, group: str, row: str) -> Sample:
        """Return one sample of a row."""
        from django.db import router

        from bench import decisions, gets

        self._switch.routed()
        match group:
            case "decision":
                return decisions.nanoseconds(self._ready.decisions[row], router.routers[0], self._model)
            case "get":
                return gets.added(self._ready.gets[row], self._switch, self._model)
            case _:
                return self._stack(group).added(row)

    def _stack(self, colour: str) -> Any:
        from bench.stacks import AsyncStack, SyncStack

        if colour not in self._stacks:
            kind = SyncStack if colour == "sync" else AsyncStack
            self._stacks[colour] = kind(self._contestant.middleware, self._switch, self._ready.cookie)
        return self._stacks[colour]


def main(name: str, folder: str) -> None:
    """Answer requests from stdin until it ends."""
    contestant = CONTESTANTS[name]
    versions = {"Django": django.__version__, "SQLite": sqlite3.sqlite_version}
    answer(Bench(contestant, Path(folder)), versions | {d: version(d) for d in contestant.distributions})


if __name__ == "__main__":
    main(*sys.argv[1:])
