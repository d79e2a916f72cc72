"""`batcher status`: every run below a folder, alive or dead. Its text is its data, so it goes to stdout."""

from __future__ import annotations

import time
from pathlib import Path

import click

from batcher.cli.reading import STATE, write_json, write_lines
from batcher.verbs.status import status as status_of
from batcher.verbs.status_words import status_lines


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@STATE
@click.option("--json", "as_json", is_flag=True, help="A JSON list on stdout, one object per run.")
def status(path: Path | None, *, state: Path | None, as_json: bool) -> int:
    """Show every run below PATH (a folder, or one output; by default here), alive or dead.

    Nothing is locked or changed. Exit code 0 also when runs are dead; 2 when PATH does not exist.
    """
    runs = status_of(path, state=state)
    if as_json:
        write_json([run.to_json() for run in runs])
    else:
        write_lines(status_lines(runs, here=Path.cwd(), now=time.time()))
    return 0
