"""The declared columns: layout, metadata, strict conversion, and what other tools read."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from part_samples import FACTS, INPUT_SCHEMA, SCHEMA, answer_values, input_batch, properties

from batcher.errors import JobError
from batcher.store.cells import CellError, array_of, mended
from batcher.store.columns import COLUMNS, Features, OutputSchema, from_batch, our_columns, to_batch
from batcher.store.part import PartWriter

if TYPE_CHECKING:
    from pathlib import Path

# The table of the design, section 6, in its order ("tag_NAME" and labels excepted).
DESIGNED = {
    "custom_id": "string",
    "row_index": "int64",
    "run_id": "string",
    "request_hash": "string",
    "reused_from": "string",
    "response_id": "string",
    "request_id": "string",
    "request_model": "string",
    "response_model": "string",
    "finish_reason": "string",
    "warnings": "string",
    "status_code": "int16",
    "error_type": "string",
    "error_code": "string",
    "error_message": "string",
    "attempts": "int16",
    "paid_attempts": "int16",
    "queue_ms": "double",
    "latency_ms": "double",
    "ttft_ms": "double",
    "sent_at": "timestamp[us, tz=UTC]",
    "received_at": "timestamp[us, tz=UTC]",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
    "total_tokens": "int64",
    "cached_tokens": "int64",
    "reasoning_tokens": "int64",
    "billed_prompt_tokens": "int64",
    "billed_completion_tokens": "int64",
    "outcome": "string",
    "cost_usd": "double",
    "cost_source": "string",
    "usage_json": "string",
    "response_json": "large_string",
    "reasoning": "large_string",
    "refusal": "large_string",
    "tool_calls": "large_string",
    "choices_json": "large_string",
    "logprobs_json": "large_string",
    "parsed": "large_string",
    "completion": "large_string",
}
EVERYTHING = Features(
    custom_id=True,
    tags={"team": "support"},
    streaming=True,
    tool_calls=True,
    choices=True,
    logprobs=True,
    parsed=True,
    properties=properties("category"),
)


def write(path: Path, schema: OutputSchema, batch: pa.RecordBatch) -> Path:
    with PartWriter(path, schema, FACTS) as writer:
        writer.write(batch)
    return path


def test_the_declared_columns_are_those_of_the_design_in_its_order() -> None:
    declared = {column.name: str(column.type) for column in COLUMNS if "*" not in column.name}
    assert list(declared.items()) == list(DESIGNED.items())


def test_input_columns_come_first_labels_last_and_tags_after_the_identities() -> None:
    names = OutputSchema.build(INPUT_SCHEMA, features=EVERYTHING).arrow.names
    assert names[:3] == ["id", "text", "custom_id"]
    assert names[names.index("reused_from") + 1] == "tag_team"
    assert names[-2:] == ["completion", "category"]


@pytest.mark.parametrize(
    ("feature", "column"),
    [
        ("custom_id", "custom_id"),
        ("streaming", "ttft_ms"),
        ("reasoning", "reasoning"),
        ("refusal", "refusal"),
        ("tool_calls", "tool_calls"),
        ("choices", "choices_json"),
        ("logprobs", "logprobs_json"),
        ("parsed", "parsed"),
    ],
)
def test_a_column_of_a_feature_exists_exactly_when_the_job_uses_it(feature: str, column: str) -> None:
    for used in (True, False):
        features = Features(**{feature: used})  # type: ignore[arg-type]
        assert (column in OutputSchema.build(INPUT_SCHEMA, features=features).arrow.names) is used


def test_input_fields_keep_type_and_metadata_but_not_the_marks_of_an_earlier_output() -> None:
    old = pa.field(
        "answer", pa.dictionary(pa.int8(), pa.string()), metadata={"batcher.name": "completion", "k": "v"}
    )
    schema = OutputSchema.build(pa.schema([old], metadata={"owner": "me"}), features=Features())
    assert schema.arrow.field(0).type == old.type
    assert schema.arrow.field(0).metadata == {b"k": b"v"}
    assert schema.arrow.metadata[b"owner"] == b"me"
    assert our_columns(schema.arrow)["completion"] == schema.positions()["completion"]


def test_every_field_of_ours_says_its_name_role_and_meaning() -> None:
    schema = OutputSchema.build(INPUT_SCHEMA, features=EVERYTHING, prefix="b_")
    roles = {}
    for each in schema.output_fields:
        assert each.name == schema.name_of(each.metadata[b"batcher.name"].decode())
        assert each.metadata[b"description"]
        roles[each.name] = each.metadata[b"batcher.role"]
    assert roles["b_outcome"] == roles["b_custom_id"] == b"bookkeeping"
    assert roles["b_completion"] == roles["b_category"] == b"output"
    tokens = schema.arrow.field("b_prompt_tokens").metadata
    assert tokens[b"otel.attribute"] == b"gen_ai.usage.input_tokens"
    assert tokens[b"unit"] == b"{token}"


def test_a_clash_names_the_columns_and_the_prefix_line_which_then_works() -> None:
    input_schema = pa.schema(
        [("outcome", pa.string()), ("completion", pa.string()), ("batcher_outcome", pa.string())]
    )
    with pytest.raises(JobError, match="outcome, completion") as caught:
        OutputSchema.build(input_schema, features=Features())
    assert caught.value.hint == 'add to the job file:  [output] prefix = "batcher2_"'
    names = OutputSchema.build(input_schema, features=Features(), prefix="batcher2_").arrow.names
    assert len(set(names)) == len(names)


def test_a_label_that_is_named_like_a_column_of_ours_is_refused() -> None:
    with pytest.raises(JobError, match="outcome"):
        OutputSchema.build(INPUT_SCHEMA, features=Features(properties=properties("outcome")))


def test_an_input_column_custom_id_that_is_the_id_gives_way_to_ours() -> None:
    input_schema = pa.schema([("custom_id", pa.int64()), ("text", pa.string())])
    schema = OutputSchema.build(input_schema, features=Features(custom_id=True))
    assert schema.arrow.names[:2] == ["text", "custom_id"]
    batch = pa.RecordBatch.from_arrays([pa.array([7]), pa.array(["t"])], schema=input_schema)
    row = to_batch(schema, batch, [{"custom_id": "7"}]).to_pylist()[0]
    assert (row["text"], row["custom_id"]) == ("t", "7")


def test_an_input_column_custom_id_beside_another_id_column_is_a_clash() -> None:
    input_schema = pa.schema([("custom_id", pa.string()), ("ticket", pa.string())])
    with pytest.raises(JobError, match="custom_id"):
        OutputSchema.build(input_schema, features=Features(custom_id=True, id_column="ticket"))
    prefixed = OutputSchema.build(input_schema, features=Features(custom_id=True), prefix="b_")
    assert prefixed.arrow.names[:3] == ["custom_id", "ticket", "b_custom_id"]


def test_values_round_trip_with_times_as_seconds_and_missing_as_null() -> None:
    batch = to_batch(SCHEMA, input_batch(0, 2), [answer_values(0), None])
    first, second = from_batch(batch, our_columns(batch.schema))
    assert first == {**answer_values(0), "tag_team": "support"}
    assert second == {}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("prompt_tokens", 10.5),
        ("prompt_tokens", 10.0),
        ("prompt_tokens", True),
        ("prompt_tokens", "10"),
        ("prompt_tokens", 2**63),
        ("status_code", 40_000),
        ("cost_usd", "1.0"),
        ("cost_usd", True),
        ("sent_at", "2026-01-01"),
        ("completion", b"bytes"),
        ("completion", 1),
    ],
)
def test_a_value_of_another_type_is_refused_and_never_bent(column: str, value: object) -> None:
    with pytest.raises(CellError, match=column) as caught:
        to_batch(SCHEMA, input_batch(0, 1), [{column: value}])
    assert str(value) not in str(caught.value).replace(column, "")


def test_attempts_beyond_the_type_are_stored_as_its_largest() -> None:
    batch = to_batch(SCHEMA, input_batch(0, 2), [{"attempts": 40_000}, {"attempts": 3}])
    assert batch.column("attempts").to_pylist() == [32_767, 3]


def test_numbers_that_are_not_finite_are_unknown() -> None:
    values = [{"cost_usd": float("nan"), "sent_at": float("inf")}, {"cost_usd": 1, "sent_at": 2.5}]
    first, second = to_batch(SCHEMA, input_batch(0, 2), values).to_pylist()
    assert first["cost_usd"] is first["sent_at"] is None
    assert second["cost_usd"] == 1.0


def test_lone_surrogates_are_replaced_and_pairs_are_joined() -> None:
    assert mended("a\ud800b") == "a\ufffdb"
    assert mended("\ud83d\ude00") == "\U0001f600"
    batch = to_batch(SCHEMA, input_batch(0, 2), [{"completion": "x\udfff"}, {"completion": "ok"}])
    assert batch.column("completion").to_pylist() == ["x\ufffd", "ok"]


def test_a_word_of_an_enumeration_is_text() -> None:
    class Word(StrEnum):
        OK = "ok"

    assert array_of([Word.OK], pa.string(), name="outcome").to_pylist() == ["ok"]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_every_integer_of_the_type_is_stored_as_it_is(cells: list[int | None]) -> None:
    assert array_of(cells, pa.int64(), name="n").to_pylist() == cells


@given(st.lists(st.none() | st.text(st.characters(codec=None))))
def test_any_text_is_stored_and_what_utf8_can_hold_is_unchanged(cells: list[str | None]) -> None:
    stored = array_of(cells, pa.large_string(), name="t").to_pylist()
    for cell, found in zip(cells, stored, strict=True):
        assert found == (None if cell is None else mended(cell))
        if cell is not None and not any("\ud800" <= char <= "\udfff" for char in cell):
            assert found == cell


def test_pandas_reads_nullable_numbers_text_and_times_as_such(tmp_path: Path) -> None:
    batch = to_batch(SCHEMA, input_batch(0, 3), [answer_values(0), None, answer_values(2)])
    frame = pd.read_parquet(write(tmp_path / "o.parquet", SCHEMA, batch))
    assert list(frame.columns) == SCHEMA.arrow.names
    assert frame.index.equals(pd.RangeIndex(3))
    types = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert types["prompt_tokens"] == types["id"] == "Int64"
    assert types["status_code"] == "Int16"
    assert types["cost_usd"] == "Float64"
    assert types["sent_at"] == "datetime64[us, UTC]"
    assert types["outcome"] == types["completion"] == str(pd.Series(["text"]).dtype)
    assert frame["prompt_tokens"].isna().tolist() == [False, True, False]
    assert frame["cost_usd"].sum() == pytest.approx(0.002)


def test_pandas_reads_its_own_input_columns_as_it_wrote_them(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"n": [1, 2], "when": pd.to_datetime(["2026-01-01", None]), "c": pd.Categorical(["a", "b"])},
        index=[5, 9],
    )
    table = pa.Table.from_pandas(frame)
    schema = OutputSchema.build(table.schema, features=Features())
    batch = to_batch(schema, table.to_batches()[0], [{"row_index": 0}, {"row_index": 1}])
    read = pd.read_parquet(write(tmp_path / "o.parquet", schema, batch))
    assert read["__index_level_0__"].tolist() == [5, 9]
    for name in frame.columns:
        assert read[name].dtype == frame[name].dtype
        assert read[name].tolist()[0] == frame[name].tolist()[0]
    assert str(read["row_index"].dtype) == "int64"


def test_polars_and_duckdb_read_the_same_rows(tmp_path: Path) -> None:
    batch = to_batch(SCHEMA, input_batch(0, 2), [answer_values(0), None])
    path = write(tmp_path / "o.parquet", SCHEMA, batch)
    frame = pl.read_parquet(path)
    assert frame.columns == SCHEMA.arrow.names
    assert frame["completion"].to_list() == ["answer 0", None]
    assert frame.schema["sent_at"] == pl.Datetime("us", "UTC")
    query = f"select id, completion, prompt_tokens, tag_team from '{path}' order by id"
    rows = duckdb.connect().execute(query).fetchall()
    assert rows == [(0, "answer 0", 100, "support"), (10, None, None, None)]


def test_unusual_input_types_pass_through_unchanged(tmp_path: Path) -> None:
    columns = {
        "nested": pa.array([[{"a": 1}], None], pa.list_(pa.struct([("a", pa.int32())]))),
        "word": pa.array(["x", "y"]).dictionary_encode(),
        "bytes": pa.array([b"\xff", None]),
        "view": pa.array(["v", None], pa.string_view()),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(2),
        "small": pa.array([1, None], pa.uint8()),
        "nano": pa.array([1, None], pa.timestamp("ns")),
    }
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table(columns), source)
    table = pq.ParquetFile(source).read()
    schema = OutputSchema.build(table.schema, features=Features())
    batch = to_batch(schema, table.combine_chunks().to_batches()[0], [None, None])
    read = pq.ParquetFile(write(tmp_path / "o.parquet", schema, batch)).read()
    assert read.select(table.column_names).equals(table)
    assert read.schema.equals(schema.arrow)


def test_input_columns_of_one_name_are_both_kept() -> None:
    twice = pa.schema([("a", pa.int64()), ("a", pa.string())])
    schema = OutputSchema.build(twice, features=Features())
    batch = to_batch(schema, pa.RecordBatch.from_arrays([pa.array([1]), pa.array(["x"])], schema=twice), [{}])
    assert [batch.column(0).to_pylist(), batch.column(1).to_pylist()] == [[1], ["x"]]


def test_the_pandas_entry_says_that_no_column_is_an_index() -> None:
    entry = json.loads(SCHEMA.arrow.metadata[b"pandas"])
    assert entry["index_columns"] == []
    assert [each["name"] for each in entry["columns"]] == SCHEMA.arrow.names


def test_a_damaged_name_in_the_metadata_is_nobodys_column() -> None:
    damaged = pa.schema([pa.field("x", pa.int64(), metadata={b"batcher.name": b"row_\xd5ndex"})])
    assert list(our_columns(damaged)) == ["row_\ufffdndex"]
