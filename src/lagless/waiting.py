"""Waiting for a replica, where the policy asks for it: never in a way that blocks an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

Sleep = Callable[[float], object]
"""Waits for so many seconds."""

Pause = Callable[[], Sleep | None]
"""Returns how the running code may wait, None where it must not."""


def in_thread() -> Sleep | None:
    """Let a thread sleep, unless it runs an event loop, which must not be blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return time.sleep
    return None


def pauses(seconds: float, sleep: Sleep) -> Iterator[None]:
    """Sleep 1 ms, then half as long again each time up to 20 ms, yielding after each, for `seconds` in all."""
    deadline, gap = time.monotonic() + seconds, 0.001
    while (left := deadline - time.monotonic()) > 0:
        sleep(min(gap, left))
        gap = min(gap * 1.5, 0.02)
        yield
