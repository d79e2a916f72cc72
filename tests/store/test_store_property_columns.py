"""A schema's properties as columns: their types, their cells, and what pandas, Polars and DuckDB make of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from part_samples import FACTS, INPUT_SCHEMA, answer_values, input_batch

from batcher.errors import JobError
from batcher.store.columns import OWN_NAMES, Features, OutputSchema, from_batch, our_columns, to_batch
from batcher.store.part import PartWriter, row_groups
from batcher.store.property_columns import DEEPEST, Expansion, expansion_of

if TYPE_CHECKING:
    from pathlib import Path


def kind_of(part: object, **root: object) -> pa.DataType:
    return expansion(part, **root).columns[0].kind.type


def expansion(part: object, **root: object) -> Expansion:
    return expansion_of({"properties": {"x": part}, **root}, ours=OWN_NAMES)


def cell(part: object, value: object) -> object:
    return expansion(part)({"x": value})["x"]


JSON = pa.string()
ITEM = {"type": "object", "properties": {"article": {"type": "string"}, "quantity": {"type": "integer"}}}
ITEMS = pa.list_(pa.struct([("article", pa.string()), ("quantity", pa.int64())]))


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "string"}, pa.string()),
        ({"type": "string", "format": "date"}, pa.string()),
        ({"type": "integer", "minimum": 1}, pa.int64()),
        ({"type": "number"}, pa.float64()),
        ({"type": "boolean"}, pa.bool_()),
        ({"enum": ["a", "b"]}, pa.string()),
        ({"enum": ["a", None]}, pa.string()),
        ({"type": "integer", "enum": [1, 2]}, pa.int64()),
        ({"enum": [1, 2.5]}, pa.float64()),
        ({"const": True}, pa.bool_()),
        ({"type": ["string", "null"]}, pa.string()),
        ({"type": ["integer", "number"]}, pa.float64()),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, pa.int64()),
        ({"oneOf": [{"enum": ["a"]}, {"type": "string"}]}, pa.string()),
        ({"allOf": [{"$ref": "#/$defs/word"}], "description": "as pydantic writes it"}, pa.string()),
        ({"type": "array", "items": {"type": "number"}}, pa.list_(pa.float64())),
        ({"type": "array", "items": ITEM}, ITEMS),
        ({"anyOf": [{"type": "array", "items": ITEM}, {"type": "null"}]}, ITEMS),
        ({"properties": {"a/b": {"$ref": "#/$defs/a~1b"}}}, pa.struct([("a/b", pa.bool_())])),
        # what has no type of its own is JSON text
        ({}, JSON),
        (True, JSON),
        ({"type": "null"}, JSON),
        ({"type": ["string", "integer"]}, JSON),
        ({"enum": ["a", 1]}, JSON),
        ({"type": "array"}, JSON),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}}, JSON),
        ({"type": "object"}, JSON),
        ({"type": "object", "properties": {}}, JSON),
        ({**ITEM, "additionalProperties": {"type": "string"}}, JSON),
        ({"anyOf": [ITEM, {"type": "object", "properties": {"a": {"type": "string"}}}]}, JSON),
        ({"$ref": "#/$defs/nowhere"}, JSON),
        ({"$ref": "https://example.invalid/word.json"}, JSON),
        ({"type": "array", "items": {}}, pa.list_(JSON)),
    ],
)
def test_the_type_of_a_property_follows_from_its_schema_alone(part: object, expected: pa.DataType) -> None:
    defs = {"word": {"type": "string"}, "a/b": {"type": "boolean"}}
    assert kind_of(part, **{"$defs": defs}) == expected


def test_a_recursion_becomes_json_where_it_begins_again() -> None:
    node = {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/node"}}}
    found = kind_of({"$ref": "#/$defs/node"}, **{"$defs": {"node": node}})
    assert found == pa.struct([("name", pa.string()), ("next", JSON)])


def test_beyond_16_levels_a_value_is_json() -> None:
    part: dict[str, Any] = {"type": "boolean"}
    for _ in range(DEEPEST + 4):
        part = {"type": "array", "items": part}
    kind, levels = kind_of(part), 0
    while pa.types.is_list(kind):
        kind, levels = kind.value_type, levels + 1
    assert (kind, levels) == (JSON, DEEPEST)


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ({"type": "integer"}, 5.0, 5),  # an integer to JSON Schema
        ({"type": "integer"}, 2**63 - 1, 2**63 - 1),
        ({"type": "integer"}, 2**63, None),
        ({"type": "integer"}, 1e300, None),
        ({"type": "integer"}, True, None),
        ({"type": "number"}, 5, 5.0),
        ({"type": "number"}, False, None),
        ({}, "5", '"5"'),
        ({}, {"b": [1, None]}, '{"b":[1,null]}'),
        (
            {"type": "array", "items": ITEM},
            [{"quantity": 1, "more": 2}, None],
            [{"article": None, "quantity": 1}, None],
        ),
        ({"type": "string"}, None, None),
    ],
)
def test_a_value_its_type_cannot_hold_is_null_and_never_rounded(
    part: object, value: object, expected: object
) -> None:
    found = cell(part, value)
    assert (found, type(found)) == (expected, type(expected))


def test_json_deeper_than_python_writes_is_null() -> None:
    assert cell({}, orjson.loads("[" * 300 + "]" * 300)) == "[" * 300 + "]" * 300
    assert cell({}, orjson.loads("[" * 1000 + "]" * 1000)) is None


@pytest.mark.parametrize("schema", [None, {}, {"type": "array"}, {"anyOf": [ITEM, {}]}, {"$ref": "#/none"}])
def test_without_properties_there_are_no_columns(schema: dict[str, Any] | None) -> None:
    assert expansion_of(schema, ours=()).columns == ()


def test_the_root_may_be_a_reference_and_a_property_named_like_a_column_of_ours_gets_another_name() -> None:
    found = expansion_of(
        {
            "$ref": "#/$defs/A",
            "$defs": {"A": {"properties": {"outcome": {"type": "string"}, "": {}, "b": {}}}},
        },
        ours=OWN_NAMES,
    )
    assert [each.name for each in found.columns] == ["parsed_outcome", "b"]
    assert found({"outcome": "won", "b": 1}) == {"parsed_outcome": "won", "b": "1"}
    assert found([1]) == {}


def test_a_property_named_like_an_input_column_is_a_clash_with_the_prefix_to_add() -> None:
    columns = expansion_of({"properties": {"text": {"type": "string"}}}, ours=OWN_NAMES).columns
    with pytest.raises(JobError, match="text") as caught:
        OutputSchema.build(INPUT_SCHEMA, features=Features(properties=columns))
    assert caught.value.hint == 'add to the job file:  [output] prefix = "batcher_"'


EVERY_KIND: dict[str, Any] = {
    "properties": {
        "word": {"type": "string"},
        "kind": {"enum": ["a", "b"]},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "urgent": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "items": {"type": "array", "items": ITEM},
        "person": {"type": "object", "properties": {"age": {"type": ["integer", "null"]}}},
        "free": {"type": "object"},
    }
}
VALUE = {
    "word": "z",
    "kind": "a",
    "count": 2**53 + 1,
    "share": 0.5,
    "urgent": True,
    "tags": ["x", "y"],
    "items": [{"article": "KG-1", "quantity": 3}],
    "person": {"age": 5},
    "free": {"a": 1},
}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two rows: one with every property, one that failed."""
    found = expansion_of(EVERY_KIND, ours=OWN_NAMES)
    features = Features(parsed=True, properties=found.columns)
    schema = OutputSchema.build(INPUT_SCHEMA, features=features)
    fixed = {"row_index": 0, "run_id": "run-1", "outcome": "ok"}
    values = [answer_values(0) | fixed | found(VALUE), answer_values(1) | fixed | {"row_index": 1}]
    path = tmp_path / "out.parquet"
    with PartWriter(path, schema, FACTS) as writer:
        writer.write(to_batch(schema, input_batch(0, 2), values))
    return path


def test_what_was_written_reads_back_as_the_values_it_was(output: Path) -> None:
    table = next(iter(row_groups(output)))
    at = our_columns(table.schema)
    full, empty = from_batch(table, {name: at[name] for name in VALUE})
    assert full == VALUE | {"free": '{"a":1}'}
    assert empty == {}


def test_pandas_reads_nullable_types_of_its_own(output: Path) -> None:
    frame = pd.read_parquet(output)
    types = {name: str(frame[name].dtype) for name in ("count", "share", "urgent")}
    assert types == {"count": "Int64", "share": "Float64", "urgent": "boolean"}
    assert frame.loc[0, "count"] == 2**53 + 1
    assert frame.loc[0, "items"][0] == {"article": "KG-1", "quantity": 3}
    assert frame[list(VALUE)].iloc[1].isna().all()


def test_polars_reads_lists_and_structs(output: Path) -> None:
    frame = pl.read_parquet(output).select(list(VALUE))
    assert dict(frame.schema) == {
        "word": pl.String(),
        "kind": pl.String(),
        "count": pl.Int64(),
        "share": pl.Float64(),
        "urgent": pl.Boolean(),
        "tags": pl.List(pl.String()),
        "items": pl.List(pl.Struct({"article": pl.String(), "quantity": pl.Int64()})),
        "person": pl.Struct({"age": pl.Int64()}),
        "free": pl.String(),
    }
    assert frame.row(0, named=True) == VALUE | {"free": '{"a":1}'}


def test_duckdb_reads_them_and_takes_the_free_one_as_json(output: Path) -> None:
    names = ", ".join(f'"{name}"' for name in VALUE)
    described = duckdb.connect().execute(f"describe select {names} from '{output}'").fetchall()
    assert {name: kind for name, kind, *_ in described} == {
        "word": "VARCHAR",
        "kind": "VARCHAR",
        "count": "BIGINT",
        "share": "DOUBLE",
        "urgent": "BOOLEAN",
        "tags": "VARCHAR[]",
        "items": "STRUCT(article VARCHAR, quantity BIGINT)[]",
        "person": "STRUCT(age BIGINT)",
        "free": "VARCHAR",
    }
    query = f"select items[1].quantity, free->>'$.a' from '{output}' where urgent"
    assert duckdb.connect().execute(query).fetchall() == [(3, "1")]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    value=st.dictionaries(
        st.sampled_from(sorted(VALUE)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
            ),
            max_leaves=8,
        ),
    )
)
def test_no_value_whatever_it_is_breaks_a_column(value: dict[str, object]) -> None:
    found = expansion_of(EVERY_KIND, ours=OWN_NAMES)
    schema = OutputSchema.build(INPUT_SCHEMA, features=Features(properties=found.columns))
    batch = to_batch(schema, input_batch(0, 1), [answer_values(0) | {"row_index": 0, **found(value)}])
    batch.validate(full=True)
    json.dumps(found(value))
