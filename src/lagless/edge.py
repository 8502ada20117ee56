"""Where a unit of work begins and ends: tokens become a Session, and the Session becomes the next token."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType, TracebackType

from lagless.cluster import Cluster, cluster_named, living_clusters
from lagless.context import Frame, current, frame
from lagless.core.position import History
from lagless.core.session import Mark, Session, trimmed
from lagless.errors import ConfigurationError
from lagless.events import Kind
from lagless.token import Opened, Signer, merge

SECRET = "LAGLESS_SECRET"  # noqa: S105 - the variable's name
SWITCH = "LAGLESS_ENABLED"
OPEN_SECONDS = 1.0
"""How long a unit of work may go on after its token was sent, until a primary that is asked need not know all of it."""
_OFF = frozenset({"0", "false", "no", "off"})
_default: Signer | None = None


def switched_off() -> bool:
    """Tell whether the environment's LAGLESS_ENABLED says no."""
    return os.environ.get(SWITCH, "").strip().lower() in _OFF


def shared_secret() -> str | None:
    """Return the environment's LAGLESS_SECRET, by which several processes understand each other; None without one."""
    return os.environ.get(SECRET) or None


@functools.cache
def process_key() -> bytes:
    """Return a random key; tokens that it signs hold within this process alone."""
    return secrets.token_bytes(32)


def default_signer() -> Signer:
    """Return the signer of `session()`: an edge's or adapter's, else over the environment's LAGLESS_SECRET.

    Without either, the key is random: tokens then hold within this process alone.
    """
    global _default  # noqa: PLW0603 - one for the process, made at first use
    if _default is None:
        _default = Signer([shared_secret() or process_key()])
    return _default


def use_signer(signer: Signer | None) -> None:
    """Make `signer` the one that `session()` uses; None goes back to the environment's."""
    global _default  # noqa: PLW0603
    _default = signer


def open_token(token: str, signer: Signer, clusters: Iterable[Cluster] = ()) -> Opened | None:
    """Open a token; one that does not open is counted by the clusters and otherwise ignored."""
    opened = signer.open(token)
    if opened is None:
        for cluster in clusters:
            cluster.emit(Kind.TOKEN_REFUSED)
    return opened


def begin(
    opened: Collection[Opened],
    signer: Signer,
    *,
    key: str | None = None,
    keyed: bool = False,
    routed: bool = True,
    clusters: Mapping[str, Cluster] = MappingProxyType({}),
) -> Session:
    """Return the Session of a unit of work that begins now."""
    return Session(
        merge(opened) if opened else (),
        began=time.monotonic(),
        key=key,
        keyed=keyed,
        routed=routed,
        clusters=clusters,
        seal=lambda session: signer.seal(outcome(session)),
    )


def cluster_of(session: Session, name: str) -> Cluster | None:
    """Return the cluster in which a session left a footprint: its edge's own, else the living one of that name."""
    served: Cluster | None = session.clusters.get(name)
    return served or cluster_named(name)


def needs_settling(session: Session) -> list[Cluster]:
    """Return the clusters whose primary must be asked before this unit of work ends: none if it only read replicas.

    Nor one where changes are still to be sent: its token will be a doubt whatever the primary says now.
    """
    found = []
    for name, footprint in tuple(session.footprints.items()):  # a thread of the unit may still add one
        cluster = cluster_of(session, name)
        if cluster is None or not cluster.tracks:
            continue
        open_questions = footprint.unsettled or footprint.dirty
        if (open_questions or (footprint.read_primary and session.tracked(footprint))) and not cluster.unsent(
            footprint
        ):
            found.append(cluster)
    return found


def settle(session: Session) -> None:
    """Learn the positions of a unit's writes; what cannot be learned stays in doubt and its token says so."""
    for cluster in needs_settling(session):
        cluster.settle(session.of(cluster.name))


async def settle_off_loop(session: Session) -> None:
    """Do as settle() does, without blocking the event loop; several clusters are asked at once."""
    behind = needs_settling(session)
    asking = [cluster.off_loop(cluster.settle, session.of(cluster.name)) for cluster in behind]
    if len(asking) == 1:
        await asking[0]  # in this task: what gather() makes one of costs more than most requests
    elif asking:
        await asyncio.gather(*asking)


def outcome(session: Session) -> tuple[Mark, ...]:
    """Return what the next unit of work must know, without what every node holds already."""
    marks = dict(session.marks)
    for name, footprint in tuple(session.footprints.items()):
        cluster = cluster_of(session, name)
        if cluster is None or not cluster.tracks:
            continue
        if not session.tracked(footprint):  # it came with nothing, wrote nothing, and was promised nothing
            marks.pop(name, None)
            continue
        mark = footprint.mark(cluster.topology.history, tracked=True)
        marks[name] = trimmed(mark, cluster.topology, footprint, keyed=session.keyed, wall=time.time())
    return tuple(mark for mark in marks.values() if not mark.empty)


def in_doubt(session: Session, clusters: Iterable[Cluster]) -> tuple[Mark, ...]:
    """Return the outcome of a unit that goes on after its token is sent, and may still write in any of `clusters`."""
    marks = {mark.cluster: mark for mark in outcome(session)}
    for cluster in clusters:
        if cluster.tracks:
            until = time.time() + OPEN_SECONDS
            doubt = Mark(cluster=cluster.name, dirty=cluster.topology.history or History(""), pinned_until=until)
            marks[cluster.name] = marks.get(cluster.name, doubt).merge(doubt)
    return tuple(marks.values())


def learn_from_outer(inner: Session) -> None:
    """A session inside another one knows what that wrote and saw: a sub-application, a job that runs eagerly."""
    held = current()
    if held is None or held.session is None:
        return
    for mark in outcome(held.session):
        inner.of(mark.cluster).absorb(mark)


def tell_outer(inner: Session) -> None:
    """What a session inside another one wrote and saw belongs to both: a job that runs eagerly inside a request."""
    held = current()
    if held is None or held.session is None:
        return
    for mark in outcome(inner):
        held.session.of(mark.cluster).absorb(mark)


class session:  # noqa: N801 - reads as the statement it is: with session(token) as s
    """A unit of work outside a web request: `with session(token, key=user_id) as s: ...`, then `s.token()`.

    Also `async with`, which settles without blocking the event loop. `token` is what an earlier unit's `token()`
    returned; one that is damaged or expired counts as none. `key` names the user, for monotonic reads and consistent
    hashing.
    """

    def __init__(self, token: str | None = None, *, key: object = None) -> None:
        if token is not None and not isinstance(token, str):
            raise ConfigurationError(f"session: token {token!r} must be a string from token(), or None")
        self._token = token
        self._key = None if key is None else str(key)
        self._session: Session | None = None

    def __enter__(self) -> Session:
        signer = default_signer()
        opened = open_token(self._token, signer, living_clusters()) if self._token else None
        self._session = begin([opened] if opened else [], signer, key=self._key)
        learn_from_outer(self._session)
        held = current()
        frame.set(Frame(self._session, held.scope if held else None, held))
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        if self._session:
            settle(self._session)
            tell_outer(self._session)

    async def __aenter__(self) -> Session:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        if self._session:
            await settle_off_loop(self._session)
            tell_outer(self._session)

    @staticmethod
    def _leave() -> None:
        held = current()
        frame.set(held.outer if held else None)
