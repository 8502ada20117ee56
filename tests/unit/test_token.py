"""Tokens: round trips, and what is ignored."""

from __future__ import annotations

import dataclasses

import pytest
from unit.builders import beat, history, lsn

import lagless.token
from lagless.core.gtid import MARIADB, MYSQL, GtidSet, MariaGtids
from lagless.core.position import History, Position
from lagless.core.session import Mark
from lagless.errors import ConfigurationError
from lagless.token import MAX_BYTES, SKEW, Opened, Signer, merge

NOW = 1_800_000_000.0
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def signer(*keys: str | bytes, now: float = NOW, max_age: float = 3600.0) -> Signer:
    """Return a signer whose clock stands still."""
    return Signer(keys or ("key",), max_age=max_age, clock=lambda: now, nonce=lambda: 7)


def mark(cluster: str = "default", **fields: object) -> Mark:
    """Return a mark."""
    return Mark(cluster=cluster, **fields)  # type: ignore[arg-type]


A, B, C = (f"{letter * 8}-71ca-11e1-9e33-c80aa9429562" for letter in "abc")


def mysql(text: str, generation: int = 0) -> GtidSet:
    """Return a GTID set."""
    return GtidSet.parse(History(MYSQL, 0, generation), text)


def maria(text: str, generation: int = 0) -> MariaGtids:
    """Return a MariaDB position."""
    return MariaGtids.parse(History(MARIADB, 0, generation), text)


EXAMPLES = [
    mark(written=lsn(0)),
    mark(written=lsn(2**64 - 1, 2**31, generation=7)),
    mark(written=beat(12)),
    mark(written=dataclasses.replace(beat(12), history=History("007"))),
    mark(dirty=history(3)),
    mark(dirty=History("")),
    mark(dirty=History("with.dots~and!marks", 1, 2)),
    mark(nodes=frozenset({"replica1"})),
    mark(nodes=frozenset({"replica1", "réplica ~2!+.", "-x", "_", "a.b"})),
    mark(pinned_until=NOW + 15),
    mark(written=lsn(5), nodes=frozenset({"r"}), pinned_until=NOW + 1),
    mark(cluster="other-cluster_2", written=lsn(5)),
    mark(written=mysql("")),
    mark(written=mysql(f"{A}:1-123456789012,{B}:1")),
    mark(written=mysql(f"{A}:7", generation=35)),
    mark(written=mysql(f"{A}:3-5:7:9-1234"), nodes=frozenset({"replica1"}), pinned_until=NOW),
    mark(written=mysql(f"{A}:1-5:_deploy_1:1-3:7")),
    mark(written=maria("0-1-7")),
    mark(written=maria("0-1-7,0-4294967295-123456789012,4294967295-2-9", generation=1)),
    mark(dirty=History(MYSQL, 0, 2)),
]


@pytest.mark.parametrize("given", EXAMPLES, ids=repr)
def test_a_mark_survives_its_token(given: Mark) -> None:
    """Nothing that routing needs is lost on the way."""
    opened = signer().open(signer().seal([given]))
    assert opened == Opened((given,), NOW)


def test_marks_of_several_clusters_share_a_token() -> None:
    """In one order, so that equal marks make equal tokens."""
    marks = [mark("b", written=lsn(1)), mark("a", written=lsn(2))]
    token = signer().seal(marks)
    assert token == signer().seal(marks[::-1])
    opened = signer().open(token)
    assert opened is not None
    assert set(opened.marks) == set(marks)


def test_empty_marks_make_no_token() -> None:
    """No cookie for nothing."""
    assert signer().seal([]) == ""
    assert signer().seal([mark(), mark("b")]) == ""


def test_a_pin_is_never_shortened_by_rounding() -> None:
    """Whole seconds, upwards."""
    opened = signer().open(signer().seal([mark(pinned_until=NOW + 0.2)]))
    assert opened is not None
    assert opened.marks[0].pinned_until >= NOW + 0.2


@pytest.mark.parametrize(
    "position",
    [
        lsn(0xFFFFFFFFFFFFFFFF, 99, system="18446744073709551615"),
        lsn(0x16B374D8_4800_0000, 3, system="7" * 20),
        mysql(f"{A}:1-123456789012345"),
        mysql(f"{A}:123456789012345"),
        mysql(f"{A}:1-5:7-12345678"),
        maria("0-1-123456789012,0-2-123456789013"),
    ],
)
def test_a_realistic_token_is_at_most_120_bytes(position: Position) -> None:
    """20 digits of system id, 16 hexadecimal digits of LSN, a pin, and a replica's name."""
    given = mark(written=position, nodes=frozenset({"replica-eu-west-1"}), pinned_until=NOW)
    assert len(signer().seal([given])) <= 120


def test_a_failovers_two_servers_fit_into_120_bytes() -> None:
    """With the name of a replica."""
    given = mark(written=mysql(f"{A}:1-123456789012,{B}:1-123456789012"), nodes=frozenset({"replica1"}))
    assert len(signer().seal([given])) <= 120


@pytest.mark.parametrize(
    "position",
    [
        mysql(f"{A}:1-9,{B}:1-9,{C}:1-9", generation=4),
        mysql(f"{A}:" + ":".join(str(number) for number in range(1, 99, 2))),
        maria(",".join(f"{domain}-1-123456789012" for domain in range(9)), generation=4),
    ],
    ids=["three servers", "many gaps", "nine domains"],
)
def test_gtids_that_are_too_many_become_a_doubt(position: Position) -> None:
    """The primary settles it: slower, never staler; the rest of the mark is kept."""
    nodes = frozenset({"replica1"})
    token = signer().seal([mark(written=position, nodes=nodes, pinned_until=NOW)])
    assert len(token) <= 120
    assert signer().open(token) == Opened((mark(dirty=position.history, nodes=nodes, pinned_until=NOW),), NOW)


def test_a_kind_of_position_of_a_later_version_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """It promises something that this one cannot check: neither nothing nor an error (CORRECTNESS 12)."""
    monkeypatch.setitem(lagless.token._LETTERS, type(beat(1)), "z")
    token = signer().seal([mark(written=beat(12), nodes=frozenset({"r"}))])
    monkeypatch.undo()
    assert signer().open(token) == Opened((mark(dirty=History(""), nodes=frozenset({"r"})),), NOW)


OLD = "1~tro8w0~default!l!1kghp1gbkeuh3.1.0!3sch!replica1~Eh9AwObHJ0pctWTxfHh7Eg"


def test_a_token_of_the_first_format_still_opens() -> None:
    """Sealed before there were GTIDs."""
    given = mark(written=lsn(0x2B241), nodes=frozenset({"replica1"}))
    assert signer().open(OLD) == Opened((given,), NOW)
    assert signer().seal([given]) == OLD


@pytest.mark.parametrize("given", EXAMPLES, ids=repr)
def test_a_token_fits_into_a_cookie_and_a_header_unquoted(given: Mark) -> None:
    """No quotes, commas, semicolons, spaces or backslashes."""
    token = signer().seal([given])
    assert token.isascii()
    assert not set(token) & set('",; \\=()<>@:/[]?{}\t')


def test_a_token_does_not_name_the_key() -> None:
    """Or anything else that is secret."""
    assert "key" not in signer("key").seal([mark(written=lsn(1))])


def test_every_changed_character_is_noticed() -> None:
    """Forged or damaged: ignored."""
    token = signer().seal([mark(written=lsn(12345), nodes=frozenset({"replica1"}))])
    for i, was in enumerate(token):
        for put in ("A", "b", "~", "!", "0"):
            if put != was and not (i == len(token) - 1 and _same_bits(was, put)):
                assert signer().open(token[:i] + put + token[i + 1 :]) is None, (i, put)


def _same_bits(one: str, other: str) -> bool:
    """Tell whether two last characters of unpadded base64 stand for the same bytes."""
    return one in ALPHABET and other in ALPHABET and ALPHABET.index(one) >> 4 == ALPHABET.index(other) >> 4


def test_every_truncation_is_noticed() -> None:
    """At either end."""
    token = signer().seal([mark(written=lsn(12345))])
    for i in range(1, len(token) + 1):
        assert signer().open(token[:-i]) is None
        assert signer().open(token[i:]) is None


def test_another_key_does_not_open_a_token() -> None:
    """A foreign application's token is nobody's business here."""
    assert signer("other").open(signer().seal([mark(written=lsn(1))])) is None


def test_a_token_is_not_signed_with_the_bare_secret() -> None:
    """Another use of the same secret can neither make nor read one."""
    token = signer("key").seal([mark(written=lsn(1))])
    body, _, signature = token.rpartition("~")
    import base64
    import hmac

    bare = base64.urlsafe_b64encode(hmac.digest(b"key", body.encode(), "sha256")[:16]).decode().rstrip("=")
    assert signature != bare


def test_keys_rotate() -> None:
    """The first seals, all open; a key that is gone opens nothing."""
    old = signer("old").seal([mark(written=lsn(1))])
    both = signer("new", "old")
    assert both.open(old)
    new = both.seal([mark(written=lsn(1))])
    assert signer("new").open(new)
    assert signer("old").open(new) is None
    assert signer("new").open(old) is None


def test_text_and_bytes_are_the_same_key() -> None:
    """Settings hold either."""
    assert signer(b"key").open(signer("key").seal([mark(written=lsn(1))]))


@pytest.mark.parametrize("keys", [[], [""], ["a", b""]])
def test_a_signer_needs_keys(keys: list[str | bytes]) -> None:
    """An empty key signs for everybody."""
    with pytest.raises(ConfigurationError, match="token keys: at least one key, none of them empty"):
        Signer(keys)


@pytest.mark.parametrize(("age", "opens"), [(0, True), (3600, True), (3601, False), (-SKEW, True), (-SKEW - 1, False)])
def test_a_token_lives_for_its_time(age: float, *, opens: bool) -> None:
    """Expired counts as none; a clock a little ahead is forgiven, the future is not."""
    token = signer().seal([mark(written=lsn(1))])
    assert (signer(now=NOW + age).open(token) is not None) is opens


def test_an_oversized_token_is_not_even_read() -> None:
    """Whoever signed it."""
    assert signer().open("1~" + "x" * MAX_BYTES) is None


def test_what_does_not_fit_is_a_doubt() -> None:
    """A token that would not be opened would lose the promise; a doubt keeps it."""
    marks = [Mark(cluster=f"c{i:02}", written=lsn(2**60 + i)) for i in range(60)]
    token = signer().seal(marks)
    opened = signer().open(token)
    assert len(token) <= MAX_BYTES
    assert opened is not None
    assert all(each.dirty is not None for each in opened.marks)
    assert len(opened.marks) == 60


def test_two_doubts_of_one_second_have_a_name_each() -> None:
    """A doubt is an event: what resolves one of them must not delete the other."""
    doubt = mark(dirty=history())
    once = Signer(["key"], clock=lambda: NOW)
    assert len({once.seal([doubt]) for _ in range(20)}) > 1
    assert once.seal([mark(written=lsn(1))]) == once.seal([mark(written=lsn(1))])


def test_another_version_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of a later lagless, made with the same key."""
    monkeypatch.setattr("lagless.token.VERSION", "2")
    token = signer().seal([mark(written=lsn(1))])
    monkeypatch.undo()
    assert signer().open(token) is None


@pytest.mark.parametrize(
    "text", ["", "~", "~~~", "1~~", "1~a~b", "é", "\0", "1~t0~default!l!x", " ", "a" * MAX_BYTES, "\ud800"]
)
def test_nonsense_never_raises(text: str) -> None:
    """Anybody can send anything."""
    assert signer().open(text) is None


def test_several_tokens_merge_by_cluster() -> None:
    """Several tabs, several cookies."""
    one = Opened((mark("a", written=lsn(1)), mark("b", nodes=frozenset({"r"}))), NOW)
    other = Opened((mark("a", written=lsn(2)),), NOW)
    assert set(merge([one, other])) == {mark("a", written=lsn(2)), mark("b", nodes=frozenset({"r"}))}
    assert merge([]) == ()
