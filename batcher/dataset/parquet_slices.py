"""Arrow slices of scanned Parquet, from any row on, each with the scan's schema.

Must never hold a row group, and must never stop a run for a damaged page or a bad cell: those rows are
problems, null in the columns that could not be read, and the run goes on. A file that is not the one scanned
does stop it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from batcher.dataset.cells import fitted
from batcher.dataset.parquet_scan import footer_hash, open_parquet
from batcher.dataset.row_group import Step, read_row_group
from batcher.dataset.scanned import Slice
from batcher.errors import Conflict, DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow.parquet as pq

    from batcher.dataset.scanned import FileStamp, Scan

SLICE_BYTES = 16 << 20
"""Bytes in one slice, unless a single row has more."""


def parquet_slices(scan: Scan, *, first_row: int, rows_per_slice: int) -> Iterator[Slice]:
    """See `ports.RowSource.slices`."""
    start = 0
    for stamp in scan.files:
        if first_row < start + stamp.rows:
            yield from _FileSlices(scan, stamp, start, rows_per_slice).run(max(first_row, start))
        start += stamp.rows


class _FileSlices:
    def __init__(self, scan: Scan, stamp: FileStamp, first_row: int, rows_per_slice: int) -> None:
        """`first_row` is the row_index of the file's first row."""
        self._scan = scan
        self._stamp = stamp
        self._path = Path(stamp.path)
        self._first_row = first_row
        self._rows_per_slice = rows_per_slice
        self._trusted = (stamp.size, stamp.mtime_ns, stamp.inode)

    def run(self, wanted: int) -> Iterator[Slice]:
        """Slices from row_index `wanted` on."""
        self._check_unchanged()
        with open_parquet(self._path) as file:
            row = self._first_row
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows
                if wanted < row + rows:
                    self._check_unchanged()
                    yield from self._group(file, number, row, max(wanted, row))
                row += rows

    def _check_unchanged(self) -> None:
        """Compare size, time and inode; only where they differ, the footer. Raises Conflict, DatasetError."""
        try:
            facts = self._path.stat()
            seen = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
            is_same = seen == self._trusted or (
                facts.st_size == self._stamp.size and self._footer_hash() == self._stamp.content_hash
            )
        except OSError as err:
            raise DatasetError(f"{self._path} cannot be read any more: {err}") from err
        if not is_same:
            raise Conflict(
                f"{self._path} is not the file that was scanned: its content changed",
                hint="put the scanned file back, or start over with --replace",
            )
        self._trusted = seen

    def _footer_hash(self) -> str | None:
        try:
            return footer_hash(self._path, self._stamp.size)
        except DatasetError:
            return None  # no longer Parquet, so no longer the file that was scanned

    def _group(self, file: pq.ParquetFile, number: int, first_row: int, wanted: int) -> Iterator[Slice]:
        """Slices of the row group that starts at `first_row`, from row_index `wanted` on."""
        row = first_row
        for batch, bad in _joined(self._steps(file, number, wanted - first_row), self._rows_per_slice):
            first = max(row, wanted)
            yield Slice(first, batch, {first + at: bad[at] for at in sorted(bad)})
            row = first + batch.num_rows

    def _steps(
        self, file: pq.ParquetFile, number: int, skipped: int
    ) -> Iterator[tuple[pa.RecordBatch, dict[int, str]]]:
        """Pieces of at most `SLICE_BYTES`, in the scan's schema, from row `skipped` of the row group on."""
        columns = (
            [n for n in file.schema_arrow.names if n in self._scan.schema.names]
            if self._scan.dropped
            else None
        )
        for step in read_row_group(file, number, columns):
            rows = step.batch.num_rows
            if skipped >= rows:
                skipped -= rows
                continue
            for piece in _halved(step.batch.slice(skipped)):
                yield self._in_schema(piece, step)
            skipped = 0

    def _in_schema(self, batch: pa.RecordBatch, step: Step) -> tuple[pa.RecordBatch, dict[int, str]]:
        schema = self._scan.schema
        bad: dict[int, str] = {}
        for name, reason in step.unread.items():
            for at in range(batch.num_rows):
                bad.setdefault(at, f"damage in the Parquet file: the column {name!r} ends here ({reason})")
        if len(set(schema.names)) < len(schema.names):  # then all files have this very schema
            places = list(range(len(schema)))
        else:
            places = [batch.schema.get_field_index(name) for name in schema.names]
        arrays = [
            pa.nulls(batch.num_rows, field.type)
            if at < 0
            else fitted(batch.column(at), field.name, field.type, bad)
            for field, at in zip(schema, places, strict=True)
        ]
        if not arrays:
            return batch.select([]), bad
        return pa.RecordBatch.from_arrays(arrays, schema=schema), bad


def _halved(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows <= 1 or batch.nbytes <= SLICE_BYTES:
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _halved(batch.slice(0, middle))
    yield from _halved(batch.slice(middle))


def _joined(
    pieces: Iterator[tuple[pa.RecordBatch, dict[int, str]]], rows_per_slice: int
) -> Iterator[tuple[pa.RecordBatch, dict[int, str]]]:
    """Pieces put together to at most `rows_per_slice` rows and `SLICE_BYTES`."""
    held: list[pa.RecordBatch] = []
    bad: dict[int, str] = {}
    rows = size = 0
    for whole, reasons in pieces:
        for start in range(0, whole.num_rows, rows_per_slice):
            piece = whole.slice(start, rows_per_slice)
            if held and (rows + piece.num_rows > rows_per_slice or size + piece.nbytes > SLICE_BYTES):
                yield _one(held), bad
                held, bad, rows, size = [], {}, 0, 0
            ours = {at: why for at, why in reasons.items() if start <= at < start + piece.num_rows}
            bad |= {rows + at - start: why for at, why in ours.items()}
            held.append(piece)
            rows += piece.num_rows
            size += piece.nbytes
    if held:
        yield _one(held), bad


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
