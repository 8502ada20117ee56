"""`Model.objects.get(pk=1)` from a file."""

from __future__ import annotations

from typing import Any

from bench.contestants import Situation
from bench.switch import Switch
from bench.timing import Sample, call_seconds, pairs, percent

LOOPS = 20
PAIRS = 12
ROWS = {"replica": "nothing written: from a replica", "primary": "own write not settled, or pinned: from the primary"}


def added(situation: Situation, switch: Switch, model: Any) -> Sample:
    """Return what the contestant adds to one `get`."""
    get = model.objects.get

    def read(key: int) -> None:
        get(pk=key)

    def plain() -> float:
        switch.plain()
        return call_seconds(read, 1, LOOPS)

    def routed() -> float:
        switch.routed()
        return call_seconds(read, 1, LOOPS)

    with situation():
        return pairs(plain, routed, PAIRS, percent)
