"""Reads a page as a client does: the versions that its HTML carries. Pure.

A page is a set of facts, each a number that may only grow: a message's version, how often it was liked, how many
messages a thread holds. So "older" means "smaller", for a single message and for a whole list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

Fact = tuple[str, str]
"""What kind of number, and of what: `("version", "45")`."""

LOGGED_IN: Fact = ("logged in", "")
THREADS: Fact = ("threads", "")
MESSAGES: Fact = ("messages", "")

_USER = re.compile(r'data-user="([^"]*)"')
_TOTALS = re.compile(r'data-threads="(\d+)" data-messages="(\d+)"')
_THREAD = re.compile(r'data-thread="(\d+)" data-size="(\d+)"')
_MESSAGE = re.compile(
    r'data-message="(\d+)" data-version="(\d+)" data-likes="(\d+)" data-liked="([01])" data-author="([^"]*)"'
)
_PROFILE = re.compile(r'data-profile="([^"]*)" data-posts="(\d+)" data-received="(\d+)"')
_THREAD_PAGE = re.compile(r"/t/(\d+)/")
_MESSAGE_PAGE = re.compile(r"/m/(\d+)/")


def version(message: str) -> Fact:
    """How often a message was written; 0 where it is missing."""
    return "version", message


def size(thread: str) -> Fact:
    """How many messages a thread holds."""
    return "size", thread


def likes(message: str) -> Fact:
    """How many readers like a message."""
    return "likes", message


def liked(message: str) -> Fact:
    """Whether this reader is one of them."""
    return "liked", message


def posts(author: str) -> Fact:
    """How many messages an author wrote."""
    return "posts", author


def received(author: str) -> Fact:
    """How many likes an author got."""
    return "received", author


def subject(path: str) -> Fact:
    """What must exist for a path to lead anywhere: its thread, its message, or the reader's own account."""
    if thread := _THREAD_PAGE.match(path):
        return size(thread[1])
    if message := _MESSAGE_PAGE.match(path):
        return version(message[1])
    return LOGGED_IN


@dataclass(frozen=True, slots=True)
class Page:
    """What one page says.

    `listed` are its messages with their authors, newest first. A thread's page shows the newest `window` messages of
    `thread`: one that must exist and is not there although an older one is, is missing.
    """

    user: str
    facts: dict[Fact, int]
    thread: str | None = None
    threads: tuple[str, ...] = ()
    listed: dict[str, str] = field(default_factory=dict)

    def oldest_shown(self, window: int) -> int:
        """The lowest message that must be shown if it exists; 0 when the page had room for all."""
        return min(map(int, self.listed)) if len(self.listed) >= window else 0


def read(path: str, html: str) -> Page:
    """The page at `path`."""
    user = _USER.search(html)
    name = user[1] if user else ""
    at = _THREAD_PAGE.match(path)
    sizes = {size(thread): int(count) for thread, count in _THREAD.findall(html)}
    messages = _MESSAGE.findall(html)
    facts = sizes | _totals(html) | _messages(messages, known_reader=bool(name)) | _profile(html)
    return Page(
        user=name,
        facts=facts,
        thread=at[1] if at else None,
        threads=tuple(thread for _, thread in sizes),
        listed={row[0]: row[4] for row in messages},
    )


def _totals(html: str) -> dict[Fact, int]:
    found = _TOTALS.search(html)
    return {THREADS: int(found[1]), MESSAGES: int(found[2])} if found else {}


def _profile(html: str) -> dict[Fact, int]:
    found = _PROFILE.search(html)
    return {posts(found[1]): int(found[2]), received(found[1]): int(found[3])} if found else {}


def _messages(rows: list[tuple[str, ...]], *, known_reader: bool) -> dict[Fact, int]:
    facts: dict[Fact, int] = {}
    for message, written, count, mine, _author in rows:
        facts[version(message)] = int(written)
        facts[likes(message)] = int(count)
        if known_reader:  # a page for nobody says nothing about what its reader likes
            facts[liked(message)] = int(mine)
    return facts
