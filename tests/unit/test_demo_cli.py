from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from lagless import cli
from lagless.demo.options import DatabaseName, ServerKind, StackName, contradiction, server_of


def test_every_policy_can_be_asked_for() -> None:
    """The names are those of the table and of the JSON."""
    shown = CliRunner().invoke(cli.main, ["demo", "--help"], terminal_width=200).output
    for name in ("primary only", "random replica", "pin 1 s", "pin 15 s", "lagless"):
        assert name in shown


def test_an_unknown_policy_is_refused() -> None:
    """Before anything is started."""
    result = CliRunner().invoke(cli.main, ["demo", "--policy", "hope"])
    assert result.exit_code == 2
    assert "'primary only'" in result.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--stack", "django", "--database", "mariadb"], "try --stack fastapi"),
        (["--database", "mariadb"], "lagless.django has no backend for MariaDB"),
        (["--stack", "fastapi", "--server", "gunicorn"], "leave --server out"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], why: str) -> None:
    """As wrong usage, before anything is started."""
    result = CliRunner().invoke(cli.main, ["demo", *arguments])
    assert result.exit_code == 2
    assert why in result.output


def test_each_stack_has_a_server_of_its_own() -> None:
    """Nobody has to know that FastAPI is ASGI."""
    assert server_of(StackName.DJANGO) is ServerKind.GUNICORN
    assert server_of(StackName.FASTAPI) is ServerKind.UVICORN
    assert contradiction(StackName.FASTAPI, DatabaseName.MARIADB, None) is None
    assert contradiction(StackName.DJANGO, DatabaseName.POSTGRESQL, ServerKind.UVICORN) is None


def test_a_result_that_could_not_be_written_is_refused_at_once() -> None:
    """Not after two minutes."""
    result = CliRunner().invoke(cli.main, ["demo", "--json", "/no/such/directory/result.json"])
    assert result.exit_code == 2
    assert "'/no/such/directory' does not exist" in result.output


def test_a_missing_extra_is_named_with_the_command_that_installs_it() -> None:
    """Whoever installed lagless alone learns what to do."""
    with pytest.raises(click.ClickException, match=r'missing: nothing-like-it; try: pip install "lagless\[demo\]"'):
        cli.require("demo", {"no_such_module": "nothing-like-it", "json": "json"})


def test_without_click_there_is_a_sentence_and_no_traceback() -> None:
    """The command line itself is an extra."""
    code = "import sys; sys.modules['click'] = None; import lagless.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == 'lagless: the command line needs click; try: pip install "lagless[cli]"\n'


def test_the_command_line_loads_no_framework() -> None:
    """Django, rich and the drivers are for the commands that need them."""
    heavy = {"django", "fastapi", "sqlalchemy", "rich", "psycopg", "pymysql"}
    code = f"import sys, lagless.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
