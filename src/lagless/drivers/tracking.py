"""What a MySQL or MariaDB server says of its session in an OK packet, and so of a write's position, unasked.

With the capability set and the session tracking a GTID variable, the answer to a commit names its GTID: a position
without a round trip. Decoding is the dialect's business.
"""

from __future__ import annotations

from collections.abc import Mapping

_CLIENT_SESSION_TRACK = 1 << 23
_SERVER_SESSION_STATE_CHANGED = 0x4000


def with_session_track(params: Mapping[str, object]) -> dict[str, object]:
    """Return connect()'s parameters with the capability that makes the server speak."""
    flags = params.get("client_flag") or 0
    if not isinstance(flags, int):
        raise TypeError("client_flag: a number is needed")
    return {**params, "client_flag": flags | _CLIENT_SESSION_TRACK}


def changes_of(result: object) -> bytes | None:
    """Return what follows the warning count of the OK packet that a driver's result was read from.

    None if there was no such packet, if it told of no change, or if this version of the driver does not show it.
    """
    status = getattr(result, "server_status", None) or 0
    if not status & _SERVER_SESSION_STATE_CHANGED:
        return None
    message = getattr(result, "message", None)
    return message if isinstance(message, bytes) else None
