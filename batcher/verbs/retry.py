"""`retry`: rows of a published output again, chosen by their outcome; the rest untouched.

A retry is a round of the run that made the output: journalled, resumable, and its output replaces the old one only when
it is verified. Rows that are ok are never touched; what a row cost before is kept and added to.
"""

from __future__ import annotations

import os
import shlex
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import pyarrow.parquet as pq

from batcher.dataset import Scan
from batcher.errors import Conflict, JobError
from batcher.job import job_from_table
from batcher.records import Outcome
from batcher.report import Summary
from batcher.store.directory import run_directory, state_folder
from batcher.store.footer import read_facts
from batcher.store.lock import RunLock
from batcher.store.manifest import RetryOpen, read
from batcher.store.output_rows import OutputRows, OutputSource, Selection
from batcher.store.publish import ReplacePlan
from batcher.store.run_facts import RunFacts
from batcher.store.run_state import replay
from batcher.verbs.carrying import carry_out
from batcher.verbs.closing import summary_of_output
from batcher.verbs.limits import refuse_without_bound
from batcher.verbs.opening import Site
from batcher.verbs.round import Round
from batcher.verbs.run import totals_of
from batcher.verbs.target import open_target
from batcher.verbs.wiring import InputShape, output_schema, price_function

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job, JobOptions
    from batcher.store.run_state import RunState
    from batcher.verbs.options import RunOptions
    from batcher.verbs.target import Target

RETRYABLE = (Outcome.FAILED, Outcome.TRUNCATED, Outcome.REFUSED, Outcome.INVALID)
FIXED = ("input.", "output.", "labels", "tags.", "endpoint.base_url")
"""What `--set` may not change in a retry: the file has one input, one set of columns and one endpoint."""
FREE = "limits."
"""What `--set` may change between the sessions of one retry, so that a raised budget goes on with it."""


@dataclass(frozen=True, slots=True)
class RetryWish:
    """What to do again.

    Attributes:
        outcomes: rows with one of these; never ``ok``.
        sets: `table.key=value` over the job of the run.
    """

    outcomes: tuple[str, ...]
    sets: tuple[str, ...] = ()


def retry(
    output: Path, wish: RetryWish, options: RunOptions, *, job_options: JobOptions | None = None
) -> Summary:
    """Do the chosen rows of an output again.

    Raises:
        BatcherError: what stopped it; the same call goes on.
    """
    _check(wish)
    output = output.absolute()
    site = Site(output, state_folder(output, options.state), run_directory(output, options.state))
    facts = _facts_of(site)
    options = replace(options, simulate=facts.simulated)
    job = job_from_table(facts.job, sets=wish.sets, options=job_options)
    _check_columns(job, facts)
    refuse_without_bound(job, _shape_of(facts).format)
    with ExitStack() as stack:
        target = stack.enter_context(open_target(job, options))
        lock = stack.enter_context(
            RunLock.acquire(site.directory.lock, pid=os.getpid(), host=os.uname().nodename, now=time.time())
        )
        state = replay(read(site.directory.manifest).records)
        opening = _opening(site, facts, state, wish)
        if opening is None:
            return _nothing_to_do(job, site, facts, options)
        return carry_out(_round(job, site, facts, opening, target=target, options=options, lock=lock))


def _check(wish: RetryWish) -> None:
    if not wish.outcomes:
        raise JobError(f"--outcome names no outcome: one or more of {', '.join(RETRYABLE)}")
    for outcome in wish.outcomes:
        if outcome not in RETRYABLE:
            names = ", ".join(RETRYABLE)
            raise JobError(
                f"--outcome {outcome}: one or more of {names} (rows that are ok are never touched)"
            )
    for given in wish.sets:
        key = given.partition("=")[0].strip()
        if key.startswith(FIXED):
            raise JobError(f"--set {key}: a retry keeps the input, the columns and the endpoint of its file")


def _check_columns(job: Job, facts: RunFacts) -> None:
    """The changed job writes the columns that the file has. Raises JobError."""
    shape = _shape_of(facts)
    before, after = (
        {(each.name, str(each.type)) for each in output_schema(which, shape).arrow}
        for which in (job_from_table(facts.job), job)
    )
    changed = sorted({name for name, _ in before ^ after})
    if changed:
        raise JobError(
            f"a retry keeps the columns of its file; these settings would change: {', '.join(changed)}",
            hint="run the job with them instead, to another output or with --replace",
        )


def _shape_of(facts: RunFacts) -> InputShape:
    scan = Scan.from_json(cast("dict[str, object]", facts.scan))
    return InputShape(scan.format, scan.schema, scan.rows)


def _facts_of(site: Site) -> RunFacts:
    """The run that made the output. Raises JobError, Conflict."""
    if not site.output.exists():
        raise JobError(
            f"{site.output} does not exist",
            hint="name a published output; an unfinished run goes on with batcher run",
        )
    standing = read_facts(site.output)
    if standing is None:
        raise JobError(f"{site.output} is not an output of batcher")
    facts = RunFacts.read(site.directory.run_json)
    if facts is None or facts.run_id != standing.run_id:
        raise Conflict(
            f"the run directory of {site.output.name} is gone or is another run's ({site.directory.path})",
            hint="run the job again with --replace: answers that stand in the file are taken over",
        )
    return facts


def _opening(site: Site, facts: RunFacts, state: RunState, wish: RetryWish) -> RetryOpen | None:
    """The record of this retry: of the one that is unfinished, or of a new one; None when no row is chosen."""
    if state.first_publish is None:
        raise Conflict(f"{site.output.name} is not finished yet", hint="the command that began it goes on")
    outcomes = tuple(sorted(set(wish.outcomes)))
    settings = {"sets": [given for given in wish.sets if not given.strip().startswith(FREE)]}
    if state.retry is not None and state.published is None:
        if state.retry.outcomes != outcomes or dict(state.retry.settings) != settings:
            raise Conflict(
                f"an earlier retry of {site.output.name} is not finished; nothing was sent",
                hint=f"go on with: {_command(site, state.retry)}",
            )
        return state.retry
    rows = _count(site, outcomes)
    if not rows:
        return None
    number = state.retry.retry + 1 if state.retry is not None else 1
    return RetryOpen(number, outcomes=outcomes, settings=settings, rows=rows, extra={"run_id": facts.run_id})


def _command(site: Site, opening: RetryOpen) -> str:
    """The command line that goes on with a retry."""
    words = ["batcher", "retry", str(site.output), "--outcome", ",".join(opening.outcomes)]
    for given in cast("list[str]", opening.settings.get("sets", [])):
        words += ["--set", given]
    return shlex.join(words)


def _count(site: Site, outcomes: tuple[str, ...]) -> int:
    counts = totals_of(site.output).outcomes
    return sum(counts.get(outcome, 0) for outcome in outcomes)


def _round(
    job: Job,
    site: Site,
    facts: RunFacts,
    opening: RetryOpen,
    *,
    target: Target,
    options: RunOptions,
    lock: RunLock,
) -> Round:
    shape = _shape_of(facts)
    schema = output_schema(job, shape)
    rows = pq.read_metadata(site.output).num_rows
    base = OutputRows(site.output)
    return Round(
        job=job,
        site=site,
        facts=facts,
        source=OutputSource(site.output, schema=shape.schema, output=schema, rows=rows),
        shape=shape,
        rows=rows,
        target=target,
        options=options,
        lock=lock,
        verb="retry",
        plan=ReplacePlan(facts.run_id),
        generation=opening.retry,
        selected=Selection(site.output, frozenset(opening.outcomes), column=schema.name_of("outcome")),
        base=base.table,
        opening=opening,
    )


def _nothing_to_do(job: Job, site: Site, facts: RunFacts, options: RunOptions) -> Summary:
    summary = Summary(verb="retry", simulated=facts.simulated, run_id=facts.run_id, finished_before=True)
    return summary_of_output(
        summary,
        site.output,
        totals_of(site.output),
        price=price_function(job),
        allow_failures=options.allow_failures,
    )
