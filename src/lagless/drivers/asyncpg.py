"""Probes over asyncpg."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from lagless.dialects.base import Row
from lagless.drivers.aio import GOODBYE, LoopProbe

_NOT_ASYNCPGS = frozenset(
    {"async_creator_fn", "async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func"}
)
"""What SQLAlchemy takes out before it calls connect()."""
_NOT_OURS = _NOT_ASYNCPGS | {"loop", "connection_class", "record_class", "timeout", "command_timeout"}
"""What belongs to a user's loop, or would change what a probe reads and how long it waits."""
_QUERY = re.compile(r"\s*(select|with|values|table)\b", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class AsyncpgProbe(LoopProbe[Any]):
    """A probe connection made from the arguments of asyncpg.connect().

    Queries run as COPY ... TO STDOUT: the server makes the text, in one message and one answer. Prepared statements
    would need two, which a pooler may send to two servers.
    """

    def __init__(self, args: Sequence[Any], params: Mapping[str, Any]) -> None:
        super().__init__()
        self._args = tuple(args)
        given = {k: v for k, v in params.items() if k not in _NOT_OURS}
        settings = {"application_name": "lagless", **(given.pop("server_settings", None) or {})}
        self._params = {**given, "server_settings": settings}

    async def _connect(self) -> Any:
        return await asyncpg.connect(*self._args, **self._params)

    async def _run(self, connection: Any, statement: str) -> Row | None:
        if not _QUERY.match(statement):
            await connection.execute(statement)
            return None
        answer = bytearray()

        async def keep(data: bytes) -> None:
            answer.extend(data)

        await connection.copy_from_query(statement, output=keep)
        return first_line(bytes(answer))

    async def _leave(self, connection: Any) -> None:
        await connection.close(timeout=GOODBYE)


def first_line(copied: bytes) -> Row | None:
    """Return the first row of COPY's text format, None if there is none."""
    line, end, _ = copied.decode().partition("\n")
    return [_field(field) for field in line.split("\t")] if end else None


def _field(text: str) -> str | None:
    return None if text == r"\N" else _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text)
