"""Asks every server, every few milliseconds, how far its log has come. A process of its own, for an even pace.

Its argument is {name: [statement, url]} as JSON. It samples until its standard input ends, and then writes
{name: [[sent, position], ...]} to its standard output.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress

import psycopg

PERIOD = 0.005  # seconds
FLUSHED = "select (pg_current_wal_flush_lsn() - '0/0')::bigint"
REPLAYED = "select (pg_last_wal_replay_lsn() - '0/0')::bigint"

Row = tuple[float, int | None]


class Asker:
    """Samples one server over a kept connection; a dead server gives None until it is back."""

    def __init__(self, statement: str, url: str) -> None:
        self.rows: list[Row] = []
        self._statement = statement.encode()
        self._url = url
        self._connection: psycopg.Connection[tuple[int]] | None = None

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + PERIOD, time.monotonic())
            self.rows.append((time.monotonic(), self._ask()))

    def _ask(self) -> int | None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            row = self._connection.execute(self._statement, prepare=True).fetchone()
        except psycopg.Error:
            self._drop()
            return None
        return row[0] if row else None

    def _connect(self) -> psycopg.Connection[tuple[int]]:
        return psycopg.Connection.connect(self._url, autocommit=True, connect_timeout=2)

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def main() -> None:
    """Sample until the standard input ends: then the demo wants the result, or is gone."""
    askers = {name: Asker(statement, url) for name, (statement, url) in json.loads(sys.argv[1]).items()}
    stop = threading.Event()
    threads = [threading.Thread(target=asker.run, args=(stop,), daemon=True) for asker in askers.values()]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(timeout=3)
    json.dump({name: asker.rows for name, asker in askers.items()}, sys.stdout)


if __name__ == "__main__":
    main()
