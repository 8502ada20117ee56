"""MariaDB 10.5 and newer: GTIDs of domain, server and sequence number (CORRECTNESS 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lagless.core.config import CaptureMode
from lagless.core.gtid import MARIADB, MariaGtids, Stream, sequences
from lagless.core.position import History
from lagless.core.topology import Identity, Observation, Role
from lagless.dialects.base import Heard, Row
from lagless.dialects.gtid import WRITABLE_REPLICA, Gtid, checked, is_on, refuse_demoted, role_in

_POSITION = "@@global.log_bin, @@global.gtid_binlog_pos, @@global.gtid_binlog_state, @@global.gtid_slave_pos"
# Uptime is counted in whole seconds from the start to this statement's own time, so the difference never wavers.
_STARTED = """\
(select unix_timestamp() - variable_value from information_schema.global_status where variable_name = 'UPTIME')"""
_PROBE = f"""\
select {_POSITION}, @@global.log_slave_updates, @@global.read_only, @@global.server_id,
 concat_ws('/', @@global.server_id, @@hostname, @@port, {_STARTED})"""
_CAPTURE = f"select {_POSITION}, @@global.read_only"
_CONFIG = """\
select @@global.log_bin, @@global.log_slave_updates, @@global.read_only,
 concat_ws(',', @@global.gtid_binlog_pos, @@global.gtid_slave_pos)"""


class MariaDB(Gtid):
    """MariaDB with its binary log on: without it a primary cannot tell its position, which is a time pin."""

    name = "mariadb"
    status = "show all slaves status"
    receiver = 12

    def probe_statements(self, declared: Role, *, helper: bool) -> Sequence[str]:
        """Ask who the server is, whether it takes writes, what it logged and what it applied."""
        return (_PROBE,)

    def read_probe(self, row: Row | None, heard: Heard) -> Observation:
        """Read a probe's row."""
        log_bin, last, state, applied, relogs, read_only, server, instance = checked(row, 8)
        history = History(MARIADB, 0, heard.generation)
        base = Observation(
            node=heard.node,
            sent=heard.sent,
            read_only=is_on(read_only),
            identity=Identity(MARIADB, instance),
        )
        logs = is_on(log_bin)
        primary = replace(
            base,
            role=Role.PRIMARY,
            position=MariaGtids.parse(history, last) if logs else None,
            horizon=_horizon(history, last, state, applied) if logs else None,
        )
        if role_in(heard.declared, writable=not base.read_only) is Role.PRIMARY:
            return primary
        logged = sequences(state)
        return replace(
            base,
            role=Role.REPLICA,
            position=MariaGtids.of(history, held(logged if logs and is_on(relogs) else {}, sequences(applied))),
            local=MariaGtids.of(history, {stream: n for stream, n in logged.items() if str(stream[1]) == server}),
            claim=None if base.read_only else primary,
        )

    def capture_statement(self) -> str:
        """Ask the primary what it logged."""
        return _CAPTURE

    def read_capture(
        self, row: Row | None, mode: CaptureMode, system: str | None, generation: int
    ) -> MariaGtids | None:
        """Take the last GTID of each domain, which stands for all before it; as the log's end, all that is known."""
        if row is None:
            return None
        log_bin, last, state, applied, read_only = checked(row, 5)
        refuse_demoted(read_only)
        if not is_on(log_bin):
            return None
        history = History(MARIADB, 0, generation)
        if mode is CaptureMode.INSERT:
            return _horizon(history, last, state, applied)
        return MariaGtids.parse(history, last)

    def tracking_statement(self) -> str | None:
        """Have each commit's answer name the GTID it was given, besides what the session tracks already."""
        return (
            "set session session_track_system_variables = concat_ws(',',"
            " nullif(@@session.session_track_system_variables, ''), 'last_gtid')"
        )

    def own_position(self, gtid: str, generation: int) -> MariaGtids | None:
        """Read what a commit's answer named."""
        try:
            return MariaGtids.parse(History(MARIADB, 0, generation), gtid) if gtid else None
        except ValueError:
            return None

    def config_statement(self) -> str | None:
        """Ask for the settings, and for the domains in use."""
        return _CONFIG

    def read_config(self, row: Row | None, role: Role) -> Sequence[str]:
        """Return what breaks the promise, or leaves only the time pin."""
        log_bin, relogs, read_only, positions = checked(row, 4)
        found = []
        if role is Role.PRIMARY and not is_on(log_bin):
            found.append("log_bin is OFF on the primary: positions cannot be told; set log_bin")
        if role is Role.REPLICA and not (is_on(log_bin) and is_on(relogs)):
            found.append(
                "log_slave_updates is OFF on a replica: after a failover it proves only what its last transaction's "
                "server wrote; set log_bin and log_slave_updates"
            )
        if role is Role.REPLICA and not is_on(read_only):
            found.append(WRITABLE_REPLICA)
        if len({domain for domain, _ in sequences(positions)}) > 1:
            found.append(
                "several GTID domains: each keeps its own order, and a later write of one can show before an earlier "
                "one of another; use one gtid_domain_id unless the application keeps them apart"
            )
        return found


def held(logged: Mapping[Stream, int], applied: Mapping[Stream, int]) -> dict[Stream, int]:
    """Return what a replica surely shows of each stream.

    Its log alone would promise too much: a transaction is logged before the engine commits it. `gtid_slave_pos` moves
    with the commit, but names one server a domain, and says nothing of what others wrote: it has passed number 7 of
    server 1 when it stands at 7 of server 2, which may be another transaction after a failover that lost a write
    (MASTER_GTID_WAIT looks at the number alone). So a stream is held as far as both tell; and the transaction that
    `gtid_slave_pos` names is held whatever the log says, which a fresh copy has not got yet.
    """
    reached: dict[int, int] = {}
    for (domain, _), last in applied.items():
        reached[domain] = max(last, reached.get(domain, 0))
    both = {stream: min(last, reached[stream[0]]) for stream, last in logged.items() if stream[0] in reached}
    return {**both, **{stream: max(last, both.get(stream, 0)) for stream, last in applied.items()}}


def _horizon(history: History, *texts: str) -> MariaGtids:
    return MariaGtids.parse(history, ",".join(texts))
