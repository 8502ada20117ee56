from __future__ import annotations

from email.message import Message
from random import Random

import pytest

from lagless.demo.browser import Response
from lagless.demo.reader import Reader
from lagless.demo.visitor import WEIGHTS, Visitor

HOME = '<body data-user="ann">'
NOBODY = '<body data-user="">'


class Script:
    """A browser whose site answers as told: (status, where to or what)."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def get(self, path: str) -> Response:
        """The next answer."""
        return self._next("GET", path)

    def post(self, path: str, **_form: str) -> Response:
        """The next answer."""
        return self._next("POST", path)

    def close(self) -> None:
        """Nothing is open."""

    def _next(self, method: str, path: str) -> Response:
        self.asked.append(f"{method} {path}")
        status, text = self.answers.pop(0)
        headers = Message()
        if status == 302:
            headers["Location"] = text
        return Response(1.0, 1.01, status, headers, text, error="" if status else text)


def reader(*answers: tuple[int, str]) -> Reader:
    """A reader called ann, logged in."""
    one = Reader(0, "ann", Script(*answers))  # type: ignore[arg-type]
    one.memory.logged_in()
    return one


def test_a_redirect_is_followed_and_each_request_written_down() -> None:
    """A page is what the last one shows."""
    one = reader((302, "/t/2/#m7"), (200, HOME))
    assert one.get("/m/7/") is not None
    assert [visit.path for visit in one.visits] == ["/m/7/", "/t/2/#m7"]
    assert not any(visit.complaints for visit in one.visits)


def test_redirects_without_end_are_an_error() -> None:
    """As a browser says."""
    one = reader(*[(302, "/")] * 5)
    assert one.get("/") is None
    assert one.visits[-1].error == "redirects without end"


@pytest.mark.parametrize("answer", [(500, ""), (403, ""), (400, ""), (0, "refused")])
def test_what_nobody_expects_is_an_error(answer: tuple[int, str]) -> None:
    """Server errors, refusals and silence."""
    one = reader(answer)
    assert one.get("/t/9/") is None
    assert one.visits[0].error


def test_404_for_an_own_thread_is_stale_and_for_an_unknown_one_an_error() -> None:
    """The client knows what exists."""
    one = reader((404, ""), (404, ""))
    one.memory.started("3", "21")
    one.get("/t/3/#m21")
    one.get("/t/99/")
    assert one.visits[0].stale
    assert not one.visits[0].error
    assert one.visits[1].error == "status 404"


def test_a_lost_login_is_stale_once() -> None:
    """The site has deleted the session's cookie, so the next page rightly knows nobody."""
    one = reader((200, NOBODY), (200, NOBODY))
    one.get("/")
    one.get("/")
    assert [bool(visit.stale) for visit in one.visits] == [True, False]


def test_a_write_that_leads_to_the_login_was_not_made() -> None:
    """And the login page shows that the session was not found."""
    one = reader((302, "/login/?next=/new/"), (200, NOBODY))
    assert one.post("/new/", text="x") is None
    assert one.visits[1].stale


def test_a_form_that_comes_back_is_stale() -> None:
    """The account that signed up must be able to log in."""
    one = reader((200, NOBODY))
    assert one.post("/login/", username="ann") is None
    assert one.visits[0].stale


def test_the_same_seed_does_the_same() -> None:
    """Given the same pages."""
    page = HOME + '<li data-thread="2" data-size="1"><li data-thread="1" data-size="1">'

    def deeds(seed: int) -> list[str]:
        script = Script(*[(200, page)] * 40)
        one = Visitor(0, "ann", Random(seed), script)  # type: ignore[arg-type]
        one._memory.logged_in()
        for _ in range(20):
            one.act()
        return script.asked

    assert deeds(1) == deeds(1)
    assert deeds(1) != deeds(2)


def test_weights_are_in_a_hundred() -> None:
    """As their documentation says."""
    assert sum(WEIGHTS.values()) == 100
