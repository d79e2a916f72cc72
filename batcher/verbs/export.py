"""`export`: what is done so far of a run, or a finished output in another form, into a new file.

It takes no lock, changes nothing of the run, and replaces no file. Rows without an end are left out, or stand there
with nulls (`everything`). A Parquet file of an unfinished run says ``complete: false`` in its footer, and its
generation is -1 and its fingerprint another one, so that nobody takes it for the published output.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Self, cast

import pyarrow as pa

from batcher import __version__
from batcher.dataset import Scan, open_source, python_rows
from batcher.errors import Conflict, JobError, StorageError
from batcher.job import job_from_table
from batcher.store.columns import our_columns
from batcher.store.files import DISK, rename_new, storage_errors
from batcher.store.footer import FileFacts, read_facts
from batcher.store.manifest import ManifestRecord, Publish, RetryOpen, read
from batcher.store.output_rows import OutputRows
from batcher.store.part import PartWriter, open_part, reopen_and_check, row_groups
from batcher.store.run_facts import RunFacts
from batcher.store.run_state import replay
from batcher.store.seal import SLICE_ROWS, sync_path
from batcher.store.so_far import SoFar, fitted
from batcher.verbs.export_forms import jsonl_lines, openai_batch_lines
from batcher.verbs.places import did_you_mean, place_of
from batcher.verbs.wiring import InputShape, output_schema, prices_version, request_builder, settler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from batcher.job import Job
    from batcher.ports import RequestBuilder
    from batcher.store.directory import RunDirectory
    from batcher.store.run_state import RunState
    from batcher.verbs.places import Place

Form = Literal["parquet", "jsonl", "openai-batch"]
FORMS: tuple[Form, ...] = ("parquet", "jsonl", "openai-batch")
PARTIAL = -1
"""Generation in the footer of a file that no run published."""
PUBLIC_MODE = 0o666
"""Before the umask: an export is readable as any file the user makes."""
MOST_READINGS = 10
"""Readings of one run while it publishes or seals what is being read."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: of the new file.
        source: the output it was taken from or that the run is making.
        rows: of the new file.
        rows_done: those of them that have their end.
        rows_total: rows the output has or will have; None when unknown.
        is_complete: every row of the output is in it with its end.
        is_published: taken from the published output.
        simulated: the answers are made up.
    """

    path: str
    source: str
    form: Form
    rows: int
    rows_done: int
    rows_total: int | None
    is_complete: bool
    is_published: bool
    simulated: bool


@dataclass(frozen=True, slots=True)
class _Wish:
    form: Form
    everything: bool


def export(
    out: Path | None, *, to: Path, form: Form = "parquet", everything: bool = False, state: Path | None = None
) -> Exported:
    """Write what is done so far.

    Args:
        out: an output path, which need not exist yet, or a run directory; None for the only run below the working
            directory.
        to: the new file.
        form: of the new file.
        everything: rows without an end too, with nulls.
        state: the shared state folder, if there is one.

    Raises:
        JobError: no such run or output, or several.
        Conflict: something stands at `to`, or the run is another version's.
        StorageError: the disk, or a damaged file of the run.
    """
    place, to = place_of(out, state), to.absolute()
    _refuse_target(to, place.output)
    unfinished = to.with_name(f".{to.name[:100]}.{os.getpid()}.tmp")
    try:
        with storage_errors("exporting", to):
            found = _written(place, unfinished, _Wish(form, everything))
            sync_path(unfinished, DISK)
            rename_new(unfinished, to)
    finally:
        unfinished.unlink(missing_ok=True)
    return replace(found, path=str(to))


def _refuse_target(to: Path, output: Path) -> None:
    if to == output:
        raise Conflict(f"{to} is the place of the output itself", hint="choose another name with -o")
    if os.path.lexists(to):
        raise Conflict(f"{to} exists; it was left as it is", hint="choose another name with -o")
    if not to.parent.is_dir():
        raise JobError(f"the folder {to.parent} does not exist")


def _written(place: Place, unfinished: Path, wish: _Wish) -> Exported:
    """Write the file under its unfinished name; over again when the run published or sealed what was being read."""
    for _ in range(MOST_READINGS):
        before = _moment(place.directory)
        try:
            found = _write_once(place, before, unfinished, wish)
        except (StorageError, FileNotFoundError):
            if _moment(place.directory).records == before.records:
                raise
            continue
        if _moment(place.directory).mark == before.mark:
            return found
    raise StorageError(
        f"{place.output.name} changes faster than it can be read", hint="try again in a minute"
    )


class _Moment(NamedTuple):
    """A run as its description and manifest told it."""

    facts: RunFacts | None
    records: tuple[ManifestRecord, ...]

    @property
    def mark(self) -> tuple[str | None, int]:
        """Changes when another round begins, or this one is published."""
        turns = sum(isinstance(record, (Publish, RetryOpen)) for record in self.records)
        return self.facts.run_id if self.facts is not None else None, turns


def _moment(directory: RunDirectory) -> _Moment:
    return _Moment(RunFacts.read(directory.run_json), read(directory.manifest).records)


def _write_once(place: Place, moment: _Moment, unfinished: Path, wish: _Wish) -> Exported:
    run = replay(moment.records)
    if moment.facts is None or run.published is not None:
        return _of_output(place.output, unfinished, wish)
    return _of_run(place, moment.facts, run, unfinished, wish)


def _of_output(output: Path, unfinished: Path, wish: _Wish) -> Exported:
    """A published output (or an earlier export): copied, or line by line."""
    facts = read_facts(output)
    if facts is None:
        raise JobError(f"{output} is not an output of batcher", hint=did_you_mean(output))
    if wish.form == "parquet":
        shutil.copyfile(output, unfinished)
        count = _Count()
        for table in _tables(output):
            count.add(table)
    else:
        with _LinesSink(unfinished, wish.form) as sink:
            for table in _tables(output):
                for batch in table.to_batches(max_chunksize=SLICE_ROWS):
                    sink.write(batch if wish.everything else _with_end(batch))
        count = sink.count
    return Exported(
        path="",
        source=str(output),
        form=wish.form,
        rows=count.rows,
        rows_done=count.done,
        rows_total=count.rows if facts.complete else None,
        is_complete=facts.complete,
        is_published=facts.complete,
        simulated=facts.simulated,
    )


def _tables(output: Path) -> Iterator[pa.Table]:
    try:
        yield from row_groups(output)
    except (OSError, pa.ArrowException) as err:
        raise StorageError(
            f"{output} is damaged: {err}", hint="batcher verify tells what is left of it"
        ) from err


def _rows_of(output: Path) -> Callable[[int, int], pa.Table]:
    """Rows of a published output by position."""
    rows = OutputRows(output)

    def table(first_row: int, count: int) -> pa.Table:
        try:
            return rows.table(first_row, count)
        except (OSError, pa.ArrowException) as err:
            raise StorageError(f"{output} is damaged or gone: {err}") from err

    return table


def _with_end(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.filter(batch.column(our_columns(batch.schema)["outcome"]).is_valid())


def _of_run(place: Place, facts: RunFacts, run: RunState, unfinished: Path, wish: _Wish) -> Exported:
    """A round in the making: parts and journals."""
    plan = _plan(place, facts, run, everything=wish.everything)
    count = _Count()
    if wish.form == "parquet":
        with PartWriter(unfinished, plan.so_far.schema, plan.footer, mode=PUBLIC_MODE) as writer:
            for batch in plan.batches(run):
                writer.write(batch)
                count.add(batch)
        reopen_and_check(unfinished, writer.totals, plan.so_far.schema, first_row=None)
    else:
        with _LinesSink(unfinished, wish.form) as sink:
            for batch in plan.batches(run):
                sink.write(batch)
        count = sink.count
    return Exported(
        path="",
        source=str(place.output),
        form=wish.form,
        rows=count.rows,
        rows_done=count.done,
        rows_total=plan.rows_total,
        is_complete=False,
        is_published=False,
        simulated=facts.simulated,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one round is read, and what stands behind its last shard."""

    so_far: SoFar
    footer: FileFacts
    rows_total: int
    scan: Scan

    def batches(self, run: RunState) -> Iterator[pa.RecordBatch]:
        yield from self.so_far.rows(run)
        if self.so_far.base is not None:
            for first_row in range(run.next_row, self.rows_total, SLICE_ROWS):
                table = self.so_far.base(first_row, min(SLICE_ROWS, self.rows_total - first_row))
                yield from fitted(table, self.so_far.schema, None).to_batches()
        elif self.so_far.waiting is not None and run.next_row < self.rows_total:
            for piece in open_source(self.scan).slices(first_row=run.next_row):
                yield from self.so_far.of_slice(
                    piece.first_row, piece.batch.slice(0, self.rows_total - piece.first_row)
                )


def _plan(place: Place, facts: RunFacts, run: RunState, *, everything: bool) -> _Plan:
    retry = run.retry
    sets = cast("list[str]", retry.settings.get("sets", [])) if retry is not None else []
    job = job_from_table(facts.job, sets=sets)
    scan = Scan.from_json(cast("dict[str, object]", facts.scan))
    shape = InputShape(scan.format, scan.schema, scan.rows)
    schema = output_schema(job, shape)
    last = run.sessions.get(run.session)
    limit = last.limit if last is not None else None
    total = scan.rows if limit is None else min(scan.rows, limit)
    base = None
    if retry is not None:
        base = _rows_of(place.output)
        total = open_part(place.output).metadata.num_rows
    waiting = None
    if everything and retry is None:
        builder = request_builder(job, shape, identity=facts.base_url, simulated=facts.simulated)
        waiting = _waiting(builder, has_ids="custom_id" in schema.positions())
    so_far = SoFar(
        place.directory, schema, settler(job, run_id=facts.run_id), facts.run_id, waiting=waiting, base=base
    )
    return _Plan(so_far, _footer(job, facts), total, scan)


def _waiting(
    builder: RequestBuilder, *, has_ids: bool
) -> Callable[[pa.RecordBatch, int], list[dict[str, object]]]:
    """Output values of rows that have no end: where they stand, and their own id."""

    def values(batch: pa.RecordBatch, first_row: int) -> list[dict[str, object]]:
        if not has_ids:
            return [{"row_index": first_row + place} for place in range(batch.num_rows)]
        rows = python_rows(
            batch, first_row=first_row, columns=builder.columns, problems={}, raw=builder.raw_columns
        )
        return [{"row_index": row.row_index, "custom_id": builder.build(row).custom_id} for row in rows]

    return values


def _footer(job: Job, facts: RunFacts) -> FileFacts:
    return FileFacts(
        version=__version__,
        run_id=facts.run_id,
        fingerprint="",
        base_url=facts.base_url,
        simulated=facts.simulated,
        complete=False,
        prices_version=prices_version(job),
        session=0,
        model=job.request.model,
        created_at=facts.created_at,
        generation=PARTIAL,
        extra={"part_of": facts.fingerprint},
    )


@dataclass(slots=True)
class _Count:
    """Rows, and those of them that have their end."""

    rows: int = 0
    done: int = 0

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        self.rows += batch.num_rows
        self.done += batch.num_rows - batch.column(our_columns(batch.schema)["outcome"]).null_count


class _LinesSink:
    """Writes rows as JSON lines; what it wrote is synced by the caller."""

    def __init__(self, path: Path, form: Form) -> None:
        self._path = path
        self._lines = jsonl_lines if form == "jsonl" else openai_batch_lines
        self.count = _Count()

    def write(self, batch: pa.RecordBatch) -> None:
        self.count.add(batch)
        self._file.writelines(self._lines(batch))

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
