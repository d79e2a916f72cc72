"""The end of a session: publish and its record, the ledger line, the summary that people and schedulers read."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from batcher.report import FailureGroup, Summary
from batcher.store.files import storage_errors
from batcher.store.manifest import Publish, read
from batcher.store.publish import publish
from batcher.store.published import survey
from batcher.store.run_state import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batcher.engine import Tally
    from batcher.job import Job
    from batcher.records import PriceUsd
    from batcher.store.columns import OutputSchema
    from batcher.store.directory import RunDirectory
    from batcher.store.footer import FileFacts
    from batcher.store.manifest import Manifest
    from batcher.store.part import Totals
    from batcher.store.publish import ReplacePlan

NOT_OK = 3
"""Exit code of a published run with rows that are not ok."""


def exit_code_of(totals: Totals, *, allow_failures: float) -> int:
    """0 when all rows are ok, or not more than the allowed share (0 to 1) of them are not; else 3."""
    not_ok = totals.rows - totals.outcomes.get("ok", 0)
    return 0 if not_ok <= allow_failures * totals.rows else NOT_OK


def publish_round(
    *,
    parts: Sequence[Path],
    output: Path,
    schema: OutputSchema,
    facts: FileFacts,
    totals: Totals,
    plan: ReplacePlan | None,
    first_row: int | None,
    manifest: Manifest,
    directory: RunDirectory,
    summarise: Callable[[], Summary],
    enter: Callable[[Summary], None],
    check: Callable[[], None],
) -> Summary:
    """Publish a finished round, record it, and delete what the output makes superfluous.

    Raises:
        Interrupted: `check` did, before the output had its name.
        Conflict: something else stands at the output's name.
        StorageError: the disk, or a part does not read back.
    """
    check()
    published = publish(
        parts,
        output=output,
        schema=schema,
        facts=facts,
        totals=totals,
        replace=plan,
        first_row=first_row,
        pause=check,
    )
    summary = summarise()
    # Before the record: after it no session would come back to write a line that a crash kept from the ledger.
    enter(summary)
    manifest.append(
        Publish(
            str(output),
            rows=published.rows,
            size=published.size,
            checksum=published.checksum,
            totals=published.totals.to_json(),
            exit_code=summary.exit_code,
            summary=summary.to_json(),
        )
    )
    tidy(directory)
    return summary


def tidy_finished(directory: RunDirectory) -> None:
    """As `tidy`, where a crash came between a publish record and the tidying; a round that goes on keeps all it has.

    Raises:
        StorageError: the disk.
    """
    if replay(read(directory.manifest).records).published is not None:
        tidy(directory)


def tidy(directory: RunDirectory) -> None:
    """Delete what a published round no longer needs: its parts, the reuse index, and what a crash left beside them.

    Raises:
        StorageError: the disk; the output stands, and the next start tries again.
    """
    with storage_errors("tidying the run directory", directory.path):
        for folder in ("parts", "input", "journal", directory.reuse.name):
            for file in (directory.path / folder).glob("*"):
                file.unlink()
        directory.ballast.unlink(missing_ok=True)


def summary_of_output(
    summary: Summary,
    output: Path,
    totals: Totals,
    *,
    price: PriceUsd,
    allow_failures: float,
) -> Summary:
    """The summary completed with what stands in the published file."""
    with storage_errors("reading the output", output):
        found = survey(output, price)
    code = exit_code_of(totals, allow_failures=allow_failures)
    groups = tuple(FailureGroup(*group) for group in found.groups)
    return replace(
        summary,
        output=str(output),
        exit_code=code,
        exit_reason="ok" if code == 0 else "rows_not_ok",
        next="none" if code == 0 else _next_for(groups),
        rows_total=totals.rows,
        rows_done=totals.rows,
        outcomes=dict(totals.outcomes),
        reused=totals.reused,
        prompt_tokens=totals.billed_prompt_tokens,
        completion_tokens=totals.billed_completion_tokens,
        cost_usd=totals.cost_usd if totals.cost_usd or not found.unpriced_model else None,
        repeated_cost_usd=found.repeated_cost_usd,
        failures=groups,
        unpriced_model=found.unpriced_model,
    )


def _next_for(groups: Sequence[FailureGroup]) -> str:
    if any(group.outcome in {"failed", "truncated"} for group in groups):
        return "retry_rows"
    return "change_job"


def session_summary(tally: Tally, *, verb: str, started: float, base: Mapping[str, object]) -> Summary:
    """What this session did, from its counters; `base` are further fields."""
    outcomes = {str(outcome): rows for outcome, rows in tally.outcomes.items()}
    return Summary(
        verb=verb,
        outcomes=outcomes,
        rows_done=tally.rows,
        sent=tally.attempts,
        paid=tally.paid,
        ambiguous=tally.ambiguous,
        throttled=tally.throttled,
        reused=tally.reused,
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        cost_usd=tally.cost_usd,
        repeated_cost_usd=tally.repeated_cost_usd if tally.cost_usd is not None else None,
        elapsed_s=round(time.monotonic() - started, 3),
        warnings=tuple(tally.warnings),
        **base,  # type: ignore[arg-type]
    )


def token_limit(job: Job) -> int | None:
    """The token maximum of one completion, as the job names it."""
    return job.request.max_completion_tokens or job.request.max_tokens


def limit_named_by(job: Job) -> str:
    """The key of `[request]` under which the job names that maximum, or would name it."""
    return "max_completion_tokens" if job.request.max_tokens is None else "max_tokens"
