"""Adds up what the clients wrote down. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from lagless.demo.oracle import Step, Track, could_use_replica

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lagless.demo.visits import Visit

EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One policy's row. A read is a GET page that read the databases and changed nothing; see docs/demo.md.

    Round trips are extra when the application did not ask for them; those of new connections are counted apart.
    """

    requests: int
    errors: int
    stale_reads: int
    backward_reads: int
    reads: int
    replica_reads: int
    oracle_replica_reads: int
    extra_round_trips: int
    extra_on_replica_only_requests: int
    max_extra_per_request: int
    connection_probes: int
    broken_statements: int
    p50_ms: float
    p99_ms: float
    examples: tuple[str, ...] = ()

    @property
    def replica_share(self) -> float:
        """The share of the reads that replicas served."""
        return self.replica_reads / max(self.reads, 1)

    @property
    def oracle_share(self) -> float:
        """The share of the reads that an oracle could have sent to replicas."""
        return self.oracle_replica_reads / max(self.reads, 1)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


def summarise(sessions: Sequence[Sequence[Visit]], tracks: Mapping[str, Track]) -> Result:
    """The result of one policy: each client's visits in order, and what the servers answered meanwhile."""
    visits = [visit for session in sessions for visit in session]
    extra = {id(visit): visit.served.trips.get("extra", 0) for visit in visits}
    p50, p99 = _percentiles([visit.ended - visit.started for visit in visits])
    return Result(
        requests=len(visits),
        errors=sum(bool(visit.error) for visit in visits),
        stale_reads=sum(bool(visit.stale) for visit in visits),
        backward_reads=sum(bool(visit.backward) for visit in visits),
        reads=sum(visit.is_read for visit in visits),
        replica_reads=sum(visit.on_replicas for visit in visits),
        oracle_replica_reads=sum(_oracle_reads(session, tracks) for session in sessions),
        extra_round_trips=sum(extra.values()),
        extra_on_replica_only_requests=sum(extra[id(visit)] for visit in visits if visit.on_replicas),
        max_extra_per_request=max(extra.values(), default=0),
        connection_probes=_trips(visits, "probes"),
        broken_statements=_trips(visits, "failed"),
        p50_ms=p50,
        p99_ms=p99,
        examples=_examples(visits),
    )


def _oracle_reads(session: Iterable[Visit], tracks: Mapping[str, Track]) -> int:
    # A request that failed, or that asked no database, neither moves the session nor is a read.
    told = [visit for visit in session if not visit.error and (visit.is_read or visit.wrote or visit.served.reads)]
    steps = [Step(visit.started, visit.ended, frozenset(visit.served.reads), wrote=visit.wrote) for visit in told]
    could = could_use_replica(steps, tracks)
    return sum(possible for visit, possible in zip(told, could, strict=True) if visit.is_read)


def _examples(visits: Sequence[Visit]) -> tuple[str, ...]:
    """The first few things that went wrong."""
    begun = min((visit.started for visit in visits), default=0.0)
    wrong = sorted((visit for visit in visits if visit.complaints), key=lambda visit: visit.started)
    return tuple(_tell(visit, visit.started - begun) for visit in wrong[:EXAMPLES])


def _tell(visit: Visit, after: float) -> str:
    where = " ".join(visit.served.reads) or "nowhere"
    complaints = ", ".join(visit.complaints)
    return f"{after:.2f} s: reader{visit.client} {visit.method} {visit.path}, read from {where}: {complaints}"


def _trips(visits: Iterable[Visit], kind: str) -> int:
    return sum(visit.served.trips.get(kind, 0) for visit in visits)


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds."""
    if len(seconds) < 2:  # noqa: PLR2004 - nothing to cut between
        return 0.0, 0.0
    cuts = quantiles(seconds, n=100)
    return round(1000 * cuts[49], 2), round(1000 * cuts[98], 2)
