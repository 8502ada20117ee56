"""MySQL 8.0 and newer: GTID sets (CORRECTNESS 6)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lagless.core.config import CaptureMode
from lagless.core.gtid import MYSQL, GtidSet, Interval, joined
from lagless.core.position import History
from lagless.core.topology import Identity, Observation, Role
from lagless.dialects.base import Heard, Row
from lagless.dialects.gtid import WRITABLE_REPLICA, Gtid, checked, is_on, refuse_demoted, role_in

# The order of the columns is the rule: a transaction shows its rows a moment before it is in gtid_executed, and is in
# gtid_owned until then. Read in this order, the two hold all that anybody can have seen.
_POSITION = "@@global.gtid_owned, @@global.gtid_executed, @@global.gtid_mode, @@global.log_bin"
# Uptime is counted in whole seconds from the start to this statement's own time, so the difference never wavers.
_STARTED = """\
(select unix_timestamp() - variable_value from performance_schema.global_status where variable_name = 'Uptime')"""
_PROBE = f"""\
select {_POSITION}, @@global.read_only, @@global.super_read_only, concat_ws('/', @@server_uuid, {_STARTED})"""
_CAPTURE = f"select {_POSITION}, @@global.read_only"
_SETTING = "(select max(variable_value) from performance_schema.global_variables where variable_name in ({}))"
_CONFIG = f"""\
select @@global.gtid_mode, @@global.log_bin, @@global.read_only,
 {_SETTING.format("'replica_preserve_commit_order', 'slave_preserve_commit_order'")},
 {_SETTING.format("'replica_parallel_workers', 'slave_parallel_workers'")}"""
_UUID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
_OWNED = re.compile(r":(?:(\d+)#|([a-z_][a-z0-9_]*))", re.IGNORECASE)


class MySQL(Gtid):
    """MySQL and Percona Server with gtid_mode=ON; without it no position can be told, which is a time pin."""

    name = "mysql"
    status = "show replica status"
    receiver = 10

    def probe_statements(self, declared: Role, *, helper: bool) -> Sequence[str]:
        """Ask who the server is, whether it takes writes, and what it executed."""
        return (_PROBE,)

    def read_probe(self, row: Row | None, heard: Heard) -> Observation:
        """Read a probe's row."""
        owned, executed, mode, log_bin, read_only, super_read_only, instance = checked(row, 7)
        writable = not is_on(read_only) and not is_on(super_read_only)
        held = _executed(executed, mode, heard.generation)
        told = None if held is None or not is_on(log_bin) else held.merge(_owned(owned, held.history))
        base = Observation(
            node=heard.node,
            sent=heard.sent,
            read_only=not writable,
            identity=Identity(MYSQL, instance),
        )
        primary = replace(base, role=Role.PRIMARY, position=told, horizon=told)
        if role_in(heard.declared, writable=writable) is Role.PRIMARY:
            return primary
        return replace(base, role=Role.REPLICA, position=held, local=held, claim=primary if writable else None)

    def capture_statement(self) -> str:
        """Ask the primary what it executed and is about to."""
        return _CAPTURE

    def read_capture(self, row: Row | None, mode: CaptureMode, system: str | None, generation: int) -> GtidSet | None:
        """Take all that can have been seen by now; None where transactions have no GTIDs."""
        if row is None:
            return None
        owned, executed, gtid_mode, log_bin, read_only = checked(row, 5)
        refuse_demoted(read_only)
        held = _executed(executed, gtid_mode, generation)
        return held.merge(_owned(owned, held.history)) if held is not None and is_on(log_bin) else None

    def tracking_statement(self) -> str | None:
        """Have each commit's answer name the GTID it was given."""
        return "set session session_track_gtids = OWN_GTID"

    def own_position(self, gtid: str, generation: int) -> GtidSet | None:
        """Read what a commit's answer named."""
        try:
            return GtidSet.parse(History(MYSQL, 0, generation), gtid) if gtid else None
        except ValueError:
            return None

    def config_statement(self) -> str | None:
        """Ask for the settings by whichever name this version has for them."""
        return _CONFIG

    def read_config(self, row: Row | None, role: Role) -> Sequence[str]:
        """Return what breaks the promise, or leaves only the time pin."""
        mode, log_bin, read_only, ordered, workers = checked(row, 5)
        found = []
        if mode != "ON":
            found.append("gtid_mode is not ON: positions cannot be told; set gtid_mode=ON, enforce_gtid_consistency=ON")
        if role is Role.PRIMARY and not is_on(log_bin):
            found.append("log_bin is OFF on the primary: nothing has a GTID or reaches a replica; set log_bin")
        if role is Role.REPLICA and not is_on(read_only):
            found.append(WRITABLE_REPLICA)
        if role is Role.REPLICA and not is_on(ordered) and workers not in ("", "0", "1"):
            found.append(
                "replica_preserve_commit_order is OFF with several workers: a later write can show before an earlier "
                "one; set replica_preserve_commit_order=ON"
            )
        return found


def _executed(text: str, mode: str, generation: int) -> GtidSet | None:
    """Return the executed set; None unless every transaction has a GTID."""
    return GtidSet.parse(History(MYSQL, 0, generation), text) if mode == "ON" else None


def _owned(text: str, history: History) -> GtidSet:
    """Read `uuid:number#thread:number#thread`: what is being committed right now.

    A tagged transaction's UUID follows the thread before it without anything between them.
    """
    found: dict[str, list[Interval]] = {}
    _, *pieces = _UUID.split(text)
    for uuid, owned in zip(pieces[::2], pieces[1::2], strict=True):
        source = uuid.lower()
        for number, tag in _OWNED.findall(owned):
            source = f"{uuid.lower()}:{tag.lower()}" if tag else source
            if number:
                found.setdefault(source, []).append((int(number), int(number)))
    return GtidSet.of(history, {source: joined(intervals) for source, intervals in found.items()})
