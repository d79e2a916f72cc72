"""Usage files of ours and of others: which columns mean what, and what they add up to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batcher.errors import BatcherError, DatasetError, JobError
from batcher.verbs import cost_rows
from batcher.verbs.cost import CostWish, cost, refuse_if_over

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.report.bill import Bill

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
GPT_4O = (2.5, 1.25, 10.0)
"""Dollars per million: fresh, cached, output."""


def bill_of(*paths: Path, **wish: Any) -> Bill:
    return cost(paths, CostWish(**wish), now=NOW)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_table(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def by_hand(prompt: int, cached: int, output: int) -> float:
    return ((prompt - cached) * GPT_4O[0] + cached * GPT_4O[1] + output * GPT_4O[2]) / 1e6


# --- formats of others

OPENAI = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
ROWS: dict[str, tuple[dict[str, Any], float]] = {
    "flat, our names": (OPENAI | {"cached_tokens": 400, "model": "gpt-4o"}, by_hand(1000, 400, 50)),
    "a usage object, as the API sends it": (
        {"usage": OPENAI | DETAILS, "model": "gpt-4o"},
        by_hand(1000, 400, 50),
    ),
    "responses API": (
        {
            "model": "openai/gpt-4o-2024-08-06",
            "usage": {
                "input_tokens": 1000,
                "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 400},
            },
        },
        by_hand(1000, 400, 50),
    ),
    "Anthropic: cached tokens beside the input": (
        {
            "model": "gpt-4o",
            "usage": {"input_tokens": 600, "output_tokens": 50, "cache_read_input_tokens": 400},
        },
        by_hand(1000, 400, 50),
    ),
    "inspect: likewise": (
        {"model": "gpt-4o", "input_tokens": 600, "output_tokens": 50, "input_tokens_cache_read": 400},
        by_hand(1000, 400, 50),
    ),
    "datatrove and polar-llama": (
        {"_model": "gpt-4o", "_input_tokens": 1000, "_output_tokens": 50},
        by_hand(1000, 0, 50),
    ),
    "OpenRouter: its own word": (
        {"model": "gpt-4o", "usage": OPENAI | {"cost": 0.5}},
        0.5,
    ),
    "xAI: reasoning beside the completion": (
        {"model": "gpt-4o", "usage": OPENAI | {"total_tokens": 1070} | DETAILS},
        by_hand(1000, 400, 70),
    ),
    "OpenAI Batch result: half price": (
        {
            "id": "batch_req_1",
            "custom_id": "a",
            "response": {"status_code": 200, "body": {"model": "gpt-4o-2024-08-06", "usage": OPENAI}},
            "error": None,
        },
        (1000 * 1.25 + 50 * 5.0) / 1e6,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_usage_is_found_where_other_tools_put_it(name: str, tmp_path: Path) -> None:
    row, dollars = ROWS[name]
    rows = [dict(row, n=number) for number in range(3)]
    lines = bill_of(write_lines(tmp_path / "usage.jsonl", rows))
    assert lines.total.cost_usd == pytest.approx(3 * dollars)
    parquet = tmp_path / "usage.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    table = bill_of(parquet)
    assert table.total == lines.total
    assert table.total.rows == 3


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "u.parquet", {"in": [1000], "out": [50], "hit": [400], "llm": ["gpt-4o"]})
    named = "prompt_tokens=in,completion_tokens=out,cached_tokens=hit,request_model=llm"
    assert bill_of(path, named=named).total.cost_usd == pytest.approx(by_hand(1000, 400, 50))
    with pytest.raises(JobError, match="no usage columns"):
        bill_of(path)
    with pytest.raises(JobError, match="MEANING=COLUMN"):
        bill_of(path, named="tokens=in")


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(2026, 11, 3, 23, 59, tzinfo=UTC)], pa.timestamp("us", "UTC")),
        pa.array([datetime(2026, 11, 3, 23, 59)], pa.timestamp("ns")),  # noqa: DTZ001 - without a zone on purpose
        pa.array([1_793_750_340], pa.int64()),
        pa.array([1_793_750_340_000], pa.int64()),
        pa.array([1_793_750_340.5], pa.float64()),
        pa.array(["2026-11-03T23:59:00Z"]),
        pa.array([datetime(2026, 11, 3, tzinfo=UTC).date()], pa.date32()),
    ],
)
def test_the_day_is_found_in_any_kind_of_time(times: pa.Array, tmp_path: Path) -> None:
    columns = {"prompt_tokens": [1], "completion_tokens": [1], "model": ["gpt-4o"], "created_at": times}
    found = bill_of(write_table(tmp_path / "u.parquet", columns), by=("day",))
    assert [group.by for group in found.groups] == [{"day": "2026-11-03"}]


def test_any_column_splits_and_a_file_without_it_has_no_name_for_it(tmp_path: Path) -> None:
    usage: dict[str, Any] = {"prompt_tokens": [1, 2], "completion_tokens": [0, 0], "model": ["gpt-4o"] * 2}
    write_table(tmp_path / "a.parquet", usage | {"team": ["x", None]})
    write_table(tmp_path / "b.parquet", usage | {"shift": [1, 2]})
    found = bill_of(tmp_path, by=("team", "shift"))
    assert {(*group.by.values(), group.prompt_tokens) for group in found.groups} == {
        ("x", None, 1),
        (None, None, 2),
        (None, "1", 1),
        (None, "2", 2),
    }


def test_a_name_that_nothing_has_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "u.parquet", {"cost_usd": [1.0]})
    with pytest.raises(JobError, match="no file has such a column") as caught:
        bill_of(path, by=("outcom",))
    assert caught.value.hint == "did you mean outcome?"


def test_too_many_groups_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_rows, "MOST_GROUPS", 10)
    columns = {"prompt_tokens": [1] * 11, "completion_tokens": [0] * 11, "id": list(range(11))}
    with pytest.raises(JobError, match="more than 10 groups by id"):
        bill_of(write_table(tmp_path / "u.parquet", columns), by=("id",))


# --- what is unknown


def test_a_model_without_a_price_is_named_and_not_free(tmp_path: Path) -> None:
    columns = {
        "prompt_tokens": [1000, 1000],
        "completion_tokens": [50, 50],
        "model": ["gpt-4o", "our-own"],
    }
    path = write_table(tmp_path / "u.parquet", columns)
    found = bill_of(path, max_usd=100.0)
    assert found.unpriced_models == ("our-own",)
    assert found.total.cost_usd == pytest.approx(by_hand(1000, 0, 50))
    assert {group.by["request_model"]: group.cost_usd for group in found.groups}["our-own"] is None
    with pytest.raises(JobError, match="our-own"):
        refuse_if_over(found)
    prices = tmp_path / "job.toml"
    prices.write_text('[prices."our-own"]\ninput = 1\noutput = 2\n')
    priced = bill_of(path, max_usd=100.0, prices=prices)
    refuse_if_over(priced)
    assert priced.total.cost_usd == pytest.approx(by_hand(1000, 0, 50) + (1000 + 100) / 1e6)


@pytest.mark.parametrize(
    "text",
    [
        "x = ",
        "[other]\nx = 1",
        '[prices."m"]\ninput = 1',
        '[prices."m"]\ninput = -1\noutput = 1',
        "prices = 1",
    ],
)
def test_prices_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    path, prices = write_table(tmp_path / "u.parquet", {"cost_usd": [1.0]}), tmp_path / "p.toml"
    prices.write_text(text)
    with pytest.raises(JobError, match=r"p\.toml"):
        bill_of(path, prices=prices)


def test_rows_without_tokens_and_dollars_are_counted(tmp_path: Path) -> None:
    columns = {
        "prompt_tokens": [1000, None, -5],
        "completion_tokens": [50, None, 3],
        "model": ["gpt-4o"] * 3,
        "cost": [None, None, float("nan")],
    }
    found = bill_of(write_table(tmp_path / "u.parquet", columns))
    assert (found.total.rows, found.total.unknown_rows) == (3, 2)
    assert found.total.cost_usd == pytest.approx(by_hand(1000, 0, 50))
    nothing = bill_of(write_table(tmp_path / "v.parquet", {"cost_usd": pa.nulls(4, pa.float64())}))
    assert (nothing.total.cost_usd, nothing.total.unknown_rows) == (None, 4)


# --- gates and outlooks


def test_a_gate_holds_the_month_and_not_the_year(tmp_path: Path) -> None:
    at = [datetime(2026, month, 3, tzinfo=UTC) for month in (10, 11, 11)]
    path = write_table(tmp_path / "u.parquet", {"cost_usd": [90.0, 5.0, 6.0], "sent_at": at})
    for month, spent in (("2026-10", 90.0), ("2026-11", 11.0), (None, 101.0)):
        found = bill_of(path, month=month, max_usd=50.0)
        assert (found.total.cost_usd, found.is_over) == (spent, spent > 50)
        if found.is_over:
            with pytest.raises(BatcherError) as caught:
                refuse_if_over(found)
            assert caught.value.exit_code == 6
    with pytest.raises(JobError, match="month such as"):
        bill_of(path, month="november")


def test_a_forecast_is_of_this_month_when_none_is_named(tmp_path: Path) -> None:
    at = [datetime(2026, 10, 30, tzinfo=UTC), *(datetime(2026, 11, day, tzinfo=UTC) for day in range(1, 22))]
    path = write_table(tmp_path / "u.parquet", {"cost_usd": [900.0] + [2.0] * 21, "sent_at": at})
    found = bill_of(path, forecast=True)
    assert found.outlook is not None
    assert (found.month, found.total.cost_usd) == ("2026-11", 42.0)
    assert (found.outlook.days_so_far, found.outlook.days_left) == (21, 9)
    assert found.outlook.usd == pytest.approx(60.0)


def test_other_prices_are_those_of_the_same_tokens(tmp_path: Path) -> None:
    columns = {
        "prompt_tokens": [1_000_000, 300_000, 100_000],
        "completion_tokens": [0, 0, 0],
        "cached_tokens": [400_000, 0, 0],
        "model": ["gpt-4o", "gpt-4o", "grok-2"],
    }
    path = write_table(tmp_path / "u.parquet", columns)
    long, short = bill_of(path, what_if="gemini-2.5-pro"), bill_of(path, what_if="gpt-4.1")
    assert long.total.what_if_usd == pytest.approx(0.9 * 2.5 + 0.4 * 0.25 + 0.1 * 1.25), (
        "tiers by each prompt"
    )
    assert short.total.what_if_usd == pytest.approx(1.0 * 2.0 + 0.4 * 0.5)
    half = bill_of(path, what_if="50%")
    assert half.total.what_if_usd == pytest.approx((half.total.cost_usd or 0) / 2)
    batch = bill_of(path, what_if="batch")
    assert batch.what_if_missing == ("grok-2",), "it has no batch price, and the full one is not said instead"
    assert batch.total.what_if_usd == pytest.approx(0.9 * 1.25 + 0.4 * 1.25)
    for wrong in ("no-such-model", "x%", "-5%"):
        with pytest.raises(JobError, match="--what-if"):
            bill_of(path, what_if=wrong)


# --- files as they come


def test_a_file_of_one_large_row_group_is_read_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_rows, "SLICE_ROWS", 7)
    columns = {"prompt_tokens": list(range(100)), "completion_tokens": [1] * 100, "model": ["gpt-4o"] * 100}
    whole = bill_of(write_table(tmp_path / "u.parquet", columns, row_group_size=100)).total
    assert (whole.rows, whole.prompt_tokens, whole.completion_tokens) == (100, 4950, 100)
    coded = pa.table(columns).set_column(2, "model", pa.array(columns["model"]).dictionary_encode())
    pq.write_table(coded, tmp_path / "u.parquet", row_group_size=33)
    assert bill_of(tmp_path / "u.parquet").total == whole


@pytest.mark.parametrize("name", ["u.parquet", "u.jsonl"])
def test_a_damaged_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "model": "gpt-4o"}
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist([usage] * 50_000), path, compression="none", use_dictionary=False)
        path.write_bytes(path.read_bytes()[:-200_000] + b"\0" * 200_000)
    else:
        write_lines(path, [usage] * 3)
        path.write_text(path.read_text() * 150_000 + '{"prompt_tokens": [1}\n')
    with pytest.raises((DatasetError, JobError), match=name):
        bill_of(path)


def test_files_without_usage_are_passed_over_in_a_folder_and_refused_by_name(tmp_path: Path) -> None:
    write_lines(tmp_path / "prompts.jsonl", [{"prompt": "hello"}])
    (tmp_path / "notes.parquet").write_bytes(b"nothing")
    write_table(tmp_path / "u.parquet", {"cost_usd": [1.5]})
    found = bill_of(tmp_path)
    assert (found.files, found.total.cost_usd) == (1, 1.5)
    assert "2 files without usage columns were left out" in found.notes
    for name in ("prompts.jsonl", "notes.parquet", "absent.parquet"):
        with pytest.raises(JobError, match=name):
            bill_of(tmp_path / name)
