"""What is not ok in an output and why, and what repeated attempts cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from part_samples import SampleSettled, answer_values, seal_sample

from batcher.records import Outcome, Usage
from batcher.store.published import Group, survey

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.records import RowHistory
    from batcher.store.published import Survey


def surveyed(folder: Path, rows: list[dict[str, object]]) -> Survey:
    """The survey of an output with these rows, priced at 10 dollars a million prompt tokens."""

    def settle(history: RowHistory) -> SampleSettled:
        values = rows[history.row_index]
        return SampleSettled(Outcome(str(values["outcome"])), values)

    def price(model: str | None, _response: str | None, usage: Usage) -> float | None:
        return (usage.prompt_tokens or 0) / 1e5 if model == "m" else None

    path, _ = seal_sample(folder, 0, len(rows), settle=settle)
    return survey(path, price)


def failed(kind: str, message: str, code: str | None = None) -> dict[str, object]:
    return {"outcome": "failed", "error_type": kind, "error_message": message, "error_code": code}


def test_failures_are_grouped_by_reason_largest_first_with_an_example(tmp_path: Path) -> None:
    rows = [
        answer_values(0),
        failed("a", "first a"),
        failed("b", "only b"),
        failed("a", "second a"),
        failed("a", "x", "7"),
    ]
    assert surveyed(tmp_path, rows).groups == (
        Group("failed", "a", None, 2, "first a"),
        Group("failed", "b", None, 1, "only b"),
        Group("failed", "a", "7", 1, "x"),
    )


def test_what_did_not_become_an_answer_is_the_price_of_repeating(tmp_path: Path) -> None:
    twice = answer_values(0) | {"paid_attempts": 2, "cost_usd": 0.0025}
    once = answer_values(1) | {"cost_usd": 0.001}
    found = surveyed(tmp_path, [twice, once])
    assert found.repeated_cost_usd == pytest.approx(0.0015)
    assert found.unpriced_model is None


def test_a_paid_row_without_an_answer_is_repeating_in_full(tmp_path: Path) -> None:
    row = failed("no_reply", "") | {"paid_attempts": 3, "cost_usd": 0.006}
    assert surveyed(tmp_path, [row]).repeated_cost_usd == pytest.approx(0.006)


def test_without_prices_repeating_costs_nobody_knows_what_and_the_model_is_named(tmp_path: Path) -> None:
    rows = [answer_values(0) | {"cost_usd": None, "request_model": "gpt-x"}]
    found = surveyed(tmp_path, rows)
    assert (found.repeated_cost_usd, found.unpriced_model) == (None, "gpt-x")


def test_an_output_where_all_is_well(tmp_path: Path) -> None:
    found = surveyed(tmp_path, [answer_values(row) for row in range(3)])
    assert (found.groups, found.repeated_cost_usd, found.unpriced_model) == ((), 0.0, None)
