from __future__ import annotations

import pytest

from lagless.demo import pages

MESSAGE = '<article data-message="{}" data-version="{}" data-likes="{}" data-liked="{}" data-author="{}">'


def test_a_front_page_tells_totals_and_sizes() -> None:
    """The lists carry their own counts."""
    html = (
        '<body data-user="ann"><p data-threads="3" data-messages="40">'
        '<li data-thread="2" data-size="30"><li data-thread="1" data-size="10">'
    )
    page = pages.read("/", html)
    assert page.user == "ann"
    assert page.threads == ("2", "1")
    assert page.facts == {pages.THREADS: 3, pages.MESSAGES: 40, pages.size("2"): 30, pages.size("1"): 10}


def test_a_thread_tells_each_message() -> None:
    """Version, likes, and whether the reader is one of them."""
    page = pages.read(
        "/t/2/#m9", '<body data-user="ann"><h1 data-thread="2" data-size="1">' + MESSAGE.format(9, 3, 2, 1, "bob")
    )
    assert page.thread == "2"
    assert page.listed == {"9": "bob"}
    assert page.facts == {pages.size("2"): 1, pages.version("9"): 3, pages.likes("9"): 2, pages.liked("9"): 1}


def test_nobody_likes_nothing() -> None:
    """A page for an anonymous reader says nothing about that reader's likes."""
    page = pages.read("/t/2/", '<body data-user="">' + MESSAGE.format(9, 3, 2, 0, "bob"))
    assert pages.liked("9") not in page.facts


def test_a_profile_tells_its_author() -> None:
    """Numbers of an author are facts about that author."""
    page = pages.read("/u/ann/", '<body data-user="ann"><h1 data-profile="ann" data-posts="4" data-received="7">')
    assert page.facts == {pages.posts("ann"): 4, pages.received("ann"): 7}


def test_what_a_page_has_no_room_for_need_not_be_there() -> None:
    """A full page says nothing about messages older than its oldest; one with room says all."""
    html = "".join(MESSAGE.format(number, 1, 0, 0, "bob") for number in (9, 8))
    page = pages.read("/t/2/", html)
    assert page.oldest_shown(window=2) == 8
    assert page.oldest_shown(window=3) == 0


@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("/t/12/#m40", pages.size("12")),
        ("/t/12/reply/", pages.size("12")),
        ("/m/40/edit/", pages.version("40")),
        ("/u/ann/", pages.LOGGED_IN),
        ("/", pages.LOGGED_IN),
    ],
)
def test_a_path_tells_what_must_exist_for_it(path: str, fact: pages.Fact) -> None:
    """So that 404 can be judged."""
    assert pages.subject(path) == fact
