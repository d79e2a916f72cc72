"""An output read back: rows by position, the input's columns as they were, which rows to do again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from part_samples import INPUT_SCHEMA, SCHEMA, SampleSettled, answer_values, seal_sample

from batcher.errors import DatasetError
from batcher.records import Outcome
from batcher.store.columns import Features, OutputSchema
from batcher.store.output_rows import OutputRows, OutputSource, Selection

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.records import RowHistory

ROWS = 50
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def settle(history: RowHistory) -> SampleSettled:
    row = history.row_index
    if row % 10 == 3:
        return SampleSettled(Outcome.FAILED, {"row_index": row, "outcome": "failed"})
    if row % 10 == 7:
        values = {"row_index": row, "outcome": "invalid", "error_message": f"bad {row}"}
        return SampleSettled(Outcome.INVALID, values)
    return SampleSettled(Outcome.OK, answer_values(row) | {"row_index": row})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Fifty rows in row groups of seven; every tenth failed (from 3), every tenth invalid (from 7)."""
    path, _ = seal_sample(tmp_path, 0, ROWS, settle=settle)
    table = pq.ParquetFile(path).read()
    pq.write_table(table, tmp_path / "o.parquet", row_group_size=7)
    return tmp_path / "o.parquet"


@pytest.mark.parametrize(("first", "count"), [(0, 50), (0, 1), (6, 2), (13, 30), (49, 1), (20, 0)])
def test_rows_are_found_by_position_across_row_groups(output: Path, first: int, count: int) -> None:
    found = OutputRows(output).table(first, count)
    assert found.column("row_index").to_pylist() == list(range(first, first + count))


def test_a_row_group_is_read_once_per_pass(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, number: int, **options: object) -> pa.Table:
        read.append(number)
        return original(file, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    rows = OutputRows(output, columns=["row_index"])
    for first in range(0, ROWS, 3):
        rows.table(first, min(3, ROWS - first))
    assert read == list(range(8))


def test_the_selection_is_one_byte_per_row(output: Path) -> None:
    chosen = Selection(output, frozenset({"failed"}), column="outcome")
    assert chosen(0, 20) == bytes(row % 10 == 3 for row in range(20))
    assert chosen(13, 1) == b"\x01"
    both = Selection(output, frozenset({"failed", "invalid"}), column="outcome")
    assert sum(both(0, ROWS)) == 10


def test_the_source_gives_the_inputs_columns_and_what_was_wrong_with_a_row(output: Path) -> None:
    source = OutputSource(output, schema=INPUT_SCHEMA, output=SCHEMA, rows=ROWS)
    slices = list(source.slices(first_row=5, rows_per_slice=10))
    assert [each.first_row for each in slices] == [5, 15, 25, 35, 45]
    whole = pa.Table.from_batches([each.batch for each in slices])
    assert whole.schema == INPUT_SCHEMA
    assert whole.column("id").to_pylist() == [10 * row for row in range(5, ROWS)]
    problems = {row: why for each in slices for row, why in each.problems.items()}
    assert problems == {row: f"bad {row}" for row in range(7, ROWS, 10)}


@pytest.mark.parametrize(
    ("kind", "texts", "values"),
    [
        (pa.string(), ["a", None], ["a", None]),
        (pa.int64(), ["7", None], [7, None]),
        (pa.float64(), ["1.5", "-0.1"], [1.5, -0.1]),
        (pa.bool_(), ["true", "false"], [True, False]),
        (pa.struct([("a", pa.int64())]), ['{"a":1}', None], [{"a": 1}, None]),
        (pa.list_(pa.string()), ['["x",null]', "[]"], [["x", None], []]),
        (
            pa.timestamp("us", "UTC"),
            ["2026-11-22T12:00:00+00:00", None],
            [datetime(2026, 11, 22, 12, tzinfo=UTC), None],
        ),
        (pa.dictionary(pa.int32(), pa.string()), ["a", "a"], ["a", "a"]),
    ],
    ids=str,
)
def test_an_id_column_is_read_back_from_its_text(
    tmp_path: Path, kind: pa.DataType, texts: list[str | None], values: list[object]
) -> None:
    found = read_back(tmp_path, pa.field("custom_id", kind), texts)
    assert found.type == kind
    assert found.to_pylist() == values


def test_json_text_ids_get_their_quotes_back(tmp_path: Path) -> None:
    field = pa.field("custom_id", pa.string(), metadata={b"batcher.json": b"1"})
    assert read_back(tmp_path, field, ["a", "[1]", None]).to_pylist() == ['"a"', "[1]", None]


@pytest.mark.parametrize(
    ("kind", "text"), [(pa.int64(), "x"), (pa.duration("ms"), "5"), (pa.list_(pa.int64()), "{")]
)
def test_an_id_that_cannot_be_read_back_stops_instead_of_changing(
    tmp_path: Path, kind: pa.DataType, text: str
) -> None:
    with pytest.raises(DatasetError, match="custom_id") as caught:
        read_back(tmp_path, pa.field("custom_id", kind), [text])
    assert "--replace" in str(caught.value.hint)


def read_back(folder: Path, field: pa.Field, texts: list[str | None]) -> pa.Array:
    """The id column of an output that carries these texts."""
    schema = pa.schema([pa.field("text", pa.string()), field])
    laid_out = OutputSchema.build(schema, features=Features(custom_id=True, id_column="custom_id"))
    columns: list[pa.Array] = []
    for each in laid_out.arrow:
        if each.name == "custom_id":
            columns.append(pa.array(texts, each.type))
        elif each.name == "outcome":
            columns.append(pa.array(["ok"] * len(texts), each.type))
        else:
            columns.append(pa.nulls(len(texts), each.type))
    pq.write_table(pa.Table.from_arrays(columns, schema=laid_out.arrow), folder / "ids.parquet")
    source = OutputSource(folder / "ids.parquet", schema=schema, output=laid_out, rows=len(texts))
    (slice_,) = source.slices(first_row=0)
    return slice_.batch.column(1)
