"""Waiting for what a server does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(done: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Poll every 5 ms until `done()`; raises TimeoutError that says `what` did not happen within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.005)
