"""Routing as data: what was heard and what the session did, then the replicas that may serve, or why none may.

A scenario says only what matters to it; `PLAIN` is the rest. Positions are plain numbers, `"2:150"` means 150 on
timeline 2, `"mysql A:1-9"` a GTID set of a server whose UUID is all As, `"mariadb 0-1-9"` a GTID. A replica that takes
writes has a `claim`: its position as a primary. Times are seconds; the decision falls at `now`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lagless.core.consistency import Level
from lagless.core.gtid import MARIADB, MYSQL, GtidSet, MariaGtids
from lagless.core.observing import observe
from lagless.core.position import History, Lsn, Position
from lagless.core.selection import Choice, Terms, decide
from lagless.core.session import Footprint, Mark
from lagless.core.topology import Identity, Node, Observation, Role, Topology

HERE = Path(__file__).parent
SYSTEM = "7431111111111111111"
PLAIN: Mapping[str, Any] = {"replicas": ["r1", "r2"], "now": 20.0, "wall": 1000.0, "session": {}, "terms": {}}


def scenarios() -> list[Any]:
    """Return every scenario of every file."""
    found = []
    for path in sorted(HERE.glob("*.json")):
        cases = json.loads(path.read_text())["scenarios"]
        found += [pytest.param({**PLAIN, **case}, id=f"{path.stem}: {case['name']}") for case in cases]
    return found


@pytest.mark.parametrize("case", scenarios())
def test_scenario(case: dict[str, Any]) -> None:
    """The replicas that may serve, the reason, and why the others may not."""
    assert picked(case) == Choice(
        tuple(case["expect"].get("candidates", ())), case["expect"]["reason"], case["expect"].get("refused", {})
    )


def test_names_are_unique_and_reasons_are_covered() -> None:
    """A scenario is found by its name; each reason that decide() gives has one."""
    cases = [param.values[0] for param in scenarios()]
    assert len({case["name"] for case in cases}) == len(cases) >= 40
    given_by_decide = (
        "strong level, inside replica(), own write not settled, an earlier write is in doubt, this unit of work "
        "already read the primary, token of another history, the primary is behind the token, the primary is on an "
        "older timeline than the token, replica covers the session, same replica as before, any healthy replica, "
        "replica within max_lag, pinned after a write: positions unknown, the session's replica is gone and none is "
        "known to be as fresh, no replica covers the session, no replica within max_lag, no healthy replica, "
        "no replicas declared"
    )
    assert {case["expect"]["reason"] for case in cases} == set(given_by_decide.split(", "))


def picked(case: Mapping[str, Any]) -> Choice:
    """Decide as the scenario says."""
    topology = Topology.declared(Node("primary"), [Node(name) for name in case["replicas"]])
    for answer in case["heard"]:
        topology = observe(topology, observation(answer))
    terms = {**case["terms"]}
    if "level" in terms:
        terms["level"] = Level(terms["level"])
    return decide(topology, footprint(case["session"]), Terms(**terms), case["now"], case["wall"])


def position(text: object, system: str = SYSTEM) -> Position:
    """Read a position: `150`, `"2:150"` on timeline 2, or GTIDs after the name of their database."""
    match str(text).split(" "):
        case [name, gtids] if name == MYSQL:
            return GtidSet.parse(History(MYSQL), re.sub(r"\b[A-F]\b", lambda letter: uuid(letter[0]), gtids))
        case [name, gtids] if name == MARIADB:
            return MariaGtids.parse(History(MARIADB), gtids)
    timeline, _, value = str(text).rpartition(":")
    return Lsn(History(system, int(timeline or 1), 0), int(value))


def uuid(letter: str) -> str:
    """Return the UUID of a server that a scenario calls by one letter."""
    return "-".join(letter * count for count in (8, 4, 4, 4, 12))


def observation(answer: Mapping[str, Any]) -> Observation:
    """Read one answer: `primary` or `replica` names the node in that role, `down` one that does not answer."""
    sent = float(answer.get("sent", 10.0))
    if "down" in answer:
        return Observation(node=answer["down"], sent=sent, error=answer.get("error", "TimeoutError"))
    role = Role.PRIMARY if "primary" in answer else Role.REPLICA
    node, system = answer[role], answer.get("system", SYSTEM)
    at = position(answer["at"], system) if "at" in answer else None
    claim = {"primary": node, "at": answer["claim"], "sent": sent} if "claim" in answer else None
    end = position(answer["horizon"], system) if "horizon" in answer else at
    return Observation(
        node=node,
        sent=sent,
        role=role,
        position=at,
        unproven=answer.get("unproven", False),
        horizon=end if role is Role.PRIMARY else None,
        fork=answer.get("fork"),
        identity=Identity(at.history.system if at else system, answer.get("server", f"{node}/1")),
        read_only=answer.get("read_only"),
        claim=observation(claim) if claim else None,
    )


def footprint(session: Mapping[str, Any]) -> Footprint:
    """Read what a unit of work brought (`written`, `dirty`, `nodes`, `pinned_until`) and did since it `began`."""
    system = session.get("system", SYSTEM)
    mark = Mark(
        cluster="default",
        written=position(session["written"], system) if "written" in session else None,
        dirty=History(system, session["dirty"]) if "dirty" in session else None,
        nodes=frozenset(session.get("nodes", ())),
        pinned_until=session.get("pinned_until", 0.0),
    )
    unit = Footprint("default", float(session.get("began", 15.0)), mark)
    unit.read_primary = session.get("read_primary", False)
    unit.read_replica = session.get("read_replica", False)
    unit.node = session.get("chose")
    for _ in range(session.get("unsettled", 0)):
        unit.begin_write()
        unit.end_write()
    return unit
