"""What an answer's state changes say: the GTID that a commit was given, without another round trip.

An OK packet, after its warning count, holds a message for people and then, if the server said that the session's state
changed, entries of a type and a length each. MySQL sends GTIDs as a type of their own, MariaDB as a variable.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARIABLES, _GTIDS = 0, 3
_LENGTHS = {252: 2, 253: 3, 254: 8}
_VARIABLE = b"last_gtid"


def own_gtid(raw: bytes) -> str | None:
    """Return the GTID that an OK packet names; `raw` is all that follows its warning count.

    None if it names none, or makes no sense: then the primary is asked.
    """
    try:
        _, at = _string(raw, 0)
        changes, _ = _string(raw, at)
        return next(_named(changes), None)
    except (IndexError, UnicodeDecodeError, ValueError):
        return None


def _named(changes: bytes) -> Iterator[str]:
    """Yield the GTIDs among the entries."""
    at = 0
    while at < len(changes):
        kind = changes[at]
        entry, at = _string(changes, at + 1)
        if kind == _GTIDS:  # a byte says how the text that follows is encoded; there is one way
            yield from _text(_string(entry, 1)[0])
        elif kind == _VARIABLES:
            yield from _variable(entry)


def _variable(entry: bytes) -> Iterator[str]:
    """Yield the GTID from an entry of names and values."""
    at = 0
    while at < len(entry):
        name, at = _string(entry, at)
        value, at = _string(entry, at)
        if name == _VARIABLE:
            yield from _text(value)


def _text(value: bytes) -> Iterator[str]:
    """Yield a GTID; an empty one stands for a transaction that wrote nothing."""
    if value:
        yield value.decode("ascii")


def _string(raw: bytes, at: int) -> tuple[bytes, int]:
    """Return the length-encoded string at `at` and where it ends. Raises IndexError, ValueError."""
    length, at = raw[at], at + 1
    if length > 250:  # noqa: PLR2004 - from here on the byte says how many bytes hold the length
        if length not in _LENGTHS:
            raise ValueError("not a length")
        size = _LENGTHS[length]
        length, at = int.from_bytes(raw[at : at + size], "little"), at + size
    if at + length > len(raw):
        raise ValueError("cut short")
    return raw[at : at + length], at + length
