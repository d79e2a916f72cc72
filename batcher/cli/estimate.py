"""`batcher estimate`: what a job will come to; its requests as JSON go to stdout, what people read to stderr."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from batcher.cli import streams
from batcher.cli.options import JOB, RunArguments, job_from, takes
from batcher.cli.reading import STATE, write_json
from batcher.cli.session import run_options
from batcher.report.terminal import print_lines
from batcher.verbs.estimate import estimate as estimate_of
from batcher.verbs.estimate_words import estimate_json, estimate_lines


@click.command()
@takes(JOB)
@click.option(
    "--from",
    "earlier",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT",
    help="An earlier output whose usage columns tell how long prompts and answers are.",
)
@click.option("--show", default=0, type=click.IntRange(0), metavar="N", help="The first N requests as JSON.")
@click.option(
    "--reuse", multiple=True, metavar="GLOB", help="As for run: these outputs' answers count as bought."
)
@click.option("--replace", is_flag=True, help="As for run.")
@click.option("--fresh", is_flag=True, help="As for run: no answer counts as bought.")
@click.option("--simulate", is_flag=True, help="Of a simulated run.")
@click.option("--allow-http", is_flag=True, help="As for run.")
@STATE
@click.option("--json", is_flag=True, help="One JSON object on stdout.")
def estimate(arguments: RunArguments, earlier: Path | None, show: int) -> int:
    """What a job will come to: rows, duplicates, tokens, dollars, time. Free: nothing is sent.

    Job and data are checked in full, as run would. Tokens stand on the usage of this job's own answers (a try), or of
    an earlier output (--from), else on the bytes of each script; ranges are 95 % intervals where usage is known.
    """
    job = job_from(arguments)
    found = estimate_of(job, run_options(arguments), earlier=earlier, show=show)
    if arguments.json:
        write_json(estimate_json(found))
    else:
        for body in found.weighed.first:
            streams.write(orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode() + "\n")
    print_lines(estimate_lines(found), sys.stderr)
    return 0
