"""Who is measured: each with its settings, its versions and the situations it knows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.files import PRIMARY, REPLICAS, path

Situation = Callable[[], AbstractContextManager[Any]]
SITE_COOKIE = "sessionid=bench"
"""What a logged-in user's browser sends whatever the router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One situation in which `db_for_read` is timed, and what it must answer there.

    With `units`, each call is the first of a unit of work of its own: `bind` makes one of them the running one.
    """

    within: Situation
    answers: tuple[str, ...]
    units: Callable[[int], list[Any]] | None = None
    bind: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A contestant, set up in its process.

    `gets` are the situations in which a row is read, by row of the table; `cookie` is what the browser of a user who
    has written sends along.
    """

    decisions: Mapping[str, Decision]
    gets: Mapping[str, Situation]
    cookie: Callable[[], str] = lambda: SITE_COOKIE


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A router with its middleware, as its documentation has it set up."""

    column: str
    distributions: tuple[str, ...] = ()
    router: str
    middleware: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    databases: Callable[[Path], dict[str, dict[str, Any]]]
    ready: Callable[[Path], Ready]


class RandomRouter:
    """The two-line router of many blog posts."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        """Draw."""
        return random.choice(REPLICAS)

    def db_for_write(self, model: Any, **hints: Any) -> str:
        """Write the primary."""
        return PRIMARY


# -- the databases


def _entry(folder: Path, alias: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path(folder, alias)),
        "CONN_MAX_AGE": None,  # a request that connects anew would measure that
    }


def plain_databases(folder: Path) -> dict[str, dict[str, Any]]:
    """Return DATABASES as Django wants it."""
    return {alias: _entry(folder, alias) for alias in (PRIMARY, *REPLICAS)}


def _lagless_databases(folder: Path) -> dict[str, dict[str, Any]]:
    from lagless.django import databases

    return databases(_entry(folder, PRIMARY), {alias: {"NAME": str(path(folder, alias))} for alias in REPLICAS})


# -- the situations


def _ready_random(_: Path) -> Ready:
    free = Decision(within=nullcontext, answers=REPLICAS)
    return Ready(decisions={"first": free, "later": free}, gets={"replica": nullcontext})


def _ready_multidb(_: Path) -> Ready:
    from multidb.middleware import pinning_cookie
    from multidb.pinning import pin_this_thread, unpin_this_thread, use_primary_db

    @contextmanager
    def unpinned() -> Iterator[None]:
        unpin_this_thread()  # as its middleware does for each request
        yield

    @contextmanager
    def pinned() -> Iterator[None]:
        pin_this_thread()
        yield
        unpin_this_thread()

    free = Decision(within=unpinned, answers=REPLICAS)
    held = Decision(within=pinned, answers=(PRIMARY,))
    return Ready(
        decisions={"first": free, "later": free, "written": held},
        gets={"replica": unpinned, "primary": lambda: use_primary_db},
        cookie=lambda: f"{SITE_COOKIE}; {pinning_cookie()}=y",
    )


def _ready_rw_router(_: Path) -> Ready:
    from django.db import transaction

    free = Decision(within=nullcontext, answers=REPLICAS)
    return Ready(
        decisions={
            "first": free,
            "later": free,
            "atomic": Decision(within=transaction.atomic, answers=(PRIMARY,)),
        },
        gets={"replica": nullcontext},
    )


def _ready_rw_router_hash(_: Path) -> Ready:
    from django_rw_router.context import RequestContext

    @contextmanager
    def known_user() -> Iterator[None]:
        RequestContext.set_context(user_id=4711)
        yield
        RequestContext.reset()

    hashed = Decision(within=known_user, answers=REPLICAS)
    return Ready(decisions={"hash_first": hashed, "hash_later": hashed}, gets={})


def _ready_lagless(folder: Path) -> Ready:
    from bench.units import atomic_unit, cookie, hear, unit, units, writing_unit
    from lagless.context import frame

    token = hear(folder)
    covering = REPLICAS[:1]

    def first(answers: tuple[str, ...], within: Situation, *args: Any) -> Decision:
        return Decision(within=within, answers=answers, units=lambda n: units(n, *args), bind=frame.set)

    return Ready(
        decisions={
            "first": first(REPLICAS, unit),
            "later": Decision(within=unit, answers=REPLICAS),
            "written": Decision(within=writing_unit, answers=(PRIMARY,)),
            "known_first": first(covering, unit, token),
            "known_later": Decision(within=lambda: unit(token), answers=covering),
            "atomic": Decision(within=atomic_unit, answers=(PRIMARY,)),
        },
        gets={"replica": unit, "primary": writing_unit},
        cookie=lambda: cookie(token),
    )


def _ready_lagless_hash(folder: Path) -> Ready:
    from bench.units import hear, unit, units
    from lagless.context import frame

    hear(folder)
    first = Decision(within=unit, answers=REPLICAS, units=units, bind=frame.set)
    return Ready(
        decisions={"hash_first": first, "hash_later": Decision(within=unit, answers=REPLICAS)},
        gets={},
    )


# -- the list

_RW_ROUTER: dict[str, Any] = {
    "column": "rw-router",
    "distributions": ("django-rw-router",),
    "middleware": "django_rw_router.middleware.RequestContextMiddleware",
    "settings": {"DJANGO_RW_ROUTER_READ_DBS": list(REPLICAS), "DJANGO_RW_ROUTER_WRITE_DB": PRIMARY},
    "databases": plain_databases,
}


def _lagless(balancer: str) -> dict[str, Any]:
    return {
        "column": "lagless",
        "distributions": ("lagless",),
        "router": "lagless.django.Router",
        "middleware": "lagless.django.Middleware",
        "settings": {
            "INSTALLED_APPS": ["lagless.django"],
            # The idle interval keeps the monitor's threads asleep while something is measured.
            "LAGLESS": {PRIMARY: {"replicas": list(REPLICAS), "balancer": balancer, "idle_interval": 3600.0}},
        },
        "databases": _lagless_databases,
    }


CONTESTANTS = {
    "random": Contestant(
        column="random",
        router="bench.contestants.RandomRouter",
        databases=plain_databases,
        ready=_ready_random,
    ),
    "multidb": Contestant(
        column="multidb",
        distributions=("django-multidb-router",),
        router="multidb.PinningReplicaRouter",
        middleware="multidb.middleware.PinningRouterMiddleware",
        settings={"REPLICA_DATABASES": list(REPLICAS)},
        databases=plain_databases,
        ready=_ready_multidb,
    ),
    "rw-router": Contestant(
        **_RW_ROUTER,
        router="django_rw_router.routers.TransactionPrimaryReplicaRouter",
        ready=_ready_rw_router,
    ),
    "rw-router-hash": Contestant(
        **_RW_ROUTER,
        router="django_rw_router.routers.HashPrimaryReplicaRouter",
        ready=_ready_rw_router_hash,
    ),
    "lagless": Contestant(**_lagless("random"), ready=_ready_lagless),
    "lagless-hash": Contestant(**_lagless("consistent_hash"), ready=_ready_lagless_hash),
}
