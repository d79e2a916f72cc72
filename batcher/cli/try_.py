"""`batcher try`: buy a few rows, look at them, and see what all would cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from batcher.cli.options import JOB, SESSION, RunArguments, job_from, takes
from batcher.cli.session import run_options, stops_told, tell_done
from batcher.report.terminal import print_lines, print_rows
from batcher.report.wording import money
from batcher.verbs.answering import answer_columns
from batcher.verbs.look import first_rows_of
from batcher.verbs.trial import MOST_ROWS, ROWS, Trial, try_rows

if TYPE_CHECKING:
    from pathlib import Path


@click.command("try")
@takes(JOB, SESSION)
@click.option(
    "-n", "count", default=ROWS, type=click.IntRange(1, MOST_ROWS), show_default=True, help="Rows to buy."
)
@click.option("--show", default=10, type=click.IntRange(0), show_default=True, help="Answers to print.")
def try_(arguments: RunArguments, count: int, show: int) -> int:
    """Buy N rows spread over the input, the same rows every time.

    `batcher run` takes these answers over, and so does the next try wherever the request is the same.
    """
    with stops_told(arguments, verb="try"):
        job = job_from(arguments)
        trial = try_rows(job, run_options(arguments), count=count)
    tell_done(arguments, trial.summary)
    if not arguments.quiet:
        rows, columns = first_rows_of(trial.part, answer_columns(job), input_columns=1, rows=show)
        print_rows(rows, columns)
        print_lines(["", *_label_lines(trial.part, tuple(job.labels)), *_full_run_lines(trial)])
    return trial.summary.exit_code


def _label_lines(part: Path, labels: tuple[str, ...]) -> list[str]:
    """How often each value of each label was given."""
    rows, _ = first_rows_of(part, labels, input_columns=0, rows=MOST_ROWS)
    lines = []
    for label in labels:
        counts = Counter(str(row[label]) if row[label] is not None else "(does not fit)" for row in rows)
        lines.append(f"  {label}: " + " · ".join(f"{value} {n:,}" for value, n in counts.most_common()))
    return lines


def _full_run_lines(trial: Trial) -> list[str]:
    cost = trial.full_cost_usd
    told = (
        f"about {money(cost)} at the mean of the rows bought now" if cost is not None else "no price is known"
    )
    return [f"  all {trial.rows_of_all:,} rows: {told}; batcher run takes these answers over"]
