"""From files to a `Scan`, and from a `Scan` to its rows: the room's two doors.

Must never start a run on an input that cannot be read: whatever makes it unusable raises here, before a cent
is spent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.dataset.content import unchanged_on_disk
from batcher.dataset.footer import MAGICS
from batcher.dataset.jsonl_scan import scan_jsonl
from batcher.dataset.jsonl_slices import jsonl_slices
from batcher.dataset.parquet_scan import scan_parquet
from batcher.dataset.parquet_slices import parquet_slices
from batcher.dataset.sources import names_of
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from batcher.dataset.scanned import Scan, Slice
    from batcher.dataset.sources import InputSpec


def scan(spec: InputSpec, files: Sequence[Path], *, known: Scan | None = None) -> Scan:
    """Find out what the files hold. Blocking; reads all of a JSONL file, only the footer of a Parquet file.

    Args:
        spec: as the job names the input.
        files: from `find_files`, or the one that standard input was copied to.
        known: an earlier scan of the same input; returned as it is where all sizes, times and inodes are the
            same.

    Raises:
        DatasetError: the input is not usable, or has 0 rows and `allow_empty` is not set.
        Conflict: a file shrank while it was read.
    """
    if not files:
        raise DatasetError(f"{spec.source}: no input file")
    try:
        if known is not None and _is_current(known, spec, files):
            stamps = tuple(replace(s, path=str(p)) for s, p in zip(known.files, files, strict=True))
            return replace(known, files=stamps)
        scanned = scan_parquet(files) if _is_parquet(spec, files) else scan_jsonl(files, wanted=spec.format)
    except OSError as err:
        raise DatasetError(f"the input cannot be read: {err}") from err
    if not scanned.rows and not spec.allow_empty:
        raise DatasetError(
            f"{names_of(files)}: 0 rows", hint="--allow-empty makes that a valid, empty output"
        )
    return scanned


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a scanned dataset; implements `ports.RowSource`."""

    scan: Scan

    @property
    def schema(self) -> pa.Schema:
        return self.scan.schema

    @property
    def rows(self) -> int:
        return self.scan.rows

    def slices(self, *, first_row: int = 0, rows_per_slice: int = 512) -> Iterator[Slice]:
        """Slices from `first_row` to the end, contiguous and in order, each of at most `rows_per_slice` rows.

        A slice also has at most 16 MiB, unless it is a single row. Blocking; not for several threads at once.

        Raises:
            DatasetError: the source cannot be read any more.
            Conflict: the source is not the one that was scanned.
        """
        if first_row < 0 or rows_per_slice < 1:
            raise ValueError(
                f"first_row {first_row} and rows_per_slice {rows_per_slice} must be at least 0 and 1"
            )
        read = parquet_slices if self.scan.format == "parquet" else jsonl_slices
        return read(self.scan, first_row=first_row, rows_per_slice=rows_per_slice)


def open_source(scan: Scan) -> Source:
    """The rows behind a scan; opens no file yet."""
    return Source(scan)


def _is_current(known: Scan, spec: InputSpec, files: Sequence[Path]) -> bool:
    if len(known.files) != len(files) or (spec.format or known.format) != known.format:
        return False
    if not known.rows and not spec.allow_empty:
        return False
    return all(
        unchanged_on_disk(path, size=stamp.size, mtime_ns=stamp.mtime_ns, inode=stamp.inode)
        for path, stamp in zip(files, known.files, strict=True)
    )


def _is_parquet(spec: InputSpec, files: Sequence[Path]) -> bool:
    """By the job, else by content, else (0 bytes, a cut head) by name. Raises DatasetError for a mixture."""
    if spec.format is not None:
        return spec.format == "parquet"
    kinds = {_looks_like_parquet(path) for path in files}
    if len(kinds) > 1:
        raise DatasetError(f"the input has both Parquet and JSONL files: {names_of(files)}")
    return kinds.pop()


def _looks_like_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
    return head in MAGICS or path.suffix.lower() == ".parquet"
