"""What the tests of this room share: writing small inputs, and reading a whole dataset back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from batcher.dataset import InputSpec, Scan, find_files, open_source, python_rows, scan

if TYPE_CHECKING:
    from batcher.dataset import Format
    from batcher.records import InputRow


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def compressed(content: bytes, codec: str) -> bytes:
    """One gzip member or zstd frame."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return bytes(sink.getvalue().to_pybytes())


def write_table(path: Path, columns: dict[str, object], **options: object) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def scanned(path: Path, *, form: Format | None = None, allow_empty: bool = False) -> Scan:
    spec = InputSpec(str(path), format=form, allow_empty=allow_empty)
    return scan(spec, find_files(spec, base=Path("/")))


def read(found: Scan, *columns: str, first_row: int = 0, rows_per_slice: int = 512) -> list[InputRow]:
    """All rows from `first_row` on; without names, all columns. Checks that slices are contiguous and of the schema."""
    rows: list[InputRow] = []
    wanted = frozenset(columns or found.schema.names)
    for piece in open_source(found).slices(first_row=first_row, rows_per_slice=rows_per_slice):
        assert piece.first_row == first_row + len(rows)
        assert 0 < piece.batch.num_rows <= rows_per_slice
        assert piece.batch.schema.equals(found.schema, check_metadata=True)
        piece.batch.validate(full=True)
        rows += python_rows(piece.batch, first_row=piece.first_row, columns=wanted, problems=piece.problems)
    assert len(rows) == found.rows - first_row
    return rows


def values(found: Scan, column: str) -> list[object]:
    return [row.values[column] for row in read(found, column)]


def problems(found: Scan) -> dict[int, str]:
    return {row.row_index: row.problem for row in read(found) if row.problem is not None}
