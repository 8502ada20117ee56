"""Finds stale and backward pages from what one client wrote and saw itself. Pure.

Stale: a page lacks a write that this client made and that was acknowledged before it asked. Backward: a page shows
something older than this client was shown before. A page can be both.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lagless.demo import pages
from lagless.demo.openings import MESSAGES_SHOWN

if TYPE_CHECKING:
    from lagless.demo.pages import Fact, Page

WINDOW = MESSAGES_SHOWN
"""How many messages a thread's page shows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was wrong with one page; empty when nothing was."""

    stale: tuple[Fact, ...] = ()
    backward: tuple[Fact, ...] = ()


@dataclass(slots=True)
class Memory:
    """What one client may rely on: the least value of each fact, from its own writes and from pages it was shown."""

    name: str
    own: dict[Fact, int] = field(default_factory=dict)
    seen: dict[Fact, int] = field(default_factory=dict)
    contents: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def known(self, fact: Fact) -> int:
        """The least that this fact can be by now."""
        return max(self.own.get(fact, 0), self.seen.get(fact, 0))

    # -- Acknowledged writes

    def logged_in(self) -> None:
        """From now on every page knows the client."""
        self.own[pages.LOGGED_IN] = 1

    def logged_out(self) -> None:
        """Pages need not know the client any more."""
        self.own.pop(pages.LOGGED_IN, None)

    def posted(self, thread: str, message: str) -> None:
        """A message was written in a thread that exists."""
        for fact in (pages.size(thread), pages.MESSAGES, pages.posts(self.name)):
            self._grew(fact)
        self.own[pages.version(message)] = 1
        self.contents[thread].add(message)

    def started(self, thread: str, message: str) -> None:
        """A thread was started with its first message."""
        self._grew(pages.THREADS)
        self.posted(thread, message)

    def edited(self, message: str) -> None:
        """An own message was written again; nobody else may."""
        self._grew(pages.version(message))

    def liked(self, message: str) -> None:
        """A message was liked for the first time."""
        self._grew(pages.likes(message))
        self.own[pages.liked(message)] = 1

    def _grew(self, fact: Fact) -> None:
        # What was known before the write is in the database, and the write came on top.
        self.own[fact] = self.known(fact) + 1

    # -- Pages

    def judge(self, page: Page) -> Finding:
        """Compare a page with what must be there, then remember what it shows."""
        facts = self._absent(page) | page.facts | {pages.LOGGED_IN: int(page.user == self.name)}
        finding = Finding(stale=_below(self.own, facts), backward=_below(self.seen, facts))
        self._remember(page)
        return finding

    def missing(self, fact: Fact) -> Finding:
        """The server says that something does not exist."""
        return Finding(stale=_below(self.own, {fact: 0}), backward=_below(self.seen, {fact: 0}))

    def _absent(self, page: Page) -> dict[Fact, int]:
        """A zero for each message that this client knows and that the page should have room for."""
        if page.thread is None or pages.size(page.thread) not in page.facts:
            return {}
        oldest = page.oldest_shown(WINDOW)
        return {pages.version(message): 0 for message in self.contents[page.thread] if int(message) >= oldest}

    def _remember(self, page: Page) -> None:
        for fact, value in page.facts.items():
            self.seen[fact] = max(value, self.seen.get(fact, 0))
        if page.thread is not None:
            self.contents[page.thread].update(page.listed)


def _below(floor: dict[Fact, int], facts: dict[Fact, int]) -> tuple[Fact, ...]:
    return tuple(fact for fact, value in facts.items() if value < floor.get(fact, 0))
