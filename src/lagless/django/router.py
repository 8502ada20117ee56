"""The router: where Django asks for a database, answered from the last picture in well under a microsecond."""

from __future__ import annotations

from typing import Any

from django.db.utils import DEFAULT_DB_ALIAS

from lagless.cluster import Cluster
from lagless.context import Frame, current
from lagless.core.selection import Decision, Reason
from lagless.core.session import Footprint
from lagless.django import registry as registries
from lagless.django.errors import ReadOnlyViolation, as_django
from lagless.django.registry import Link, Registry
from lagless.django.testing import listed
from lagless.django.tracking import open_blocks
from lagless.errors import LaglessError


class Router:
    """One router for all clusters of LAGLESS. Delegate routers are asked first; unmanaged aliases pass untouched."""

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._sole: Cluster | None = None
        self._name = ""

    # -- reads

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """Return the alias for a read: the replica this unit of work is bound to, if it still may be."""
        if self._sole is not None and not hints and (known := _known(self._sole, self._name)):
            return known
        return self._read(model, hints)

    def _read(self, model: Any, hints: dict[str, Any]) -> str | None:
        cluster, alias = self._home("db_for_read", model, hints)
        if cluster is None:
            return alias
        if known := _known(cluster, cluster.name):
            return known
        link = Link(cluster, cluster.config.primary.name, is_primary=True)
        held = current()
        decision = self.decide(link, held)
        alias = link.alias if decision.node == cluster.topology.primary else decision.node
        if held is not None and held.session is not None and not open_blocks.wrappers:
            _remember(held, cluster, alias)
        return alias

    def decide(self, link: Link, held: Frame | None) -> Decision:
        """Return where a read goes and why."""
        cluster = link.cluster
        if stays := self._stays(link, held):
            return Decision(cluster.topology.primary or link.alias, stays)
        try:
            decision = cluster.read(held)
        except LaglessError as error:
            raise as_django(error) from None
        if _snapshot_is_older(decision.node, cluster, held):
            return Decision(cluster.topology.primary or link.alias, Reason.OPEN_SNAPSHOT)
        return decision

    def _stays(self, link: Link, held: Frame | None) -> Reason | None:
        """Return why a read stays on the primary whatever the replicas hold."""
        current_registry = self._current()
        if not current_registry.enabled:
            return Reason.DISABLED
        replicas = link.cluster.config.replicas
        if replicas and not current_registry.route_in_tests and not listed([n.name for n in replicas]):
            return Reason.TEST
        block = open_blocks.wrappers.get(link.alias)
        if block is None:
            return None
        outermost = block.atomic_blocks[0] if block.atomic_blocks else None
        if getattr(outermost, "_from_testcase", False):
            return Reason.IN_TRANSACTION
        scope = held.scope.within(link.cluster.name) if held and held.scope else None
        if scope is not None and scope.replica_only:
            return None
        return None if _only_the_requests_block(block, link.cluster, held) else Reason.IN_TRANSACTION

    # -- writes

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        """Return the primary's alias. Raises ReadOnlyViolation inside `replica()`, PrimaryUnavailable."""
        cluster, alias = self._home("db_for_write", model, hints)
        if cluster is None:
            return alias
        held = current()
        refuse_in_replica_scope(cluster, held)
        footprint = held.session.footprints.get(cluster.name) if held and held.session else None
        try:
            cluster.writable(footprint)
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
        here, there = links.get(one._state.db), links.get(other._state.db)
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
        links = self._current().links
        for delegate in self._current().delegates:
            if alias := _ask(delegate, verb, model, **hints):
                return (links[alias].cluster, None) if alias in links else (None, alias)
        state = getattr(hints.get("instance"), "_state", None)
        lives_in = getattr(state, "db", None)
        if lives_in is not None:
            return (links[lives_in].cluster, None) if lives_in in links else (None, None)
        default = links.get(DEFAULT_DB_ALIAS)
        return (default.cluster, None) if default else (None, None)

    def _current(self) -> Registry:
        """Return the registry in force; the hot path's shortcut follows it."""
        now = registries.registry()
        if now is not self._registry:
            self._registry = now
            self._sole = now.sole if now.enabled else None
            self._name = self._sole.name if self._sole else ""
        return now


def refuse_in_replica_scope(cluster: Cluster, held: Frame | None) -> None:
    """Raise ReadOnlyViolation if a write is about to happen inside `replica()`."""
    scope = held.scope.within(cluster.name) if held and held.scope else None
    if scope is not None and scope.replica_only:
        raise ReadOnlyViolation("a write inside replica(); move it out of the block or open primary() around it")


def _known(cluster: Cluster, name: str) -> str | None:
    """Return this unit's earlier answer, if it still holds: the hot path, so flat."""
    held = current()
    if held is None or held.session is None or open_blocks.wrappers:
        return None
    footprint = held.session.footprints.get(name)
    if footprint is None or (answer := footprint.cached) is None:
        return None
    return answer[2] if answer[0] is cluster.topology and answer[1] is held.scope else None


def _remember(held: Frame, cluster: Cluster, alias: str) -> None:
    """Keep the answer for this unit's next read: it holds while picture, scope and footprint stay the same."""
    session = held.session
    if session is not None:
        session.of(cluster.name).cached = (cluster.topology, held.scope, alias)


def _only_the_requests_block(block: Any, cluster: Cluster, held: Frame | None) -> bool:
    """Tell whether the only open block is the one ATOMIC_REQUESTS put around a safe request that wrote nothing."""
    footprint = held.session.footprints.get(cluster.name) if held and held.session else None
    return footprint is not None and footprint.safe_request and len(block.atomic_blocks) == 1


def _snapshot_is_older(node: str, cluster: Cluster, held: Frame | None) -> bool:
    """Tell whether the replica's connection is in a transaction that began before this unit's last write settled."""
    block = open_blocks.wrappers.get(node)
    footprint: Footprint | None = held.session.footprints.get(cluster.name) if held and held.session else None
    return block is not None and footprint is not None and block.block_began < footprint.written_at


def _ask(delegate: Any, verb: str, *args: Any, **hints: Any) -> Any:
    method = getattr(delegate, verb, None)
    return method(*args, **hints) if method is not None else None
