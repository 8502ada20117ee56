"""Tokens: marks as short signed text. What is forged, cut, foreign or from the future is counted and ignored."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from lagless.core.gtid import MARIADB, MYSQL, GtidSet, Interval, MariaGtids
from lagless.core.position import Counter, History, Lsn, Position, Scalar
from lagless.core.session import Mark
from lagless.errors import ConfigurationError

VERSION = "1"
MAX_BYTES = 2048
"""A longer token is refused unread."""
SKEW = 60.0
"""Seconds by which another machine's clock may be ahead."""
SIGNATURE_BYTES = 16
NONCE = 4
"""Random characters in a token that carries a doubt."""
REMEMBERED = 1024
"""Tokens whose signature is not worked out again: a browser sends the same one with each request."""
MAX_GTIDS = 64
"""Characters that the GTIDs of one cluster may take; with more, the token says that a write is in doubt."""
_SCALARS: dict[str, type[Scalar]] = {"l": Lsn, "c": Counter}
_LETTERS = {kind: letter for letter, kind in _SCALARS.items()}
_GTID_SET, _MARIA_GTIDS = "g", "m"
_SYSTEMS = {_GTID_SET: MYSQL, _MARIA_GTIDS: MARIADB}
"""Letters whose history goes without saying, unless somebody raised its generation."""
_UUID_CHARACTERS = 22
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _any() -> int:
    return secrets.randbelow(36**NONCE)


@dataclass(frozen=True, slots=True)
class Opened:
    """A token that was good: its marks and when it was issued (Unix time, seconds)."""

    marks: tuple[Mark, ...]
    issued: float


class Signer:
    """Seals marks into tokens and opens tokens, with HMAC-SHA-256 over `keys[0]`; older keys still open.

    `max_age` is a token's life in seconds. Raises ConfigurationError without a usable key.
    """

    def __init__(
        self,
        keys: Sequence[str | bytes],
        *,
        max_age: float = 3600.0,
        clock: Callable[[], float] = time.time,
        nonce: Callable[[], int] = _any,
    ) -> None:
        secrets = [k.encode() if isinstance(k, str) else k for k in keys]
        if not secrets or not all(secrets):
            raise ConfigurationError("token keys: at least one key, none of them empty")
        # A key of our own, so that no other use of the same secret can make or read a token.
        self._keys = [hashlib.sha256(b"lagless.token" + secret).digest() for secret in secrets]
        self._clock = clock
        self._nonce = nonce
        self.max_age = max_age
        self._verified = functools.lru_cache(REMEMBERED)(self._verify)

    def seal(self, marks: Iterable[Mark]) -> str:
        """Return the token for `marks`; "" if there is nothing to carry."""
        marks = sorted(marks, key=lambda m: m.cluster)
        parts = [_write(mark) for mark in marks if not mark.empty]
        if not parts:
            return ""
        issued = _base36(int(self._clock()))
        if any(mark.dirty is not None for mark in marks):
            # A doubt is an event: two of one second are two, and need a cookie's name each (CORRECTNESS 10).
            issued = f"{issued}.{_base36(self._nonce())}"
        token = self._sealed(issued, parts)
        if len(token) > MAX_BYTES:  # it would not be opened: a doubt about each cluster is shorter
            token = self._sealed(issued, [_write(_doubt(mark)) for mark in marks if not mark.empty])
        return token

    def _sealed(self, issued: str, parts: Iterable[str]) -> str:
        body = "~".join((VERSION, issued, *parts))
        return f"{body}~{_sign(self._keys[0], body)}"

    def open(self, token: str) -> Opened | None:
        """Return what a token says, None if it is not ours, damaged, too old or from the future. Never raises."""
        if len(token) > MAX_BYTES or not token.isascii():
            return None
        opened = self._verified(token)
        if opened is None or not opened.issued - SKEW <= self._clock() <= opened.issued + self.max_age:
            return None
        return opened

    def _verify(self, token: str) -> Opened | None:
        """Return what a token says whatever its age, None if we did not sign it."""
        body, _, signature = token.rpartition("~")
        if not any(hmac.compare_digest(_sign(key, body), signature) for key in self._keys):
            return None
        version, _, rest = body.partition("~")
        if version != VERSION:
            return None
        issued, *parts = rest.split("~")
        return Opened(tuple(_read(part) for part in parts), float(int(issued.partition(".")[0], 36)))


def merge(opened: Iterable[Opened]) -> tuple[Mark, ...]:
    """Return the union of several tokens' marks, one a cluster."""
    union: dict[str, Mark] = {}
    for each in opened:
        for mark in each.marks:
            union[mark.cluster] = union[mark.cluster].merge(mark) if mark.cluster in union else mark
    return tuple(union.values())


def _doubt(mark: Mark) -> Mark:
    """Return the least that a mark must say: ask the primary first."""
    history = mark.written.history if mark.written is not None else mark.dirty
    return Mark(cluster=mark.cluster, dirty=History(history.system if history else ""))


def _write(mark: Mark) -> str:
    """Write a mark: cluster!what!history!number!nodes!pin, each part as short as it goes."""
    what, past, number = _write_position(mark.written) if mark.written is not None else _write_doubt(mark.dirty)
    pin = _base36(math.ceil(mark.pinned_until)) if mark.pinned_until else ""
    fields = (mark.cluster, what, past, number, "+".join(map(_quote, sorted(mark.nodes))), pin)
    return "!".join(fields).rstrip("!")


def _read(part: str) -> Mark:
    cluster, what, past, number, nodes, pin = (part.split("!") + [""] * 6)[:6]
    known = what in _SCALARS or what in _SYSTEMS
    return Mark(
        cluster=cluster,
        written=_read_position(what, past, number) if known else None,
        dirty=None if known or not what else _read_doubt(what, past),
        nodes=frozenset(_unquote(n) for n in nodes.split("+") if n),
        pinned_until=float(int(pin, 36)) if pin else 0.0,
    )


def _write_doubt(history: History | None) -> tuple[str, str, str]:
    return ("", "", "") if history is None else ("d", _write_history(history), "")


def _read_doubt(what: str, past: str) -> History:
    """Return the history in doubt; a kind of position that a later lagless knows is one, too, not nothing."""
    return _read_history(past) if what == "d" else History("")


def _write_position(position: Position) -> tuple[str, str, str]:
    """Return what kind of position it is, its history and itself."""
    match position:
        case Scalar():
            return _LETTERS[type(position)], _write_history(position.history), _base36(position.value)
        case GtidSet():
            what, number = _GTID_SET, "+".join(_write_source(*part) for part in position.parts)
        case MariaGtids():
            what, number = _MARIA_GTIDS, "+".join(_write_stream(*part) for part in position.parts)
        case _:
            raise TypeError(f"no token for a {type(position).__name__}")
    if len(number) > MAX_GTIDS:
        return _write_doubt(position.history)
    return what, "" if position.history == History(_SYSTEMS[what]) else _write_history(position.history), number


def _read_position(what: str, past: str, number: str) -> Position:
    if what in _SCALARS:
        return _SCALARS[what](_read_history(past), int(number, 36))
    history = _read_history(past) if past else History(_SYSTEMS[what])
    parts = filter(None, number.split("+"))
    if what == _GTID_SET:
        return GtidSet.of(history, dict(map(_read_source, parts)))
    return MariaGtids.of(history, dict(map(_read_stream, parts)))


def _write_source(source: str, intervals: Sequence[Interval]) -> str:
    """Write a source's transactions: its UUID in base64, `last` for 1-last, `first-last`, and `_` before a tag."""
    uuid, _, tag = source.partition(":")
    server = base64.urlsafe_b64encode(UUID(uuid).bytes).decode().rstrip("=")
    return f"{server}{'.'.join(map(_write_interval, intervals))}{f'_{tag}' if tag else ''}"


def _read_source(text: str) -> tuple[str, tuple[Interval, ...]]:
    uuid = UUID(bytes=base64.urlsafe_b64decode(text[:_UUID_CHARACTERS] + "=="))
    intervals, _, tag = text[_UUID_CHARACTERS:].partition("_")
    return f"{uuid}:{tag}" if tag else str(uuid), tuple(map(_read_interval, intervals.split(".")))


def _write_interval(interval: Interval) -> str:
    first, last = map(_base36, interval)
    return last if interval[0] == 1 else f"{first}-" if first == last else f"{first}-{last}"


def _read_interval(text: str) -> Interval:
    first, dash, last = text.partition("-")
    return (int(first, 36), int(last or first, 36)) if dash else (1, int(first, 36))


def _write_stream(stream: tuple[int, int], last: int) -> str:
    return "-".join(map(_base36, (*stream, last)))


def _read_stream(text: str) -> tuple[tuple[int, int], int]:
    domain, server, last = (int(number, 36) for number in text.split("-"))
    return (domain, server), last


def _write_history(history: History) -> str:
    name = history.system
    decimal = name.isascii() and name.isdecimal() and str(int(name)) == name  # a leading zero would be lost
    system = _base36(int(name)) if decimal else "-" + _quote(name)
    return f"{system}.{_base36(history.timeline)}.{_base36(history.generation)}"


def _read_history(text: str) -> History:
    system, timeline, generation = text.rsplit(".", 2)
    name = _unquote(system[1:]) if system.startswith("-") else str(int(system, 36))
    return History(name, int(timeline, 36), int(generation, 36))


def _quote(name: str) -> str:
    """Write a name as it is, in base64 if it has characters that a token or a cookie gives a meaning to."""
    if name and name.isascii() and all(c.isalnum() or c in "_-" for c in name):
        return name
    return "." + base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _unquote(text: str) -> str:
    if not text.startswith("."):
        return text
    return base64.urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4)).decode()


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"


def _sign(key: bytes, body: str) -> str:
    digest = hmac.digest(key, body.encode(), "sha256")[:SIGNATURE_BYTES]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
