"""`verify`: an output held against itself, against what its run wrote down, and against its job and its input.

Nothing is locked or changed. What it would be held against and is gone is said to be not checked; the rest is checked
all the same. A file that is not ours is refused, never a traceback.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.parquet as pq

from batcher import __version__
from batcher.dataset import InputSpec, Scan, open_source, scan
from batcher.errors import Conflict, DatasetError, JobError, StorageError
from batcher.job import job_from_table
from batcher.store.columns import our_columns
from batcher.store.footer import FileFacts, read_facts
from batcher.store.output_rows import OutputSource
from batcher.store.part import Totals, measure
from batcher.verbs.places import did_you_mean
from batcher.verbs.verification import Check, Verdict, Verification
from batcher.verbs.verify_file import FileAudit, missing_columns
from batcher.verbs.verify_record import record_of
from batcher.verbs.verify_requests import RequestAudit
from batcher.verbs.wiring import InputShape, job_mark, output_schema, request_builder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batcher.job import Job
    from batcher.store.columns import OutputSchema
    from batcher.store.run_facts import RunFacts
    from batcher.verbs.verify_record import Published, Record

SHOWN_COLUMNS = 6


def verify(output: Path, *, state: Path | None = None) -> Verification:
    """Check everything that can be checked about an output.

    Raises:
        JobError: it does not exist, or is not an output of ours.
    """
    output = output.absolute()
    if not output.is_file():
        raise JobError(f"{output} is not a file", hint=did_you_mean(output) or "name a published output")
    facts, schema, why = _own(output)
    if facts is None or schema is None:
        return _unrecognised(output, record_of(output, None, state), why)
    if not facts.complete:
        raise JobError(f"{output} is an export of an unfinished run, not its output")
    record = record_of(output, facts.run_id, state)
    missing = missing_columns(schema)
    if missing:
        lacking = Check("columns", Verdict.FAILED, f"missing: {', '.join(missing[:SHOWN_COLUMNS])}")
        return Verification(str(output), facts.run_id, None, (lacking,), record.possibly_paid)
    audit = FileAudit(facts.run_id)
    audit.read(output)
    checks = [*audit.checks(), *record.trouble]
    if audit.damage is None or record.published is not None:
        checks += _held_against_publication(output, facts, audit, record.published)
    if record.facts is None:
        checks += _without_run(record)
    else:
        checks += _held_against_job(_Held(output, facts, schema, audit, record.facts, record.published))
    if record.possibly_paid:
        said = f"{len(record.possibly_paid):,} rows may have been paid twice after an interruption"
        checks.append(Check("possibly_paid", Verdict.NOTE, said))
    rows = audit.rows if audit.damage is None else None
    return Verification(str(output), facts.run_id, rows, tuple(checks), record.possibly_paid)


def _own(output: Path) -> tuple[FileFacts | None, pa.Schema | None, str]:
    """Footer and schema of an output of ours; (None, None, why) of anything else."""
    try:
        facts = read_facts(output)
        return facts, pq.read_schema(output) if facts is not None else None, "it carries no run id"
    except (OSError, pa.ArrowException) as err:
        return None, None, str(err)


def _unrecognised(output: Path, record: Record, why: str) -> Verification:
    """Damaged when a run published this very name; otherwise somebody else's. Raises JobError."""
    published = record.published
    if published is None or record.facts is None:
        raise JobError(f"{output} is not an output of batcher: {why}")
    said = f"run {record.facts.run_id} published it, and this is no output any more: {why}"
    return Verification(
        str(output), record.facts.run_id, None, (Check("footer", Verdict.FAILED, said),), record.possibly_paid
    )


def _held_against_publication(
    output: Path, facts: FileFacts, audit: FileAudit, published: Published | None
) -> Iterator[Check]:
    """Bytes and sums against the record of the publication."""
    if published is None or facts.generation > published.generation:
        said = "no record of this publication: it is gone, or the run has yet to write it (the same command does)"
        yield Check("checksum", Verdict.NOT_CHECKED, said)
        yield Check("totals", Verdict.NOT_CHECKED, said)
        return
    record, measured = published.record, measure(output)
    is_same = (measured.size, measured.checksum) == (record.size, record.checksum)
    said = (
        f"{measured.size:,} bytes, {measured.checksum}"
        if is_same
        else f"{measured.size:,} bytes, {measured.checksum}; published were {record.size:,}, {record.checksum}"
    )
    yield Check("checksum", Verdict.OK if is_same else Verdict.FAILED, said)
    if audit.damage is not None:
        return
    if Totals.from_json(record.totals).matches(audit.totals):
        yield Check("totals", Verdict.OK, "rows, outcomes, tokens and dollars add up to what was published")
    else:
        was, now = record.totals, audit.totals.to_json()
        differing = [
            f"{name} {now[name]} instead of {was.get(name)}" for name in now if now[name] != was.get(name)
        ]
        yield Check("totals", Verdict.FAILED, ", ".join(differing[:SHOWN_COLUMNS]))


def _without_run(record: Record) -> list[Check]:
    if record.trouble:
        return []
    said = "the run directory is gone, so job, input, columns and requests are not known"
    return [Check("job", Verdict.NOT_CHECKED, said)]


@dataclass(frozen=True, slots=True)
class _Held:
    """An output beside what its run wrote down."""

    output: Path
    footer: FileFacts
    schema: pa.Schema
    audit: FileAudit
    facts: RunFacts
    published: Published | None


def _held_against_job(held: _Held) -> Iterator[Check]:
    """Footer, rows, columns, input and every request against what the run was begun with."""
    try:
        job = job_from_table(held.facts.job)
        known = Scan.from_json(cast("dict[str, object]", held.facts.scan))
    except (JobError, KeyError, TypeError, ValueError) as err:
        yield Check("job", Verdict.CHANGED, f"this version of batcher cannot read the stored job: {err}")
        return
    yield _footer(held)
    yield _job(held, job, known)
    if held.audit.damage is not None:
        return
    yield _rows(held, known)
    jobs = [job, *_retried(held)]
    shape = InputShape(known.format, known.schema, known.rows)
    layouts = [_layout(held.schema, each, shape) for each in jobs]
    yield _columns(held, layouts)
    current, check = _input(job, known)
    yield check
    fitting = next((each for each in layouts if _same_columns(each, held.schema)), None)
    if fitting is None:
        yield Check("requests", Verdict.NOT_CHECKED, "the columns are not those of the job")
        return
    yield from _requests(held, jobs, current, shape, fitting)


def _footer(held: _Held) -> Check:
    wrong = [
        f"{name} {getattr(held.footer, name)!r} instead of {getattr(held.facts, name)!r}"
        for name in ("fingerprint", "base_url", "simulated")
        if getattr(held.footer, name) != getattr(held.facts, name)
    ]
    if wrong:
        return Check("footer", Verdict.FAILED, ", ".join(wrong))
    return Check(
        "footer", Verdict.OK, f"complete, run {held.footer.run_id}, generation {held.footer.generation}"
    )


def _job(held: _Held, job: Job, known: Scan) -> Check:
    mark = job_mark(job, known, identity=held.facts.base_url, simulated=held.facts.simulated)
    if mark.digest == held.facts.fingerprint:
        return Check("job", Verdict.OK, f"fingerprint {mark.digest}")
    said = f"the stored job has fingerprint {mark.digest} here, and had {held.facts.fingerprint} when the run began"
    return Check("job", Verdict.CHANGED, said)


def _retried(held: _Held) -> list[Job]:
    """The job as each retry changed it."""
    sets = held.published.sets if held.published is not None else ()
    return [job_from_table(held.facts.job, sets=each) for each in sets]


def _rows(held: _Held, known: Scan) -> Check:
    limit = held.published.limit if held.published is not None else None
    wanted = known.rows if limit is None else min(limit, known.rows)
    found = held.audit.rows
    # A lowered limit leaves rows that were answered before in the output.
    if found == wanted or (limit is not None and wanted < found <= known.rows):
        of_all = f" of {known.rows:,} (limit {limit:,})" if found < known.rows and limit is not None else ""
        return Check("rows", Verdict.OK, f"{found:,}{of_all}, as the input was scanned")
    if held.published is None and found < known.rows:
        return Check(
            "rows", Verdict.NOT_CHECKED, f"{found:,} of {known.rows:,}; the run's limit is not known"
        )
    return Check("rows", Verdict.FAILED, f"{found:,} instead of {wanted:,}")


def _layout(found: pa.Schema, job: Job, shape: InputShape) -> OutputSchema:
    """The columns the job would build, with the file's own prefix and tags: those may change while a run goes on."""
    at = our_columns(found)
    prefix = found.names[at["row_index"]].removesuffix("row_index")
    tags = {name.removeprefix("tag_"): "" for name in at if name.startswith("tag_")}
    output = job.output.model_copy(update={"prefix": prefix or None})
    return output_schema(dataclasses.replace(job, tags=tags, output=output), shape)


def _same_columns(layout: OutputSchema, found: pa.Schema) -> bool:
    return bool(layout.arrow.equals(found, check_metadata=False)) and list(our_columns(found)) == [
        column.name for column in layout.columns
    ]


def _columns(held: _Held, layouts: Sequence[OutputSchema]) -> Check:
    if any(_same_columns(each, held.schema) for each in layouts):
        return Check(
            "columns", Verdict.OK, f"{len(held.schema)} columns, names and types as the job lays them out"
        )
    wanted = {f"{each.name} {each.type}" for each in layouts[0].arrow}
    found = {f"{each.name} {each.type}" for each in held.schema}
    words = [f"missing {each}" for each in sorted(wanted - found)]
    words += [f"unexpected {each}" for each in sorted(found - wanted)]
    said = ", ".join(words[:SHOWN_COLUMNS]) or "in another order"
    if held.footer.version != __version__:
        return Check("columns", Verdict.NOT_CHECKED, f"written by version {held.footer.version}: {said}")
    return Check("columns", Verdict.FAILED, said)


def _input(job: Job, known: Scan) -> tuple[Scan | None, Check]:
    """The input as it is now, None unless its content is what was scanned."""
    files = [Path(stamp.path) for stamp in known.files]
    gone = [path.name for path in files if not path.exists()]
    if gone:
        return None, Check("input", Verdict.NOT_CHECKED, f"gone: {', '.join(gone[:SHOWN_COLUMNS])}")
    try:
        now = scan(InputSpec(job.input.path, known.format, allow_empty=True), files, known=known)
    except (DatasetError, Conflict) as err:
        return None, Check("input", Verdict.CHANGED, f"changed since: {err}")
    if now.content_hash != known.content_hash:
        said = f"changed since: {now.rows:,} rows, hash {now.content_hash[:12]}; scanned were {known.rows:,}"
        return None, Check("input", Verdict.CHANGED, f"{said}, hash {known.content_hash[:12]}")
    return now, Check("input", Verdict.OK, f"{now.rows:,} rows, unchanged since it was scanned")


def _requests(
    held: _Held, jobs: Sequence[Job], current: Scan | None, shape: InputShape, layout: OutputSchema
) -> list[Check]:
    identity, simulated = held.facts.base_url, held.facts.simulated
    try:
        builders = [request_builder(job, shape, identity=identity, simulated=simulated) for job in jobs]
    except JobError as err:  # the folder of its images is gone
        return [Check("requests", Verdict.CHANGED, str(err))]
    audit = RequestAudit(
        held.output,
        builders,
        carried=layout.inputs,
        is_original=current is not None,
        reads_files=any(
            job.request.images is not None and job.request.images.root is not None for job in jobs
        ),
    )
    try:
        if current is not None:
            audit.compare(open_source(current), rows=min(held.audit.rows, current.rows))
        else:
            rows = held.audit.rows
            audit.compare(OutputSource(held.output, schema=shape.schema, output=layout, rows=rows), rows=rows)
    except (DatasetError, Conflict) as err:
        return [Check("requests", Verdict.CHANGED, f"the input changed while it was read: {err}")]
    except (OSError, StorageError, pa.ArrowException) as err:
        return [Check("requests", Verdict.FAILED, f"unreadable after row {audit.rows:,}: {err}")]
    return audit.checks()
