"""A cookie jar as a browser keeps it for one site. Pure: the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Cookie:
    """A value, and when it is to be forgotten."""

    value: str
    until: float = inf


@dataclass(slots=True)
class Jar:
    """The cookies of one client; values are sent back exactly as they came."""

    cookies: dict[str, Cookie] = field(default_factory=dict)

    def update(self, headers: Iterable[str], now: float) -> None:
        """Take in the `Set-Cookie` headers of one response."""
        for header in headers:
            pair, *attributes = header.split(";")
            name, _, value = pair.strip().partition("=")
            until = now + _lifetime(attributes)
            self.cookies[name] = Cookie(value, until)
        self._forget(now)

    def header(self, now: float) -> str:
        """The `Cookie` header of a request."""
        self._forget(now)
        return "; ".join(f"{name}={cookie.value}" for name, cookie in self.cookies.items())

    def get(self, name: str) -> str:
        """One cookie's value, empty when there is none."""
        cookie = self.cookies.get(name)
        return cookie.value if cookie else ""

    def _forget(self, now: float) -> None:
        self.cookies = {name: cookie for name, cookie in self.cookies.items() if cookie.until > now}


def _lifetime(attributes: list[str]) -> float:
    """Seconds to keep it; `Max-Age` counts before `Expires`, and without both it lives as long as the client."""
    known = {name.strip().lower(): value.strip() for name, _, value in (each.partition("=") for each in attributes)}
    if "max-age" in known:
        return float(known["max-age"])
    if "expires" in known:
        return -inf if parsedate_to_datetime(known["expires"]).timestamp() == 0 else inf
    return inf
