"""Which of several equally good replicas serves: pure functions; the caller brings the dice."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple

from lagless.core.topology import Node

SLOTS = 1024
"""Rows of the rendezvous table: users per row share their order of replicas."""


class BalancerName(StrEnum):
    """The balancers by name."""

    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    WEIGHTED = "weighted"
    CONSISTENT_HASH = "consistent_hash"
    LEAST_LOADED = "least_loaded"


class Dice(NamedTuple):
    """What a choice may depend on: `draw` in [0, 1), `turn` counting up, the user's `key`, a node's reads in flight."""

    draw: float
    turn: int
    key: str | None
    load: Callable[[str], int]


Balancer = Callable[[Sequence[str], Dice], str]
"""Returns one of the candidates, of which there is at least one."""


def balancer(name: BalancerName, nodes: Sequence[Node]) -> Balancer:
    """Return the balancer called `name` for the declared `nodes`."""
    match name:
        case BalancerName.ROUND_ROBIN:
            return round_robin
        case BalancerName.WEIGHTED:
            return weighted({n.name: float(n.weight) for n in nodes})
        case BalancerName.CONSISTENT_HASH:
            return consistent_hash(nodes)
        case BalancerName.LEAST_LOADED:
            return least_loaded
        case BalancerName.RANDOM:
            return uniform


def round_robin(candidates: Sequence[str], dice: Dice) -> str:
    """Take turns."""
    return candidates[dice.turn % len(candidates)]


def uniform(candidates: Sequence[str], dice: Dice) -> str:
    """Draw evenly."""
    return candidates[int(dice.draw * len(candidates))]


def weighted(weights: Mapping[str, float]) -> Balancer:
    """Draw in proportion to the nodes' weights."""

    def choose(candidates: Sequence[str], dice: Dice) -> str:
        bounds = list(accumulate(weights[name] for name in candidates))
        return candidates[bisect(bounds, dice.draw * bounds[-1], hi=len(candidates) - 1)]

    return choose


def least_loaded(candidates: Sequence[str], dice: Dice) -> str:
    """Draw two, take the one with fewer reads in flight: near the best, without everybody running to it."""
    count = len(candidates)
    first = int(dice.draw * count)
    second = (first + 1 + int(dice.draw * count * 7919) % max(1, count - 1)) % count
    one, other = candidates[first], candidates[second]
    return one if dice.load(one) <= dice.load(other) else other


def consistent_hash(nodes: Sequence[Node]) -> Balancer:
    """Give each key its own fixed order of replicas: when one leaves, only its keys move (rendezvous hashing)."""
    table = [_rendezvous(nodes, slot) for slot in range(SLOTS)]

    def choose(candidates: Sequence[str], dice: Dice) -> str:
        row = table[_digest(dice.key) % SLOTS if dice.key is not None else int(dice.draw * SLOTS)]
        return next(name for name in row if name in candidates)

    return choose


def _rendezvous(nodes: Sequence[Node], slot: int) -> tuple[str, ...]:
    """Order nodes by weighted rendezvous score (Schindelhauer and Schomaker: -weight / ln(hash))."""

    def score(node: Node) -> float:
        unit = (_digest(f"{slot}:{node.name}") + 1) / (2**64 + 2)
        return -node.weight / math.log(unit)

    return tuple(n.name for n in sorted(nodes, key=score, reverse=True))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
