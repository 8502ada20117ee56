"""What every web edge needs: a request's tokens become a Session, and the Session what its response must say."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import AnyStr, Generic, TypeVar

from lagless.carriers import UNCHANGED, Change, Cookies, Header, Received, answered, change, split_header
from lagless.cluster import Cluster
from lagless.context import Frame, Narrowing, current, frame
from lagless.core.consistency import Level
from lagless.core.session import Footprint, Session
from lagless.edge import begin, cluster_of, in_doubt, open_token
from lagless.errors import LaglessError
from lagless.events import Kind
from lagless.token import Opened, Signer

R = TypeVar("R")
T = TypeVar("T")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
MAX_TOKENS = 32
"""How many tokens of a request are opened: each costs a signature."""
_NOTHING = Received({})
_PRIMARY = Narrowing(level=Level.STRONG, max_lag=None, replica_only=False, clusters=None, outer=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge(Generic[R]):
    """What the edge of one web application knows; R is what it calls a request.

    `key` returns the user of a request, None for a visitor; `stranger` tells visitors apart, for the `share` of
    sessions (0 to 1) that is routed, where no `opt_in` predicate decides. With `safe_methods_only`, a request that may
    change something reads the primary.
    """

    clusters: Mapping[str, Cluster]
    signer: Signer
    stranger: Callable[[R], str]
    key: Callable[[R], object] | None = None
    share: float = 1.0
    opt_in: Callable[[R], object] | None = None
    safe_methods_only: bool = False
    cookies: Cookies = field(default_factory=Cookies)

    # -- in

    def receive(self, header: str | None, cookies: Mapping[str, str]) -> Received:
        """Open a request's tokens, those of its header and of its cookies, by name; answer by where they came."""
        if header is None and not cookies:
            return _NOTHING
        sent = {str(i): token for i, token in enumerate(split_header(header))} if header is not None else {}
        by_header = self._opened(sent)
        return Received({**self._opened(cookies), **by_header}, by_header=bool(by_header) or not cookies)

    def _opened(self, sent: Mapping[str, str]) -> dict[str, Opened]:
        clusters = self.clusters.values()
        found = {name: open_token(token, self.signer, clusters) for name, token in islice(sent.items(), MAX_TOKENS)}
        return {name: opened for name, opened in found.items() if opened}

    def begin(self, request: R, received: Received) -> Session:
        """Return the Session of a request that begins now."""
        key = self.key(request) if self.key else None
        name = key if key is None or isinstance(key, str) else str(key)
        return begin(
            received.tokens.values(),
            self.signer,
            key=name,
            routed=(self.opt_in is None and self.share >= 1) or self._takes_part(request, name),
            clusters=self.clusters,
        )

    def _takes_part(self, request: R, key: str | None) -> bool:
        """Tell whether a request is routed: a predicate decides, or the share of sessions, always the same ones."""
        if self.opt_in is not None:
            return bool(self.opt_in(request))
        who = key or self.stranger(request)
        return int.from_bytes(hashlib.blake2b(who.encode(), digest_size=4).digest()) < self.share * 2**32

    def frame(self, session: Session, method: str) -> Frame:
        """Return what the context holds while the application serves a request."""
        if self.safe_methods_only and method not in SAFE_METHODS:
            return Frame(session, _PRIMARY)
        return Frame(session)

    # -- out

    def leave(self, session: Session, received: Received, *, method: str, open_ended: bool) -> Change:
        """Return what a response must say. Settle first; `open_ended` if its body is still to be produced."""
        if not (session.footprints or received.tokens or open_ended):
            return UNCHANGED
        doubts = self._doubts(session, method, open_ended=open_ended)
        marks = in_doubt(session, doubts)
        if not marks and not received.tokens:
            return UNCHANGED
        added = bool(doubts) or any(each.unsettled or each.in_doubt for each in session.footprints.values())
        return change(received, marks, self.signer, time.time(), doubts=added)

    def answered(self, headers: Iterable[Header], told: Change, *, secure: bool) -> list[Header]:
        """Return a response's headers, followed by those that say what is `told`."""
        return answered(headers, told, self.cookies, max_age=self.signer.max_age, secure=secure)

    def _doubts(self, session: Session, method: str, *, open_ended: bool) -> list[Cluster]:
        """Return the clusters where a unit may still write, or show what no token will tell of."""
        free = open_ended and method not in SAFE_METHODS
        tracking = [cluster for cluster in self.clusters.values() if cluster.tracks]
        return [c for c in tracking if free or _unsent(c, session) or (open_ended and not _bound(c, session))]


def _unsent(cluster: Cluster, session: Session) -> bool:
    """Tell whether this unit has writes that are open, or changes that the adapter has not sent yet."""
    footprint = session.footprints.get(cluster.name)
    return footprint is not None and (footprint.in_flight > 0 or cluster.unsent(footprint))


def _bound(cluster: Cluster, session: Session) -> bool:
    """Bind a session that reads monotonically to its replica now, so that the token names it; False if it cannot be."""
    if not session.tracked(session.of(cluster.name)):
        return True
    try:
        return cluster.read(Frame(session)).node != cluster.topology.primary
    except LaglessError:  # the body's own reads will say so
        return False


# -- after the token left


def begun_writes(session: Session) -> dict[str, float]:
    """Return how many writes have begun in each cluster: taken when a token is made, to tell what comes after it.

    Where changes are still to be sent, the token says so, and none of them is news.
    """
    return {name: _begun(session, name, footprint) for name, footprint in tuple(session.footprints.items())}


def _begun(session: Session, name: str, footprint: Footprint) -> float:
    cluster = cluster_of(session, name)
    return math.inf if cluster is not None and cluster.unsent(footprint) else footprint.begun


def report_late_writes(session: Session, told: Mapping[str, float]) -> None:
    """Say that a write came after the token left: in a streamed body, or in what runs behind the response."""
    for name, footprint in tuple(session.footprints.items()):
        cluster = cluster_of(session, name)
        if cluster and cluster.tracks and footprint.begun > told.get(name, 0):
            cluster.emit(Kind.LATE_WRITE)


def stepwise(chunks: Iterable[T], bound: Frame) -> Iterator[T]:
    """Yield `chunks` with `bound` in the context while each is produced, and never in between."""
    iterator = chain.from_iterable((chunks,))  # so that the first step makes the iterator, which may run code, too
    while True:
        held = frame.set(bound)
        try:
            chunk = next(iterator)
        except StopIteration:
            return
        finally:
            bound = current() or bound  # a scope may be open between the steps
            frame.reset(held)
        yield chunk


def may_have_body(method: str, status: int) -> bool:
    """Tell whether HTTP lets a response have a body."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)  # noqa: PLR2004 - HTTP's numbers


def holds(headers: Iterable[tuple[AnyStr, AnyStr]], name: AnyStr) -> bool:
    """Tell whether a header of that name, in lower case, is there."""
    for given, _ in headers:  # noqa: SIM110 - any() over a generator takes three times as long, for each response
        if given.lower() == name:
            return True
    return False
