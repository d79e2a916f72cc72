"""Seal: a finished shard's input columns and journalled history become one immutable, verified Parquet part.

Blocking, for one thread. It works in slices of 512 rows and calls `pause` between them, because a Python
thread that parses without pause cuts the event loop's share to a quarter. Steps: write ``PART.tmp`` -> reopen
and check -> fsync -> rename -> fsync the folder. It deletes nothing: journal and input are the caller's, to
be deleted after its manifest record. Run again after a crash it makes the same part again.

For `retry` the old output is the base: rows without history are taken from it as Arrow, bit by bit; a row
with history is merged by `merge_retry`.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from batcher.dataset import python_rows
from batcher.errors import BatcherError, StorageError
from batcher.records import ANSWERED, CostSource, Outcome
from batcher.store.columns import from_batch, our_columns, to_batch
from batcher.store.files import DISK, storage_errors
from batcher.store.part import PartWriter, Totals, reopen_and_check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batcher.ports import Audit, Settle
    from batcher.records import InputRow, RowHistory
    from batcher.store.columns import OutputSchema
    from batcher.store.files import Disk
    from batcher.store.footer import FileFacts

SLICE_ROWS = 512
SLICE_BYTES = 32 << 20
"""Text of a slice; replies may have 64 MiB each, so rows alone do not bound it."""

MONEY = ("billed_prompt_tokens", "billed_completion_tokens", "cost_usd", "paid_attempts", "attempts")
"""Columns that add up over a row's retries."""

RETRY_FAILED = "retry_failed"

_Values = dict[str, object]


class Sealed(NamedTuple):
    """A part that is durable under its name."""

    totals: Totals
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class _Base:
    """The old output's rows of one slice."""

    table: pa.Table
    at: Mapping[str, int]

    def column(self, name: str, kind: pa.DataType) -> pa.Array:
        """One of our columns as the new schema wants it; nulls where the old output lacks it."""
        if name not in self.at:
            return pa.nulls(self.table.num_rows, kind)
        return self.table.column(self.at[name]).cast(kind).combine_chunks()

    def row(self, index: int) -> _Values:
        return from_batch(self.table.slice(index, 1), self.at)[0]


def seal_shard(
    *,
    shard: int,
    input_path: Path,
    first_row: int,
    rows: int,
    history: Callable[[int], RowHistory],
    settle: Settle,
    schema: OutputSchema,
    facts: FileFacts,
    part_path: Path,
    base: Callable[[int, int], pa.Table] | None = None,
    row_indices: Sequence[int] | None = None,
    audit: Audit | None = None,
    columns: frozenset[str] = frozenset(),
    raw: frozenset[str] = frozenset(),
    pause: Callable[[], None] = lambda: time.sleep(0),
    disk: Disk = DISK,
) -> Sealed:
    """Write, check and name a shard's part; durable on return.

    Args:
        shard: its number, for messages.
        input_path: Arrow IPC file: the input columns, then columns that are not carried over (the problems).
        first_row: ``row_index`` of the shard's first row.
        rows: of the shard.
        history: of a row, by ``row_index``.
        settle: from a history to output values.
        schema: of the part.
        facts: for the footer.
        part_path: replaced if a crash left one there.
        base: (first row, rows) -> those rows of the old output, for `retry`.
        row_indices: of each row, ascending, for a shard whose rows are not consecutive (`try`); then
            `first_row` is not used.
        audit: told every row that has a history.
        columns: of the input rows that `audit` asks for.
        raw: those of them that it wants as bytes.
        pause: lets other threads run.
        disk: as in `files`.

    Raises:
        AssertionError: a row is not done; a bug in the caller.
        StorageError: the disk, or what was written does not read back; nothing stands under the part's name.
    """
    numbers = range(first_row, first_row + rows) if row_indices is None else row_indices
    sealing = _Sealing(schema, numbers, history, settle, facts.run_id, base, audit, columns, raw)
    unfinished = part_path.with_name(part_path.name + ".tmp")
    with storage_errors(f"sealing shard {shard}", part_path), removed_on_failure(unfinished):
        with PartWriter(unfinished, schema, facts) as writer:
            for begin, batch in _input_slices(input_path, rows, shard=shard):
                for sealed in sealing.slices(begin, batch):
                    writer.write(sealed)
                    pause()
        start = first_row if row_indices is None else None
        measured = reopen_and_check(unfinished, writer.totals, schema, first_row=start)
        sync_path(unfinished, disk)
        unfinished.replace(part_path)
        disk.sync_dir(part_path.parent)
    return Sealed(writer.totals, measured.size, measured.checksum)


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Delete an unfinished file when its making fails: on a full disk it would stand in everybody's way."""
    try:
        yield
    except (OSError, BatcherError):
        with suppress(OSError):
            path.unlink()
        raise


def sync_path(path: Path, disk: Disk) -> None:
    """Content of a closed file to stable storage. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        disk.sync_file(fd)
    finally:
        os.close(fd)


def _input_slices(path: Path, rows: int, *, shard: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(offset in the shard, at most 512 rows), in order, exactly `rows` of them."""
    done = 0
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index).slice(0, rows - done)
                for begin in range(0, batch.num_rows, SLICE_ROWS):
                    yield done + begin, batch.slice(begin, SLICE_ROWS)
                done += batch.num_rows
    except pa.ArrowInvalid as err:
        raise StorageError(f"the input file of shard {shard} is damaged: {path}: {err}") from err
    if done != rows:
        raise StorageError(f"the input file of shard {shard} holds {done} rows instead of {rows}: {path}")


@dataclass(frozen=True, slots=True)
class _Sealing:
    """One shard's way from histories to output rows; the arguments of `seal_shard`."""

    schema: OutputSchema
    numbers: Sequence[int]
    history: Callable[[int], RowHistory]
    settle: Settle
    run_id: str
    base: Callable[[int, int], pa.Table] | None
    audit: Audit | None
    columns: frozenset[str]
    raw: frozenset[str]

    def slices(self, begin: int, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Output rows of one input slice, cut again where the text of its answers grows too large.

        Args:
            begin: offset of the slice in the shard.
            batch: the input rows.
        """
        old = self._base_of(self.numbers[begin], batch.num_rows)
        values: list[_Values | None] = []
        start = size = 0
        for offset in range(batch.num_rows):
            fresh = self._values(self.numbers[begin + offset], offset, old, batch)
            values.append(fresh)
            size += _text_size(fresh)
            if size >= SLICE_BYTES:
                yield self._joined(batch.slice(start, len(values)), values, old, start)
                values, start, size = [], offset + 1, 0
        if values:
            yield self._joined(batch.slice(start, len(values)), values, old, start)

    def _base_of(self, first_row: int, rows: int) -> _Base | None:
        if self.base is None:
            return None
        table = self.base(first_row, rows)
        if table.num_rows != rows:
            raise StorageError(
                f"the old output holds {table.num_rows} rows from row {first_row} on instead of {rows}"
            )
        return _Base(table, our_columns(table.schema))

    def _values(
        self, row_index: int, offset: int, old: _Base | None, batch: pa.RecordBatch
    ) -> _Values | None:
        """Output values of a row; None when they are the base's, unchanged."""
        history = self.history(row_index)
        if old is not None and _is_empty(history):
            return None
        settled = self.settle(history)
        if settled is None:
            raise AssertionError(f"row {row_index} is not done, so its shard cannot be sealed")
        if self.audit is not None:
            self.audit.add(history, settled, lambda: self._input(row_index, offset, batch))
        own = {"row_index": row_index, "run_id": self.run_id, "outcome": settled.outcome.value}
        fresh = {**settled.values, **own}
        return fresh if old is None else merge_retry(old.row(offset), fresh)

    def _input(self, row_index: int, offset: int, batch: pa.RecordBatch) -> InputRow:
        one = batch.slice(offset, 1)
        return python_rows(one, first_row=row_index, columns=self.columns, problems={}, raw=self.raw)[0]

    def _joined(
        self, batch: pa.RecordBatch, values: list[_Values | None], old: _Base | None, start: int
    ) -> pa.RecordBatch:
        """Rows with values and, where they are None, the base's cells."""
        fresh = to_batch(self.schema, batch, values)
        if old is None or None not in values:
            return fresh
        kept = _Base(old.table.slice(start, batch.num_rows), old.at)
        is_fresh = pa.array([each is not None for each in values])
        arrays = fresh.columns[: len(self.schema.inputs)]
        for name, index in self.schema.positions().items():
            column = fresh.column(index)
            arrays.append(pc.if_else(is_fresh, column, kept.column(name, column.type)))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema.arrow)


def _is_empty(history: RowHistory) -> bool:
    return not (history.replies or history.end or history.reuse or history.open_intents)


def _text_size(values: _Values | None) -> int:
    """Characters of the two columns that may be huge."""
    if values is None:
        return 0
    completion, reply = values.get("completion"), values.get("response_json")
    return (len(completion) if isinstance(completion, str) else 0) + (
        len(reply) if isinstance(reply, str) else 0
    )


def merge_retry(old: Mapping[str, object], fresh: Mapping[str, object]) -> _Values:
    """What a row becomes when `retry` ran it again. Both by unprefixed names.

    Rules:
        1. `MONEY` adds up; unknown and x is x.
        2. An answer is never lost to a failure: where the old row holds one and the new row does not, the old
           row stays, with the money added and the warning ``retry_failed``. A row that was ``ok`` stays in
           any case.
        3. Otherwise the new row replaces the old one.
    """
    new_is_worse = old.get("outcome") in ANSWERED and fresh.get("outcome") not in ANSWERED
    stays = new_is_worse or old.get("outcome") == Outcome.OK
    merged = {name: value for name, value in (old if stays else fresh).items() if value is not None}
    for name in MONEY:
        total = _sum(old.get(name), fresh.get(name))
        if total is not None:
            merged[name] = total
    if merged.get("cost_usd") is not None:
        said = {each for row in (old, fresh) if (each := row.get("cost_source")) is not None}
        # As in a row of several attempts: of two sources, the sum is reckoned.
        merged |= {"cost_source": said.pop() if len(said) == 1 else CostSource.PRICES.value} if said else {}
    if new_is_worse:
        merged["warnings"] = ", ".join([*_words(old.get("warnings")), RETRY_FAILED])
    return merged


def _sum(one: object, other: object) -> int | float | None:
    known = [each for each in (one, other) if isinstance(each, (int, float))]
    return sum(known[1:], start=known[0]) if known else None


def _words(warnings: object) -> list[str]:
    """Without an earlier `retry_failed`, so that the word stands once however often it happened."""
    words = warnings.split(", ") if isinstance(warnings, str) else []
    return [word for word in words if word != RETRY_FAILED]
