"""The output as pandas, Polars and DuckDB read it, and what a glob finds while it is being made."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import duckdb
import orjson
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from typed_rows import same_columns, sent_to, typed_table, write_typed
from verb_runs import PROMPT, carry_out, write_rows

from batcher.errors import DatasetError, JobError
from batcher.job import JobOptions, load_job
from batcher.store.directory import run_directory
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)

ROWS = 300
PRICES = ["prices.m.input=1.0", "prices.m.output=4.0"]
SETS = [*PRICES, "input.id_column=id", 'labels.kind=["a", "b"]', 'tags.team="x"']
JSONL_COLUMNS = ["id", "text", "score", "count", "flag", "place", "mixed", "late", "empty", "big"]

PANDAS_TYPES = {
    "row_index": "int64",
    "status_code": "Int16",
    "attempts": "Int16",
    "paid_attempts": "Int16",
    "queue_ms": "Float64",
    "latency_ms": "Float64",
    "sent_at": "datetime64[us, UTC]",
    "received_at": "datetime64[us, UTC]",
    "prompt_tokens": "Int64",
    "completion_tokens": "Int64",
    "total_tokens": "Int64",
    "cached_tokens": "Int64",
    "reasoning_tokens": "Int64",
    "billed_prompt_tokens": "Int64",
    "billed_completion_tokens": "Int64",
    "cost_usd": "Float64",
}
TEXTS = {
    "custom_id", "run_id", "request_hash", "reused_from", "tag_team", "response_id", "request_id", "request_model",
    "response_model", "finish_reason", "warnings", "error_type", "error_code", "error_message", "outcome",
    "cost_source", "usage_json", "response_json", "reasoning", "refusal", "completion", "kind",
}  # fmt: skip
OURS = {*PANDAS_TYPES, *TEXTS}


def query(sql: str) -> list[Any]:
    """What DuckDB answers."""
    relation = duckdb.sql(sql)
    assert relation is not None
    rows: list[Any] = relation.fetchall()
    return rows


def jsonl_row(number: int) -> dict[str, object]:
    row: dict[str, object] = {
        "id": f"r{number}",
        "text": f"thing {number} \u2028 é👋",
        "score": number / 7,
        "count": number if number % 2 else None,
        "flag": number % 3 == 0,
        "place": {"x": number, "to": {"y": "z"}},
        "mixed": number if number % 2 else f"{number}",
        "empty": None,
        "big": 2**70 + number,
    }
    return row | ({"late": [number, "x"]} if number > 250 else {})


@pytest.fixture(scope="module")
def folder(provider: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over JSONL of many types; row 7 failed, row 11 is invalid, all others are ok."""
    at = tmp_path_factory.mktemp("output")
    lines = [json.dumps(jsonl_row(number)) for number in range(ROWS)]
    lines[11] = '{"id": "r11", "text": nonsense}'
    (at / "in.jsonl").write_text("\n".join(lines) + "\n")
    provider.control(faults_by_substring={"thing 7 ": "bad_request"}, faults={}, fail_after={})
    carry_out(provider, at / "in.jsonl", at / "out.parquet", sets=SETS)
    return at


# --- one row per input row, in order, unchanged


def test_pandas_reads_one_row_per_input_row_in_order(folder: Path) -> None:
    frame = pd.read_parquet(folder / "out.parquet")
    assert list(frame["row_index"]) == list(range(ROWS))
    assert frame["outcome"].value_counts().to_dict() == {"ok": ROWS - 2, "failed": 1, "invalid": 1}
    kept = frame[frame["outcome"] != "invalid"]
    assert list(kept["id"]) == [f"r{number}" for number in range(ROWS) if number != 11]
    assert list(kept["custom_id"]) == list(kept["id"])
    assert frame.loc[7, "error_type"] == "bad_request"
    assert pd.isna(frame.loc[11, "text"])
    assert "JSON" in str(frame.loc[11, "error_message"])


def test_pandas_has_the_types_of_the_design(folder: Path) -> None:
    frame = pd.read_parquet(folder / "out.parquet")
    assert list(frame.columns[: len(JSONL_COLUMNS)]) == [*JSONL_COLUMNS[:7], "empty", "big", "late"]
    assert set(frame.columns[len(JSONL_COLUMNS) :]) == OURS
    assert {name: str(frame[name].dtype) for name in PANDAS_TYPES} == PANDAS_TYPES
    assert all(
        pd.api.types.is_string_dtype(frame[name].dtype) or frame[name].dtype == object for name in TEXTS
    )
    assert not any(isinstance(frame[name].dtype, pd.CategoricalDtype) for name in frame.columns)
    assert frame.columns[-1] == "kind"
    assert frame.columns[-2] == "completion"


def test_sums_in_pandas_leave_unknown_out(folder: Path) -> None:
    frame = pd.read_parquet(folder / "out.parquet")
    assert frame.loc[7, "prompt_tokens"] is pd.NA
    assert frame["prompt_tokens"].sum() == int(frame["billed_prompt_tokens"].sum())
    assert frame.loc[[7, 11], "cost_usd"].sum() == 0
    spent = frame["billed_prompt_tokens"].sum() / 1e6 + 4 * frame["billed_completion_tokens"].sum() / 1e6
    assert frame["cost_usd"].sum() == pytest.approx(float(spent))


def test_polars_reads_the_same(folder: Path) -> None:
    frame = pl.read_parquet(folder / "out.parquet")
    assert frame["row_index"].to_list() == list(range(ROWS))
    assert frame.schema["prompt_tokens"] == pl.Int64
    assert frame.schema["status_code"] == pl.Int16
    assert frame.schema["cost_usd"] == pl.Float64
    assert frame.schema["completion"] == pl.String
    assert frame.schema["sent_at"] == pl.Datetime("us", "UTC")
    assert frame["prompt_tokens"].null_count() == 2
    lazily = (
        pl.scan_parquet(folder / "*.parquet").filter(pl.col("outcome") == "ok").select(pl.len()).collect()
    )
    assert lazily.item() == ROWS - 2


def test_duckdb_reads_the_same(folder: Path) -> None:
    (found,) = query(
        f"select count(*), sum(prompt_tokens), count(prompt_tokens), min(row_index), max(row_index)"
        f" from '{folder}/*.parquet'"
    )
    table = pq.read_table(folder / "out.parquet")
    tokens = [value for value in table["prompt_tokens"].to_pylist() if value is not None]
    assert found == (ROWS, sum(tokens), ROWS - 2, 0, ROWS - 1)
    types = {name: kind for name, kind, *_ in query(f"describe select * from '{folder}/out.parquet'")}
    assert types["prompt_tokens"] == "BIGINT"
    assert types["cost_usd"] == "DOUBLE"
    assert types["attempts"] == "SMALLINT"
    assert types["completion"] == "VARCHAR"
    assert types["sent_at"] == "TIMESTAMP WITH TIME ZONE"
    order = query(f"select row_index from '{folder}/out.parquet'")
    assert [row for (row,) in order] == list(range(ROWS))


def test_jsonl_values_come_out_as_they_went_in(folder: Path) -> None:
    rows = pq.read_table(folder / "out.parquet").to_pylist()
    for number, row in enumerate(rows):
        if number == 11:
            continue
        given = jsonl_row(number)
        for name in ("id", "text", "score", "count", "flag", "place", "empty"):
            assert row[name] == given[name], (number, name)
        assert row["mixed"] == str(number)
        assert row["big"] == str(2**70 + number)
        assert row["late"] is None if number <= 250 else orjson.loads(row["late"]) == given["late"]


def test_parquet_columns_of_every_type_come_out_as_they_went_in(endpoint: Simulator, tmp_path: Path) -> None:
    rows = write_typed(tmp_path / "in.parquet", 30)
    carry_out(endpoint, rows, tmp_path / "out.parquet")
    assert same_columns(tmp_path / "out.parquet", typed_table(30))
    names = typed_table(30).column_names
    readable = [name for name in names if name != "nothing"]
    ours = pd.read_parquet(tmp_path / "out.parquet", columns=readable)
    theirs = pd.read_parquet(rows, columns=readable)
    for name in ("u64", "big"):  # exact in ours; pandas alone guesses float64
        assert _cells(ours[name]) == typed_table(30)[name].to_pylist(), name
    for name in set(readable) - {"u64", "big"}:
        assert repr(_cells(ours[name])) == repr(_cells(theirs[name])), name
    assert (
        pl.read_parquet(tmp_path / "out.parquet")
        .select(readable)
        .equals(pl.read_parquet(rows).select(readable))
    )
    where = tmp_path / "out.parquet"
    listed = ", ".join(f'"{name}"::varchar' for name in readable)
    ours_too = query(f"select {listed} from '{where}'")
    assert repr(ours_too) == repr(query(f"select {listed} from '{rows}'"))


def _cells(column: pd.Series) -> list[object]:
    """A column's values, unknown as None, numbers as plain ones."""
    cells = [column.iloc[place] for place in range(len(column))]
    plain = [cell.tolist() if hasattr(cell, "tolist") else cell for cell in cells]
    return [None if pd.api.types.is_scalar(cell) and pd.isna(cell) else _plain(cell) for cell in plain]


def _plain(cell: object) -> object:
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


# --- edges


def test_no_rows_are_an_output_all_the_same(endpoint: Simulator, tmp_path: Path) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text("\n  \n")
    with pytest.raises(DatasetError, match="0 rows"):
        carry_out(endpoint, rows, tmp_path / "out.parquet")
    given = write_typed(tmp_path / "none.parquet", 0)
    summary = carry_out(endpoint, given, tmp_path / "out.parquet", sets=["input.allow_empty=true"])
    assert (summary.exit_code, summary.rows_total, sent_to(endpoint)) == (0, 0, 0)
    for count in (
        len(pd.read_parquet(tmp_path / "out.parquet")),
        len(pl.read_parquet(tmp_path / "out.parquet")),
        len(query(f"select * from '{tmp_path}/out.parquet'")),
    ):
        assert count == 0
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert str(frame["prompt_tokens"].dtype) == "Int64"
    assert "price" in frame.columns
    again = carry_out(endpoint, given, tmp_path / "out.parquet", sets=["input.allow_empty=true"])
    assert again.finished_before


def test_an_output_of_ours_is_an_input_without_its_bookkeeping(endpoint: Simulator, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", [f"thing {number}" for number in range(4)])
    carry_out(
        endpoint, rows, tmp_path / "first.parquet", sets=["input.id_column=id", 'labels.kind=["a", "b"]']
    )
    first = pd.read_parquet(tmp_path / "first.parquet")
    with pytest.raises(JobError) as caught:
        carry_out(endpoint, tmp_path / "first.parquet", tmp_path / "second.parquet")
    assert "completion" in str(caught.value)
    assert "run_id" not in str(caught.value)
    assert '[output] prefix = "batcher_"' in str(caught.value.hint)
    chained = JobOptions(
        input=str(tmp_path / "first.parquet"), output=str(tmp_path / "second.parquet"), model="m",
        prompt="Is this right? {{ text }}: {{ completion }} ({{ kind }})", base_url=endpoint.base_url,
    )  # fmt: skip
    summary = run(load_job(None, sets=["output.prefix=check_"], options=chained), RunOptions(environ={}))
    second = pd.read_parquet(tmp_path / "second.parquet")
    assert summary.rows_total == 4
    assert list(second["text"]) == list(first["text"])
    assert list(second["completion"]) == list(first["completion"])
    assert list(second["kind"].astype(object)) == list(first["kind"].astype(object))
    assert "run_id" not in second.columns
    assert set(second["check_run_id"]) == {summary.run_id}
    assert (second["check_completion"] != second["completion"]).all()


# --- in mid-run


@pytest.fixture
def making(endpoint: Simulator, tmp_path: Path) -> Iterator[Path]:
    """A folder where a run is going on that has rows done; nothing of it is published."""
    endpoint.control(latency="fixed:0.4")
    rows = write_rows(tmp_path / "in.jsonl", [f"thing {number}" for number in range(400)])
    words = ["-i", rows, "-o", tmp_path / "out.parquet", "--model", "m", "--prompt", PROMPT]
    words += ["--base-url", endpoint.base_url, "--concurrency", "4", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "batcher.cli", "run", *map(str, words)], stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while not _rows_done(tmp_path):
        assert process.poll() is None, "the run ended before it could be looked at"
        assert time.monotonic() < until
        time.sleep(0.05)
    yield tmp_path
    assert process.poll() is None, "the run was still going on while it was looked at"
    process.kill()
    process.wait()


def _rows_done(folder: Path) -> int:
    try:
        found: Any = orjson.loads(run_directory(folder / "out.parquet").progress.read_bytes())
    except FileNotFoundError:
        return 0
    done: int = found["rows_done"]
    return done


def test_in_mid_run_no_glob_finds_anything_of_the_run(making: Path) -> None:
    run = run_directory(making / "out.parquet")
    assert list(run.journal_folder.glob("*")), "there is something to be found"
    pattern = f"{making}/**/*.parquet"
    with pytest.raises(duckdb.IOException, match="No files found"):
        duckdb.sql(f"select * from '{pattern}'")
    with pytest.raises((FileNotFoundError, pl.exceptions.ComputeError)):
        pl.scan_parquet(pattern).collect()
    assert not list(making.rglob("*.parquet"))
    pq.write_table(typed_table(3).select(["text"]), making / "other.parquet")
    assert len(pl.read_parquet(pattern)) == 3
    assert query(f"select count(*) from '{pattern}'")[0] == (3,)
    (making / "in.jsonl").unlink()  # pandas reads a whole folder, whatever lies in it
    assert len(pd.read_parquet(making)) == 3


def test_a_replaced_output_is_not_found_by_a_glob(endpoint: Simulator, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["a", "b"])
    carry_out(endpoint, rows, tmp_path / "out.parquet")
    carry_out(
        endpoint, rows, tmp_path / "out.parquet", sets=["request.top_p=0.5"],
        options=RunOptions(environ={}, replace=True),
    )  # fmt: skip
    assert list(run_directory(tmp_path / "out.parquet").path.glob("replaced/*/output.part")), "it is kept"
    assert list(tmp_path.rglob("*.parquet")) == [tmp_path / "out.parquet"]
    pattern = f"{tmp_path}/**/*.parquet"
    assert query(f"select count(*) from '{pattern}'")[0] == (2,)
    assert len(pl.read_parquet(pattern)) == 2
