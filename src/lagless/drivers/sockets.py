"""What a descriptor tells without being read."""

from __future__ import annotations

import select


def readable(fd: int) -> bool:
    """Tell whether there is something to read, an end or an error included; never waits."""
    poll = select.poll()  # not select(): descriptors above 1023 are common in a busy server
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
