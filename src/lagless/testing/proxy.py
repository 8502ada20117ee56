"""A TCP proxy that can be slow, silent, deaf or rude, to put between a client and a server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Literal, Self, TypeVar

from lagless.testing._link import Link, Way
from lagless.testing._ports import LOOPBACK, Claim

_Result = TypeVar("_Result")

_PATIENCE = 10.0  # seconds


class FaultProxy:
    """Passes connections to its port on to `upstream`; faults may be set from any thread, at any time.

    `latency` delays what passes, in seconds each way. `cut_after`: once so many more bytes have come from the
    server, every connection is reset. `on_data(way, chunk)` sees what arrives before any fault does, in the
    proxy's thread, and may set faults. `upstream` may be replaced: new connections go to the new address.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.host = LOOPBACK
        self.port = 0
        self.latency = 0.0
        self.cut_after: int | None = None
        self.on_data: Callable[[Way, bytes], None] | None = None
        self.accepted = 0
        self.gates: dict[Way, asyncio.Event] = {}
        self._claim: Claim | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listening: asyncio.Task[None] | None = None
        self._links: dict[asyncio.Task[None], Link] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    # -- Life

    def start(self) -> Self:
        """Listen on `host` and `port`, which is chosen the first time and kept."""
        self._claim = Claim(self.port)
        self.port = self._claim.port
        self.gates = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lagless-fault-proxy", daemon=True)
        self._thread.start()
        self.heal()
        return self

    def stop(self) -> None:
        """Reset all connections and stop listening; once is enough."""
        if self._loop is None or self._thread is None or self._claim is None:
            return
        self._control(self._end_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._claim.release()
        self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- Faults

    def stall(self, way: Literal["both", "up", "down"] = "both") -> None:
        """Let nothing pass while connections stay open: a partition, or with "down" an answer that is lost."""
        self._control(lambda: self._shut("up", "down") if way == "both" else self._shut(way))

    def refuse(self) -> None:
        """Refuse new connections; present ones go on."""
        self._control(self._stop_listening)

    def reset(self) -> int:
        """Send a TCP reset to both ends of every connection; returns how many there were."""
        return self._control(self._reset)

    def heal(self) -> None:
        """No more faults: what was held back passes, and new connections are accepted."""
        self.latency, self.cut_after = 0.0, None
        self._control(self._open)

    # -- In the loop's thread

    def ration(self, way: Way, chunk: bytes) -> tuple[bytes, bool]:
        """What of a chunk may pass under `cut_after`, and whether all connections are to be cut then."""
        if way == "up" or self.cut_after is None:
            return chunk, False
        passed = chunk[: self.cut_after]
        left = self.cut_after - len(chunk)
        self.cut_after = left if left > 0 else None
        return passed, left <= 0

    def _control(self, action: Callable[[], _Result]) -> _Result:
        if self._loop is None:
            raise RuntimeError("the proxy is not started: use `with`, or start()")
        if threading.current_thread() is self._thread:  # a fault set by on_data()
            return action()
        return asyncio.run_coroutine_threadsafe(self._settle(action), self._loop).result(_PATIENCE)

    async def _settle(self, action: Callable[[], _Result]) -> _Result:
        result = action()
        if self._ending:
            await asyncio.wait(self._ending)
        return result

    def _shut(self, *ways: Way) -> None:
        for way in ways:
            self.gates[way].clear()

    def _open(self) -> None:
        for gate in self.gates.values():
            gate.set()
        if self._listening is None:
            listener = socket.create_server((self.host, self.port))
            listener.settimeout(0)
            self._listening = asyncio.ensure_future(self._accept(listener))
            self._listening.add_done_callback(lambda _: listener.close())

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self.accepted += 1
            link = Link(self, client)
            task = loop.create_task(link.run())
            self._links[task] = link
            task.add_done_callback(lambda task: self._links.pop(task).close())

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._end(self._listening)
        self._listening = None

    def _reset(self) -> int:
        links = list(self._links.items())
        for task, link in links:
            link.abort()
            self._end(task)
        return len(links)

    def _end_all(self) -> None:
        self._stop_listening()
        self._reset()

    def _end(self, task: asyncio.Task[None]) -> None:
        # Its sockets are closed when it is done: one that the loop still waits for must stay open.
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
