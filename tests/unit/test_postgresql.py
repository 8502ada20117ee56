"""The PostgreSQL dialect over rows as real servers gave them."""

from __future__ import annotations

import pytest

from lagless.core.config import CaptureMode
from lagless.core.position import PAGE, History, Lsn
from lagless.core.topology import Identity, Role
from lagless.dialects import PostgreSQL
from lagless.dialects.base import Heard, Row

SYSTEM = "7431111111111111111"
INSTANCE = "1763600000.123456/1763500000.5/127.0.0.1/5432"
HEARD = Heard("replica1", Role.REPLICA, 12.5, 3)
PRIMARY_ROW = ["f", "0/3000148", None, None, "00000001", "0/3000148", None, SYSTEM, INSTANCE]
STANDBY_ROW = ["t", "0/3000148", "1", "4711", None, None, None, SYSTEM, INSTANCE]
read = PostgreSQL().read_probe


def changed(row: Row, **columns: str | None) -> Row:
    """Return a row with some columns replaced."""
    names = ["recovering", "lsn", "received", "receiver", "timeline", "insert", "fork", "system", "instance"]
    return [columns.get(name, value) for name, value in zip(names, row, strict=True)]


def test_a_primary_answers() -> None:
    """Its flush position, its horizon and who it is."""
    seen = read(PRIMARY_ROW, HEARD)
    assert seen.role is Role.PRIMARY
    assert seen.position == seen.horizon == Lsn(History(SYSTEM, 1, 3), 0x3000148)
    assert seen.fork is None
    assert seen.identity == Identity(SYSTEM, INSTANCE)
    assert (seen.node, seen.sent) == ("replica1", 12.5)


def test_a_promoted_primary_tells_where_its_timeline_began() -> None:
    """The frozen replay position; the timeline's digits are hexadecimal."""
    seen = read(changed(PRIMARY_ROW, timeline="0000001A", fork="0/2FFFF00"), HEARD)
    assert seen.position
    assert seen.position.history.timeline == 26
    assert seen.fork == 0x2FFFF00


def test_the_horizon_is_the_insert_position_at_a_records_end() -> None:
    """What is inserted may be committed and shown before it is flushed."""
    page = 0x3000000 + PAGE
    seen = read(changed(PRIMARY_ROW, insert=f"0/{page + 24:X}"), HEARD)
    assert seen.position == Lsn(History(SYSTEM, 1, 3), 0x3000148)
    assert seen.horizon == Lsn(History(SYSTEM, 1, 3), page)


@pytest.mark.parametrize("yes", ["t", "true", "True"])
def test_a_standby_answers(yes: str) -> None:
    """Its replayed position on the timeline that it receives, in every driver's spelling."""
    seen = read(changed(STANDBY_ROW, recovering=yes, received="12"), HEARD)
    assert seen.role is Role.REPLICA
    assert seen.position == Lsn(History(SYSTEM, 12, 3), 0x3000148)
    assert seen.horizon is None
    assert not seen.unproven


def test_a_standby_whose_receiver_is_gone_proves_nothing() -> None:
    """Its upstream is dead: the last proven position holds (CORRECTNESS 1)."""
    seen = read(changed(STANDBY_ROW, received=None, receiver=None), HEARD)
    assert seen.position is None
    assert seen.unproven


def test_a_standby_whose_receiver_is_hidden_is_blind() -> None:
    """The role may see that there is one, not its timeline."""
    seen = read(changed(STANDBY_ROW, received=None), HEARD)
    assert seen.position is None
    assert not seen.unproven
    assert seen.role is Role.REPLICA


def test_the_declared_role_is_not_believed() -> None:
    """A replica that was promoted says so."""
    assert read(PRIMARY_ROW, HEARD).role is Role.PRIMARY


@pytest.mark.parametrize("row", [None, [], ["t"], STANDBY_ROW[:8], [*STANDBY_ROW, "x"]])
def test_a_row_that_is_no_answer_is_an_error(row: Row | None) -> None:
    """And an error is an observation."""
    with pytest.raises(ValueError, match="nine columns"):
        read(row, HEARD)


@pytest.mark.parametrize("column", ["lsn", "insert"])
def test_a_primary_without_a_position_is_an_error(column: str) -> None:
    """Never a guess."""
    with pytest.raises(ValueError, match="not an LSN"):
        read(changed(PRIMARY_ROW, **{column: None}), HEARD)


def test_the_probe_reads_the_position_before_the_timeline() -> None:
    """In one select list, without FROM: the timeline is then that of the position or a later one (CORRECTNESS 1)."""
    (probe,) = PostgreSQL().probe_statements(Role.REPLICA, helper=False)
    assert probe.index("pg_last_wal_replay_lsn") < probe.index("received_tli")
    assert probe.count("pg_stat_wal_receiver") == 2
    outside = probe.replace("from pg_stat_wal_receiver)", ")").replace("from pg_control_system())", ")")
    outside = outside.replace("(epoch from", "(epoch").replace("from pg_stat_bgwriter)", ")")
    assert " from " not in outside


def test_the_helper_is_the_same_probe_with_its_owners_rights() -> None:
    """Setup installs it for roles that may not look."""
    dialect = PostgreSQL()
    (probe,) = dialect.probe_statements(Role.REPLICA, helper=False)
    create, revoke, grant = dialect.setup_statements()
    assert probe.replace("::text", "") in create
    assert "security definer" in create
    assert "search_path = pg_catalog" in create
    assert "lagless_position()" in revoke
    assert "lagless_position()" in grant
    (through,) = dialect.probe_statements(Role.PRIMARY, helper=True)
    assert "from public.lagless_position()" in through


@pytest.mark.parametrize(
    ("mode", "synchronous", "value"),
    [
        (CaptureMode.AUTO, "on", 0x3000100),
        (CaptureMode.AUTO, "local", 0x3000100),
        (CaptureMode.AUTO, "remote_apply", 0x3000100),
        (CaptureMode.AUTO, "off", 0x3000200),
        (CaptureMode.FLUSH, "off", 0x3000100),
        (CaptureMode.INSERT, "on", 0x3000200),
    ],
)
def test_a_capture_takes_the_flush_position_unless_commits_do_not_wait_for_it(
    mode: CaptureMode, synchronous: str, value: int
) -> None:
    """Somebody's open transaction keeps the insert position ahead of every standby for seconds (CORRECTNESS 4)."""
    row = ["0/3000100", "0/3000200", synchronous, "00000002"]
    assert PostgreSQL().read_capture(row, mode, SYSTEM, 3) == Lsn(History(SYSTEM, 2, 3), value)


def test_a_captured_insert_position_ends_at_a_record() -> None:
    """Behind a page's header no standby ever stands."""
    row = ["0/0", f"0/{5 * PAGE + 40:X}", "off", "00000001"]
    captured = PostgreSQL().read_capture(row, CaptureMode.AUTO, SYSTEM, 0)
    assert captured
    assert captured.value == 5 * PAGE


@pytest.mark.parametrize(("row", "system"), [(None, SYSTEM), (["0/1", "0/1", "on", "00000001"], None)])
def test_a_capture_without_an_answer_or_a_system_is_none(row: Row | None, system: str | None) -> None:
    """It cannot be told: the time pin."""
    assert PostgreSQL().read_capture(row, CaptureMode.AUTO, system, 0) is None


def test_the_grant_names_the_role() -> None:
    """Printed by the check."""
    assert PostgreSQL.grant("app") == "GRANT pg_read_all_stats TO app;"
