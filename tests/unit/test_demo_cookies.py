from __future__ import annotations

from lagless.demo.cookies import Jar


def test_several_cookies_are_kept_and_sent_as_they_came() -> None:
    """Values are opaque."""
    jar = Jar()
    jar.update(["lagless-ab12cd=v1.x-y_z=; Path=/; HttpOnly", 'sessionid="q"; SameSite=Lax'], now=0)
    assert jar.header(now=1) == 'lagless-ab12cd=v1.x-y_z=; sessionid="q"'


def test_one_response_may_set_one_and_delete_another() -> None:
    """That is how a token is replaced."""
    jar = Jar()
    jar.update(["lagless-a=1"], now=0)
    jar.update(
        ["lagless-b=2; Max-Age=60", 'lagless-a=""; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/'], now=1
    )
    assert jar.header(now=2) == "lagless-b=2"


def test_an_expiry_in_1970_deletes() -> None:
    """Without Max-Age too."""
    jar = Jar()
    jar.update(["a=1"], now=0)
    jar.update(["a=; expires=Thu, 01 Jan 1970 00:00:00 GMT"], now=1)
    assert jar.header(now=2) == ""


def test_a_cookie_is_forgotten_in_time() -> None:
    """A pin of one second lasts one second."""
    jar = Jar()
    jar.update(["pin=y; expires=Fri, 20 Nov 2026 12:00:01 GMT; Max-Age=1"], now=10)
    assert jar.header(now=10.9) == "pin=y"
    assert jar.header(now=11) == ""
    assert jar.get("pin") == ""


def test_a_cookie_without_an_end_stays() -> None:
    """As long as the client."""
    jar = Jar()
    jar.update(["a=1"], now=0)
    assert jar.get("a") == "1"
    assert jar.header(now=10**9) == "a=1"
