"""The columns a job reads: present, unambiguous, not empty; and decoded to Python only where asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_inputs import read, scanned, write, write_table

from batcher.dataset import JSON_TEXT_KEY, check_columns, python_rows
from batcher.errors import DatasetError
from batcher.records import InputRow

if TYPE_CHECKING:
    from pathlib import Path


def test_columns_that_are_there_pass(tmp_path: Path) -> None:
    check_columns(
        scanned(write(tmp_path / "a.jsonl", '{"p": "", "q": 0}\n{"p": "x", "q": null}\n')), ["p", "q"]
    )


@pytest.mark.parametrize(
    ("asked", "hint"), [("promt", "'Prompt'"), ("prompt", "'Prompt'"), ("TEXT", "'text'"), ("zzz", None)]
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_absent_column_is_refused_with_the_list_and_a_guess(
    tmp_path: Path, kind: str, asked: str, hint: str | None
) -> None:
    if kind == "jsonl":
        path = write(tmp_path / "a.jsonl", '{"Prompt": "x", "text": "y"}\n')
    else:
        path = write_table(tmp_path / "a.parquet", {"Prompt": ["x"], "text": ["y"]})
    with pytest.raises(DatasetError, match=f"no column '{asked}'; it has Prompt, text") as caught:
        check_columns(scanned(path), [asked])
    assert (caught.value.hint is None) if hint is None else (hint in (caught.value.hint or ""))


@pytest.mark.parametrize("cell", ["null", '""', "[]", "{}"])
def test_a_column_that_is_empty_in_every_row_is_refused(tmp_path: Path, cell: str) -> None:
    found = scanned(write(tmp_path / "a.jsonl", f'{{"id": 1, "p": {cell}}}\n{{"id": 2}}\n'))
    with pytest.raises(DatasetError, match="null or empty in all 2 rows; the columns are id, p"):
        check_columns(found, ["id", "p"])


@pytest.mark.parametrize("cell", ["0", "false", '" "', "[null]"])
def test_a_column_with_any_value_passes(tmp_path: Path, cell: str) -> None:
    check_columns(scanned(write(tmp_path / "a.jsonl", f'{{"p": null}}\n{{"p": {cell}}}\n')), ["p"])


def test_a_parquet_column_of_type_null_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="null or empty"):
        check_columns(scanned(write_table(tmp_path / "a.parquet", {"p": pa.nulls(2)})), ["p"])


def test_a_column_of_an_ambiguous_name_is_refused_only_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([["a"], ["b"], [1]], names=["p", "p", "i"]), path)
    check_columns(scanned(path), ["i"])
    with pytest.raises(DatasetError, match="2 columns named 'p'"):
        check_columns(scanned(path), ["p"])


def test_only_the_asked_columns_are_decoded(tmp_path: Path) -> None:
    found = scanned(write(tmp_path / "a.jsonl", '{"a": 1, "b": "x", "c": [1]}\n'))
    assert read(found, "b") == [InputRow(0, {"b": "x"})]
    assert read(found, "a", "c") == [InputRow(0, {"a": 1, "c": [1]})]


def test_no_columns_still_give_rows() -> None:
    batch = pa.record_batch({"a": [1, 2]})
    rows = python_rows(batch, first_row=5, columns=frozenset(), problems={6: "bad"})
    assert rows == [InputRow(5, {}), InputRow(6, {}, "bad")]


def test_the_problem_of_a_slice_wins_over_one_of_decoding() -> None:
    batch = pa.record_batch({"f": [float("nan"), float("nan")]})
    rows = python_rows(batch, first_row=0, columns=frozenset({"f"}), problems={1: "the line is cut"})
    assert [row.problem for row in rows] == [
        "the column 'f': nan is not a value that JSON has",
        "the line is cut",
    ]
    assert rows[0].values == {"f": None}


def test_damaged_json_text_is_a_problem_of_its_row() -> None:
    field = pa.field("j", pa.string(), metadata={JSON_TEXT_KEY: b"1"})
    batch = pa.record_batch([pa.array(['{"a": 1}', "{", None])], schema=pa.schema([field]))
    rows = python_rows(batch, first_row=0, columns=frozenset({"j"}), problems={})
    assert [row.values["j"] for row in rows] == [{"a": 1}, None, None]
    assert [row.problem is None for row in rows] == [True, False, True]


def test_a_row_of_objects_without_keys_is_a_row(tmp_path: Path) -> None:
    found = scanned(write(tmp_path / "a.jsonl", "{}\n{}\n"))
    assert [row.values for row in read(found)] == [{}, {}]
