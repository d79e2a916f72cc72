"""A few rows of a dataset as a dataset of their own, counted from 0 (`batcher.ports.RowSource`); for `try`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batcher.ports import RowSource, Slice
    from batcher.records import RowHistory
    from batcher.store.history import ShardHistory


@dataclass(frozen=True, slots=True)
class ChosenSlice:
    """One chosen row or a few (`batcher.ports.Slice`)."""

    first_row: int
    batch: pa.RecordBatch
    problems: Mapping[int, str]


class ChosenRows:
    """The rows of `source` at these ascending positions; reads the source once, up to the last of them."""

    def __init__(self, source: RowSource, positions: Sequence[int]) -> None:
        self._source = source
        self._positions = positions

    @property
    def schema(self) -> pa.Schema:
        return self._source.schema

    @property
    def rows(self) -> int:
        return len(self._positions)

    def slices(self, *, first_row: int, rows_per_slice: int = 512) -> Iterator[ChosenSlice]:
        """Slices from the chosen row `first_row` on."""
        wanted = list(self._positions[first_row:])
        done = 0
        for each in self._source.slices(first_row=0, rows_per_slice=rows_per_slice):
            if done == len(wanted):
                return
            end = each.first_row + each.batch.num_rows
            here: list[int] = []
            while done + len(here) < len(wanted) and wanted[done + len(here)] < end:
                here.append(wanted[done + len(here)])
            if here:
                yield _chosen(each, here, first_row + done)
                done += len(here)


def by_input_row(history: ShardHistory, row_indices: Sequence[int] | None) -> Callable[[int], RowHistory]:
    """A shard's histories by the row of the input, where the shard counts chosen rows (None: it does not)."""
    if row_indices is None:
        return history.history
    place_of = {row_index: place for place, row_index in enumerate(row_indices)}
    return lambda row_index: history.history(place_of[row_index])


def _chosen(slice_: Slice, positions: Sequence[int], first_row: int) -> ChosenSlice:
    batch = slice_.batch.take(pa.array([position - slice_.first_row for position in positions], pa.int64()))
    problems = {
        first_row + place: slice_.problems[position]
        for place, position in enumerate(positions)
        if position in slice_.problems
    }
    return ChosenSlice(first_row, batch, problems)
