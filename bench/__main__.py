"""`python -m bench`: measure, print the tables, keep the figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench import driver, report
from bench.contests import CONTESTS

ROUNDS = 15
WIDTH = 132
"""Columns of a table that goes to a file or a pipe."""


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="lagless and its peers, side by side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often to measure everything")
    parser.add_argument("--only", choices=CONTESTS, help="one contest instead of all")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    chosen = [options.only] if options.only else list(CONTESTS)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=1.0)
        contests = [CONTESTS[name] for name in chosen]
        results = driver.run(contests, options.rounds, lambda done: progress.update(task, completed=done))
    report.show(results, console)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results), indent=2) + "\n")


if __name__ == "__main__":
    main()
