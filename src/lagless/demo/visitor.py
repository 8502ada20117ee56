"""One person at the board: what they do next, what they are shown, and what they make of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lagless.demo import pages
from lagless.demo.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from lagless.demo.browser import Browser
    from lagless.demo.pages import Page
    from lagless.demo.visits import Visit

WEIGHTS = {"list": 44, "read": 36, "profile": 12, "reply": 4, "start": 1, "edit": 1, "like": 1, "come back": 1}
"""How often each thing is done, in a hundred: about one in twelve writes, and is followed by the page it leads to."""

_WORDS = ("Indeed", "Perhaps", "Not so sure", "I tried it", "Thank you", "Well said", "It depends", "Go on", "Agreed")
_PLACE = re.compile(r"/t/(\d+)/#m(\d+)$")
_PASSWORD = "correct horse battery"  # noqa: S105 - of accounts that live for a minute


class Visitor:
    """A client with an account of its own. Everything it does follows from its seed and from what it is shown."""

    def __init__(self, number: int, name: str, random: Random, browser: Browser) -> None:
        self.number = number
        self._reader = Reader(number, name, browser)
        self._memory = self._reader.memory
        self._random = random
        self._threads: list[str] = []
        self._written: list[str] = []
        self._likeable: list[str] = []
        self._tried: set[str] = set()
        self._actions: dict[str, Callable[[], object]] = {
            "list": self.list_threads,
            "read": self.read_thread,
            "profile": self.look_at_profile,
            "reply": self.reply,
            "start": self.start_thread,
            "edit": self.edit,
            "like": self.like,
            "come back": self.come_back,
        }

    @property
    def visits(self) -> list[Visit]:
        """Every request so far."""
        return self._reader.visits

    # -- Deeds

    def arrive(self) -> None:
        """Sign up, leave, and log in again."""
        self._open("/signup/")
        credentials = {"password1": _PASSWORD, "password2": _PASSWORD}
        where = self._reader.post("/signup/", username=self._memory.name, **credentials)
        if where is not None:
            self._memory.logged_in()
            self._open(where)
            self.come_back()

    def act(self) -> None:
        """Do the next thing; first of all be logged in."""
        deed = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if pages.LOGGED_IN not in self._memory.own:
            self._log_in()
        else:
            self._actions[deed]()

    def leave(self) -> None:
        """Close the browser."""
        self._reader.leave()

    def list_threads(self) -> None:
        """Open the front page."""
        page = self._open("/")
        if page is not None and page.threads:
            self._threads = list(page.threads)

    def read_thread(self) -> None:
        """Open a thread from the front page."""
        if thread := self._some(self._threads):
            self._open(f"/t/{thread}/")

    def look_at_profile(self) -> None:
        """Open the own profile."""
        self._open(f"/u/{self._memory.name}/")

    def reply(self) -> None:
        """Write in a thread, and see it there."""
        thread = self._some(self._threads)
        if thread and (where := self._reader.post(f"/t/{thread}/reply/", text=self._text())):
            self._note(where, self._memory.posted)

    def start_thread(self) -> None:
        """Start a thread, and see it."""
        if where := self._reader.post("/new/", title=f"Thread by {self._memory.name}", text=self._text()):
            self._note(where, self._memory.started)

    def edit(self) -> None:
        """Rewrite an own message, and see the new version."""
        message = self._some(self._written)
        if message and (where := self._reader.post(f"/m/{message}/edit/", text=self._text())):
            self._memory.edited(message)
            self._open(where)

    def like(self) -> None:
        """Like a message of somebody else, and see it counted."""
        message = self._some(self._likeable)
        if message is None:
            return
        # Once only, whatever comes back: a second like would add nothing, so nothing could be expected of it.
        self._likeable.remove(message)
        self._tried.add(message)
        if where := self._reader.post(f"/m/{message}/like/"):
            self._memory.liked(message)
            self._open(where)

    def come_back(self) -> None:
        """Log out and in again."""
        where = self._reader.post("/logout/")
        self._memory.logged_out()
        if where is not None:
            self._open(where)
            self._log_in()

    def _log_in(self) -> None:
        self._open("/login/")
        where = self._reader.post("/login/", username=self._memory.name, password=_PASSWORD)
        if where is not None:
            self._memory.logged_in()
            self._open(where)

    def _note(self, where: str, learn: Callable[[str, str], None]) -> None:
        if place := _PLACE.search(where):
            learn(place[1], place[2])
            self._written.append(place[2])
        self._open(where)

    # -- Looking and choosing

    def _open(self, path: str) -> Page | None:
        page = self._reader.get(path)
        if page is not None:
            self._meet(page)
        return page

    def _meet(self, page: Page) -> None:
        others = (message for message, author in page.listed.items() if author != self._memory.name)
        self._likeable = [message for message in others if message not in self._tried] or self._likeable

    def _some(self, things: list[str]) -> str | None:
        return self._random.choice(things) if things else None

    def _text(self) -> str:
        return f"{self._random.choice(_WORDS)}, {self._random.choice(_WORDS).lower()}. {self._memory.name} wrote this."
