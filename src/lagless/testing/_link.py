"""One connection through a FaultProxy, as tasks of its event loop."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, Protocol

Way = Literal["up", "down"]
"""Up to the server, or down to the client."""

_CHUNK = 65536  # bytes
_IN_FLIGHT = 64  # chunks each way; then the sender has to wait
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Faults(Protocol):
    """What a link asks its proxy, anew for every chunk."""

    upstream: tuple[str, int]
    latency: float
    on_data: Callable[[Way, bytes], None] | None

    @property
    def gates(self) -> Mapping[Way, asyncio.Event]:
        """Open, or shut by a stall."""

    def ration(self, way: Way, chunk: bytes) -> tuple[bytes, bool]:
        """What of a chunk may pass, and whether all connections are to be cut then."""

    def reset(self) -> int:
        """Cut them."""


class Link:
    """A client's connection and its counterpart to the server."""

    def __init__(self, faults: Faults, client: socket.socket) -> None:
        self._faults = faults
        self._client = client
        self._server = socket.socket()

    async def run(self) -> None:
        """Pass data until both sides have finished, or one fails: then the other sees a reset, too."""
        try:
            await self._dial()
            async with asyncio.TaskGroup() as tasks:
                self._pump(tasks, "up", self._client, self._server)
                self._pump(tasks, "down", self._server, self._client)
        except* OSError:
            self.abort()

    def close(self) -> None:
        """Give the sockets back; not before `run()` has ended, for the loop may wait for them."""
        self._client.close()
        self._server.close()

    def abort(self) -> None:
        """Have both sides see a reset, instead of an orderly end, when they are closed."""
        for side in (self._client, self._server):
            with suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    async def _dial(self) -> None:
        for gate in self._faults.gates.values():  # who connects to a stalled server waits for ever
            await gate.wait()
        for side in (self._client, self._server):
            side.settimeout(0)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(self._server, self._faults.upstream)

    def _pump(self, tasks: asyncio.TaskGroup, way: Way, source: socket.socket, sink: socket.socket) -> None:
        # Two tasks with a queue between them: latency must delay each chunk, not add up over them.
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        tasks.create_task(self._read(way, source, queue))
        tasks.create_task(self._write(way, sink, queue))

    async def _read(self, way: Way, source: socket.socket, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await loop.sock_recv(source, _CHUNK):
            if self._faults.on_data:
                self._faults.on_data(way, chunk)
            await queue.put((loop.time(), chunk))
        await queue.put((loop.time(), b""))

    async def _write(self, way: Way, sink: socket.socket, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            arrived, chunk = await queue.get()
            await asyncio.sleep(max(0.0, arrived + self._faults.latency - loop.time()))
            await self._faults.gates[way].wait()
            if not chunk:
                sink.shutdown(socket.SHUT_WR)  # half a close passes as half a close
                return
            passed, cut = self._faults.ration(way, chunk)
            await loop.sock_sendall(sink, passed)
            if cut:
                self._faults.reset()
