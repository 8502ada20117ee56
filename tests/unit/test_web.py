"""What all web edges share: their options, and the edge that they make."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from unit.builders import PRIMARY, lsn
from unit.serving import a_cluster

from lagless import Cluster, ConfigurationError, Node, Policy
from lagless.context import Frame
from lagless.core.session import Mark
from lagless.edge import default_signer, process_key, use_signer
from lagless.middleware import Middleware
from lagless.token import Signer
from lagless.web import holds, may_have_body, stepwise

TOKEN = [Mark(cluster=PRIMARY, written=lsn(1))]


class Plain(Middleware[None, None]):
    """An edge of no protocol."""

    @staticmethod
    def stranger(request: None) -> str:
        """Return the same for all."""
        return ""


def plain(clusters: Any = None, **options: Any) -> Plain:
    """Return a middleware."""
    return Plain(None, clusters=clusters if clusters is not None else [a_cluster()], **options)


@pytest.fixture(autouse=True)
def _signers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin and end without a signer."""
    monkeypatch.delenv("LAGLESS_SECRET", raising=False)
    monkeypatch.delenv("LAGLESS_ENABLED", raising=False)
    use_signer(None)
    yield
    use_signer(None)


# -- clusters


def test_clusters_are_found_by_name() -> None:
    """Given as they are, or as what has one; the same one twice is one."""
    one, two = a_cluster("one"), a_cluster("two")
    factory = SimpleNamespace(cluster=two)
    assert plain([one, factory, two], keys="k").edge().clusters == {"one": one, "two": two}


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ([], "clusters: there is none; give at least one"),
        ([a_cluster(), a_cluster()], "clusters: two are named 'default'; give each a name"),
        (["default"], "clusters: 'default' is neither a Cluster nor has one"),
        ([SimpleNamespace(cluster="x")], "neither a Cluster nor has one as its `cluster`"),
        ("default", "clusters: 'default' must be a list"),
        (a_cluster(), "must be a list of clusters or session factories"),
        (SimpleNamespace(cluster=a_cluster()), "must be a list of clusters or session factories"),
    ],
)
def test_clusters_that_make_no_sense(clusters: Any, message: str) -> None:
    """Are told of at once."""
    with pytest.raises(ConfigurationError, match=message):
        plain(clusters, keys="k")


def test_a_factory_that_is_callable_is_no_factory_of_lists() -> None:
    """A session class forgotten outside a list is a mistake, and is not called."""

    class Factory:
        cluster = a_cluster()

    with pytest.raises(ConfigurationError, match="must be a list"):
        plain(Factory, keys="k")


def test_what_is_known_later_is_asked_for_at_the_first_request() -> None:
    """Once, for application factories; mistakes show there."""
    asked = []
    late = plain(lambda: asked.append(1) or [a_cluster()], keys=lambda: ["k"], cookie_path=lambda: "/shop")
    assert not asked
    edge = late.edge()
    assert late.edge() is edge
    assert asked == [1]
    assert edge.cookies.path == "/shop"
    assert edge.signer.open(Signer(["k"]).seal(TOKEN))
    with pytest.raises(ConfigurationError, match="there is none"):
        plain(list, keys="k").edge()


# -- signers


def test_the_first_key_signs_and_all_open() -> None:
    """So that keys can be changed under way."""
    signer = plain(keys=["new", b"old"]).edge().signer
    assert signer.open(Signer(["old"]).seal(TOKEN))
    assert Signer(["new"]).open(signer.seal(TOKEN))


def test_jobs_speak_the_edge_s_language() -> None:
    """`session()` opens what a request sealed."""
    edge = plain(keys="k").edge()
    assert default_signer() is edge.signer


def test_tokens_live_as_long_as_each_cluster_counts_on() -> None:
    """CORRECTNESS 11: a shorter life would let a replica be read that lags more."""
    clusters = [a_cluster("a", token_seconds=60), a_cluster("b", token_seconds=7200)]
    assert plain(clusters, keys="k").edge().signer.max_age == 7200
    mine = Signer(["k"], max_age=7200)
    assert plain(clusters, signer=mine).edge().signer is mine
    with pytest.raises(ConfigurationError, match="signer: its tokens live 3600 s, but cluster 'b' counts on 7200 s"):
        plain(clusters, signer=Signer(["k"]))


def test_the_environment_s_secret(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Is the default, without a warning."""
    monkeypatch.setenv("LAGLESS_SECRET", "s")
    assert plain().edge().signer.open(Signer(["s"]).seal(TOKEN))
    assert not caplog.records


def test_no_secret_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Several processes could not read each other's tokens; the edges of one process can."""
    with caplog.at_level(logging.WARNING, "lagless"):
        one = plain()
        one.edge()
    (record,) = caplog.records
    assert "LAGLESS_SECRET" in record.getMessage()
    assert plain().edge().signer.open(one.edge().signer.seal(TOKEN))
    assert Signer([process_key()]).open(one.edge().signer.seal(TOKEN))
    assert len(process_key()) == 32


@pytest.mark.parametrize("keys", ["", [], ["k", ""]])
def test_empty_keys_are_a_mistake(keys: Any) -> None:
    """And never a random key."""
    with pytest.raises(ConfigurationError, match="token keys"):
        plain(keys=keys)


# -- other options


@pytest.mark.parametrize("share", [-0.1, 1.1, "1", True])
def test_a_share_is_from_0_to_1(share: Any) -> None:
    """Anything else is a mistake."""
    with pytest.raises(ConfigurationError, match=r"share: .* must be a number"):
        plain(keys="k", share=share)


@pytest.mark.parametrize(
    "where", [{"cookie_path": "/a;b"}, {"cookie_domain": "a\r\nb"}, {"cookie_domain": "é"}, {"cookie_path": 3}]
)
def test_what_no_cookie_can_say(where: dict[str, Any]) -> None:
    """Is a mistake that names the option."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(where))}: .* must be printable ASCII"):
        plain(keys="k", **where)


@pytest.mark.parametrize(("word", "on"), [("0", False), ("No", False), (" off ", False), ("1", True), ("", True)])
def test_the_switch(monkeypatch: pytest.MonkeyPatch, word: str, on: bool) -> None:
    """The environment switches off; what is off asks for nothing, not even for clusters."""
    monkeypatch.setenv("LAGLESS_ENABLED", word)
    assert plain(keys="k").enabled is on
    assert plain(keys="k", enabled=True).enabled is on
    assert not plain([], enabled=False).enabled


def test_options_have_names() -> None:
    """An unknown one is refused."""
    with pytest.raises(TypeError, match="sahre"):
        plain(keys="k", sahre=1)


# -- what a session comes to


def test_a_key_that_is_no_text_becomes_one() -> None:
    """User ids are often numbers; None is a visitor."""
    edges = {key: plain(keys="k", key=lambda request, key=key: key).edge() for key in (7, "x", None)}
    sessions = {key: edge.begin(None, edge.receive(None, {})) for key, edge in edges.items()}
    assert {key: (s.key, s.keyed) for key, s in sessions.items()} == {
        7: ("7", True),
        "x": ("x", True),
        None: (None, False),
    }


def test_clusters_of_another_level_are_never_in_doubt() -> None:
    """Nothing is promised across requests there, whatever a body still writes."""
    loose = Cluster("loose", primary=Node("loose"), level="eventual")
    edge = plain([loose, a_cluster()], keys="k", key=lambda request: "anna").edge()
    received = edge.receive(None, {})
    told = edge.leave(edge.begin(None, received), received, method="POST", open_ended=True)
    assert told.set
    opened = edge.signer.open(told.set[1])
    assert opened
    assert [mark.cluster for mark in opened.marks] == [PRIMARY]
    edge.leave(edge.begin(None, received), received, method="GET", open_ended=True)
    assert not loose.counts.decisions


def test_only_the_cluster_that_reads_its_primary_is_in_doubt() -> None:
    """A user's stream is bound to a replica where there is one."""
    bare = Cluster("bare", primary=Node("bare"))
    edge = plain([bare, a_cluster()], keys="k", key=lambda request: "anna").edge()
    received = edge.receive(None, {})
    told = edge.leave(edge.begin(None, received), received, method="GET", open_ended=True)
    assert told.set
    opened = edge.signer.open(told.set[1])
    assert opened
    assert {mark.cluster: mark.dirty is not None for mark in opened.marks} == {"bare": True, PRIMARY: False}


def test_a_visitor_s_stream_is_in_no_doubt() -> None:
    """Not even where it will read the primary: nothing was promised."""
    edge = plain([Cluster("bare", primary=Node("bare"))], keys="k").edge()
    received = edge.receive(None, {})
    assert not edge.leave(edge.begin(None, received), received, method="GET", open_ended=True)


def test_a_cluster_that_nobody_can_read_is_in_doubt() -> None:
    """The body's own reads will raise; the headers need not."""
    strict = Cluster("strict", primary=Node("strict"), replicas=[Node("r")], policy=Policy(on_stale="error"))
    edge = plain([strict], keys="k", key=lambda request: "anna").edge()
    received = edge.receive(None, {})
    told = edge.leave(edge.begin(None, received), received, method="GET", open_ended=True)
    assert told.set


# -- small things


def test_which_responses_have_a_body() -> None:
    """By HTTP."""
    assert [may_have_body("GET", status) for status in (101, 200, 204, 302, 304, 500)] == [
        *(False, True, False, True, False, True),
    ]
    assert not may_have_body("HEAD", 200)


def test_headers_are_found_in_any_case() -> None:
    """As text and as bytes."""
    assert holds([("A", ""), ("Content-LENGTH", "0")], "content-length")
    assert not holds([(b"a", b"content-length")], b"content-length")


def test_what_a_step_raises_passes() -> None:
    """And ends the steps."""

    def chunks() -> Iterator[int]:
        yield 1
        raise KeyError

    steps = stepwise(chunks(), Frame(None))
    assert next(steps) == 1
    with pytest.raises(KeyError):
        next(steps)
    assert list(steps) == []
