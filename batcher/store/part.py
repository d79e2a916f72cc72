"""Parquet files of ours: written in bounded row groups, reopened and counted before anybody relies on them.

Parts and the published output are the same kind of file: zstd level 1, plain strings, no dictionary encoding
on text, row groups of at most 8,192 rows or 64 MiB, a CRC on every page (verified on every read of ours).
Measured in the
design: 2.4-2.8 us per row written. Memory is one row group, whatever the file's size.

What is written is added up in `Totals` on the way in, and added up again from the reopened file: rows, order,
sums and schema must agree, or the file is not used.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batcher.errors import StorageError
from batcher.store.columns import our_columns
from batcher.store.files import FILE_MODE, checksum_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from batcher.store.columns import OutputSchema
    from batcher.store.footer import FileFacts

ROW_GROUP_ROWS = 8_192
ROW_GROUP_BYTES = 64 << 20

_SUMMED = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "billed_prompt_tokens",
    "billed_completion_tokens",
    "attempts",
    "paid_attempts",
)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over rows; they add up over shards. Nulls count as nothing.

    Attributes:
        rows: of the file.
        outcomes: outcome -> rows, outcomes that did not occur left out.
        cost_usd: over rows whose cost is known; None when no row's is.
        cost_unknown: rows with a paid attempt and no known cost.
        reused: rows whose answer was taken over.
    """

    rows: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    billed_prompt_tokens: int = 0
    billed_completion_tokens: int = 0
    attempts: int = 0
    paid_attempts: int = 0
    cost_usd: float | None = None
    cost_unknown: int = 0
    reused: int = 0

    @classmethod
    def of(cls, batch: pa.RecordBatch | pa.Table) -> Totals:
        """Totals of rows that have our columns (found by their metadata)."""
        at = our_columns(batch.schema)
        outcomes = pc.value_counts(batch.column(at["outcome"])).to_pylist()
        cost = batch.column(at["cost_usd"])
        paid = pc.fill_null(pc.greater(batch.column(at["paid_attempts"]), 0), fill_value=False)
        sums = {name: pc.sum(batch.column(at[name])).as_py() or 0 for name in _SUMMED}
        reused_from = batch.column(at["reused_from"])
        return cls(
            rows=batch.num_rows,
            outcomes={str(each["values"]): each["counts"] for each in outcomes},
            cost_usd=pc.sum(cost).as_py(),
            cost_unknown=pc.sum(pc.and_(pc.is_null(cost), paid)).as_py() or 0,
            reused=batch.num_rows - reused_from.null_count,
            **sums,
        )

    def __add__(self, other: Totals) -> Totals:
        sums = {
            each.name: getattr(self, each.name) + getattr(other, each.name)
            for each in fields(self)
            if each.name not in ("outcomes", "cost_usd")
        }
        costs = [each for each in (self.cost_usd, other.cost_usd) if each is not None]
        outcomes = Counter(self.outcomes) + Counter(other.outcomes)
        return Totals(outcomes=dict(sorted(outcomes.items())), cost_usd=sum(costs) if costs else None, **sums)

    def matches(self, other: Totals) -> bool:
        """Equal, dollars up to what adding floats in another order may change."""
        mine, theirs = self.to_json(), other.to_json()
        cost, other_cost = mine.pop("cost_usd"), theirs.pop("cost_usd")
        if not isinstance(cost, float) or not isinstance(other_cost, float):
            return mine == theirs and cost is other_cost
        return mine == theirs and math.isclose(cost, other_cost, rel_tol=1e-9, abs_tol=1e-12)

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {each.name: getattr(self, each.name) for each in fields(self)}
        found["outcomes"] = dict(sorted(self.outcomes.items()))
        found["cost_usd"] = None if self.cost_usd is None else float(self.cost_usd)
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Totals:
        """The inverse of `to_json`; sums that an older version did not keep are 0.

        Raises:
            ValueError: not such an object.
        """
        known = {each.name for each in fields(cls)}
        found = {name: each for name, each in value.items() if name in known}
        outcomes, cost = found.pop("outcomes", {}), found.pop("cost_usd", None)
        if not isinstance(outcomes, dict) or not all(type(each) is int for each in found.values()):
            raise ValueError("totals are not numbers")
        if cost is not None and not isinstance(cost, (int, float)):
            raise ValueError("cost_usd is not a number")
        sums = {name: each for name, each in found.items() if isinstance(each, int)}
        return cls(outcomes=outcomes, cost_usd=None if cost is None else float(cost), **sums)


class PartWriter:
    """Writes one Parquet file; a context manager. What it wrote is not durable, and after an error not a
    file.

    Args:
        path: created or emptied.
        schema: of every batch.
        facts: for the footer.
        mode: permissions of a new file, before the umask.
    """

    def __init__(self, path: Path, schema: OutputSchema, facts: FileFacts, *, mode: int = FILE_MODE) -> None:
        self._schema = schema.arrow
        self._facts = facts
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0
        self.totals = Totals()
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode))
        self._file = pa.OSFile(str(path), "wb")
        repeated = [schema.name_of(column.name) for column in schema.columns if column.repeats]
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=repeated,
            write_page_checksum=True,
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; a row group is written when it is full. Raises OSError."""
        self.totals += Totals.of(batch)
        while batch.num_rows:
            piece = batch.slice(0, ROW_GROUP_ROWS - self._rows)
            batch = batch.slice(piece.num_rows)
            if self._bytes + piece.nbytes > ROW_GROUP_BYTES:
                self._flush()
            self._pending.append(piece)
            self._rows += piece.num_rows
            self._bytes += piece.nbytes
            if self._rows >= ROW_GROUP_ROWS:
                self._flush()

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, schema=self._schema)
            self._pending, self._rows, self._bytes = [], 0, 0
            self._writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left and the footer; after an error only let the file go."""
        try:
            if kind is None:
                self._flush()
                self._writer.add_key_value_metadata(self._facts.to_metadata())
                self._writer.close()
        finally:
            self._writer.is_open = False  # else its finaliser writes a footer under a file that failed
            self._file.close()


class Measured(NamedTuple):
    """A file as it stands on the disk."""

    size: int
    checksum: str


def measure(path: Path) -> Measured:
    """Size and blake2b-128 (hex) of a file. Raises OSError."""
    return Measured(path.stat().st_size, checksum_of(path))


def row_groups(path: Path) -> Iterator[pa.Table]:
    """All columns of a Parquet file, one row group at a time, page checksums verified; memory is one row
    group.

    Raises:
        OSError, pa.ArrowInvalid: not readable or damaged.
    """
    with open_part(path) as file:
        for index in range(file.num_row_groups):
            yield file.read_row_group(index, use_threads=False)


def open_part(path: Path) -> pq.ParquetFile:
    """A Parquet file for reading, page checksums verified, nothing read ahead. Raises OSError,
    pa.ArrowInvalid.
    """
    return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False)


def reopen_and_check(
    path: Path, expected: Totals, schema: OutputSchema, *, first_row: int | None = 0
) -> Measured:
    """Read a file back and compare it with what was meant to be in it.

    Args:
        path: the file.
        expected: totals of what was written.
        schema: names, types and nullability of all columns.
        first_row: ``row_index`` of the first row, the others following without a gap; None when rows may be
            missing (they must still be in order, and none twice).

    Raises:
        StorageError: it is not that file.
    """
    try:
        found = _counted(path, schema, first_row)
        measured = measure(path)
    except (OSError, pa.ArrowException) as err:
        raise StorageError(f"{path} was written but cannot be read back: {err}", hint=_LOOK) from err
    if not found.matches(expected):
        differing = [
            f"{name} {theirs} instead of {ours}"
            for (name, ours), theirs in zip(expected.to_json().items(), found.to_json().values(), strict=True)
            if ours != theirs
        ]
        raise StorageError(f"{path} does not hold what was written: {', '.join(differing)}", hint=_LOOK)
    return measured


_LOOK = "check the disk; nothing was deleted, so the same command tries again"


def _counted(path: Path, schema: OutputSchema, first_row: int | None) -> Totals:
    """Totals of all rows. Every column is decoded, so that the CRC of every page is checked (0.7 us per
    row).
    """
    totals = Totals()
    with open_part(path) as file:
        if not file.schema_arrow.equals(schema.arrow, check_metadata=False):
            raise StorageError(f"{path} does not have the columns that were written", hint=_LOOK)
        last: int | None = None
        for index in range(file.num_row_groups):
            table = file.read_row_group(index, use_threads=False)
            rows = table.column(our_columns(table.schema)["row_index"]).combine_chunks()
            start = rows[0].as_py()
            begins = last is None or start > last if first_row is None else start == first_row + totals.rows
            if not begins or not _ascending(rows, without_gaps=first_row is not None):
                raise StorageError(f"{path} does not hold its rows in input order", hint=_LOOK)
            last = rows[-1].as_py()
            totals += Totals.of(table)
    return totals


def _ascending(rows: pa.Array, *, without_gaps: bool) -> bool:
    """Whether row numbers are there, go up, and (if asked) by one each."""
    if rows.null_count:
        return False
    steps = pc.subtract(rows[1:], rows[:-1])
    return bool(pc.all(pc.equal(steps, 1) if without_gaps else pc.greater(steps, 0), min_count=0).as_py())
