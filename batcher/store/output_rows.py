"""A published output read back: its input columns as a source, its outcomes, and its rows by position.

For `retry`, which does some rows again and keeps the others. One row group is held at a time; each reader belongs to
one thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from batcher.dataset import is_json_text
from batcher.errors import DatasetError
from batcher.records import ImageTrouble, Outcome
from batcher.store.columns import our_columns
from batcher.store.part import open_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow.parquet as pq

    from batcher.store.columns import OutputSchema


class OutputRows:
    """Rows of a Parquet file by position, for reading forwards; a row group is read once per pass."""

    def __init__(self, path: Path, *, columns: list[str] | None = None) -> None:
        self._path = path
        self._columns = columns
        self._file: pq.ParquetFile | None = None
        self._ends: list[int] = []
        self._held: tuple[int, pa.Table] | None = None

    def table(self, first_row: int, rows: int) -> pa.Table:
        """Those rows, all columns asked for. Raises pyarrow errors when the file is damaged."""
        pieces = []
        while rows:
            start, group = self._group_of(first_row)
            piece = group.slice(first_row - start, rows)
            pieces.append(piece)
            first_row += piece.num_rows
            rows -= piece.num_rows
        return pa.concat_tables(pieces) if pieces else self._open().schema_arrow.empty_table()

    def _open(self) -> pq.ParquetFile:
        if self._file is None:
            self._file = open_part(self._path)
            end = 0
            for number in range(self._file.num_row_groups):
                end += self._file.metadata.row_group(number).num_rows
                self._ends.append(end)
        return self._file

    def _group_of(self, row: int) -> tuple[int, pa.Table]:
        file = self._open()
        number = next(index for index, end in enumerate(self._ends) if row < end)
        if self._held is None or self._held[0] != number:
            self._held = number, file.read_row_group(number, columns=self._columns, use_threads=False)
        return self._ends[number - 1] if number else 0, self._held[1]


@dataclass(frozen=True, slots=True)
class OutputSlice:
    """Consecutive rows of an output (`batcher.ports.Slice`)."""

    first_row: int
    batch: pa.RecordBatch
    problems: Mapping[int, str]


class OutputSource:
    """An output's input columns as a dataset (`batcher.ports.RowSource`).

    Args:
        path: of the output.
        schema: of the original input, whose types and field metadata the columns get back.
        output: how the output's columns are laid out over that input.
        rows: of the output.
    """

    def __init__(self, path: Path, *, schema: pa.Schema, output: OutputSchema, rows: int) -> None:
        self._path = path
        self.schema = schema
        self._output = output
        self.rows = rows

    def slices(self, *, first_row: int, rows_per_slice: int = 512) -> Iterator[OutputSlice]:
        """Slices from `first_row` on, contiguous.

        Raises:
            DatasetError: an id cannot be read back from its text. pyarrow errors when the file is damaged.
        """
        reader = OutputRows(self._path)
        while first_row < self.rows:
            table = reader.table(first_row, min(rows_per_slice, self.rows - first_row))
            yield OutputSlice(first_row, self._input_columns(table), _problems(table, first_row))
            first_row += table.num_rows

    def _input_columns(self, table: pa.Table) -> pa.RecordBatch:
        at = our_columns(table.schema)
        position = {input_index: index for index, input_index in enumerate(self._output.inputs)}
        arrays = []
        for index, each in enumerate(self.schema):
            if index in position:
                arrays.append(_combined(table.column(position[index])).cast(each.type))
            elif each.name in at:  # an id that our own column of that name carries, as text
                arrays.append(_read_back(_combined(table.column(at[each.name])), each))
            else:
                arrays.append(pa.nulls(table.num_rows, each.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _read_back(ids: pa.Array, each: pa.Field) -> pa.Array:
    """The input's id column from the text that the output carries of it: strings as they are, the rest as JSON."""
    try:
        if is_json_text(each):
            return pa.array([_as_json(text) for text in ids.to_pylist()], each.type)
        if not pa.types.is_nested(each.type):
            return ids.cast(each.type, safe=False)
        return pa.array([None if text is None else orjson.loads(text) for text in ids.to_pylist()], each.type)
    except (pa.ArrowException, orjson.JSONDecodeError) as err:
        raise DatasetError(
            f"the column {each.name!r} cannot be read back from the output as {each.type}: {err}",
            hint="run the job again with --replace: answers that stand in the file are taken over",
        ) from err


def _as_json(text: str | None) -> str | None:
    """JSON that says what an id said; a string lost its quotes when it became an id."""
    if text is None:
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return orjson.dumps(text).decode()
    return text


def _combined(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _problems(table: pa.Table, first_row: int) -> dict[int, str]:
    """Rows that could not be used then cannot be used now, unless it was an image: its file, the cap or the root may
    have been changed.
    """
    at = our_columns(table.schema)
    outcomes = table.column(at["outcome"]).to_pylist()
    if Outcome.INVALID.value not in outcomes:
        return {}
    reasons = table.column(at["error_message"]).to_pylist()
    types = table.column(at["error_type"]).to_pylist()
    return {
        first_row + place: reason or "invalid"
        for place, (outcome, reason, type_) in enumerate(zip(outcomes, reasons, types, strict=True))
        if outcome == Outcome.INVALID.value and type_ not in set(ImageTrouble)
    }


class Selection:
    """Which rows of an output have one of these outcomes."""

    def __init__(self, path: Path, outcomes: frozenset[str], *, column: str) -> None:
        self._rows = OutputRows(path, columns=[column])
        self._column = column
        self._outcomes = pa.array(sorted(outcomes), pa.string())

    def __call__(self, first_row: int, rows: int) -> bytes:
        """One byte per row, 1 where the row is to be done again."""
        column = self._rows.table(first_row, rows).column(self._column)
        chosen = pc.is_in(column.cast(pa.string()), value_set=self._outcomes)
        return bytes(map(int, chosen.to_pylist()))
