"""Where a read of the running unit of work goes, and what it means when that fails."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lagless.cluster import Cluster
from lagless.context import Frame, current
from lagless.core.selection import Reason
from lagless.core.session import Footprint
from lagless.errors import LaglessError
from lagless.events import Kind
from lagless.sqlalchemy.errors import as_sqlalchemy
from lagless.sqlalchemy.failures import Failure, judge
from lagless.sqlalchemy.following import Elsewhere
from lagless.sqlalchemy.stays import Stay


def known(cluster: Cluster, held: Frame | None) -> str | None:
    """Return this unit's earlier answer, if it still holds."""
    footprint = held.session.footprints.get(cluster.name) if held and held.session else None
    answer = footprint.cached if footprint is not None else None
    if held is None or answer is None or answer[0] is not cluster.topology or answer[1] is not held.scope:
        return None
    return answer[2]


def choose(cluster: Cluster, held: Frame | None) -> str:
    """Return the node for a read, and keep the answer as long as nothing changes."""
    if cluster.veto is not None and cluster.veto(held) is not None:
        return cluster.config.primary.name
    footprint = held.session.of(cluster.name) if held and held.session else None
    version, picture = footprint.version if footprint else 0, cluster.topology
    try:
        decision = cluster.read(held)
    except LaglessError as error:
        raise as_sqlalchemy(error) from None
    if footprint is not None and held is not None and decision.reason is not Reason.BOUNDED:
        footprint.remember(picture, held.scope, decision.node, version)
    return decision.node


def footprint_in(cluster: str) -> Footprint | None:
    """Return the running unit's footprint in a cluster."""
    held = current()
    return held.session.footprints.get(cluster) if held and held.session else None


def only_replicas(held: Frame | None, cluster: str) -> bool:
    """Tell whether the running code is inside `replica()`."""
    scope = held.scope.within(cluster) if held and held.scope else None
    return scope is not None and scope.replica_only


def kind_of(error: Exception, cluster: Cluster, node: str, stay: Stay | None) -> Failure:
    """Return what the failure of a read on a replica means; `stay` is None if it could not even connect."""
    if isinstance(error, Elsewhere):
        return Failure.REFUSED if error.why is Elsewhere.Why.WRITES else Failure.CONFLICT
    if stay is None:
        mine = isinstance(error, SQLAlchemyError) and not isinstance(error, DBAPIError)  # its pool is exhausted
        return Failure.OTHER if mine else Failure.LOST
    return judge(error, gone=stay.gone, answers=cluster.topology.nodes[node].alive)


def tell(cluster: Cluster, node: str, kind: Failure, error: BaseException) -> None:
    """Report what happened to a read on a replica."""
    if kind is Failure.LOST:
        cluster.failed(node, getattr(error, "orig", None) or error)
    cluster.emit(Kind.NEEDS_PRIMARY if kind is Failure.REFUSED else Kind.READ_MOVED, node)
