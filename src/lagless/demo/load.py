"""Many visitors at once, each in a thread of its own."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Self

from lagless.demo.browser import Browser
from lagless.demo.visitor import Visitor

if TYPE_CHECKING:
    from lagless.demo.visits import Visit

THINK = 0.15  # seconds on average between two deeds
ARRIVALS = 1.5  # seconds over which the visitors come, so that the rush does not decide the latencies
_PATIENCE = 30.0  # seconds; longer than any single request may take


class Load:
    """Visitors who come when the block begins and leave when it ends."""

    def __init__(self, host: str, port: int, *, clients: int, seed: int) -> None:
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._arrivals = threading.Semaphore(0)
        self._clients = [self._client(host, port, number, seed) for number in range(clients)]
        self._threads = [threading.Thread(target=self._live, args=client, daemon=True) for client in self._clients]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def wait_for_arrivals(self, patience: float) -> None:
        """Return when every visitor has signed up, or after `patience` seconds."""
        deadline = time.monotonic() + patience
        for _ in self._threads:
            self._arrivals.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def visits(self) -> list[list[Visit]]:
        """What each visitor wrote down. Raises what went wrong in a visitor itself, which no site can cause."""
        if self._failure is not None:
            raise self._failure
        return [visitor.visits for visitor, _ in self._clients]

    @staticmethod
    def _client(host: str, port: int, number: int, seed: int) -> tuple[Visitor, random.Random]:
        # Two sources: how long somebody thinks must not depend on how many choices the pages gave.
        choices, pauses = (random.Random(f"{seed}/{number}/{use}") for use in ("choices", "pauses"))  # noqa: S311
        return Visitor(number, f"reader{number}", choices, Browser(host, port)), pauses

    def _live(self, visitor: Visitor, pauses: random.Random) -> None:
        try:
            self._stop.wait(ARRIVALS * visitor.number / len(self._clients))
            visitor.arrive()
            self._arrivals.release()
            while not self._think(pauses):
                visitor.act()
        except BaseException as failure:  # noqa: BLE001 - the main thread raises it
            self._failure = failure
        finally:
            visitor.leave()

    def _think(self, pauses: random.Random) -> bool:
        """Pause; True when it is time to go."""
        return self._stop.wait(min(pauses.expovariate(1 / THINK), 4 * THINK))
