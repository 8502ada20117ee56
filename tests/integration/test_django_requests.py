"""What people do in browsers: post, be redirected, read, with lag made by pausing replay."""

from __future__ import annotations

import pytest

from routing import REPLICAS, the_cluster, until

pytestmark = pytest.mark.usefixtures("pg")


@pytest.fixture
def browser():
    """A browser without cookies."""
    from django.test import Client

    return Client()


def tokens(browser):
    """Return the names of the tokens that a browser holds."""
    return [name for name, morsel in browser.cookies.items() if name.startswith("lagless-") and morsel.value]


def follow(browser, text="hello"):
    """Post a note; return the path to it."""
    response = browser.post("/post", {"text": text})
    assert response.status_code == 302
    return response.headers["Location"]


def test_post_redirect_get(pg, browser):
    """Both paused: the primary; one resumed: that one only; both: either, and the cookie is gone."""
    pg.pause_replay()
    path = follow(browser)
    assert len(tokens(browser)) == 1
    for _ in range(3):
        assert browser.get(path).json() == {"alias": "default", "text": "hello"}
    pg.resume_replay("replica2")
    until(lambda: browser.get(path).json()["alias"] == "replica2")
    assert {browser.get(path).json()["alias"] for _ in range(10)} == {"replica2"}
    pg.resume_replay("replica1")
    until(lambda: not (browser.get(path), tokens(browser))[1])
    assert {browser.get(path).json()["alias"] for _ in range(40)} == set(REPLICAS)
    assert not tokens(browser)


def test_visitors_get_no_cookie(browser):
    """A visitor who wrote nothing reads replicas and gets no cookie: the page stays cacheable."""
    response = browser.get("/read")
    assert response.json()["alias"] in REPLICAS
    assert not response.cookies


def test_readers_cookie_does_not_change(pg, browser):
    """Once a reader has a token, reading sets no cookie."""
    pg.pause_replay("replica1")
    path = follow(browser)
    until(lambda: browser.get(path).json()["alias"] == "replica2")
    assert [dict(browser.get(path).cookies) for _ in range(5)] == [{}] * 5


def test_request_without_database_changes_nothing(pg, browser):
    """A page that touches no database leaves the token as it is."""
    pg.pause_replay()
    follow(browser)
    before = tokens(browser)
    assert not browser.get("/plain").cookies
    assert tokens(browser) == before


def test_write_in_a_get(pg, browser):
    """A GET that writes reads its own write and carries a token."""
    pg.pause_replay()
    answer = browser.get("/write-in-get").json()
    assert answer["before"] in REPLICAS
    assert answer["after"] == "default"
    assert answer["count"] == 1
    assert browser.get("/read").json() == {"alias": "default", "count": 1}


def test_write_then_500_keeps_the_token(pg, browser):
    """A view that commits and then fails still hands out the token."""
    pg.pause_replay()
    browser.raise_request_exception = False
    assert browser.post("/fails", {"text": "x"}).status_code == 500
    assert browser.get("/read").json() == {"alias": "default", "count": 1}


def test_framework_session(pg, browser):
    """Login, then the next page: the session row is read where it exists."""
    pg.pause_replay()
    browser.post("/login", {"name": "anna"})
    assert browser.get("/whoami").json() == {"name": "anna", "alias": "default"}
    pg.resume_replay()
    until(lambda: browser.get("/whoami").json()["alias"] in REPLICAS)
    assert browser.get("/whoami").json()["name"] == "anna"


def test_leaving_the_affinity_node(pg, browser):
    """A session whose replica dies moves only where all that it saw is known to be, else to the primary."""
    browser.post("/login", {"name": "anna"})
    until(lambda: browser.get("/whoami").json()["alias"] in REPLICAS)
    held = browser.get("/whoami").json()["alias"]
    other = next(r for r in REPLICAS if r != held)
    pg.pause_replay(other)
    pg.primary.execute("insert into project_note (text) values ('seen')")
    pg.wait_replayed(held)
    until(lambda: browser.get("/read").json()["count"] == 1)
    pg.kill(held)
    until(lambda: not the_cluster().topology.nodes[held].alive)
    for _ in range(5):
        assert browser.get("/read").json() == {"alias": "default", "count": 1}
    pg.resume_replay(other)
    until(lambda: browser.get("/read").json() == {"alias": other, "count": 1})


def test_header_carrier(pg, browser):
    """A client without cookies asks with an empty header and carries the answer back."""
    pg.pause_replay()
    response = browser.post("/post", {"text": "api"}, headers={"Lagless-Token": ""})
    assert not response.cookies
    token = response.headers["Lagless-Token"]
    assert len(token) <= 120
    answer = browser.get("/read", headers={"Lagless-Token": token})
    assert answer.json() == {"alias": "default", "count": 1}
    assert browser.get("/read").json()["alias"] in REPLICAS


def test_streaming(pg, browser):
    """A streamed body is read in the session of its request."""
    assert b"".join(browser.get("/stream").streaming_content) in (b"replica1 0", b"replica2 0")
    pg.pause_replay()
    follow(browser)
    assert b"".join(browser.get("/stream").streaming_content) == b"default 1"


def test_streamed_write_of_an_unsafe_method(pg, browser):
    """A body that writes after the headers left is covered by a token that says: in doubt."""
    pg.pause_replay()
    browser.get("/read")
    response = browser.post("/stream-write")
    assert b"".join(response.streaming_content) == b"done"
    assert browser.get("/read").json() == {"alias": "default", "count": 1}


BAD = {
    "forged": lambda token: token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB"),
    "truncated": lambda token: token[: len(token) // 2],
    "oversized": lambda token: token * 100,
    "empty": lambda token: "",
    "not text": lambda token: "\x7f\xff~~!!",
}


@pytest.mark.parametrize("damage", BAD)
def test_bad_cookies(pg, browser, damage):
    """A damaged cookie is counted and ignored: no error, no pin."""
    token = browser.post("/post", {"text": "x"}, headers={"Lagless-Token": ""}).headers["Lagless-Token"]
    pg.wait_replayed()
    until(lambda: browser.get("/read").json()["alias"] in REPLICAS)
    browser.cookies["lagless-abcdef"] = BAD[damage](token)
    response = browser.get("/read")
    assert response.status_code == 200
    assert response.json()["alias"] in REPLICAS
    assert the_cluster().counts.events["token refused"] >= 1


def test_foreign_token(pg, browser):
    """A well-signed token of another system is neither absent nor a pin: the primary once, then replaced."""
    from lagless import History, Lsn
    from lagless.core.session import Mark
    from lagless.django.registry import registry

    for history in (History("1234567890", 1), History(str(the_cluster().topology.history.system), 1, 7)):
        foreign = Mark(cluster="default", written=Lsn(history, 1 << 40))
        browser.cookies["lagless-abcdef"] = registry().signer.seal([foreign])
        assert browser.get("/read").json()["alias"] == "default"
        assert browser.cookies["lagless-abcdef"].value == ""
        until(lambda: browser.get("/read").json()["alias"] in REPLICAS)


def test_expired_token(pg, browser):
    """An expired token is absent, and no replica that lags as long as a token lives is read."""
    from lagless.core.session import Mark
    from lagless.token import Signer

    old = Signer(["integration"], clock=lambda: 1_000_000.0)
    browser.cookies["lagless-abcdef"] = old.seal([Mark(cluster="default", nodes=frozenset({"replica1"}))])
    assert browser.get("/read").json()["alias"] in REPLICAS


def test_crossing_cookies(pg, browser):
    """Two posts whose responses cross lose neither write: the browser holds both tokens and readers merge them."""
    from django.test import Client

    other = Client()
    pg.pause_replay()
    first = browser.post("/post", {"text": "one"})
    second = other.post("/post", {"text": "two"})
    browser.cookies.update(second.cookies)
    browser.cookies.update(first.cookies)
    assert len(tokens(browser)) == 2
    assert browser.get("/read").json() == {"alias": "default", "count": 2}
