"""Types of JSONL columns: found by looking at every value, and never changing one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pytest
from dataset_inputs import problems, read, scanned, values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.dataset import is_json_text, open_source
from batcher.dataset import lattice as lattice_module

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.dataset import Scan


def of(tmp_path: Path, *cells: object) -> Scan:
    """A dataset with one column, `c`, and one row per cell; `...` leaves the key out. `id` keeps rows readable."""
    rows = [{"id": at} | ({} if cell is ... else {"c": cell}) for at, cell in enumerate(cells)]
    return scanned(write(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))


@pytest.mark.parametrize(
    ("cells", "type_", "expected"),
    [
        ([None, None], pa.null(), [None, None]),
        ([True, None, False], pa.bool_(), [True, None, False]),
        ([1, None, -5], pa.int64(), [1, None, -5]),
        ([1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
        ([2**53, 0.5], pa.float64(), [2.0**53, 0.5]),
        (["a", None, ..., ""], pa.string(), ["a", None, None, ""]),
        (["a", 1, 2.5, True, 10**30, None], pa.string(), ["a", "1", "2.5", "true", "1" + "0" * 30, None]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([True, 1.5], pa.string(), ["true", "1.5"]),
        ([2**53 + 1, 0.5], pa.string(), ["9007199254740993", "0.5"]),
        ([2**63, 1], pa.string(), ["9223372036854775808", "1"]),
    ],
)
def test_scalars_climb_the_lattice(
    tmp_path: Path, cells: list[object], type_: pa.DataType, expected: list[object]
) -> None:
    found = of(tmp_path, *cells)
    assert found.schema.field("c").type == type_
    assert not is_json_text(found.schema.field("c"))
    assert values(found, "c") == expected


def test_objects_with_scalar_fields_are_a_struct(tmp_path: Path) -> None:
    found = of(tmp_path, {"a": 1, "b": {"x": "t"}}, None, {"a": 2.5, "z": True}, {"b": {"x": 7}})
    inner = pa.struct([("x", pa.string())])
    assert found.schema.field("c").type == pa.struct([("a", pa.float64()), ("b", inner), ("z", pa.bool_())])
    assert values(found, "c") == [
        {"a": 1.0, "b": {"x": "t"}, "z": None},
        None,
        {"a": 2.5, "b": None, "z": True},
        {"a": None, "b": {"x": "7"}, "z": None},
    ]


@pytest.mark.parametrize(
    "cells",
    [
        [[1, "a", {"x": None}], [], None],
        [{"a": 1}, "text", 5, None, [1], True, "5"],
        [{"a": [1]}, {"a": None}],
        [{}, {}],
        [{"a": {}}],
        [{f"k{i}": i} for i in range(300)],
        [json.loads("[" * 20 + "]" * 20)],
        [json.loads('{"a":' * 20 + "1" + "}" * 20)],
    ],
    ids=["lists", "mixed", "objects with lists", "empty", "inner empty", "a map", "deep list", "deep object"],
)
def test_everything_else_is_json_text_and_reads_back_as_it_was(tmp_path: Path, cells: list[object]) -> None:
    found = of(tmp_path, *cells)
    field = found.schema.field("c")
    assert field.type == pa.string()
    assert is_json_text(field)
    assert values(found, "c") == cells
    texts = [text for piece in open_source(found).slices() for text in piece.batch.column("c").to_pylist()]
    assert [None if text is None else json.loads(text) for text in texts] == cells


def test_columns_stand_in_order_of_first_appearance_and_a_missing_key_is_null(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", '{"b": 1}\n{"a": 2, "b": 3}\n{"": 4, "c.d": 5}\n')
    found = scanned(path)
    assert found.schema.names == ["b", "a", "", "c.d"]
    assert [dict(row.values) for row in read(found)][1] == {"b": 3, "a": 2, "": None, "c.d": None}


def test_facts_count_values_and_know_empty_ones(tmp_path: Path) -> None:
    rows = [
        {"s": "", "l": [], "n": None, "z": 0},
        {"s": "", "l": [], "n": None, "z": False},
        {"l": [1], "s": ""},
    ]
    found = scanned(write(tmp_path / "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert {fact.name: (fact.non_null, fact.usable) for fact in found.columns} == {
        "s": (3, False),
        "l": (3, True),
        "n": (0, False),
        "z": (2, True),
    }


def test_counts_survive_more_row_shapes_than_are_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lattice_module, "SHAPES", 3)
    rows = [{f"k{at % 7}": at, "s": "x" if at > 80 else ""} for at in range(100)]
    found = scanned(write(tmp_path / "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    facts = {fact.name: fact for fact in found.columns}
    assert sum(facts[f"k{i}"].non_null for i in range(7)) == 100
    assert facts["s"].non_null == 100
    assert facts["s"].usable


def test_a_bad_line_changes_no_type(tmp_path: Path) -> None:
    found = scanned(write(tmp_path / "r.jsonl", '{"c": 1}\n{"c": "x\n{"c": 2}\n'))
    assert found.schema.field("c").type == pa.int64()
    assert set(problems(found)) == {1}


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
cells_of_any_kind = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
tables = st.lists(
    st.dictionaries(st.sampled_from("abc"), cells_of_any_kind, max_size=3), min_size=1, max_size=12
)


def same(seen: object, meant: object, type_: pa.DataType, *, is_json: bool) -> bool:
    """Whether a cell came back as what was meant, by the rules of the lattice."""
    if is_json:
        return bool(orjson.dumps(_as_digits(seen)) == orjson.dumps(_as_digits(meant)))
    if meant is None or seen is None:
        return meant is seen
    if pa.types.is_struct(type_):
        assert isinstance(meant, dict)
        assert isinstance(seen, dict)
        return all(same(seen[f.name], meant.get(f.name), f.type, is_json=False) for f in type_)
    if pa.types.is_string(type_):
        return seen == (meant if isinstance(meant, str) else json.dumps(meant)) or (
            isinstance(meant, float) and float(str(seen)) == meant
        )
    return seen == meant


def _as_digits(value: object) -> object:
    """Integers beyond 64 bits as text, as they come back from JSON text."""
    if isinstance(value, dict):
        return {name: _as_digits(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_digits(inner) for inner in value]
    is_huge = isinstance(value, int) and not -(2**63) <= value < 2**63
    return str(value) if is_huge or isinstance(value, str) else value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables)
def test_no_value_is_changed_on_the_way(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    found = scanned(write(tmp_path / "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert problems(found) == {}
    for seen, meant in zip(read(found), rows, strict=True):
        for field in found.schema:
            assert same(
                seen.values[field.name], meant.get(field.name), field.type, is_json=is_json_text(field)
            ), (field, seen, meant)
