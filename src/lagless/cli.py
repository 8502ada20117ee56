"""The command line: `lagless`."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lagless.demo.options import DatabaseName, Options, ServerKind, StackName, contradiction, server_of
from lagless.demo.policies import RoutingPolicy

try:
    import click
except ImportError:
    raise SystemExit('lagless: the command line needs click; try: pip install "lagless[cli]"') from None

_DEFAULTS = Options()
_NEEDED_BY_DEMO = {"rich": "rich", "jinja2": "jinja2", "uvicorn": "uvicorn"}
_NEEDED_BY_STACK = {
    StackName.DJANGO: {"django": "django", "multidb": "django-multidb-router", "gunicorn": "gunicorn"},
    StackName.FASTAPI: {"fastapi": "fastapi", "sqlalchemy": "sqlalchemy", "greenlet": "greenlet"},
}
_NEEDED_BY_DATABASE = {
    DatabaseName.POSTGRESQL: {"psycopg": "psycopg", "asyncpg": "asyncpg"},
    DatabaseName.MARIADB: {"pymysql": "PyMySQL", "aiomysql": "aiomysql"},
}


@click.group(name="lagless", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lagless")
def main() -> None:
    """Read from replicas, never stale."""


def require(extra: str, modules: dict[str, str]) -> None:
    """Stop with the command that installs what is missing; `modules` maps what is imported to its package."""
    missing = [package for module, package in modules.items() if find_spec(module) is None]
    if missing:
        raise click.ClickException(f'missing: {", ".join(missing)}; try: pip install "lagless[{extra}]"')


def _in_existing_directory(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """A run takes two minutes: say at once that its result could not be written."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"directory {str(value.parent)!r} does not exist")
    return value


@main.command()
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice([policy.value for policy in RoutingPolicy]),
    help="Run this policy only; may be given several times.",
)
@click.option(
    "--seconds", type=click.FloatRange(min=2), default=_DEFAULTS.seconds, show_default=True, help="Load per policy."
)
@click.option(
    "--clients", type=click.IntRange(1, 500), default=_DEFAULTS.clients, show_default=True, help="Visitors at once."
)
@click.option("--seed", type=int, default=_DEFAULTS.seed, show_default=True, help="Of what the visitors do.")
@click.option(
    "--stack",
    type=click.Choice([each.value for each in StackName]),
    default=_DEFAULTS.stack.value,
    show_default=True,
    help="What the site is written with.",
)
@click.option(
    "--database",
    type=click.Choice([each.value for each in DatabaseName]),
    default=_DEFAULTS.database.value,
    show_default=True,
    help="What keeps its rows; mariadb with fastapi only.",
)
@click.option(
    "--server",
    type=click.Choice([each.value for each in ServerKind]),
    show_default="gunicorn; uvicorn for FastAPI",
    help="gunicorn serves WSGI, uvicorn ASGI.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_in_existing_directory,
    help="Also write the result to this file.",
)
@click.option("--serve", is_flag=True, help="Run no load: leave the site up, to click around, until Ctrl-C.")
@click.pass_context
def demo(
    context: click.Context,
    /,
    *,
    policies: tuple[str, ...],
    stack: str,
    database: str,
    server: str | None,
    json_file: Path | None,
    serve: bool,
    **load: Any,
) -> None:
    """One small site on a primary and two real replicas that lag, stop and die.

    The same visitors use it under each routing policy; who saw stale pages is judged from outside.
    Exit status 1 when lagless did not keep its promise.
    """
    site, rows, kind = StackName(stack), DatabaseName(database), ServerKind(server) if server else None
    if why := contradiction(site, rows, kind):
        raise click.UsageError(why)
    require("demo", _NEEDED_BY_DEMO | _NEEDED_BY_STACK[site] | _NEEDED_BY_DATABASE[rows])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end cleans up as Ctrl-C does
    chosen = tuple(RoutingPolicy(policy) for policy in dict.fromkeys(policies)) or _DEFAULTS.policies
    options = Options(policies=chosen, stack=site, database=rows, server=kind or server_of(site), **load)
    if serve:
        from lagless.demo.open_house import keep_open  # noqa: PLC0415 - loads what the extra brings

        keep_open(options)
        return
    from lagless.demo.screen import present  # noqa: PLC0415 - loads what the extra brings

    context.exit(0 if present(options, json_file) else 1)


@main.command()
@click.argument("dsn")
@click.option(
    "--dialect",
    type=click.Choice(["postgresql", "heartbeat"]),
    default="postgresql",
    show_default=True,
    help="postgresql installs lagless_position(), heartbeat the one-row table.",
)
@click.option("--print", "print_only", is_flag=True, help="Print the statements instead of running them.")
def setup(dsn: str, dialect: str, *, print_only: bool) -> None:
    """Install what lagless's probes need into the PostgreSQL database at DSN, as its owner or a superuser.

    For roles that may not see a standby's timeline. Safe to run again.
    """
    from lagless.dialects import dialect_named  # noqa: PLC0415 - quick to import, but only needed here

    statements = dialect_named(dialect).setup_statements()
    if print_only:
        click.echo("\n".join(f"{statement};" for statement in statements))
        return
    require("postgresql", {"psycopg": "psycopg"})
    from lagless.drivers.psycopg import install  # noqa: PLC0415 - loads what the extra brings

    try:
        install(dsn, statements)
    except Exception as error:  # noqa: BLE001 - the driver's text may hold the password: only its name is told
        raise click.ClickException(f"{type(error).__name__}: nothing was installed") from None
    click.echo(f"installed what {dialect} probes need")


if __name__ == "__main__":
    main()
