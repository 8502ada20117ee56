"""The MySQL dialect over rows as servers gave them.

Rows of 9.x were recorded from a real MySQL 9.7 primary and replica; those of 8.0 and 8.4 have the same columns, because
the probe asks only for variables that all of them have, and differ in what follows the documented formats: no tags.
"""

from __future__ import annotations

import pytest

from lagless.core.config import CaptureMode
from lagless.core.gtid import MYSQL, GtidSet
from lagless.core.position import History
from lagless.core.topology import Identity, Observation, Role
from lagless.dialects import MySQL, dialect_named
from lagless.dialects.base import Heard, Row

SOURCE, REPLICA = "a4214263-e54d-11f1-bde2-02fc00000001", "500a89bb-e550-11f1-bbad-02fc00000001"
LINE = History(MYSQL, 0, 3)
INSTANCE = f"{REPLICA}/1795226852"
PRIMARY_ROW = ["", f"{SOURCE}:1-9", "ON", "1", "0", "0", f"{SOURCE}/1795226850"]
REPLICA_ROW = ["", f"{SOURCE}:1-9", "ON", "1", "1", "1", INSTANCE]
ERRANT_ROW = ["", f"{REPLICA}:1,\n{SOURCE}:1-13", "ON", "1", "0", "0", INSTANCE]
TAGGED = f"3e11fa47-71ca-11e1-9e33-c80aa9429562:7:9:tag_b:4,\n{SOURCE}:1-10:deploy_1:1-3"
OWNED = f"{SOURCE}:328#26:327#27:326#25"
OWNED_TAGGED = (
    "3e11fa47-71ca-11e1-9e33-c80aa9429562:8#21:7#193e11fa47-71ca-11e1-9e33-c80aa9429562:tag_a:9#20"  # no comma between
)
STATUS_ROW = [
    *("Waiting for source to send event", "127.0.0.1", "repl", "57557", "1", "bin.000001", "2474"),
    *("vm-relay-bin.000002", "2679", "bin.000001", "Yes", "Yes", "", "", "", ""),
]
AUTO, END = CaptureMode.AUTO, CaptureMode.INSERT
DIALECT = MySQL()


def read(row: Row | None, declared: Role = Role.REPLICA) -> Observation:
    """Read a probe's answer."""
    return DIALECT.read_probe(row, Heard("n", declared, 12.5, 3))


def gtids(text: str) -> GtidSet:
    """Return a position."""
    return GtidSet.parse(LINE, text)


def changed(row: Row, **columns: str | None) -> Row:
    """Return a row with some columns replaced."""
    names = ["owned", "executed", "mode", "log_bin", "read_only", "super_read_only", "instance"]
    return [columns.get(name, value) for name, value in zip(names, row, strict=True)]


def stopped(row: Row) -> Row:
    """Return a status whose receiving thread does not run."""
    return [*row[:10], "No", *row[11:]]


def test_it_is_found_by_its_name() -> None:
    """In settings."""
    assert isinstance(dialect_named("mysql"), MySQL)


def test_a_primary_answers() -> None:
    """What it executed is what it holds, and beyond it nothing was committed."""
    seen = read(PRIMARY_ROW, Role.PRIMARY)
    assert seen.role is Role.PRIMARY
    assert seen.position == seen.horizon == gtids(f"{SOURCE}:1-9")
    assert seen.identity == Identity(MYSQL, f"{SOURCE}/1795226850")
    assert (seen.node, seen.sent, seen.read_only, seen.claim, seen.local) == ("n", 12.5, False, None, None)


def test_a_replica_answers() -> None:
    """Its executed set, and no horizon."""
    seen = read(REPLICA_ROW)
    assert seen.role is Role.REPLICA
    assert seen.position == seen.local == gtids(f"{SOURCE}:1-9")
    assert (seen.horizon, seen.read_only, seen.claim) == (None, True, None)


@pytest.mark.parametrize("text", ["", TAGGED, f"{SOURCE}:1-9:12-20", f"{REPLICA}:1,\n{SOURCE}:1-13"])
def test_every_notation_of_the_executed_set_is_read(text: str) -> None:
    """Empty, with gaps, over several lines, with tags."""
    assert read(changed(REPLICA_ROW, executed=text)).position == gtids(text)


def test_a_primary_counts_what_is_being_committed() -> None:
    """Its rows show before it is in the executed set: whoever saw them needs it."""
    seen = read(changed(PRIMARY_ROW, owned=OWNED, executed=f"{SOURCE}:1-325"), Role.PRIMARY)
    assert seen.position == seen.horizon == gtids(f"{SOURCE}:1-328")
    (probe,) = DIALECT.probe_statements(Role.PRIMARY, helper=False)
    for statement in (probe, DIALECT.capture_statement()):
        assert statement.index("gtid_owned") < statement.index("gtid_executed")


def test_a_replica_does_not_count_what_it_is_applying() -> None:
    """Nobody sees it yet."""
    assert read(changed(REPLICA_ROW, owned=f"{SOURCE}:10#7")).position == gtids(f"{SOURCE}:1-9")


def test_owned_tags_are_told_from_the_thread_before_them() -> None:
    """The server writes them without anything between."""
    captured = DIALECT.read_capture([OWNED_TAGGED, "", "ON", "1", "0"], AUTO, None, 3)
    assert captured == gtids("3e11fa47-71ca-11e1-9e33-c80aa9429562:7-8:tag_a:9")


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("mode", ["OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE"])
def test_without_gtids_a_node_is_blind(mode: str, role: Role) -> None:
    """Some transactions have none: the time pin."""
    seen = read(changed(REPLICA_ROW, mode=mode, read_only="0", super_read_only="0"), role)
    assert seen.position is None
    assert not seen.unproven
    assert DIALECT.read_capture(["", f"{SOURCE}:1-9", mode, "1", "0"], AUTO, None, 0) is None


def test_a_primary_without_a_binary_log_is_blind() -> None:
    """Its transactions are given no GTIDs; a replica's keep theirs."""
    assert read(changed(PRIMARY_ROW, log_bin="0"), Role.PRIMARY).position is None
    assert DIALECT.read_capture(["", f"{SOURCE}:1-9", "ON", "0", "0"], AUTO, None, 0) is None
    assert read(changed(REPLICA_ROW, log_bin="0")).position == gtids(f"{SOURCE}:1-9")


@pytest.mark.parametrize(("plain", "strict"), [("1", "0"), ("1", "1"), ("0", "1"), ("ON", "OFF")])
def test_what_refuses_writes_is_no_primary(plain: str, strict: str) -> None:
    """Whatever it was declared."""
    for declared in Role:
        seen = read(changed(PRIMARY_ROW, read_only=plain, super_read_only=strict), declared)
        assert (seen.role, seen.read_only, seen.horizon) == (Role.REPLICA, True, None)


def test_a_declared_replica_that_takes_writes_has_a_claim() -> None:
    """It may have been promoted or be careless: one question tells."""
    seen = read(ERRANT_ROW)
    assert seen.role is Role.REPLICA
    assert seen.claim
    assert seen.claim.role is Role.PRIMARY
    assert seen.claim.horizon == seen.position
    assert DIALECT.doubt_statement(seen) == "show replica status"
    assert DIALECT.doubt_statement(read(REPLICA_ROW)) is None
    assert DIALECT.doubt_statement(read(PRIMARY_ROW, Role.PRIMARY)) is None


def test_the_status_of_replication_resolves_a_claim() -> None:
    """No source: a primary. A running receiver: a replica. A stopped one: still open."""
    seen = read(ERRANT_ROW)
    assert DIALECT.read_doubt(None, seen) == seen.claim
    resolved = DIALECT.read_doubt(STATUS_ROW, seen)
    assert (resolved.role, resolved.claim, resolved.position) == (Role.REPLICA, None, seen.position)
    assert DIALECT.read_doubt(stopped(STATUS_ROW), seen) == seen
    connecting = [*STATUS_ROW[:10], "Connecting", *STATUS_ROW[11:]]
    assert DIALECT.read_doubt(connecting, seen).claim is None


@pytest.mark.parametrize("row", [None, [], REPLICA_ROW[:6], [*REPLICA_ROW, "x"]])
def test_a_row_that_is_no_answer_is_an_error(row: Row | None) -> None:
    """And an error is an observation."""
    with pytest.raises(ValueError, match="7 columns"):
        read(row)


def test_a_capture_is_all_that_can_have_been_seen() -> None:
    """The same for a position and for the log's end; the system goes without saying."""
    row = [OWNED, f"{SOURCE}:1-325", "ON", "1", "0"]
    for mode in (AUTO, END):
        assert DIALECT.read_capture(row, mode, None, 3) == gtids(f"{SOURCE}:1-328")
    assert DIALECT.read_capture(None, AUTO, None, 3) is None


def test_a_server_that_takes_no_writes_is_no_primary_any_more() -> None:
    """A switchover that nobody has heard of."""
    with pytest.raises(ValueError, match="takes no writes"):
        DIALECT.read_capture(["", f"{SOURCE}:1-9", "ON", "1", "1"], AUTO, None, 3)


def test_an_own_gtid_is_a_position() -> None:
    """Of that transaction alone; nonsense is none."""
    assert DIALECT.own_position(f"{SOURCE}:10", 3) == gtids(f"{SOURCE}:10")
    assert DIALECT.own_position("", 3) is None
    assert DIALECT.own_position("0-1-7", 3) is None
    assert DIALECT.tracking_statement() == "set session session_track_gtids = OWN_GTID"


CONFIG = ["ON", "1", "1", "ON", "4"]
"""gtid_mode, log_bin, read_only, replica_preserve_commit_order, replica_parallel_workers."""


@pytest.mark.parametrize(
    ("row", "role", "told"),
    [
        (CONFIG, Role.REPLICA, []),
        (["ON", "1", "0", "ON", "4"], Role.PRIMARY, []),
        (["ON", "0", "0", "ON", "4"], Role.PRIMARY, ["log_bin is OFF on the primary"]),
        (["ON", "0", "1", "ON", "4"], Role.REPLICA, []),
        (["OFF", "1", "1", "ON", "4"], Role.REPLICA, ["gtid_mode is not ON"]),
        (["ON", "1", "0", "ON", "4"], Role.REPLICA, ["read_only is OFF on a replica"]),
        (["ON", "1", "1", "OFF", "4"], Role.REPLICA, ["replica_preserve_commit_order is OFF"]),
        (["ON", "1", "1", "OFF", "0"], Role.REPLICA, []),
        (["ON", "1", "1", "OFF", "1"], Role.REPLICA, []),
        (["ON", "1", "0", "OFF", "4"], Role.PRIMARY, []),
    ],
)
def test_settings_that_break_the_promise_are_told(row: Row, role: Role, told: list[str]) -> None:
    """Each with its fix."""
    found = DIALECT.read_config(row, role)
    assert [message.startswith(start) for message, start in zip(found, told, strict=True)] == [True] * len(told)
    assert all("; set " in message for message in found)


def test_nothing_needs_to_be_installed() -> None:
    """Any role may read the variables."""
    assert DIALECT.setup_statements() == ()
    assert DIALECT.probe_statements(Role.REPLICA, helper=True) == DIALECT.probe_statements(Role.PRIMARY, helper=False)
