"""The balancers' distributions, looked at."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from lagless.core.balancer import Balancer, BalancerName, Dice, balancer
from lagless.core.topology import Node

NODES = [Node("a", 1), Node("b", 2), Node("c", 5)]
NAMES = [n.name for n in NODES]
DRAWS = 20_000


def idle(node: str) -> int:
    """Say that no read is under way."""
    return 0


def spread(
    choose: Balancer,
    candidates: Sequence[str] = NAMES,
    *,
    keys: Sequence[str | None] = (None,),
    load: Mapping[str, int] | None = None,
) -> dict[str, float]:
    """Return each candidate's share of many choices."""
    dice = random.Random(1)
    counts = Counter(
        choose(candidates, Dice(dice.random(), turn, keys[turn % len(keys)], lambda name: (load or {}).get(name, 0)))
        for turn in range(DRAWS)
    )
    return {name: counts[name] / DRAWS for name in candidates}


@pytest.mark.parametrize("name", list(BalancerName))
@pytest.mark.parametrize("draw", [0.0, 0.5, 1 - 2**-53])
def test_every_balancer_returns_a_candidate(name: BalancerName, draw: float) -> None:
    """At the ends of the dice, too, and with one candidate."""
    choose = balancer(name, NODES)
    for candidates in (["a"], ["b", "c"], NAMES):
        for turn in range(7):
            assert choose(candidates, Dice(draw, turn, None, idle)) in candidates


def test_round_robin_takes_turns() -> None:
    """Nobody twice before everybody once."""
    choose = balancer(BalancerName.ROUND_ROBIN, NODES)
    assert [choose(NAMES, Dice(0.9, turn, None, idle)) for turn in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_random_draws_evenly() -> None:
    """Whatever the weights."""
    assert spread(balancer(BalancerName.RANDOM, NODES)) == pytest.approx(dict.fromkeys(NAMES, 1 / 3), abs=0.02)


def test_weighted_draws_by_weight() -> None:
    """Really: one node must not get all, nor each the same."""
    choose = balancer(BalancerName.WEIGHTED, NODES)
    assert spread(choose) == pytest.approx({"a": 1 / 8, "b": 2 / 8, "c": 5 / 8}, abs=0.02)


def test_weighted_draws_by_weight_among_those_that_are_left() -> None:
    """A node that is out leaves its share to the others, in their proportion."""
    choose = balancer(BalancerName.WEIGHTED, NODES)
    assert spread(choose, ["a", "b"]) == pytest.approx({"a": 1 / 3, "b": 2 / 3}, abs=0.02)


def test_least_loaded_never_takes_the_busiest_of_three() -> None:
    """Of two it takes the idler one, and the busiest always meets one that is idler."""
    shares = spread(balancer(BalancerName.LEAST_LOADED, NODES), load={"a": 9, "b": 1, "c": 0})
    assert shares["a"] == 0
    assert shares["c"] > shares["b"] > 0.2


def test_least_loaded_does_not_send_everybody_to_the_same_node() -> None:
    """With equal loads it is a fair draw."""
    shares = spread(balancer(BalancerName.LEAST_LOADED, NODES))
    assert shares == pytest.approx(dict.fromkeys(NAMES, 1 / 3), abs=0.02)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_least_loaded_compares_two_different_nodes(count: int) -> None:
    """Otherwise the busiest would be compared with itself."""
    names = [f"n{i}" for i in range(count)]
    load = dict.fromkeys(names, 0) | {"n0": 5}
    assert spread(balancer(BalancerName.LEAST_LOADED, []), names, load=load)["n0"] == 0


def test_consistent_hash_gives_a_key_its_node() -> None:
    """Whatever the dice say."""
    choose = balancer(BalancerName.CONSISTENT_HASH, NODES)
    for key in map(str, range(50)):
        assert len({choose(NAMES, Dice(draw / 10, draw, key, idle)) for draw in range(10)}) == 1


def test_consistent_hash_spreads_keys_by_weight() -> None:
    """Heavier nodes are home to more users."""
    keys = [f"user-{i}" for i in range(DRAWS)]
    shares = spread(balancer(BalancerName.CONSISTENT_HASH, NODES), keys=keys)
    assert shares == pytest.approx({"a": 1 / 8, "b": 2 / 8, "c": 5 / 8}, abs=0.05)


def test_without_a_key_consistent_hash_draws() -> None:
    """Anonymous readers are spread, too."""
    shares = spread(balancer(BalancerName.CONSISTENT_HASH, NODES))
    assert shares == pytest.approx({"a": 1 / 8, "b": 2 / 8, "c": 5 / 8}, abs=0.05)


@pytest.mark.parametrize("gone", NAMES)
def test_when_a_node_leaves_only_its_keys_move(gone: str) -> None:
    """And they move to more than one other where there is one."""
    choose = balancer(BalancerName.CONSISTENT_HASH, NODES)
    rest = [name for name in NAMES if name != gone]
    moved = Counter()
    for key in (f"user-{i}" for i in range(2000)):
        dice = Dice(0.5, 0, key, idle)
        before, after = choose(NAMES, dice), choose(rest, dice)
        if before == gone:
            moved[after] += 1
        else:
            assert after == before
    assert set(moved) == set(rest)


def test_consistent_hash_is_the_same_in_every_process() -> None:
    """It rests on names, not on Python's salted hash or the order of declaration."""
    one = balancer(BalancerName.CONSISTENT_HASH, NODES)
    other = balancer(BalancerName.CONSISTENT_HASH, list(reversed(NODES)))
    chosen = [one(NAMES, Dice(0, 0, str(i), idle)) for i in range(20)]
    assert chosen == [other(NAMES[::-1], Dice(0, 0, str(i), idle)) for i in range(20)]
    assert "".join(chosen) == "ccbcccbcaccacbcacaaa"
