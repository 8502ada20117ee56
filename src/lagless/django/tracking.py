"""This thread's connections that are inside atomic(): reads must not leave their transaction."""

from __future__ import annotations

import threading
from typing import Any


class OpenBlocks(threading.local):
    """This thread's connections that are inside atomic(), by alias; empty almost always, so asked first."""

    wrappers: dict[str, Any] = {}  # noqa: RUF012 - the default of every thread; replaced, never changed

    def note(self, alias: str, wrapper: Any, *, inside: bool) -> None:
        """Remember or forget a connection."""
        (anywhere.add if inside else anywhere.discard)(id(wrapper))
        if inside:
            self.wrappers = {**self.wrappers, alias: wrapper}
        elif self.wrappers.get(alias) is wrapper:
            self.wrappers = {name: held for name, held in self.wrappers.items() if name != alias}


open_blocks = OpenBlocks()
anywhere: set[int] = set()
"""All threads' connections inside atomic(), by id: while it is empty, nobody needs to look at a thread-local."""
