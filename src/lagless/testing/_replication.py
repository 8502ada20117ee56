"""What a node is asked and told about replication, in SQL; `execute` is a node's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lagless.testing._polling import until
from lagless.testing._server import setting

Execute = Callable[[str], list[tuple[Any, ...]]]

_FLUSHED = """
    select (case when pg_is_in_recovery()
                 then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                 else pg_current_wal_flush_lsn() end - '0/0'::pg_lsn)::bigint"""

_REPLAYED = """
    select (case when pg_is_in_recovery()
                 then pg_last_wal_replay_lsn()
                 else pg_current_wal_flush_lsn() end - '0/0'::pg_lsn)::bigint"""

# A standby's control file tells its timeline seconds late; what it streams is the honest source.
_TIMELINE = """
    select case when pg_is_in_recovery()
                then (select received_tli from pg_stat_wal_receiver)
                else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end"""

_PAUSE_STATE = "select pg_get_wal_replay_pause_state()"
_APPLY_DELAY = "select current_setting('recovery_min_apply_delay')"


def ask(execute: Execute, sql: str) -> Any:
    """The single value that `sql` selects."""
    return execute(sql)[0][0]


def flush_lsn(execute: Execute) -> int:
    """How much of the log is on this node's disk, in bytes."""
    return int(ask(execute, _FLUSHED))


def replay_lsn(execute: Execute) -> int:
    """How much of the log this node shows its readers, in bytes."""
    return int(ask(execute, _REPLAYED))


def timeline(execute: Execute, name: str) -> int:
    """The timeline a primary writes or a replica streams; TimeoutError when it streams none."""
    heard: list[int] = []

    def told() -> bool:
        heard[:] = [int(row[0]) for row in execute(_TIMELINE) if row[0] is not None]
        return bool(heard)

    until(told, f"{name} to stream from its primary, which alone tells its timeline", timeout=5.0)
    return heard[0]


def in_recovery(execute: Execute) -> bool:
    """Whether this node is a replica."""
    return bool(ask(execute, "select pg_is_in_recovery()"))


def paused(execute: Execute) -> bool:
    """Whether a replica's replay is paused, or about to be."""
    return bool(ask(execute, _PAUSE_STATE) != "not paused")


def pause(execute: Execute, name: str) -> None:
    """Pause replay; a pause is only requested until the startup process has seen it."""
    execute("select pg_wal_replay_pause()")
    until(lambda: bool(ask(execute, _PAUSE_STATE) == "paused"), f"{name} to pause (does it wait for its apply delay?)")


def delayed(execute: Execute) -> bool:
    """Whether an apply delay is in force."""
    return bool(ask(execute, _APPLY_DELAY) != "0")


def set_apply_delay(execute: Execute, seconds: float) -> None:
    """Write the delay to the configuration; in force once the postmaster has told everybody."""
    execute(f"alter system set recovery_min_apply_delay = '{round(seconds * 1000)}ms'")
    execute("select pg_reload_conf()")


def follow(execute: Execute, conninfo: str) -> None:
    """Replicate from another server; the receiver restarts by itself."""
    execute(f"alter system set primary_conninfo = {setting(conninfo)}")
    execute("select pg_reload_conf()")


def streaming(execute: Execute) -> set[str]:
    """The names of the replicas that stream from this node."""
    return {row[0] for row in execute("select application_name from pg_stat_replication where state = 'streaming'")}


def promote(execute: Execute, name: str) -> None:
    """Make a replica a primary; returns when it accepts writes."""
    execute("select pg_promote(false)")  # which looks only every 100 ms when told to wait
    until(lambda: not in_recovery(execute), f"{name} to be promoted", timeout=30.0)


def held_back(execute: Execute) -> bool:
    """Whether a replica is paused or delayed."""
    return paused(execute) or delayed(execute)
