"""`lagless setup` on a real server."""

from __future__ import annotations

from click.testing import CliRunner

from lagless.cli import main


def test_setup_installs_the_function(servers):
    """A role without rights can ask for positions afterwards; running it again is harmless."""
    servers.heal()
    for _ in range(2):
        result = CliRunner().invoke(main, ["setup", servers.primary.dsn])
        assert result.exit_code == 0, result.output
    assert servers.primary.execute("select in_recovery from lagless_position()") == [(False,)]
    servers.primary.execute("drop function lagless_position()")


def test_setup_heartbeat(servers):
    """The heartbeat's table has its row, once."""
    servers.heal()
    for _ in range(2):
        assert CliRunner().invoke(main, ["setup", servers.primary.dsn, "--dialect", "heartbeat"]).exit_code == 0
    assert servers.primary.execute("select count(*) from lagless_heartbeat") == [(1,)]
    servers.primary.execute("drop table lagless_heartbeat")


def test_setup_on_a_replica_fails_without_a_secret(servers):
    """A standby takes no function; the message names no password."""
    servers.heal()
    dsn = servers.replicas[0].dsn.replace("postgresql://lagless@", "postgresql://lagless:secret@")
    result = CliRunner().invoke(main, ["setup", dsn])
    assert result.exit_code == 1
    assert "nothing was installed" in result.output
    assert "secret" not in result.output


def test_setup_print():
    """The statements can be printed for a database administrator."""
    result = CliRunner().invoke(main, ["setup", "unused", "--print"])
    assert "security definer" in result.output
