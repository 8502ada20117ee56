"""The dialect that asks MySQL and MariaDB at once: each server runs its own comment and skips the other's."""

from __future__ import annotations

import re

import pytest

from lagless.core.config import CaptureMode
from lagless.core.gtid import MARIADB, MYSQL, GtidSet, MariaGtids
from lagless.core.position import History
from lagless.core.topology import Role
from lagless.dialects import MariaDB, MySQL, MySQLFamily, dialect_named
from lagless.dialects.base import Heard

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
MYSQL_ROW = ["", f"{UUID}:1-9", "ON", "1", "0", "0", f"{UUID}/1"]
MARIADB_ROW = ["1", "0-1-9", "0-1-9", "", "1", "0", "1", "1/vm/3306/1"]
DIALECT = MySQLFamily()
HEARD = Heard("a", Role.PRIMARY, 1.0, 0)


def as_mariadb(statement: str) -> str:
    """Return what MariaDB makes of a statement."""
    return _run(statement, runs=r"/\*M!(.*?)\*/", skips=r"/\*!80000.*?\*/")


def as_mysql(statement: str) -> str:
    """Return what MySQL makes of a statement."""
    return _run(statement, runs=r"/\*!80000(.*?)\*/", skips=r"/\*M!.*?\*/")


def _run(statement: str, *, runs: str, skips: str) -> str:
    skipped = re.sub(skips, "", statement, flags=re.DOTALL)
    return " ".join(re.sub(runs, r"\1", skipped, flags=re.DOTALL).split())


def plain(statement: str, name: str) -> str:
    """Return a dialect's own question with its name in front."""
    return f"select '{name}', " + " ".join(statement.removeprefix("select ").split())


def test_it_is_found_by_its_name() -> None:
    """As a setting names it."""
    assert isinstance(dialect_named("mysql_family"), MySQLFamily)


def test_each_server_is_asked_its_own_question() -> None:
    """The probe, the capture and the settings, whoever reads them."""
    (probe,) = DIALECT.probe_statements(Role.PRIMARY, helper=False)
    for statement, ask in (
        (probe, lambda dialect: dialect.probe_statements(Role.PRIMARY, helper=False)[0]),
        (DIALECT.capture_statement(), lambda dialect: dialect.capture_statement()),
        (DIALECT.config_statement(), lambda dialect: dialect.config_statement()),
    ):
        assert as_mysql(statement or "") == plain(ask(MySQL()), "mysql")
        assert as_mariadb(statement or "") == plain(ask(MariaDB()), "mariadb")


def test_each_servers_answer_is_read_as_its_own() -> None:
    """The first column tells."""
    mysql = DIALECT.read_probe(["mysql", *MYSQL_ROW], HEARD)
    mariadb = DIALECT.read_probe(["mariadb", *MARIADB_ROW], HEARD)
    assert isinstance(mysql.position, GtidSet)
    assert isinstance(mariadb.position, MariaGtids)
    captured = DIALECT.read_capture(["mysql", *MYSQL_ROW[:4], "0"], CaptureMode.AUTO, None, 0)
    assert captured == GtidSet.parse(History(MYSQL), f"{UUID}:1-9")
    captured = DIALECT.read_capture(["mariadb", "1", "0-1-9", "0-1-9", "", "0"], CaptureMode.AUTO, None, 0)
    assert captured == MariaGtids.parse(History(MARIADB), "0-1-9")
    assert DIALECT.read_capture(None, CaptureMode.AUTO, None, 0) is None


@pytest.mark.parametrize("row", [None, ["oracle", "1"], [None]])
def test_any_other_server_is_an_error(row: list[str | None] | None) -> None:
    """Such as a MySQL that is too old to read the comment."""
    with pytest.raises(ValueError, match="neither MySQL"):
        DIALECT.read_probe(row, HEARD)


def test_a_doubt_is_asked_and_resolved_in_the_servers_words() -> None:
    """A replica that takes writes, of either kind."""
    heard = Heard("a", Role.REPLICA, 1.0, 0)
    for name, row, words in (("mysql", MYSQL_ROW, "replica"), ("mariadb", MARIADB_ROW, "slaves")):
        seen = DIALECT.read_probe([name, *row], heard)
        assert words in (DIALECT.doubt_statement(seen) or "")
        assert DIALECT.read_doubt(None, seen).role is Role.PRIMARY


def test_own_gtids_of_either_kind() -> None:
    """A UUID with numbers, or three numbers."""
    assert isinstance(DIALECT.own_position(f"{UUID}:77", 0), GtidSet)
    assert isinstance(DIALECT.own_position("0-1-7", 0), MariaGtids)
    assert DIALECT.own_position("nonsense", 0) is None
    tracking = DIALECT.tracking_statement() or ""
    assert as_mysql(tracking) == " ".join((MySQL().tracking_statement() or "").split())
    assert as_mariadb(tracking) == " ".join((MariaDB().tracking_statement() or "").split())


def test_settings_of_either_kind() -> None:
    """As their own dialects judge them."""
    assert DIALECT.read_config(["mysql", "OFF", "1", "0", "ON", "4"], Role.PRIMARY)
    assert DIALECT.read_config(["mariadb", "0", "0", "0", ""], Role.PRIMARY)
    assert DIALECT.setup_statements() == ()
