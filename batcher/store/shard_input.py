"""A shard's input columns on disk: written once when the shard is opened, read back for rendering, resume and seal.

The source is read once, in order; after that neither resume nor seal needs it. Values are rendered from these columns
and never from the source's own text, so a resumed row renders to the same bytes. One Arrow IPC file (lz4) per shard;
the last column holds the reason why a row cannot be used.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.ipc

from batcher.dataset import python_rows
from batcher.errors import StorageError
from batcher.store.files import checksum_of, storage_errors, sync_dir, sync_file
from batcher.store.seal import removed_on_failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.ports import RowSource, Slice
    from batcher.records import InputRow

SHARD_ROWS = 65_536
SHARD_BYTES = 256 * 1024 * 1024
BATCH_BYTES = 16 << 20
"""Most bytes of a batch, and so of what `next_rows` hands out at once, unless a single row has more."""
PROBLEM_COLUMN = "__problem"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class CutShard(NamedTuple):
    """One shard's input as written; `checksum` is of the file, because Arrow's own format has none."""

    first_row: int
    rows: int
    size: int
    checksum: str


class ShardCutter:
    """Cuts a source into shards, in order; not for use by two threads at once.

    Args:
        source: the scanned dataset.
        first_row: where the next shard begins.
        end_row: row after the last one wanted.
    """

    def __init__(self, source: RowSource, *, first_row: int, end_row: int) -> None:
        self._source = source
        self._next = first_row
        self._end = end_row
        self._slices: Iterator[Slice] | None = None
        self._rest: pa.RecordBatch | None = None

    def cut(
        self, path: Path, *, most_rows: int = SHARD_ROWS, most_bytes: int = SHARD_BYTES
    ) -> CutShard | None:
        """Write the next shard's input to `path`, synced; None when no rows are left.

        Raises:
            Conflict, DatasetError: the source changed or cannot be read any more.
            OSError: the disk.
        """
        if self._next >= self._end:
            return None
        first, rows, size = self._next, 0, 0
        unfinished = path.with_suffix(".tmp")
        with removed_on_failure(unfinished):
            with unfinished.open("wb") as file:
                unfinished.chmod(0o600)
                with pa.ipc.new_file(file, _with_problems(self._source.schema), options=_OPTIONS) as writer:
                    while rows < most_rows and size < most_bytes and self._next < self._end:
                        batch = self._take(min(most_rows - rows, self._end - self._next))
                        writer.write_batch(batch)
                        rows += batch.num_rows
                        size += batch.nbytes
                        self._next += batch.num_rows
                file.flush()
                sync_file(file.fileno())
            checksum = checksum_of(unfinished)
            unfinished.rename(path)
            sync_dir(path.parent)
        return CutShard(first, rows, path.stat().st_size, checksum)

    def _take(self, most: int) -> pa.RecordBatch:
        if self._rest is None:
            if self._slices is None:
                self._slices = iter(self._source.slices(first_row=self._next))
            self._rest = _with_reasons(next(self._slices), _with_problems(self._source.schema))
        rows = _fitting(self._rest, most)
        batch, rest = self._rest.slice(0, rows), self._rest.slice(rows)
        self._rest = rest if rest.num_rows else None
        return batch


def _fitting(batch: pa.RecordBatch, most: int) -> int:
    """How many of the first rows, at most `most`, have no more than `BATCH_BYTES` together; at least 1."""
    rows: int = min(most, batch.num_rows)
    while rows > 1 and batch.slice(0, rows).nbytes > BATCH_BYTES:
        rows //= 2
    return rows


def _with_problems(schema: pa.Schema) -> pa.Schema:
    return schema.append(pa.field(PROBLEM_COLUMN, pa.string()))


def _with_reasons(slice_: Slice, schema: pa.Schema) -> pa.RecordBatch:
    rows = slice_.batch.num_rows
    if slice_.problems:
        reasons = pa.array([slice_.problems.get(slice_.first_row + i) for i in range(rows)], pa.string())
    else:
        reasons = pa.nulls(rows, pa.string())
    return pa.RecordBatch.from_arrays([*slice_.batch.columns, reasons], schema=schema)


class ShardRows:
    """Reads a shard's input back, batch by batch; closed by whoever opened it.

    Raises:
        StorageError: the file is damaged or cannot be read; also `next_rows`.
    """

    def __init__(self, path: Path, *, first_row: int, rows: int) -> None:
        self._path = path
        with _readable(path):
            self._file = pa.OSFile(str(path))
            self._reader = pa.ipc.open_file(self._file)
        self._first = first_row
        self._end = first_row + rows
        self._batch = 0

    def next_rows(self, columns: frozenset[str], raw: frozenset[str] = frozenset()) -> list[InputRow] | None:
        """The next batch's rows with these columns decoded, the `raw` ones left as bytes; None after the last."""
        if self._batch >= self._reader.num_record_batches or self._first >= self._end:
            return None
        with _readable(self._path):
            batch = self._reader.get_batch(self._batch).slice(0, self._end - self._first)
        self._batch += 1
        reasons = batch.column(PROBLEM_COLUMN)
        problems: dict[int, str] = {}
        if reasons.null_count < batch.num_rows:
            problems = {self._first + i: str(r) for i, r in enumerate(reasons.to_pylist()) if r is not None}
        rows = python_rows(batch, first_row=self._first, columns=columns, problems=problems, raw=raw)
        self._first += batch.num_rows
        return rows

    def close(self) -> None:
        self._file.close()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    with storage_errors("reading a shard's input", path):
        try:
            yield
        except pa.ArrowInvalid as err:
            raise StorageError(
                f"the input file of a shard is damaged: {path}: {err}",
                hint="run the same command again: it is written again from the input",
            ) from err
