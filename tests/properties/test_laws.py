"""Laws of merging, of tokens that anybody may send, and of the balancers' shares."""

from __future__ import annotations

import random
from collections import Counter as Count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lagless.carriers import Received, change, cookie_name, split_header
from lagless.core.balancer import BalancerName, Dice, balancer
from lagless.core.position import Counter, History, Lsn, Scalar
from lagless.core.session import Mark
from lagless.core.topology import Node
from lagless.token import Opened, Signer, merge

NOW = 1_800_000_000.0
SIGNER = Signer(["key"], clock=lambda: NOW, nonce=lambda: 7)
FEW = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(FEW, max_examples=300)

histories = st.builds(History, st.sampled_from(["7", "42", "a1"]), st.integers(1, 3), st.integers(0, 1))
positions = st.builds(Lsn, histories, st.integers(0, 9)) | st.builds(Counter, histories, st.integers(0, 9))
lsns = st.builds(Lsn, histories, st.integers(0, 9))
names = st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable() or name.isascii())
marks = st.builds(
    Mark,
    cluster=st.just("default"),
    written=st.none() | lsns,
    dirty=st.none(),
    nodes=st.frozensets(st.sampled_from(["r1", "r2", "r3"]), max_size=2),
    pinned_until=st.sampled_from([0.0, NOW, NOW + 15]),
) | st.builds(Mark, cluster=st.just("default"), dirty=histories)
any_mark = st.builds(
    Mark,
    cluster=st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True),
    written=st.builds(
        Lsn,
        st.builds(History, st.integers(0, 2**64 - 1).map(str) | names, st.integers(0, 2**32), st.integers(0, 99)),
        st.integers(0, 2**64 - 1),
    ),
    nodes=st.frozensets(names, max_size=3),
    pinned_until=st.integers(0, 2**33).map(float),
)


@MANY
@given(positions, positions, positions)
def test_covering_is_a_partial_order(one: Scalar, two: Scalar, three: Scalar) -> None:
    """Reflexive, antisymmetric, transitive; within one kind and history, total."""
    assert one.covers(one)
    assert one == two or not (one.covers(two) and two.covers(one))
    assert one.covers(three) or not (one.covers(two) and two.covers(three))
    assert (one.covers(two) or two.covers(one)) is (type(one) is type(two) and one.history == two.history)


@MANY
@given(histories, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_merging_positions_gives_the_least_that_covers_both(line: History, a: int, b: int, c: int) -> None:
    """Commutative, associative, idempotent."""
    one, two, three = Lsn(line, a), Lsn(line, b), Lsn(line, c)
    union = one.merge(two)
    assert union.covers(one)
    assert union.covers(two)
    assert union == two.merge(one)
    assert union in {one, two}
    assert union.merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one


@MANY
@given(marks, marks, marks)
def test_merging_marks_is_a_union(one: Mark, two: Mark, three: Mark) -> None:
    """Cookies come in any order and more than once: commutative, associative, idempotent."""
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one
    assert one.merge(two).merge(two) == one.merge(two)


@MANY
@given(marks, marks)
def test_a_merged_mark_promises_no_less(one: Mark, two: Mark) -> None:
    """Either the farther position, or a doubt that the primary settles."""
    both = one.merge(two)
    assert one.nodes | two.nodes == both.nodes
    assert both.pinned_until >= max(one.pinned_until, two.pinned_until)
    assert both.written is None or both.dirty is None
    for mark in (one, two):
        assert mark.dirty is None or both.dirty is not None
        covered = mark.written is None or (both.written is not None and both.written.covers(mark.written))
        assert covered or both.dirty is not None


@FEW
@given(st.lists(marks, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_cookies_does_not_matter(several: list[Mark], shuffler: object) -> None:
    """Browsers send them as they like."""
    tokens = [Opened((mark,), NOW) for mark in several]
    before = merge(tokens)
    shuffler.shuffle(tokens)  # type: ignore[attr-defined]
    assert merge(tokens) == before


@MANY
@given(any_mark)
def test_every_mark_survives_its_token(mark: Mark) -> None:
    """Any name, any number, any history; and the token is fit for a cookie."""
    token = SIGNER.seal([mark])
    assert SIGNER.open(token) == (Opened((mark,), NOW) if len(token) <= 2048 else None)
    assert token.isascii()
    assert not set(token) & set('",; \\')
    assert cookie_name(token).isascii()


@MANY
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_opening_never_raises(text: str) -> None:
    """Whatever anybody sends."""
    assert SIGNER.open(text) is None
    for part in split_header(text):
        assert SIGNER.open(part) is None


@MANY
@given(any_mark, st.data())
def test_a_mutated_token_does_not_open(mark: Mark, data: st.DataObject) -> None:
    """Characters replaced, put in, taken out, parts exchanged."""
    token = SIGNER.seal([mark])
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.text("~!.+-_09azAZ=é", max_size=3))
    cut = data.draw(st.integers(0, 3))
    mutated = token[:at] + put + token[at + cut :]
    opened = SIGNER.open(mutated)
    if mutated != token and not mutated.startswith(token[:-1]):
        assert opened is None
    assert opened is None or opened.marks == (mark,)  # only the unused bits of the signature's last character differ


@MANY
@given(any_mark, st.text("~!.+-_09azAZ", max_size=60))
def test_a_body_signed_with_another_key_does_not_open(mark: Mark, body: str) -> None:
    """Well formed or not, it is foreign."""
    foreign = Signer(["other"], clock=lambda: NOW, nonce=lambda: 7)
    assert SIGNER.open(foreign.seal([mark])) is None
    signature = foreign.seal([mark]).rpartition("~")[2]
    assert SIGNER.open(f"{body}~{signature}") is None


@FEW
@given(st.lists(marks, max_size=3), st.lists(marks, max_size=2))
def test_a_response_deletes_only_what_its_request_brought(brought: list[Mark], outcome: list[Mark]) -> None:
    """And what it sets is what it says (CORRECTNESS 10)."""
    sealed = [token for mark in brought if (token := SIGNER.seal([mark]))]
    received = Received({cookie_name(t): opened for t in sealed if (opened := SIGNER.open(t))})
    union = merge([Opened((mark,), NOW) for mark in outcome])
    told = change(received, union, SIGNER, NOW)
    assert set(told.delete) <= set(received.tokens)
    if told.set:
        name, token = told.set
        assert name == cookie_name(token)
        assert name not in told.delete
        opened = SIGNER.open(token)
        assert opened
        assert set(opened.marks) == {mark for mark in union if not mark.empty}


_TABLES = {name: balancer(name, [Node(node) for node in "abcdef"]) for name in BalancerName}
weights = st.lists(st.sampled_from([0.5, 1, 2, 5]), min_size=1, max_size=4)


@settings(FEW, max_examples=15)
@given(weights, st.integers())
@pytest.mark.parametrize("name", [BalancerName.WEIGHTED, BalancerName.CONSISTENT_HASH])
def test_shares_follow_the_weights(name: BalancerName, given_weights: list[float], seed: int) -> None:
    """However the nodes are weighed."""
    nodes = [Node(f"n{i}", weight) for i, weight in enumerate(given_weights)]
    choose, candidates = balancer(name, nodes), [n.name for n in nodes]
    draws, dice = 2000, random.Random(seed)
    keys = [str(i) if name is BalancerName.CONSISTENT_HASH else None for i in range(draws)]
    counts = Count(choose(candidates, Dice(dice.random(), i, key, lambda node: 0)) for i, key in enumerate(keys))
    total = sum(given_weights)
    for node in nodes:
        assert counts[node.name] / draws == pytest.approx(node.weight / total, abs=0.09)


@FEW
@given(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True), st.floats(0, 1, exclude_max=True), st.text())
def test_every_balancer_chooses_a_candidate(candidates: list[str], draw: float, key: str) -> None:
    """Whatever is left of the nodes."""
    for name in BalancerName:
        for who in (key, None):
            assert _TABLES[name](candidates, Dice(draw, int(draw * 100), who, ord)) in candidates
