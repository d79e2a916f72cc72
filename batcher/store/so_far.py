"""The rows of a round that is not published yet, as far as they have their end: sealed parts, and journals joined with
their shard's input columns. In input order, without a lock, without changing anything.

The run may go on meanwhile. A shard that is sealed while it is opened here is read from its part instead; when a file
vanishes later, that is a StorageError, and the caller, who knows the manifest, starts over. What is read is never less
than what the manifest promised at the beginning.

Memory is one row group of a part, or 512 rows and 32 MiB of answers.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.ipc

from batcher.errors import StorageError
from batcher.store.columns import from_batch, our_columns, to_batch
from batcher.store.files import storage_errors
from batcher.store.history import ShardHistory
from batcher.store.manifest import read
from batcher.store.part import row_groups
from batcher.store.run_state import replay
from batcher.store.seal import SLICE_BYTES, SLICE_ROWS, merge_retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batcher.ports import Settle
    from batcher.store.columns import OutputSchema
    from batcher.store.directory import RunDirectory
    from batcher.store.manifest import ShardOpen
    from batcher.store.run_state import RunState

Values = dict[str, object]


@dataclass(frozen=True, slots=True)
class SoFar:
    """How a round is read.

    Attributes:
        settle: gives a journalled history its meaning.
        waiting: (input rows, first row_index) -> output values of rows that have no end; None leaves such rows out.
        base: (first row, rows) -> the published output's rows, for a retry: they stand until they are done again.
    """

    directory: RunDirectory
    schema: OutputSchema
    settle: Settle
    run_id: str
    waiting: Callable[[pa.RecordBatch, int], Sequence[Values]] | None = None
    base: Callable[[int, int], pa.Table] | None = None

    def rows(self, state: RunState) -> Iterator[pa.RecordBatch]:
        """Rows of all shards that the manifest knows, in input order, with `schema`.

        Raises:
            StorageError: a file is damaged, or is gone because the run went on.
        """
        for opened in sorted(state.opened.values(), key=lambda shard: shard.first_row):
            if opened.shard in state.sealed:
                yield from self._of_part(opened.shard)
            else:
                yield from self._of_journal(opened)

    def of_slice(self, first_row: int, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Input rows that no shard holds yet: left out, or waiting."""
        yield from self._joined(first_row, batch, lambda _: None)

    def _of_part(self, number: int) -> Iterator[pa.RecordBatch]:
        path = self.directory.part(number)
        with storage_errors("reading a part", path):
            try:
                for table in row_groups(path):
                    yield from fitted(table, self.schema, path).to_batches(max_chunksize=SLICE_ROWS)
            except pa.ArrowException as err:
                raise StorageError(f"the part {path} is damaged: {err}") from err

    def _of_journal(self, opened: ShardOpen) -> Iterator[pa.RecordBatch]:
        path = self.directory.input(opened.shard)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(pa.OSFile(str(path)))
                reader = stack.enter_context(pa.ipc.open_file(file))
            except (OSError, pa.ArrowInvalid) as err:
                if self._is_sealed(opened.shard):
                    yield from self._of_part(opened.shard)
                    return
                raise StorageError(
                    f"the input of shard {opened.shard} cannot be read: {path}: {err}",
                    hint="the command that began the run writes it again",
                ) from err
            journals = self.directory.journals(opened.shard)
            history = stack.enter_context(
                ShardHistory.open(journals, first_row=opened.first_row, rows=opened.rows)
            )
            if self._is_sealed(opened.shard):  # then the journals may have been gone already
                yield from self._of_part(opened.shard)
                return

            def values_of(row_index: int) -> Values | None:
                settled = self.settle(history.history(row_index))
                if settled is None:
                    return None
                own = {"row_index": row_index, "run_id": self.run_id, "outcome": settled.outcome.value}
                return {**settled.values, **own}

            for first_row, batch in _slices(reader, opened):
                yield from self._joined(first_row, batch, values_of)

    def _is_sealed(self, shard: int) -> bool:
        return shard in replay(read(self.directory.manifest).records).sealed

    def _joined(
        self, first_row: int, batch: pa.RecordBatch, values_of: Callable[[int], Values | None]
    ) -> Iterator[pa.RecordBatch]:
        """One slice: neighbouring rows with values together, the others from the base, waiting, or left out."""
        old = self._old(first_row, batch.num_rows)
        waiting = self.waiting(batch, first_row) if self.waiting is not None else None
        kept: list[Values] = []
        start = size = 0
        for place in range(batch.num_rows):
            values = values_of(first_row + place)
            if values is not None and old is not None:
                values = merge_retry(_row(old, place), values)
            if values is None and old is None and waiting is not None:
                values = waiting[place]
            if kept and (values is None or size >= SLICE_BYTES):
                yield to_batch(self.schema, batch.slice(start, len(kept)), kept)
                kept, size = [], 0
            if values is not None:
                start = place if not kept else start
                kept.append(values)
                size += _text_size(values)
            elif old is not None:
                yield from old.slice(place, 1).to_batches()
        if kept:
            yield to_batch(self.schema, batch.slice(start, len(kept)), kept)

    def _old(self, first_row: int, rows: int) -> pa.Table | None:
        if self.base is None:
            return None
        return fitted(self.base(first_row, rows), self.schema, None).combine_chunks()


def _slices(reader: pa.ipc.RecordBatchFileReader, opened: ShardOpen) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(row_index of the first row, at most 512 rows) of a shard's input."""
    first_row, end_row = opened.first_row, opened.first_row + opened.rows
    for index in range(reader.num_record_batches):
        batch = reader.get_batch(index).slice(0, end_row - first_row)
        for begin in range(0, batch.num_rows, SLICE_ROWS):
            yield first_row + begin, batch.slice(begin, SLICE_ROWS)
        first_row += batch.num_rows


def _row(table: pa.Table, place: int) -> Mapping[str, object]:
    return from_batch(table.slice(place, 1), our_columns(table.schema))[0]


def _text_size(values: Mapping[str, object]) -> int:
    """Characters of the columns that may be huge."""
    return sum(len(value) for value in values.values() if isinstance(value, str))


def fitted(table: pa.Table, schema: OutputSchema, path: Path | None) -> pa.Table:
    """Rows of a part as `schema` lays them out: a later session's tags or labels are null in an earlier one's part.

    Raises:
        StorageError: the input columns are not the same.
    """
    at = our_columns(table.schema)
    inputs = [index for index in range(len(table.schema)) if index not in at.values()]
    if len(inputs) != len(schema.inputs):
        raise StorageError(f"{path or 'the output'} has other input columns than its run")
    arrays = [table.column(index) for index in inputs]
    for column in schema.columns:
        found = table.column(at[column.name]) if column.name in at else None
        arrays.append(pa.nulls(table.num_rows, column.type) if found is None else found.cast(column.type))
    return pa.Table.from_arrays(arrays, schema=schema.arrow)
