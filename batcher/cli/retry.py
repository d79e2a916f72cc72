"""`batcher retry`: rows of a published output again, chosen by their outcome."""

from __future__ import annotations

from pathlib import Path

import click

from batcher.cli.options import CHANGES, SESSION, RunArguments, job_options, takes
from batcher.cli.session import run_options, stops_told, tell_done
from batcher.verbs.retry import RetryWish
from batcher.verbs.retry import retry as retry_rows


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--outcome",
    default="failed",
    show_default=True,
    metavar="NAME[,NAME]",
    help="Rows to do again: failed, truncated, refused, invalid.",
)
@takes(CHANGES, SESSION)
def retry(arguments: RunArguments, out: Path, outcome: str) -> int:
    """Do rows of OUT again; rows that are ok are never touched, and what they cost before is kept.

    The file is replaced when the new one is verified. The same command goes on after any stop.
    """
    wish = RetryWish(tuple(name.strip() for name in outcome.split(",") if name.strip()), arguments.sets)
    options = run_options(arguments)
    with stops_told(arguments, verb="retry"):
        summary = retry_rows(out, wish, options, job_options=job_options(arguments))
    tell_done(arguments, summary)
    return summary.exit_code
