"""Waiting for a replica, where the policy asks for it: never on an event loop's thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator


def in_event_loop() -> bool:
    """Tell whether this thread runs an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def pauses(seconds: float) -> Iterator[None]:
    """Sleep 1 ms, then half as long again each time up to 20 ms, yielding after each, for `seconds` in all."""
    deadline, gap = time.monotonic() + seconds, 0.001
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(gap, left))
        gap = min(gap * 1.5, 0.02)
        yield
