"""`batcher try` from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cli_runs import Place

pytest_plugins = ("cli_fixtures",)

LINES = "".join(json.dumps({"text": f"thing {number}"}) + "\n" for number in range(30))
PRICES = ["--set", "prices.m.input=1.0", "--set", "prices.m.output=4.0"]


def test_json_is_the_summary_of_the_tried_rows_and_nothing_else_on_stdout(place: Place) -> None:
    said = place.run(place.write(LINES), "-n", "5", "--json", *PRICES, verb="try")
    assert said.code == 0, said.err
    summary = said.summary
    assert (summary["verb"], summary["rows_total"], summary["sent"]) == ("try", 5, 5)
    assert summary["tried_for"] == str(place.output)
    assert summary["try_number"] == 1
    assert "  try 1 of out.parquet  5 rows" in said.err
    assert "all 30 rows, from the 5 tried rows (95 % intervals)" in said.err
    whole = summary["outlook"]
    assert (whole["rows"], whole["tried"]) == (30, 5)
    assert whole["cost_usd"]["low"] < whole["cost_usd"]["likely"] < whole["cost_usd"]["high"]
    assert place.sent == 5


def test_the_second_try_is_counted_and_free(place: Place) -> None:
    place.run(place.write(LINES), "-n", "5", verb="try")
    said = place.run("in.jsonl", "-n", "5", verb="try")
    assert "  try 2 of out.parquet" in said.err
    assert "5 answers were taken over; they cost nothing" in said.err
    assert place.sent == 5


def test_no_answers_are_shown_where_none_are_asked_for(place: Place) -> None:
    said = place.run(place.write(LINES), "-n", "5", "--show", "0", verb="try")
    assert said.code == 0
    assert "thing" not in said.err
    assert "all 30 rows, from" in said.err


def test_quiet_shows_no_answers(place: Place) -> None:
    said = place.run(place.write(LINES), "-n", "3", "-q", verb="try")
    assert "thing" not in said.err
    assert "try 1 of out.parquet" in said.err


def test_a_try_with_failed_rows_is_exit_3_and_advises_no_retry_of_its_part(place: Place) -> None:
    said = place.run(place.write(LINES), "-n", "3", "--set", "request.max_completion_tokens=2", verb="try")
    assert said.code == 3
    assert "try again with --set request.max_completion_tokens=8" in said.err
    assert "batcher retry" not in said.err
    assert ".part" not in said.err


def test_a_stop_is_told_and_nothing_is_lost(place: Place) -> None:
    place.endpoint.control(fail_after={"unauthorized": 2})
    said = place.run(place.write(LINES), "-n", "6", "--json", verb="try")
    assert said.code == 5
    assert said.summary["exit_reason"] == "account"
    place.endpoint.control(fail_after={})
    assert place.run("in.jsonl", "-n", "6", verb="try").code == 0
    assert place.endpoint.totals()["paid_again"] == 0


@pytest.mark.parametrize("count", ["0", "-1", "many", "10001"])
def test_a_count_that_is_none_is_exit_2(place: Place, count: str) -> None:
    assert place.run(place.write(LINES), "-n", count, verb="try").code == 2
    assert place.sent == 0
