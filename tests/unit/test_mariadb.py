"""The MariaDB dialect over rows as a real MariaDB 10.11 primary and replica gave them."""

from __future__ import annotations

import pytest

from lagless.core.config import CaptureMode
from lagless.core.gtid import MARIADB, MariaGtids
from lagless.core.position import History
from lagless.core.topology import Identity, Observation, Role
from lagless.dialects import MariaDB, dialect_named
from lagless.dialects.base import Heard, Row
from lagless.dialects.mariadb import held

LINE = History(MARIADB, 0, 3)
PRIMARY_ROW = ["1", "0-1-9", "0-1-9", "", "1", "0", "1", "1/vm/54495/1795226849"]
REPLICA_ROW = ["1", "0-1-9", "0-1-9", "0-1-9", "1", "1", "2", "2/vm/32973/1795226849"]
ERRANT_ROW = ["1", "0-2-14", "0-1-13,0-2-14", "0-1-13", "1", "0", "2", "2/vm/32973/1795226849"]
STATUS_ROW = [
    *("", "Slave has read all relay log; waiting for more updates", "Waiting for master to send event", "127.0.0.1"),
    *("repl", "54495", "1", "bin.000001", "1768", "relay.000002", "2061", "bin.000001", "Yes", "Yes", "", ""),
]
AUTO, END = CaptureMode.AUTO, CaptureMode.INSERT
DIALECT = MariaDB()


def read(row: Row | None, declared: Role = Role.REPLICA) -> Observation:
    """Read a probe's answer."""
    return DIALECT.read_probe(row, Heard("n", declared, 12.5, 3))


def gtids(text: str) -> MariaGtids:
    """Return a position."""
    return MariaGtids.parse(LINE, text)


def changed(row: Row, **columns: str | None) -> Row:
    """Return a row with some columns replaced."""
    names = ["log_bin", "last", "state", "applied", "relogs", "read_only", "server", "instance"]
    return [columns.get(name, value) for name, value in zip(names, row, strict=True)]


def test_it_is_found_by_its_name() -> None:
    """In settings."""
    assert isinstance(dialect_named("mariadb"), MariaDB)


def test_a_primary_answers() -> None:
    """The last GTID of each domain is its position, all that it knows its horizon."""
    seen = read(changed(PRIMARY_ROW, last="0-2-12,5-1-3", state="0-1-9,0-2-12,5-1-3", applied="0-7-4"), Role.PRIMARY)
    assert seen.role is Role.PRIMARY
    assert seen.position == gtids("0-2-12,5-1-3")
    assert seen.horizon == gtids("0-1-9,0-2-12,0-7-4,5-1-3")
    assert seen.identity == Identity(MARIADB, "1/vm/54495/1795226849")
    assert (seen.node, seen.sent, seen.read_only, seen.claim, seen.local) == ("n", 12.5, False, None, None)


def test_a_replica_answers() -> None:
    """What it logged and applied."""
    seen = read(REPLICA_ROW)
    assert seen.role is Role.REPLICA
    assert seen.position == gtids("0-1-9")
    assert seen.local == gtids("")
    assert (seen.horizon, seen.read_only, seen.claim) == (None, True, None)


@pytest.mark.parametrize(
    ("logged", "applied", "shown"),
    [
        ("0-1-9", "0-1-9", "0-1-9"),
        ("0-1-9", "0-1-8", "0-1-8"),
        ("0-1-7,0-2-9", "0-2-9", "0-1-7,0-2-9"),
        ("0-1-7,0-2-9", "0-2-8", "0-1-7,0-2-8"),
        ("0-1-7", "0-2-7", "0-1-7,0-2-7"),
        ("", "0-1-100", "0-1-100"),
        ("0-1-7,1-1-5", "0-1-7", "0-1-7"),
        ("0-1-7,1-1-5", "0-1-6,1-1-5", "0-1-6,1-1-5"),
        ("0-1-9", "", ""),
    ],
    ids=[
        "at rest", "logged, not committed", "after a failover", "logged after a failover, not committed",
        "the log lags", "a fresh copy", "a domain that is not applied", "domains apart", "nothing applied",
    ],
)  # fmt: skip
def test_a_replica_holds_what_its_log_and_its_commits_agree_on(logged: str, applied: str, shown: str) -> None:
    """The log is written before the commit; the commit's number names one server (CORRECTNESS 6)."""
    assert read(changed(REPLICA_ROW, state=logged, applied=applied)).position == gtids(shown)


def test_the_same_number_of_another_server_is_not_held() -> None:
    """The replica kept a lost write; the new primary gave its number again. MASTER_GTID_WAIT says it is there."""
    replica = held({(0, 1): 7}, {(0, 1): 7})
    assert not MariaGtids.of(LINE, replica).covers(gtids("0-2-7"))


@pytest.mark.parametrize("off", [{"relogs": "0"}, {"log_bin": "0", "state": None}])
def test_without_a_log_of_what_it_applies_only_the_last_server_is_known(off: dict[str, str | None]) -> None:
    """What others wrote before it may or may not be there."""
    assert read(changed(REPLICA_ROW, **{"state": "0-1-7,0-2-9", "applied": "0-2-9", **off})).position == gtids("0-2-9")


def test_own_writes_of_a_replica_are_its_own_servers() -> None:
    """Of any domain; what others wrote came to it through the primary."""
    assert read(ERRANT_ROW).local == gtids("0-2-14")
    assert read(changed(ERRANT_ROW, state="0-1-13,0-22-9,3-2-1")).local == gtids("3-2-1")


def test_a_primary_without_a_binary_log_is_blind() -> None:
    """The time pin."""
    seen = read(changed(PRIMARY_ROW, log_bin="0", last="", state=None), Role.PRIMARY)
    assert (seen.position, seen.horizon, seen.unproven) == (None, None, False)
    assert DIALECT.read_capture(["0", "", None, "", "0"], AUTO, None, 0) is None


@pytest.mark.parametrize("value", ["1", "ON", "READ_ONLY_NO_LOCK"])
def test_what_refuses_writes_is_no_primary(value: str) -> None:
    """Whatever it was declared."""
    for declared in Role:
        seen = read(changed(PRIMARY_ROW, read_only=value), declared)
        assert (seen.role, seen.read_only, seen.horizon) == (Role.REPLICA, True, None)


def test_a_declared_replica_that_takes_writes_has_a_claim() -> None:
    """As a primary it stands where its log does."""
    seen = read(ERRANT_ROW)
    assert (seen.role, seen.position) == (Role.REPLICA, gtids("0-1-13,0-2-13"))
    assert seen.claim
    assert seen.claim.position == gtids("0-2-14")
    assert seen.claim.horizon == gtids("0-1-13,0-2-14")
    assert DIALECT.doubt_statement(seen) == "show all slaves status"
    assert DIALECT.doubt_statement(read(REPLICA_ROW)) is None


def test_the_status_of_replication_resolves_a_claim() -> None:
    """No source: a primary. A running receiver: a replica. A stopped one: still open."""
    seen = read(ERRANT_ROW)
    assert DIALECT.read_doubt(None, seen) == seen.claim
    resolved = DIALECT.read_doubt(STATUS_ROW, seen)
    assert (resolved.role, resolved.claim) == (Role.REPLICA, None)
    assert DIALECT.read_doubt([*STATUS_ROW[:12], "No", *STATUS_ROW[13:]], seen) == seen


@pytest.mark.parametrize("row", [None, [], REPLICA_ROW[:7], [*REPLICA_ROW, "x"]])
def test_a_row_that_is_no_answer_is_an_error(row: Row | None) -> None:
    """And an error is an observation."""
    with pytest.raises(ValueError, match="8 columns"):
        read(row)


def test_a_capture_is_the_last_gtid_of_each_domain() -> None:
    """A fresh copy never sees GTIDs of servers that are long gone; the log's end names them all."""
    row = ["1", "0-2-12", "0-1-9,0-2-12", "", "0"]
    assert DIALECT.read_capture(row, AUTO, None, 3) == gtids("0-2-12")
    assert DIALECT.read_capture(row, END, None, 3) == gtids("0-1-9,0-2-12")
    assert DIALECT.read_capture(None, AUTO, None, 3) is None


def test_a_server_that_takes_no_writes_is_no_primary_any_more() -> None:
    """A switchover that nobody has heard of: what it holds is not what a session may trust."""
    with pytest.raises(ValueError, match="takes no writes"):
        DIALECT.read_capture(["1", "0-2-12", "0-2-12", "", "1"], AUTO, None, 3)


def test_an_own_gtid_is_a_position() -> None:
    """Nonsense is none."""
    assert DIALECT.own_position("0-1-10", 3) == gtids("0-1-10")
    assert DIALECT.own_position("", 3) is None
    assert DIALECT.own_position("a:10", 3) is None
    assert "last_gtid" in (DIALECT.tracking_statement() or "")


@pytest.mark.parametrize(
    ("row", "role", "told"),
    [
        (["1", "1", "1", "0-1-9,0-1-9"], Role.REPLICA, []),
        (["1", "1", "0", "0-1-9,"], Role.PRIMARY, []),
        (["0", "1", "0", ","], Role.PRIMARY, ["log_bin is OFF on the primary"]),
        (["1", "0", "1", "0-1-9"], Role.REPLICA, ["log_slave_updates is OFF on a replica"]),
        (["0", "1", "1", "0-1-9"], Role.REPLICA, ["log_slave_updates is OFF on a replica"]),
        (["1", "1", "0", "0-1-9"], Role.REPLICA, ["read_only is OFF on a replica"]),
        (["1", "1", "1", "0-1-9,4-1-2"], Role.REPLICA, ["several GTID domains"]),
    ],
)
def test_settings_that_break_the_promise_are_told(row: Row, role: Role, told: list[str]) -> None:
    """Each with its fix."""
    found = DIALECT.read_config(row, role)
    assert [message.startswith(start) for message, start in zip(found, told, strict=True)] == [True] * len(told)


def test_nothing_needs_to_be_installed() -> None:
    """Any role may read the variables."""
    assert DIALECT.setup_statements() == ()
