"""Who is measured: plain SQLAlchemy, the recipe of its documentation, and lagless."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Delete, Update
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from bench.contestants import SITE_COOKIE, Decision, Situation
from bench.files import REPLICAS
from bench.sqlalchemy.servers import LEADER, Urls, async_engines, engines

Wrap = Callable[[Any], Any]
"""Puts a contestant's middleware around an application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """A contestant's session factories in one colour, its middleware, and the cookie of a user who has written.

    `writes` makes the sessions that write, so that the picture of the servers that the others see stays as it is.
    """

    reads: Any
    writes: Any
    wrap: Wrap = lambda application: application
    cookie: str = SITE_COOKIE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A contestant, set up in its process. `unit` makes a unit of work, if it knows of any."""

    sync: Colour
    asynchronous: Colour
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    unit: Situation = nullcontext


def _plain(urls: Urls) -> Ready:
    make, make_async = sessionmaker(engines(urls)[LEADER]), async_sessionmaker(async_engines(urls)[LEADER])
    home = Decision(within=nullcontext, answers=(LEADER,))
    return Ready(
        sync=Colour(reads=make, writes=make),
        asynchronous=Colour(reads=make_async, writes=make_async),
        decisions={"first": home, "later": home},
    )


# -- the recipe


def _routing(leader: Any, followers: list[Any]) -> type[Session]:
    """Return the class of "Custom Vertical Partitioning", without its second database."""

    class RoutingSession(Session):
        def get_bind(self, mapper: Any = None, clause: Any = None) -> Any:
            if self._flushing or isinstance(clause, Update | Delete):
                return leader
            return random.choice(followers)

    return RoutingSession


def _recipe(urls: Urls) -> Ready:
    sync = engines(urls)
    asynchronous = {node: engine.sync_engine for node, engine in async_engines(urls).items()}
    routing, async_routing = (_routing(e[LEADER], [e[name] for name in REPLICAS]) for e in (sync, asynchronous))
    make, make_async = sessionmaker(class_=routing), async_sessionmaker(sync_session_class=async_routing)
    anywhere = Decision(within=nullcontext, answers=REPLICAS)
    return Ready(
        sync=Colour(reads=make, writes=make),
        asynchronous=Colour(reads=make_async, writes=make_async),
        decisions={"first": anywhere, "later": anywhere},
    )


# -- lagless

_IDLE = {"idle_interval": 3600.0}
"""Keeps the monitor's threads asleep while something is measured."""


def _lagless(urls: Urls) -> Ready:
    from bench.sqlalchemy.hearing import stay_behind
    from lagless import asgi, session, wsgi
    from lagless import sqlalchemy as routed

    stay_behind(urls)

    def colour(name: str, make: Any, own: Callable[[Urls], Any], middleware: Any) -> tuple[Colour, str]:
        return _coloured(urls, name, lambda name: make(**_nodes(own(urls)), name=name, **_IDLE), middleware)

    sync, token = colour("sync", routed.sessionmaker, engines, wsgi.Middleware)
    asynchronous, _ = colour("async", routed.async_sessionmaker, async_engines, asgi.Middleware)
    return Ready(sync=sync, asynchronous=asynchronous, decisions=_decisions("sync", token), unit=session)


def _nodes(made: Mapping[str, Any]) -> dict[str, Any]:
    return {"primary": made[LEADER], "replicas": {name: made[name] for name in REPLICAS}}


def _coloured(urls: Urls, name: str, make: Callable[[str], Any], middleware: Any) -> tuple[Colour, str]:
    from bench.sqlalchemy.hearing import hear
    from bench.units import cookie
    from lagless.edge import default_signer

    reads, writes = make(name), make(f"{name}-writes")
    token = hear(reads.cluster, urls)
    hear(writes.cluster, urls)

    def wrap(application: Any) -> Any:
        return middleware(application, clusters=[reads], signer=default_signer())

    return Colour(reads=reads, writes=writes, wrap=wrap, cookie=cookie(token)), token


def _decisions(cluster: str, token: str) -> dict[str, Decision]:
    from bench.units import unit, units, writing_unit
    from lagless.context import frame

    holding = REPLICAS[:1]
    return {
        "first": Decision(within=unit, answers=REPLICAS, units=units, bind=frame.set),
        "later": Decision(within=unit, answers=REPLICAS),
        "written": Decision(within=lambda: writing_unit(cluster), answers=(LEADER,)),
        "known_first": Decision(within=unit, answers=holding, units=lambda n: units(n, token), bind=frame.set),
        "known_later": Decision(within=lambda: unit(token), answers=holding),
    }


CONTESTANTS: Mapping[str, Callable[[Urls], Ready]] = {"plain": _plain, "recipe": _recipe, "lagless": _lagless}
