"""Cookies as an observed-remove set, and the header."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pytest
from unit.builders import FIRST, PRIMARY, SECOND, history, lsn

from lagless.carriers import (
    COOKIE_PREFIX,
    HEADER,
    MAX_COOKIES,
    UNCHANGED,
    Change,
    Cookies,
    Received,
    answered,
    change,
    cookie_name,
    cookie_tokens,
    split_header,
)
from lagless.core.session import Mark
from lagless.token import Signer

NOW = 1_800_000_000.0


def written(value: int) -> Mark:
    """Return the mark of a session that wrote."""
    return Mark(cluster=PRIMARY, written=lsn(value))


@dataclasses.dataclass
class Browser:
    """A cookie jar and the server's side of a request; requests may overlap."""

    now: float = NOW
    jar: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def signer(self) -> Signer:
        """Return the server's signer at this moment."""
        return Signer(["key"], clock=lambda: self.now)

    def send(self) -> Received:
        """Return what a request brings that is sent now."""
        opened = {name: self.signer.open(token) for name, token in self.jar.items()}
        return Received({name: good for name, good in opened.items() if good})

    def answer(self, received: Received, *marks: Mark) -> Change:
        """Make the response to a request that arrived as `received` and ended with `marks`."""
        return change(received, marks, self.signer, self.now)

    def take(self, told: Change) -> None:
        """Receive a response."""
        for name in told.delete:
            self.jar.pop(name, None)
        if told.set:
            self.jar[told.set[0]] = told.set[1]

    @property
    def marks(self) -> Iterable[Mark]:
        """What the next request says."""
        return self.send().marks


def wrote(*values: int) -> Browser:
    """Return a browser that holds a cookie for each position."""
    browser = Browser()
    for value in values:
        browser.take(browser.answer(Received({}), written(value)))
    return browser


def test_a_first_read_sets_no_cookie() -> None:
    """Its page stays cacheable."""
    assert change(Received({}), (), Browser().signer, NOW) is UNCHANGED
    assert not UNCHANGED


def test_a_write_sets_a_cookie_under_a_name_of_its_own() -> None:
    """The name depends on the token, so that crossing responses undo nothing."""
    browser = wrote(100)
    ((name, token),) = browser.jar.items()
    assert name == cookie_name(token)
    assert name.startswith(COOKIE_PREFIX)
    assert len(name) == len(COOKIE_PREFIX) + 6
    assert wrote(101).jar.keys() != browser.jar.keys()


def test_an_unchanged_outcome_says_nothing() -> None:
    """Readers' cookies do not change in steady state."""
    browser = wrote(100)
    assert browser.answer(browser.send(), written(100)) is UNCHANGED


def test_a_second_write_replaces_the_cookie() -> None:
    """Set the new one, delete the one that came."""
    browser = wrote(100)
    (old,) = browser.jar
    told = browser.answer(browser.send(), written(200))
    assert told.set
    assert told.delete == (old,)
    browser.take(told)
    assert list(browser.marks) == [written(200)]
    assert len(browser.jar) == 1


def test_an_outcome_of_nothing_deletes_the_cookie() -> None:
    """Every node holds it."""
    browser = wrote(100)
    browser.take(browser.answer(browser.send()))
    assert browser.jar == {}


def test_a_slow_get_that_deletes_does_not_delete_a_newer_write() -> None:
    """The GET knew only the cookie that it brought (CORRECTNESS 10)."""
    browser = wrote(100)
    get, post = browser.send(), browser.send()
    browser.take(browser.answer(post, written(200)))
    browser.take(browser.answer(get))
    assert list(browser.marks) == [written(200)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_posts_whose_responses_cross_keep_the_farther_position(order: tuple[int, int]) -> None:
    """Whichever response comes last."""
    browser = wrote(100)
    requests = [browser.send(), browser.send()]
    told = [browser.answer(requests[0], written(200)), browser.answer(requests[1], written(300))]
    for i in order:
        browser.take(told[i])
    assert list(browser.marks) == [written(300)]


def test_a_slow_write_of_an_old_page_does_not_undo_a_newer_one() -> None:
    """Its request began before any cookie was there."""
    browser = Browser()
    slow = browser.send()
    browser.take(browser.answer(browser.send(), written(300)))
    browser.take(browser.answer(slow, written(200)))
    assert list(browser.marks) == [written(300)]


def test_cookies_merge_when_something_changes() -> None:
    """The response to a request that brought two sets one and deletes both."""
    browser = wrote(100, 200)
    assert len(browser.jar) == 2
    browser.take(browser.answer(browser.send(), written(300)))
    assert len(browser.jar) == 1
    assert list(browser.marks) == [written(300)]


def test_above_four_cookies_merge_although_nothing_changed() -> None:
    """They cost bytes on every request."""
    few, many = wrote(*range(MAX_COOKIES)), wrote(*range(MAX_COOKIES + 1))
    assert few.answer(few.send(), written(MAX_COOKIES - 1)) is UNCHANGED
    told = many.answer(many.send(), written(MAX_COOKIES))
    many.take(told)
    assert list(many.marks) == [written(MAX_COOKIES)]
    assert len(many.jar) == 1


def test_a_merge_into_a_cookie_that_came_does_not_delete_it() -> None:
    """The same marks in the same second make the same token, hence the same name."""
    browser = wrote(*range(MAX_COOKIES + 1))
    name = cookie_name(browser.signer.seal([written(MAX_COOKIES)]))
    assert name in browser.jar
    told = browser.answer(browser.send(), written(MAX_COOKIES))
    assert told.set
    assert told.set[0] == name
    assert name not in told.delete
    assert len(told.delete) == MAX_COOKIES


def test_a_cookie_still_needed_is_made_anew_in_half_its_life() -> None:
    """Otherwise it would expire while a replica is still behind."""
    browser = wrote(100)
    (old,) = browser.jar
    browser.now = NOW + 1800
    assert browser.answer(browser.send(), written(100)) is UNCHANGED
    browser.now = NOW + 1801
    told = browser.answer(browser.send(), written(100))
    assert told.set
    assert told.delete == (old,)


def test_empty_marks_are_no_change() -> None:
    """A cluster that was touched but left nothing."""
    assert change(Received({}), [Mark(cluster=PRIMARY)], Browser().signer, NOW) is UNCHANGED


def test_a_doubt_joins_what_other_cookies_say() -> None:
    """The next request must settle, whichever cookie said so."""
    browser = wrote(100)
    browser.take(browser.answer(Received({}), Mark(cluster=PRIMARY, dirty=history())))
    assert [mark.dirty for mark in browser.marks] == [history()]


def test_affinities_of_two_tabs_join() -> None:
    """Both replicas have shown something."""
    browser = Browser()
    for node in (FIRST, SECOND):
        browser.take(browser.answer(Received({}), Mark(cluster=PRIMARY, nodes=frozenset({node}))))
    assert [mark.nodes for mark in browser.marks] == [{FIRST, SECOND}]


def test_a_header_is_answered_by_a_header() -> None:
    """A client without cookies replaces what it holds, with nothing if there is nothing."""
    signer = Browser().signer
    opened = signer.open(signer.seal([written(100)]))
    assert opened
    received = Received({"": opened}, by_header=True)
    assert change(received, [written(100)], signer, NOW) is UNCHANGED
    told = change(received, [written(200)], signer, NOW)
    assert told == Change(set=(HEADER, signer.seal([written(200)])))
    assert change(received, [], signer, NOW) == Change(set=(HEADER, ""))


@pytest.mark.parametrize(
    ("value", "tokens"),
    [("", []), ("a", ["a"]), ("a,b", ["a", "b"]), (" a , ,b ", ["a", "b"]), (",,", [])],
)
def test_a_header_holds_several_tokens(value: str, tokens: list[str]) -> None:
    """Proxies join repeated headers with commas."""
    assert split_header(value) == tokens


@pytest.mark.parametrize(
    ("header", "tokens"),
    [
        ("", {}),
        ("a=1; b=2", {}),
        ("a=lagless-b=1", {}),
        ("lagless-a=1~x", {"lagless-a": "1~x"}),
        ("a=1;lagless-a=x ;  lagless-b=y=z; c", {"lagless-a": "x", "lagless-b": "y=z"}),
        ('lagless-a="x"; lagless-b; =; ;', {"lagless-a": "x", "lagless-b": ""}),
        ("bad{cookie}=é; lagless-a=x", {"lagless-a": "x"}),
    ],
)
def test_tokens_are_picked_out_of_a_cookie_header(header: str, tokens: dict[str, str]) -> None:
    """Whatever other applications put beside them."""
    assert cookie_tokens(header) == tokens


def told(*headers: tuple[str, str], to: Change, **where: str) -> list[tuple[str, str]]:
    """Return a response's headers."""
    return answered(headers, to, Cookies(**where), max_age=60.9, secure=True)


def test_a_change_becomes_headers() -> None:
    """Deletions first; each cookie is deleted where it was set."""
    change = Change(set=("lagless-b", "1~x"), delete=("lagless-a",))
    assert told(("A", "1"), ("B", "2"), to=change, path="/p", domain="example.org") == [
        ("A", "1"),
        ("B", "2"),
        ("Vary", "Cookie"),
        ("Set-Cookie", "lagless-a=; Max-Age=0; Path=/p; Domain=example.org; HttpOnly; SameSite=Lax; Secure"),
        ("Set-Cookie", "lagless-b=1~x; Max-Age=60; Path=/p; Domain=example.org; HttpOnly; SameSite=Lax; Secure"),
    ]


def test_a_header_needs_no_cookie_and_varies_by_none() -> None:
    """Its client has none."""
    assert told(("A", "1"), to=Change(set=(HEADER, ""))) == [("A", "1"), (HEADER, "")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["Cookie"]),
        ([""], ["Cookie"]),
        (["Accept"], ["Accept, Cookie"]),
        (["Accept", "Origin"], ["Accept, Origin, Cookie"]),
        (["accept, COOKIE"], ["accept, COOKIE"]),
        (["*"], ["*"]),
    ],
)
def test_what_sets_a_cookie_varies_by_cookies(before: list[str], after: list[str]) -> None:
    """In one header, once."""
    headers = told(*(("vary", value) for value in before), to=Change(delete=("lagless-a",)))
    assert [value for name, value in headers if name.lower() == "vary"] == after
