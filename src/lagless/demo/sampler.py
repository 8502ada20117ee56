"""Asks every server, every few milliseconds, how far its log has come. A process of its own, for an even pace.

Its argument is {name: [driver, options of its connect(), statement]} as JSON. It samples until its standard input ends,
and then writes {name: [[sent, position], ...]} to its standard output.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import closing, suppress
from importlib import import_module
from typing import Any

PERIOD = 0.005  # seconds

Row = tuple[float, int | None]


class Asker:
    """Samples one server over a kept connection; a dead server gives None until it is back."""

    def __init__(self, driver: str, options: dict[str, Any], statement: str) -> None:
        self.rows: list[Row] = []
        self._driver = import_module(driver)  # any DB-API module
        self._options = options
        self._statement = statement
        self._connection: Any = None

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + PERIOD, time.monotonic())
            self.rows.append((time.monotonic(), self._ask()))

    def _ask(self) -> int | None:
        try:
            if self._connection is None:
                self._connection = self._driver.connect(**self._options)
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(self._statement)
                row = cursor.fetchone()
        except self._driver.Error:
            self._drop()
            return None
        return row[0] if row else None

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(self._driver.Error):
                self._connection.close()
            self._connection = None


def main() -> None:
    """Sample until the standard input ends: then the demo wants the result, or is gone."""
    askers = {name: Asker(*question) for name, question in json.loads(sys.argv[1]).items()}
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
