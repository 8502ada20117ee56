"""How tokens travel: cookies that form an observed-remove set, and a header for clients without cookies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lagless.core.session import Mark
from lagless.errors import ConfigurationError
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
Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Cookies:
    """Where a response's cookies are sent back to: below `path`, and to `domain` (None: the host that set them).

    Raises ConfigurationError for what a Set-Cookie header cannot say.
    """

    path: str = "/"
    domain: str | None = None

    def __post_init__(self) -> None:
        for field, value in (("cookie_path", self.path), ("cookie_domain", self.domain or "")):
            if not isinstance(value, str) or not (value.isascii() and value.isprintable()) or ";" in value:
                raise ConfigurationError(f"{field}: {value!r} must be printable ASCII without ';'")

    def line(self, name: str, token: str, *, max_age: float, secure: bool) -> Header:
        """Return the header that sets a cookie for `max_age` seconds; 0 deletes it."""
        parts = [f"{name}={token}", f"Max-Age={int(max_age)}", f"Path={self.path}"]
        parts += [f"Domain={self.domain}"] if self.domain else []
        return "Set-Cookie", "; ".join([*parts, "HttpOnly", "SameSite=Lax", *(["Secure"] if secure else [])])


def cookie_name(token: str) -> str:
    """Return the cookie name for a token. Each token has its own, so that crossing responses undo nothing."""
    return COOKIE_PREFIX + hashlib.sha256(token.encode()).hexdigest()[:6]


def split_header(value: str) -> list[str]:
    """Return the tokens of a header, which may be several, joined by commas."""
    return [token for part in value.split(",") if (token := part.strip())]


def cookie_tokens(header: str) -> dict[str, str]:
    """Return the tokens among the cookies of a Cookie header, by cookie name."""
    if COOKIE_PREFIX not in header:
        return {}
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return {name: token.strip('"') for name, _, token in pairs if name.startswith(COOKIE_PREFIX)}


def answered(
    headers: Iterable[Header], told: Change, cookies: Cookies, *, max_age: float, secure: bool
) -> list[Header]:
    """Return a response's headers followed by those that say what is `told`; what sets a cookie varies by cookies."""
    if told.set and told.set[0] == HEADER:
        return [*headers, told.set]
    lines = [cookies.line(name, "", max_age=0, secure=secure) for name in told.delete]
    if told.set:
        lines.append(cookies.line(*told.set, max_age=max_age, secure=secure))
    return [*_varying(list(headers)), *lines]


def _varying(headers: list[Header]) -> list[Header]:
    """Let a response vary by Cookie, in one Vary header, because not every cache reads a second one."""
    values = [value for name, value in headers if name.lower() == "vary"]
    known = {part.strip().lower() for value in values for part in value.split(",")}
    if known & {"cookie", "*"}:
        return headers
    rest = [header for header in headers if header[0].lower() != "vary"]
    return [*rest, ("Vary", ", ".join([*filter(None, values), "Cookie"]))]


def change(received: Received, marks: Sequence[Mark], signer: Signer, now: float, *, doubts: bool = False) -> Change:
    """Return what the response says after a unit of work whose outcome is `marks`. `now` is Unix time, seconds.

    Nothing, if nothing changed. `doubts` says that this unit added a doubt: one that looks like the one received is
    another, about other writes, and what resolves the first must not delete it. Only names that this request brought
    are deleted: what another response set meanwhile stays (CORRECTNESS 10).
    """
    same = not doubts and _by_cluster(marks) == _by_cluster(received.marks)
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
