"""`batcher try`: buy a few rows, look at them, and see what all would cost; several models side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batcher.cli.options import JOB, SESSION, RunArguments, job_from, takes
from batcher.cli.session import run_options, stops_told, tell, tell_done
from batcher.report import summary_lines
from batcher.report.terminal import print_lines, print_rows
from batcher.verbs.answering import answer_columns
from batcher.verbs.look import first_rows_of
from batcher.verbs.trial import MOST_ROWS, ROWS, Trial, try_rows
from batcher.verbs.trial_outlook import changes_since
from batcher.verbs.trial_words import change_lines, label_lines, outlook_lines, side_by_side

if TYPE_CHECKING:
    from batcher.job import Job


@click.command("try")
@takes(JOB, SESSION)
@click.option(
    "-n", "count", default=ROWS, type=click.IntRange(1, MOST_ROWS), show_default=True, help="Rows to buy."
)
@click.option("--show", default=10, type=click.IntRange(0), show_default=True, help="Answers to print.")
def try_(arguments: RunArguments, count: int, show: int) -> int:
    """Buy N rows spread over the input, the same rows every time; see what all rows will come to.

    `batcher run` takes these answers over, and so does the next try wherever the request is the same. Several models,
    as --model a,b, are tried one after the other and shown side by side.
    """
    models = [name.strip() for name in (arguments.model or "").split(",") if name.strip()]
    if len(models) > 1:
        return _side_by_side(arguments, models, count)
    with stops_told(arguments, verb="try"):
        job = job_from(arguments)
        trial = try_rows(job, run_options(arguments), count=count)
        changes = change_lines(trial, changes_since(trial.part, trial.earlier))
    tell_done(arguments, trial.summary)
    if not arguments.quiet:
        if show:
            rows, columns = first_rows_of(trial.part, answer_columns(job), input_columns=1, rows=show)
            print_rows(rows, columns)
        print_lines(["", *_label_lines(trial, job), *changes, *outlook_lines(trial)])
    return trial.summary.exit_code


def _label_lines(trial: Trial, job: Job) -> list[str]:
    rows, _ = first_rows_of(trial.part, tuple(job.labels), input_columns=0, rows=MOST_ROWS)
    return label_lines(rows, tuple(job.labels))


def _side_by_side(arguments: RunArguments, models: list[str], count: int) -> int:
    trials: list[Trial] = []
    for model in models:
        one = replace(arguments, model=model)
        with stops_told(arguments, verb="try"):
            trials.append(try_rows(job_from(one), run_options(one), count=count))
        print_lines([f"  {model}", *summary_lines(trials[-1].summary, here=Path.cwd())])
    agreed = [changes_since(each.part, trials[0].part) if each is not trials[0] else () for each in trials]
    rows = side_by_side(models, trials, agreed)
    print_rows(rows, list(dict.fromkeys(name for row in rows[::-1] for name in row)))
    exit_code = max(each.summary.exit_code for each in trials)
    told = {"verb": "try", "exit_code": exit_code, "tries": [each.summary.to_json() for each in trials]}
    tell(arguments, told)
    return exit_code
