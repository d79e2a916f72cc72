"""`report`: what came of a run, and of two runs side by side; looked up in the output and what is left of its run.

The output is read by what stands in its footer and columns, so a file that was moved or mailed can be reported as well;
run directory and ledger add to it where they are. Nothing is locked or changed.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from batcher.errors import Conflict, JobError, StorageError
from batcher.report import FailureGroup, Summary
from batcher.report.findings import Cost, Findings, Tokens
from batcher.report.page import GENERATOR, comparison_page, report_page
from batcher.report.wording import advice, shown_path
from batcher.store.files import storage_errors
from batcher.store.footer import read_facts
from batcher.verbs.places import did_you_mean, place_of
from batcher.verbs.report_rows import read_rows
from batcher.verbs.report_run import read_run

if TYPE_CHECKING:
    from batcher.report.comparison import Comparison
    from batcher.report.findings import ErrorClass, Setting
    from batcher.store.footer import FileFacts
    from batcher.verbs.places import Place
    from batcher.verbs.report_rows import RowFindings
    from batcher.verbs.report_run import RunLeft

_HEAD_BYTES: Final = 4_096
"""Of an existing page: enough to find out who wrote it."""
_LIMIT_KEYS: Final = ("max_completion_tokens", "max_tokens")


def findings_of(out: Path, *, state: Path | None = None, here: Path | None = None) -> Findings:
    """Read everything that is told of one output.

    Args:
        out: the published file, or an export of an unfinished run.
        state: the shared state folder, if there is one.
        here: paths are told as seen from it; the working directory by default.

    Raises:
        JobError: no output of ours stands there.
        StorageError: it is damaged or cannot be read.
    """
    return findings_at(place_of(out, state), here=here)


def findings_at(place: Place, *, here: Path | None = None) -> Findings:
    """As `findings_of`, of the output at that place."""
    here = (here or Path.cwd()).absolute()
    facts = _facts(place.output)
    try:
        rows = read_rows(place.output)
    except (OSError, pa.ArrowException) as err:
        raise StorageError(
            f"{place.output} is damaged: {err}", hint="batcher verify tells what is left of it"
        ) from err
    left = read_run(place.directory, place.output, facts.run_id)
    return _findings(shown_path(str(place.output), here), facts, rows, left)


def write_page(found: Findings | Comparison, path: Path) -> None:
    """Write the page, in place of an earlier one.

    Raises:
        JobError: the folder does not exist.
        Conflict: something that is no report stands there.
        StorageError: the disk.
    """
    path = path.absolute()
    if not path.parent.is_dir():
        raise JobError(f"the folder {path.parent} does not exist")
    if os.path.lexists(path) and not _is_report(path):
        raise Conflict(f"{path} exists and is no report of batcher; it was left as it is")
    now = time.time()
    page = report_page(found, now=now) if isinstance(found, Findings) else comparison_page(found, now=now)
    unfinished = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    with storage_errors("writing the report", path):
        try:
            unfinished.write_text(page, encoding="utf-8")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def default_page(output: Path, other: Path | None = None) -> Path:
    """Where a page goes when nobody names a place: ``labels.parquet`` -> ``labels.report.html``, beside it.

    A comparison names both: ``labels.with.labels-v2.report.html``.
    """
    names = [path.name.removesuffix(".parquet") for path in (output, other) if path is not None]
    return output.with_name(f"{'.with.'.join(names)}.report.html")


def _is_report(path: Path) -> bool:
    """Whether a file is an earlier report, so that it may be replaced."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return re.search(rb'<meta name="generator" content="%b">' % GENERATOR.encode(), head) is not None


def _facts(output: Path) -> FileFacts:
    if not output.exists():
        raise JobError(
            f"{output.name} is not finished, so there is no output to report",
            hint=f"batcher status tells how far it is; batcher export {output.name} -o PART.parquet makes a file"
            " of what is done, which can be reported",
        )
    try:
        facts = read_facts(output)
    except OSError as err:
        raise StorageError(f"{output} cannot be read: {err}") from err
    if facts is None:
        raise JobError(f"{output} is not an output of batcher", hint=did_you_mean(output))
    return facts


def _findings(shown: str, facts: FileFacts, rows: RowFindings, left: RunLeft) -> Findings:
    totals = rows.totals
    summary = _limited(Summary(verb="report", output=shown), left.settings.get("request", ()))
    outcomes = {name: count for name, count in totals.outcomes.items() if name != "None"}
    return Findings(
        output=shown,
        run_id=facts.run_id,
        version=facts.version,
        model=facts.model,
        base_url=facts.base_url,
        simulated=facts.simulated,
        complete=facts.complete,
        created_at=facts.created_at,
        generation=facts.generation,
        prices_version=facts.prices_version,
        rows=totals.rows,
        outcomes=outcomes,
        waiting=rows.waiting,
        reused=totals.reused,
        attempts=rows.attempts,
        warnings=rows.warnings,
        tokens=Tokens(
            prompt=totals.prompt_tokens,
            completion=totals.completion_tokens,
            cached=totals.cached_tokens,
            reasoning=totals.reasoning_tokens,
            billed_prompt=totals.billed_prompt_tokens,
            billed_completion=totals.billed_completion_tokens,
            prompt_spread=rows.prompt,
            completion_spread=rows.completion,
        ),
        cost=_cost(rows),
        models=rows.models,
        timeline=rows.timeline,
        latency=rows.latency,
        ttft=rows.ttft,
        classes=tuple(_advised(each, summary, facts) for each in rows.classes),
        more_classes=rows.more_classes,
        more_rows=rows.more_rows,
        labels=rows.labels,
        answers=rows.answers,
        sessions=left.sessions,
        settings=left.settings,
        samples=left.samples,
        changes=left.changes,
        held=left.held,
    )


def _cost(rows: RowFindings) -> Cost:
    """Dollars; a sum of nothing but unpaid rows beside rows of unknown cost is not a cost."""
    totals = rows.totals
    is_known = totals.cost_usd is not None and (totals.cost_usd > 0 or not totals.cost_unknown)
    in_vain = [each.cost_usd for each in rows.classes if each.cost_usd is not None]
    return Cost(
        usd=totals.cost_usd if is_known else None,
        unknown=totals.cost_unknown,
        not_ok_usd=sum(in_vain) if is_known and in_vain else None,
        sources=rows.sources,
    )


def _advised(each: ErrorClass, summary: Summary, facts: FileFacts) -> ErrorClass:
    """The class with what helps; a simulated output and an unfinished one are nothing to repair."""
    if facts.simulated or not facts.complete:
        return each
    group = FailureGroup(each.outcome, each.error_type, each.error_code, each.rows)
    return replace(each, advice=advice(group, summary, Path.cwd()))


def _limited(summary: Summary, settings: tuple[Setting, ...]) -> Summary:
    for each in settings:
        if each.key in _LIMIT_KEYS and each.value.isdecimal():
            return replace(summary, token_limit=int(each.value), limit_named_by=each.key)
    return summary
