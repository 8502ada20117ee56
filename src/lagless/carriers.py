"""How tokens travel: cookies that form an observed-remove set, and a header for clients without cookies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lagless.core.session import Mark
from lagless.token import Opened, Signer, merge

COOKIE_PREFIX = "lagless-"
HEADER = "Lagless-Token"
MAX_COOKIES = 4


@dataclass(frozen=True, slots=True)
class Received:
    """The tokens that came with a request, by cookie name ("" for the header), opened."""

    tokens: Mapping[str, Opened]
    by_header: bool = False

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The union of what they say."""
        return merge(self.tokens.values())


@dataclass(frozen=True, slots=True)
class Change:
    """What a response must say: one token to set (name, text), and cookie names to delete."""

    set: tuple[str, str] | None = None
    delete: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.set is not None or bool(self.delete)


UNCHANGED = Change()


def cookie_name(token: str) -> str:
    """Return the cookie name for a token. Each token has its own, so that crossing responses undo nothing."""
    return COOKIE_PREFIX + hashlib.sha256(token.encode()).hexdigest()[:6]


def split_header(value: str) -> list[str]:
    """Return the tokens of a header, which may be several, joined by commas."""
    return [token for part in value.split(",") if (token := part.strip())]


def change(received: Received, marks: Sequence[Mark], signer: Signer, now: float) -> Change:
    """Return what the response says after a unit of work whose outcome is `marks`. `now` is Unix time, seconds.

    Nothing, if nothing changed. Only names that this request brought are deleted: what another response set meanwhile
    stays (CORRECTNESS 10).
    """
    same = _by_cluster(marks) == _by_cluster(received.marks)
    if same and len(received.tokens) <= MAX_COOKIES and not _aging(received, signer, now):
        return UNCHANGED
    token = signer.seal(marks)
    if received.by_header:
        return Change(set=(HEADER, token))
    if not token:
        return Change(delete=tuple(received.tokens))
    name = cookie_name(token)
    return Change(set=(name, token), delete=tuple(n for n in received.tokens if n != name))


def _by_cluster(marks: Iterable[Mark]) -> dict[str, Mark]:
    return {mark.cluster: mark for mark in marks if not mark.empty}


def _aging(received: Received, signer: Signer, now: float) -> bool:
    """Tell whether a token in use is past half its life: one that is still needed is made anew before it expires."""
    return any(now - opened.issued > signer.max_age / 2 for opened in received.tokens.values())
