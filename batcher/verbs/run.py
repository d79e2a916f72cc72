"""`run`: a job to its published output. Idempotent: it begins, goes on, or finds the run finished and sends nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batcher.dataset import check_columns
from batcher.job import job_from_table
from batcher.report import Summary
from batcher.store.part import Totals, open_part
from batcher.store.publish import ReplacePlan
from batcher.verbs.answering import schema_warnings
from batcher.verbs.bad_rows import refuse_bad_rows
from batcher.verbs.carrying import carry_out
from batcher.verbs.closing import summary_of_output, tidy_finished
from batcher.verbs.decide import Decision, Step, Wish, decide
from batcher.verbs.estimate import Ground
from batcher.verbs.estimate_question import ask_if_dear
from batcher.verbs.limits import refuse_without_bound
from batcher.verbs.opening import (
    Site,
    archived_outputs,
    set_aside,
    set_aside_runs,
)
from batcher.verbs.refusal import refuse_changed, refuse_foreign
from batcher.verbs.round import Round
from batcher.verbs.taking_up import TakenUp, taken_up
from batcher.verbs.wiring import output_schema, price_function, request_builder

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job
    from batcher.store.run_facts import RunFacts
    from batcher.verbs.decide import Place
    from batcher.verbs.options import RunOptions


def run(job: Job, options: RunOptions) -> Summary:
    """Carry a job out. Blocks; returns when the output is published and verified, or was before.

    Raises:
        BatcherError: what stopped the run, with its exit code; the same call goes on.
    """
    with taken_up(job, options) as taken:
        site, place, intake, target = taken.site, taken.place, taken.intake, taken.target
        rows = intake.wanted_rows(job)
        wish = Wish(taken.mark.digest, rows, replace=options.replace, fresh=options.fresh)
        decision = decide(place, wish)
        if decision.step is Step.REFUSE_FOREIGN:
            refuse_foreign(site)
        if decision.step is Step.REFUSE_CHANGED:
            refuse_changed(job, site, place, intake, taken.mark, target)
        if decision.step is Step.FINISHED:
            tidy_finished(site.directory)
            return _finished(job, site, place, options)
        builder = request_builder(job, intake.shape, identity=target.identity, simulated=target.simulated)
        check_columns(intake.scan, builder.columns)
        if decision.step is Step.RESUME and place.facts is not None:
            job = _with_columns_of(place.facts, job, options)
        output_schema(
            job, intake.shape
        )  # a clash of names leaves nothing behind: the next command may have a prefix
        refuse_without_bound(job, intake.shape.format)
        for warning in schema_warnings(job):
            options.display.say(f"  note: {warning}")
        if options.stop_on_bad_row:
            refuse_bad_rows(intake.source(), builder, rows=rows)
        if decision.step is not Step.RESUME:
            ask_if_dear(Ground(job, options, site, place, intake, builder))
        facts = _begun(taken, decision)
        if decision.reason is not None:
            options.display.say(f"  {decision.reason}")
        return carry_out(
            Round(
                job=job,
                site=site,
                facts=facts,
                source=intake.source(),
                shape=intake.shape,
                rows=rows,
                target=target,
                options=options,
                lock=taken.lock,
                verb="run",
                plan=_replace_plan(site, facts),
            )
        )


def _with_columns_of(facts: RunFacts, job: Job, options: RunOptions) -> Job:
    """The job with the tags and the columns that the run began with: its sealed parts have those already."""
    began = job_from_table(facts.job)
    kept = {"prefix": began.output.prefix, "expand": began.output.expand}
    output = job.output.model_copy(update=kept)
    if began.tags == job.tags and output == job.output:
        return job
    options.display.say("  [tags] and [output] prefix and expand stay as they were when this run began")
    return replace(job, tags=began.tags, output=output)


def _begun(taken: TakenUp, decision: Decision) -> RunFacts:
    """The facts of the run that stands there, or of a new one, written down."""
    site, place = taken.site, taken.place
    if decision.step is Step.RESUME:
        assert place.facts is not None
        return place.facts
    sources = _sources(site, place) if decision.takes_over else ()
    if place.facts is not None:
        set_aside(site.directory, place.facts.run_id)
    facts = taken.new_facts(
        site.output, replaces=decision.replaces, sources=sources, fresh=not decision.takes_over
    )
    facts.write(site.directory.run_json)
    return facts


def _sources(site: Site, place: Place) -> tuple[str, ...]:
    """What a new run may take answers over from: the old run's directory, the old output, and what that run knew."""
    found: list[str] = []
    if place.facts is not None and not place.is_published:
        found.append(str(site.directory.replaced(place.facts.run_id)))
        found += place.facts.sources
    if place.output is not None:
        found.append(str(site.output))
    found += map(str, [*set_aside_runs(site.directory), *archived_outputs(site.directory)])
    return tuple(dict.fromkeys(found))


def _replace_plan(site: Site, facts: RunFacts) -> ReplacePlan | None:
    if facts.replaces is None:
        return None
    archive = site.directory.replaced_output(facts.replaces)
    archive.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return ReplacePlan(facts.replaces, archive_to=archive)


def _finished(job: Job, site: Site, place: Place, options: RunOptions) -> Summary:
    """The summary of an output that is complete already; it exits as it did the first time."""
    assert place.output is not None
    totals = totals_of(site.output)
    base = Summary(
        verb="run",
        simulated=place.output.simulated,
        run_id=place.output.run_id,
        session=place.output.session,
        finished_before=True,
    )
    return summary_of_output(
        base, site.output, totals, price=price_function(job), allow_failures=options.allow_failures
    )


def totals_of(path: Path) -> Totals:
    """Totals of a published output, read from it row group by row group."""
    totals = Totals()
    with open_part(path) as file:
        for number in range(file.num_row_groups):
            totals += Totals.of(file.read_row_group(number, use_threads=False))
    return totals
