"""Probes over asyncio drivers: their coroutines run on an event loop of the probe's own, never on a user's."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from lagless.dialects.base import Row
from lagless.drivers.dbapi import as_text
from lagless.drivers.sockets import readable

GOODBYE = 0.1
"""Seconds that a server gets to hear that a connection ends."""

Connection = TypeVar("Connection")


class LoopProbe(ABC, Generic[Connection]):
    """A probe whose driver speaks asyncio; a driver tells how to connect, how to run a statement and how to leave."""

    def __init__(self) -> None:
        self._loop: PrivateLoop | None = None
        self._connection: Connection | None = None

    def ask(self, statements: Sequence[str], timeout: float) -> Row | None:
        """Run statements within `timeout` seconds, connecting first if need be. Raises TimeoutError, driver errors."""
        if self._loop is None:
            self._loop = PrivateLoop()
        try:
            row = self._loop.run_until_complete(self._ask(statements, timeout))
        except TimeoutError:
            self._cut()  # nobody would hear a goodbye
            raise
        if self._loop.lost:
            raise ConnectionResetError("the server ended the connection")
        return row

    def fileno(self) -> int | None:
        """Return the socket to watch."""
        return self._loop.fileno() if self._loop else None

    def ended(self) -> bool:
        """Read what came unasked; tell whether it was the end: what can still be read then is nothing else."""
        if self._loop is None:
            return True
        self._loop.run_until_complete(asyncio.sleep(0))
        fd = self._loop.fileno()
        return fd is None or readable(fd)

    def close(self) -> None:
        """Close the connection and the loop."""
        if self._loop is not None and self._connection is not None:
            with contextlib.suppress(Exception):  # it may have ended before; what it says of that is no news
                self._loop.run_until_complete(self._say_goodbye(self._connection))
        self._cut()

    async def _ask(self, statements: Sequence[str], timeout: float) -> Row | None:  # noqa: ASYNC109 - the port's
        async with asyncio.timeout(timeout):
            if self._connection is None:
                self._connection = await self._connect()
            row = None
            for statement in statements:
                row = await self._run(self._connection, statement)
            return row

    async def _say_goodbye(self, connection: Connection) -> None:
        async with asyncio.timeout(GOODBYE):
            await self._leave(connection)

    def _cut(self) -> None:
        loop, self._loop, self._connection = self._loop, None, None
        if loop is not None:
            loop.hang_up()

    @abstractmethod
    async def _connect(self) -> Connection:
        """Return a new connection, in autocommit."""

    @abstractmethod
    async def _run(self, connection: Connection, statement: str) -> Row | None:
        """Run a statement; return its first row, if it has any."""

    @abstractmethod
    async def _leave(self, connection: Connection) -> None:
        """Tell the server that the connection ends, and close it."""


class PrivateLoop(asyncio.SelectorEventLoop):
    """An event loop that remembers what was connected on it, so that nobody has to look inside a driver.

    It waits by poll(): epoll's state would be shared with forked children, and theirs would end ours. Its attributes
    bear a prefix, because asyncio's own are not all public.
    """

    def __init__(self) -> None:
        super().__init__(selectors.PollSelector())
        self._lagless_made: list[asyncio.BaseTransport] = []
        self._lagless_socket: Any = None
        # What breaks reaches ask(), or is the end of what ask() gave up; a log would name hosts.
        self.set_exception_handler(lambda _loop, _context: None)

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect as asyncio does, and remember."""
        return self._remembered(await super().create_connection(*args, **kwargs))

    async def create_unix_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect as asyncio does, and remember."""
        return self._remembered(await super().create_unix_connection(*args, **kwargs))

    def _remembered(self, pair: Any) -> Any:
        self._lagless_made.append(pair[0])
        self._lagless_socket = pair[0].get_extra_info("socket")  # TLS, begun later, goes through the same
        return pair

    def fileno(self) -> int | None:
        """Return the descriptor of the newest connection, None if there is none or it was closed."""
        return None if self._lagless_socket is None or self.lost else int(self._lagless_socket.fileno())

    @property
    def lost(self) -> bool:
        """Whether the newest connection was closed."""
        return self._lagless_socket is not None and self._lagless_socket.fileno() < 0

    def hang_up(self) -> None:
        """Give up whatever still runs, cut every connection, close."""
        self.run_until_complete(self._give_up())
        self.close()

    async def _give_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GOODBYE)
        for transport in self._lagless_made:
            transport.abort()  # type: ignore[attr-defined] # every transport of a connection can be cut
        for _ in range(3):  # one that was cut tells its protocol in the next round, TLS in the one after
            await asyncio.sleep(0)


async def first_row(cursor: Any, statement: str) -> Row | None:
    """Run a statement on an asyncio driver's DB-API cursor; return its first row as text, None if it has none."""
    async with cursor:
        await cursor.execute(statement)
        row = await cursor.fetchone() if cursor.description else None
    return None if row is None else as_text(row)
