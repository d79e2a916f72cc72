"""`batcher run`: a job to its verified output."""

from __future__ import annotations

import click

from batcher.cli.options import JOB, RUN, SESSION, RunArguments, job_from, takes
from batcher.cli.session import first_rows, run_options, stops_told, tell_done
from batcher.verbs.answering import answer_columns
from batcher.verbs.run import run as run_job


@click.command()
@takes(JOB, RUN, SESSION)
def run(arguments: RunArguments) -> int:
    """Do every row of a job and publish one verified Parquet file.

    The same command goes on after any stop, and does nothing when all is done. Exit codes: 0 all rows ok, 3 some rows
    not ok, 2 and 4 change something, 5 and 6 a person must act, 7 the endpoint is down, 8 the disk, 9 another process
    has the run, 10 too many failures of one kind, 129/130/143 a signal.
    """
    with stops_told(arguments, verb="run"):
        job = job_from(arguments)
        summary = run_job(job, run_options(arguments))
    tell_done(arguments, summary)
    if not arguments.quiet:
        first_rows(summary, answer_columns(job), input_columns=2)
    return summary.exit_code
