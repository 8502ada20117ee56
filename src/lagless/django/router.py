"""The router: where Django asks for a database, answered from the last picture in well under a microsecond."""

from __future__ import annotations

from typing import Any

from django.db.utils import DEFAULT_DB_ALIAS

from lagless.cluster import Cluster
from lagless.context import Frame, current
from lagless.core.selection import Reason
from lagless.core.session import Footprint
from lagless.django import registry as registries
from lagless.django.errors import ReadOnlyViolation, as_django
from lagless.django.registry import Registry
from lagless.django.tracking import anywhere, open_blocks
from lagless.errors import LaglessError


class Router:
    """One router for all clusters of LAGLESS. Delegate routers are asked first; unmanaged aliases pass untouched."""

    _sole: Cluster
    """The cluster of the hot path; there is one where `_name` is not empty."""

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._name = ""

    # -- reads

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """Return the alias for a read: the replica this unit of work is bound to, if it still may be."""
        if hints or (anywhere and open_blocks.wrappers):
            return self._read(model, hints)
        held: Any = current()
        try:  # flat and without questions, because it runs before each query: what is missing means the long way
            picture, scope, alias = held.session.footprints[self._name].cached
        except (AttributeError, KeyError, TypeError):
            return self._read(model, hints)
        return alias if picture is self._sole.topology and scope is held.scope else self._read(model, hints)

    def _read(self, model: Any, hints: dict[str, Any]) -> str | None:
        cluster, alias = self._home("db_for_read", model, hints)
        if cluster is None:
            return alias
        held = current()
        if known := _known(held, cluster):
            return known
        primary = cluster.config.primary.name
        if cluster.veto is not None and cluster.veto(held):
            return primary
        if held is None or held.session is None or open_blocks.wrappers:
            return _choose(cluster, primary, held)[0]
        # What is kept was decided on this picture, with what the unit had done by now, or is not kept.
        footprint, picture = held.session.of(cluster.name), cluster.topology
        version = footprint.version
        alias, lasts = _choose(cluster, primary, held)
        if lasts:
            footprint.remember(picture, held.scope, alias, version)
        return alias

    # -- writes

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """Return the primary's alias. Raises ReadOnlyViolation inside `replica()`, PrimaryUnavailable."""
        cluster, alias = self._home("db_for_write", model, hints)
        if cluster is None:
            return alias
        held = current()
        refuse_in_replica_scope(cluster, held)
        try:
            cluster.writable(held.session.of(cluster.name) if held and held.session else None)
        except LaglessError as error:
            raise as_django(error) from None
        return cluster.config.primary.name

    # -- relations and migrations

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        """Allow relations inside a cluster: its aliases are one database."""
        for delegate in self._current().delegates:
            answer = _ask(delegate, "allow_relation", one, other, **hints)
            if answer is not None:
                return bool(answer)
        links = self._current().links
        here, there = links.get(one._state.db), links.get(other._state.db)  # noqa: SLF001 - Django's documented API
        return True if here and there and here.cluster is there.cluster else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Keep migrations off replicas; elsewhere delegates decide."""
        link = self._current().links.get(db)
        if link is not None and not link.is_primary:
            return False
        for delegate in self._current().delegates:
            answer = _ask(delegate, "allow_migrate", db, app_label, **hints)
            if answer is not None:
                return bool(answer)
        return None

    # -- which cluster

    def _home(self, verb: str, model: Any, hints: dict[str, Any]) -> tuple[Cluster | None, str | None]:
        """Return the cluster a model belongs to, or the unmanaged alias (None: no opinion)."""
        known = self._current()
        links = known.links
        for delegate in known.delegates:
            if alias := _ask(delegate, verb, model, **hints):
                return (links[alias].cluster, None) if alias in links else (None, alias)
        lives_in = getattr(getattr(hints.get("instance"), "_state", None), "db", None) if hints else None
        link = links.get(lives_in or DEFAULT_DB_ALIAS)
        return (link.cluster, None) if link else (None, None)

    def _current(self) -> Registry:
        """Return the registry in force; the hot path's shortcut follows it."""
        now = registries.registry()
        if now is not self._registry:
            self._registry = now
            self._name = ""
            if now.enabled and (sole := now.sole):
                self._sole, self._name = sole, sole.name
        return now


def refuse_in_replica_scope(cluster: Cluster, held: Frame | None) -> None:
    """Raise ReadOnlyViolation if a write is about to happen inside `replica()`."""
    scope = held.scope.within(cluster.name) if held and held.scope else None
    if scope is not None and scope.replica_only:
        raise ReadOnlyViolation("a write inside replica(); move it out of the block or open primary() around it")


def _known(held: Frame | None, cluster: Cluster) -> str | None:
    """Return this unit's earlier answer, if it still holds."""
    if held is None or held.session is None or open_blocks.wrappers:
        return None
    footprint = held.session.footprints.get(cluster.name)
    if footprint is None or (answer := footprint.cached) is None:
        return None
    return answer[2] if answer[0] is cluster.topology and answer[1] is held.scope else None


def _choose(cluster: Cluster, primary: str, held: Frame | None) -> tuple[str, bool]:
    """Return the alias for a read that nothing keeps on the primary, and whether it lasts as long as the picture."""
    try:
        decision = cluster.read(held)
    except LaglessError as error:
        raise as_django(error) from None
    node = decision.node
    stays = node == cluster.topology.primary or _snapshot_is_older(node, cluster, held)
    return primary if stays else node, decision.reason is not Reason.BOUNDED  # a bound in seconds passes by itself


def _snapshot_is_older(node: str, cluster: Cluster, held: Frame | None) -> bool:
    """Tell whether the replica's connection is in a transaction whose snapshot may lack what the session wrote."""
    block = open_blocks.wrappers.get(node)
    footprint: Footprint | None = held.session.footprints.get(cluster.name) if held and held.session else None
    if block is None or footprint is None or footprint.written is None:
        return False
    return block.block_position is None or not block.block_position.covers(footprint.written)


def _ask(delegate: Any, verb: str, *args: Any, **hints: Any) -> Any:
    method = getattr(delegate, verb, None)
    return method(*args, **hints) if method is not None else None
