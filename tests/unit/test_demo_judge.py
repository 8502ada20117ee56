from __future__ import annotations

import pytest

from lagless.demo import pages
from lagless.demo.judge import WINDOW, Finding, Memory
from lagless.demo.pages import Fact, Page


@pytest.fixture
def memory() -> Memory:
    """A client that is logged in."""
    memory = Memory("ann")
    memory.logged_in()
    return memory


def thread_page(size: int, *messages: tuple[str, int], user: str = "ann") -> Page:
    """The page of thread 2 with the given messages and versions."""
    facts: dict[Fact, int] = {pages.size("2"): size} | {pages.version(number): value for number, value in messages}
    return Page(user=user, facts=facts, thread="2", listed={number: "ann" for number, _ in messages})


def test_a_page_with_everything_is_fine(memory: Memory) -> None:
    """The judge has nothing to say about a fresh page."""
    memory.posted("2", "7")
    assert memory.judge(thread_page(1, ("7", 1))) == Finding()


def test_a_missing_own_message_is_stale(memory: Memory) -> None:
    """The redirect after a post must show the message."""
    memory.posted("2", "7")
    finding = memory.judge(thread_page(1))
    assert finding.stale == (pages.version("7"),)
    assert not finding.backward


def test_an_old_version_of_an_own_message_is_stale(memory: Memory) -> None:
    """An acknowledged edit must show."""
    memory.posted("2", "7")
    memory.edited("7")
    assert memory.judge(thread_page(1, ("7", 1))).stale == (pages.version("7"),)


def test_a_count_without_the_own_message_is_stale(memory: Memory) -> None:
    """What was counted before the post, and one more."""
    memory.judge(thread_page(5))
    memory.posted("2", "7")
    assert memory.judge(Page(user="ann", facts={pages.size("2"): 5})).stale == (pages.size("2"),)
    assert memory.judge(Page(user="ann", facts={pages.size("2"): 6})) == Finding()


def test_a_new_thread_counts_in_every_total(memory: Memory) -> None:
    """The board, the thread and the profile know of it."""
    memory.judge(Page(user="ann", facts={pages.THREADS: 8, pages.MESSAGES: 20}))
    memory.started("3", "21")
    old = Page(user="ann", facts={pages.THREADS: 8, pages.MESSAGES: 20, pages.posts("ann"): 0})
    assert memory.judge(old).stale == (pages.THREADS, pages.MESSAGES, pages.posts("ann"))


def test_an_own_like_that_does_not_show_is_stale(memory: Memory) -> None:
    """Both the number and the reader's own mark."""
    memory.liked("7")
    page = Page(user="ann", facts={pages.likes("7"): 0, pages.liked("7"): 0})
    assert memory.judge(page).stale == (pages.likes("7"), pages.liked("7"))


def test_a_forgotten_login_is_stale(memory: Memory) -> None:
    """Logging in is a write like any other; after logging out nobody needs to be known."""
    assert memory.judge(Page(user="", facts={})).stale == (pages.LOGGED_IN,)
    memory.logged_out()
    assert memory.judge(Page(user="", facts={})) == Finding()


def test_older_than_seen_is_backward(memory: Memory) -> None:
    """Another author's message must not go back to an older version."""
    memory.judge(thread_page(1, ("7", 3)))
    finding = memory.judge(thread_page(1, ("7", 2)))
    assert finding.backward == (pages.version("7"),)
    assert not finding.stale


def test_a_message_that_was_seen_and_vanished_is_backward(memory: Memory) -> None:
    """Nothing is ever deleted."""
    memory.judge(thread_page(2, ("7", 1), ("6", 1)))
    assert memory.judge(thread_page(2, ("6", 1))).backward == (pages.version("7"),)


def test_a_shorter_list_is_backward(memory: Memory) -> None:
    """Lists only grow."""
    memory.judge(Page(user="ann", facts={pages.MESSAGES: 20}))
    assert memory.judge(Page(user="ann", facts={pages.MESSAGES: 19})).backward == (pages.MESSAGES,)


def test_a_message_pushed_off_a_full_page_is_not_missing(memory: Memory) -> None:
    """The page shows the newest only."""
    memory.posted("2", "7")
    newer = [(str(number), 1) for number in range(8, 8 + WINDOW)]
    assert memory.judge(thread_page(WINDOW + 1, *newer)) == Finding()


def test_a_page_from_the_past_does_not_lower_what_is_expected(memory: Memory) -> None:
    """Going back twice is found twice."""
    memory.judge(thread_page(1, ("7", 3)))
    memory.judge(thread_page(1, ("7", 2)))
    assert memory.judge(thread_page(1, ("7", 2))).backward


def test_denying_an_own_thread_is_stale_and_a_seen_one_backward(memory: Memory) -> None:
    """404 for something that exists is an old answer; for something unknown it is none."""
    memory.started("3", "21")
    memory.judge(Page(user="ann", facts={pages.size("4"): 1}))
    assert memory.missing(pages.size("3")).stale
    assert memory.missing(pages.size("4")).backward
    assert memory.missing(pages.size("5")) == Finding()
