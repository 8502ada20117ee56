"""Doubts, news and losses: what keeps a session from trusting an early answer, or the wrong server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from unit.builders import PRIMARY, footprint, history, lsn, of_primary, picture, steady
from unit.serving import a_cluster, unit, write

from lagless import Cluster, asgi, session
from lagless.carriers import Received, change
from lagless.core.gtid import MARIADB, MariaGtids
from lagless.core.position import History
from lagless.core.selection import Reason, Terms, decide
from lagless.core.session import Mark
from lagless.core.topology import Identity, Observation, Role
from lagless.edge import use_signer
from lagless.settling import settle_own
from lagless.token import Opened, Signer
from lagless.web import Edge

NOW = 1_800_000_000.0
SIGNER = Signer(["key"], clock=lambda: NOW)
DOUBT = Mark(cluster=PRIMARY, dirty=history())
MARIA = History(MARIADB, 0, 0)


def gtids(text: str) -> MariaGtids:
    """Return a position of MariaDB."""
    return MariaGtids.parse(MARIA, text)


def of_maria(node: str, text: str, sent: float, role: Role = Role.PRIMARY) -> Observation:
    """Return the answer of a MariaDB server."""
    at = gtids(text)
    end = at if role is Role.PRIMARY else None
    return Observation(node=node, sent=sent, role=role, position=at, horizon=end, identity=Identity(MARIADB, node))


def test_a_doubt_is_not_the_one_that_came() -> None:
    """It is about other writes: what resolves the first must not delete it."""
    received = Received({"lagless-1": Opened((DOUBT,), NOW)})
    assert not change(received, [DOUBT], SIGNER, NOW)
    told = change(received, [DOUBT], SIGNER, NOW, doubts=True)
    assert told.set is not None
    assert told.set[0] != "lagless-1"


@pytest.mark.parametrize(("wall", "stays"), [(NOW, True), (NOW + 5, False)])
def test_a_doubt_about_a_unit_that_goes_on_outlasts_an_answer(wall: float, stays: bool) -> None:
    """Its commit may come after the primary was asked."""
    held = footprint(dirty=history(), pinned_until=NOW + 3)
    held.settle(lsn(100), 0, 1.0, wall=wall)
    assert (held.dirty is not None) is stays


def test_a_write_of_a_server_that_the_primary_does_not_know_is_news() -> None:
    """Somebody was promoted: nobody is trusted until the servers were asked since."""
    topology = picture(of_maria(PRIMARY, "0-1-5", 1), of_maria(PRIMARY, "0-1-9", 10))
    held = footprint(began=20, written=gtids("0-2-10"))
    assert decide(topology, held, Terms(), 21, NOW).reason is Reason.NEWS
    asked = picture(of_maria(PRIMARY, "0-1-5", 1), of_maria(PRIMARY, "0-1-9", 25))
    assert decide(asked, held, Terms(), 26, NOW).reason is Reason.WENT_BACK
    more = footprint(began=20, written=gtids("0-1-12"))
    assert decide(topology, more, Terms(), 21, NOW).reason is Reason.NONE_COVERS


@pytest.mark.parametrize(("own", "enough"), [("0-1-10", True), ("7-1-1", False)])
def test_an_own_gtid_of_another_domain_stands_for_itself_alone(own: str, enough: bool) -> None:
    """Each domain has an order of its own, also one that was not heard of."""
    made = a_cluster()
    made.topology = picture(of_maria(PRIMARY, "0-1-5", 1), of_maria(PRIMARY, "0-1-9", 10))
    held = footprint()
    held.begin_write()
    held.end_write()
    assert settle_own(made, held, gtids(own), 0) is enough


def test_a_position_that_the_primary_lost_is_not_looked_for() -> None:
    """No replica will ever have it; probing for it would never end."""
    made = Cluster("lost", config=a_cluster().config, probes=lambda _: None)  # type: ignore[arg-type,return-value]
    assert made.monitor is not None
    made.topology = steady(100)
    made.monitor.want(lsn(500))
    assert made.monitor.wanted_since() is not None
    made.topology = picture(of_primary(100, 10), of_primary(400, 1e12))
    assert made.monitor.wanted_since() is None


def test_an_edge_within_an_edge() -> None:
    """A mounted application knows what the outer one wrote, and tells it what it wrote itself."""
    seen: dict[str, Any] = {}
    made = a_cluster()

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen["inner"] = made.explain().reason
        write()

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        write()
        await asgi.Middleware(inner, clusters=[made], keys="key")(scope, receive, send)
        seen["outer"] = unit().dirty

    scope = {"type": "http", "method": "POST", "headers": []}
    asyncio.run(asgi.Middleware(outer, clusters=[made], keys="key")(scope, None, None))  # type: ignore[arg-type]
    use_signer(None)
    assert seen["inner"] is Reason.DIRTY
    assert seen["outer"] is not None


def test_a_session_within_a_request_knows_what_that_wrote() -> None:
    """An eager job, for one."""
    made = a_cluster()
    with session():
        write()
        with session():
            assert made.explain().reason is Reason.DIRTY


@pytest.mark.parametrize("header", ["", "nonsense", "1~0~x~forged"])
def test_a_header_that_opens_to_nothing_hides_no_cookies(header: str) -> None:
    """Both are read."""
    edge: Edge[None] = Edge(clusters={PRIMARY: a_cluster()}, signer=SIGNER, stranger=lambda _: "")
    token = SIGNER.seal([Mark(cluster=PRIMARY, written=lsn(7))])
    received = edge.receive(header, {"lagless-1": token})
    assert [mark.written for mark in received.marks] == [lsn(7)]
    assert not received.by_header
    assert edge.receive(token, {}).by_header


def test_a_flood_of_tokens_costs_little() -> None:
    """Each costs a signature."""
    edge: Edge[None] = Edge(clusters={PRIMARY: a_cluster()}, signer=SIGNER, stranger=lambda _: "")
    edge.receive(",".join(f"junk{number}" for number in range(7000)), {})
    assert edge.clusters[PRIMARY].counts.events.total() == 32
