"""What the middlewares for ASGI and WSGI share: options, which are read once and make an Edge."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from lagless.carriers import Cookies
from lagless.cluster import Cluster
from lagless.core.consistency import number
from lagless.edge import process_key, shared_secret, switched_off, use_signer
from lagless.errors import ConfigurationError
from lagless.events import logger
from lagless.token import Signer
from lagless.web import Edge

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")


class Routed(Protocol):
    """What belongs to a cluster, such as a session factory."""

    @property
    def cluster(self) -> Cluster:
        """The cluster that it reads and writes."""


Clusters = Iterable[Cluster | Routed]
Keys = str | bytes | Sequence[str | bytes]


class Middleware(Generic[A, R]):
    """An application `A` whose requests are `R`, within an edge.

    `clusters` are Clusters, or objects with one (session factories). `keys` is a secret, or several of which the first
    signs and all open, by default the environment's LAGLESS_SECRET; or give the `signer` itself. `key` returns the
    user's id for a request, None for a visitor: users read monotonically from the first request on. `opt_in` tells
    whether a request is routed; without it, a `share` (0 to 1) of the sessions is, always the same ones. With
    `safe_methods_only`, requests other than GET, HEAD, OPTIONS and TRACE read the primary. `enabled=False`, or
    LAGLESS_ENABLED=0 in the environment, leaves all requests alone.

    `clusters`, `keys`, `signer`, `cookie_path` and `cookie_domain` may be callables without arguments; they are called
    at the first request. Raises ConfigurationError for options that make no sense, at the first request for those.
    """

    def __init__(
        self,
        app: A,
        *,
        clusters: Clusters | Callable[[], Clusters],
        keys: Keys | Callable[[], Keys | None] | None = None,
        signer: Signer | Callable[[], Signer | None] | None = None,
        key: Callable[[R], object] | None = None,
        share: float = 1.0,
        opt_in: Callable[[R], object] | None = None,
        safe_methods_only: bool = False,
        cookie_path: str | Callable[[], str] = "/",
        cookie_domain: str | Callable[[], str | None] | None = None,
        enabled: bool | None = None,
    ) -> None:
        self.app = app
        self.enabled = enabled is not False and not switched_off()
        part = fraction(share, "share")
        self._lock = threading.Lock()
        self._edge: Edge[R] | None = None

        def make() -> Edge[R]:
            served = served_clusters(_asked(clusters))
            return Edge(
                clusters=served,
                signer=_signer(_asked(signer), _asked(keys), served.values()),
                stranger=self.stranger,
                key=key,
                share=part,
                opt_in=opt_in,
                safe_methods_only=safe_methods_only,
                cookies=Cookies(_asked(cookie_path), _asked(cookie_domain)),
            )

        self._make = make
        if self.enabled and not any(map(_later, (clusters, keys, signer, cookie_path, cookie_domain))):
            self.edge()

    @staticmethod
    def stranger(request: R) -> str:
        """Return what tells visitors apart: their address and browser."""
        raise NotImplementedError

    def edge(self) -> Edge[R]:
        """Return the edge, which is made when all options are known. Raises ConfigurationError."""
        return self._edge or self._made_once()

    def _made_once(self) -> Edge[R]:
        with self._lock:  # the first requests may come at once
            if self._edge is None:
                self._edge = self._make()
                use_signer(self._edge.signer)  # so that session() in a job reads what a request wrote, and back
        return self._edge


def fraction(value: object, field: str) -> float:
    """Return the share of sessions that is routed. Raises ConfigurationError unless it is a number from 0 to 1."""
    share = number(value, field, least=0)
    if share > 1:
        raise ConfigurationError(f"{field}: {value!r} must be a number from 0 to 1, the share of sessions routed")
    return share


def served_clusters(declared: Clusters) -> dict[str, Cluster]:
    """Return an edge's clusters by name. Raises ConfigurationError for none, or for two of one name."""
    if isinstance(declared, str) or not isinstance(declared, Iterable):
        raise ConfigurationError(f"clusters: {declared!r} must be a list of clusters or session factories")
    found: dict[str, Cluster] = {}
    for cluster in chain.from_iterable(map(_clusters_of, declared)):
        if found.setdefault(cluster.name, cluster) is not cluster:
            raise ConfigurationError(f"clusters: two are named {cluster.name!r}; give each a name of its own")
    if not found:
        raise ConfigurationError("clusters: there is none; give at least one Cluster or session factory")
    return found


def _clusters_of(declared: Cluster | Routed) -> Sequence[Cluster]:
    """Return the clusters of one entry; a factory whose models live in several has them as `clusters`."""
    found = [declared] if isinstance(declared, Cluster) else getattr(declared, "clusters", None)
    found = found or [getattr(declared, "cluster", None)]
    if not all(isinstance(each, Cluster) for each in found):
        raise ConfigurationError(f"clusters: {declared!r} is neither a Cluster nor has one as its `cluster`")
    return found


def _signer(given: Signer | None, keys: Keys | None, clusters: Iterable[Cluster]) -> Signer:
    """Return the signer of tokens that live as long as every cluster counts on (CORRECTNESS 11)."""
    longest = max(clusters, key=lambda cluster: cluster.config.token_seconds)
    life = longest.config.token_seconds
    if given is not None and given.max_age < life:
        raise ConfigurationError(
            f"signer: its tokens live {given.max_age:g} s, but cluster {longest.name!r} counts on {life:g} s; "
            "give the cluster that token_seconds, or the signer that max_age"
        )
    return given or Signer(_secrets(keys), max_age=life)


def _secrets(keys: Keys | None) -> Sequence[str | bytes]:
    if keys is not None:
        return [keys] if isinstance(keys, str | bytes) else keys
    secret = shared_secret()
    if secret is None:
        logger.warning(
            "no secret for tokens: they hold within this process alone, and one of several reads only its own; "
            "give `keys`, or set LAGLESS_SECRET in the environment of all of them"
        )
    return [secret or process_key()]


def _later(option: Any) -> bool:
    """Tell whether an option is asked for at the first request. What has a cluster is one, although it is callable."""
    return callable(option) and not hasattr(option, "cluster")


def _asked(option: T | Callable[[], T]) -> T:
    return option() if _later(option) else option  # type: ignore[operator, return-value]
