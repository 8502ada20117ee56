"""PostgreSQL: write-ahead log positions, and the timeline's one honest source (CORRECTNESS 1 to 4)."""

from __future__ import annotations

from collections.abc import Sequence

from lagless.core.config import CaptureMode
from lagless.core.position import History, Lsn, last_record_end, parse_lsn
from lagless.core.topology import Identity, Observation, Role
from lagless.dialects.base import Heard, Plain, Row

# The order of the columns is the rule: a select list is evaluated from left to right, so the standby's LSN is read
# before its timeline, and belongs to it or to an ancestor. A FROM clause would read the timeline first.
_QUESTION = """\
select pg_is_in_recovery(),
 (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end)%(text)s,
 (select received_tli from pg_stat_wal_receiver),
 (select pid from pg_stat_wal_receiver),
 case when pg_is_in_recovery() then null else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end,
 (case when pg_is_in_recovery() then null else pg_current_wal_insert_lsn() end)%(text)s,
 (case when pg_is_in_recovery() then null else pg_last_wal_replay_lsn() end)%(text)s,
 (select system_identifier from pg_control_system()),
 concat_ws('/', extract(epoch from pg_postmaster_start_time()),
  (select extract(epoch from stats_reset) from pg_stat_bgwriter), inet_server_addr(), inet_server_port())"""
# LSNs as text: some drivers make numbers of them. The function was installed with their own type.
_PROBE = _QUESTION % {"text": "::text"}

_COLUMNS = """\
out in_recovery boolean, out lsn pg_lsn, out received_tli integer, out receiver_pid integer, out timeline text,
 out insert_lsn pg_lsn, out fork_lsn pg_lsn, out system_identifier bigint, out instance text"""

_AS_OWNER = "language sql volatile security definer set search_path = pg_catalog as"

_CAPTURE = """\
select pg_current_wal_flush_lsn()::text, pg_current_wal_insert_lsn()::text, current_setting('synchronous_commit'),
 substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"""

HELPER = "lagless_position"
"""The function that setup installs: the probe, run with its owner's rights."""
_THROUGH_HELPER = f"""\
select in_recovery, lsn::text, received_tli, receiver_pid, timeline, insert_lsn::text, fork_lsn::text,
 system_identifier, instance from public.{HELPER}()"""

SYNCHRONOUS = (
    "synchronous standbys: a replica can show a commit before the primary does, so a session that falls back from a "
    "replica to the primary may for a moment see less"
)


class PostgreSQL(Plain):
    """PostgreSQL 14 and newer, and what speaks its language with real write-ahead log functions."""

    name = "postgresql"

    def probe_statements(self, declared: Role, *, helper: bool) -> Sequence[str]:
        """Ask who the server is and how far it has come; one statement, so one moment."""
        return (_THROUGH_HELPER,) if helper else (_PROBE,)

    def read_probe(self, row: Row | None, heard: Heard) -> Observation:
        """Read a probe's row."""
        if row is None or len(row) != 9:  # noqa: PLR2004 - the columns of _PROBE
            raise ValueError("a probe's answer has nine columns")
        recovering, lsn, received, receiver, timeline, insert, fork, system, instance = row
        identity = Identity(system or "", instance or "")
        if recovering in ("t", "True", "true"):
            history = History(identity.system, int(received), heard.generation) if received else None
            return Observation(
                node=heard.node,
                sent=heard.sent,
                role=Role.REPLICA,
                position=Lsn.parse(history, lsn) if history and lsn else None,
                # A receiver whose timeline is hidden: the role lacks rights. No receiver: the upstream is gone.
                unproven=received is None and receiver is None,
                identity=identity,
            )
        history = History(identity.system, int(timeline or "0", 16), heard.generation)
        return Observation(
            node=heard.node,
            sent=heard.sent,
            role=Role.PRIMARY,
            position=Lsn.parse(history, lsn or ""),
            horizon=Lsn(history, last_record_end(parse_lsn(insert or ""))),
            fork=parse_lsn(fork) if fork else None,
            identity=identity,
        )

    def capture_statement(self) -> str:
        """Ask the primary where its log stands."""
        return _CAPTURE

    def read_capture(self, row: Row | None, mode: CaptureMode, system: str | None, generation: int) -> Lsn | None:
        """Take the flush LSN, the insert LSN where commits do not wait for the flush."""
        if row is None or system is None:
            return None
        flush, insert, synchronous, timeline = row
        unflushed = mode is CaptureMode.INSERT or (mode is CaptureMode.AUTO and synchronous == "off")
        value = last_record_end(parse_lsn(insert or "")) if unflushed else parse_lsn(flush or "")
        return Lsn(History(system, int(timeline or "0", 16), generation), value)

    def config_statement(self) -> str | None:
        """Ask whether commits wait for standbys."""
        return "select current_setting('synchronous_standby_names')"

    def read_config(self, row: Row | None, role: Role) -> Sequence[str]:
        """Return what weakens the promise (CORRECTNESS 16)."""
        if role is not Role.PRIMARY or row is None or not row[0]:
            return ()
        return (SYNCHRONOUS,)

    def setup_statements(self) -> Sequence[str]:
        """Install the probe as a function that any role may call: no rights are granted but its answer."""
        question = _QUESTION % {"text": ""}
        return (
            f"create or replace function public.{HELPER}({_COLUMNS}) returns record {_AS_OWNER} $$ {question} $$",
            f"revoke all on function public.{HELPER}() from public",
            f"grant execute on function public.{HELPER}() to public",
        )

    @staticmethod
    def grant(role: str) -> str:
        """Return the statement that gives a role the right to see a standby's timeline."""
        return f"GRANT pg_read_all_stats TO {role};"
