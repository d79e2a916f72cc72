"""A small dataset, its settled rows and a run directory, for the tests of the store's upper half."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from part_samples import INPUT_SCHEMA, SampleSettled, answer_values, input_batch

from batcher.records import Outcome
from batcher.store.directory import RunDirectory
from batcher.store.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from batcher.records import JournalRecord, RowHistory


@dataclass(frozen=True)
class SampleSlice:
    first_row: int
    batch: pa.RecordBatch
    problems: Mapping[int, str]


@dataclass
class SampleSource:
    """`rows` rows of `input_batch`; counts the slices it gave (`batcher.ports.RowSource`)."""

    rows: int
    problems: Mapping[int, str] = field(default_factory=dict)
    schema: pa.Schema = INPUT_SCHEMA
    given: int = 0

    def slices(self, *, first_row: int, rows_per_slice: int = 100) -> Iterator[SampleSlice]:
        while first_row < self.rows:
            count = min(rows_per_slice, 100, self.rows - first_row)
            here = {row: why for row, why in self.problems.items() if first_row <= row < first_row + count}
            self.given += 1
            yield SampleSlice(first_row, input_batch(first_row, count), here)
            first_row += count


def settle(history: RowHistory) -> SampleSettled | None:
    """A reply is an answer; an end record says how it ended; an intent alone is not done."""
    row = history.row_index
    if history.reuse is not None:
        values = {**history.reuse.values, "row_index": row, "request_hash": history.reuse.request_hash}
        return SampleSettled(Outcome.OK, values | {"outcome": "ok", "reused_from": history.reuse.reused_from})
    if history.replies:
        return SampleSettled(Outcome.OK, answer_values(row) | {"row_index": row})
    if history.end is not None:
        ended: dict[str, object] = {"row_index": row, "outcome": history.end.outcome.value}
        return SampleSettled(history.end.outcome, ended)
    return None


def made(folder: Path) -> RunDirectory:
    directory = RunDirectory(folder / "o.parquet.run")
    directory.make()
    return directory


def journalled(
    directory: RunDirectory, records: Sequence[JournalRecord], *, shard: int = 0, session: int = 1
) -> Path:
    """A journal file with these records, as a session that was killed leaves it; its path."""
    path = directory.journal(shard, session)
    journal = Journal.create(path)
    for record in records:
        journal.append(record)
    journal.close()
    return path
