"""`batcher retry` from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cli_runs import batcher

if TYPE_CHECKING:
    from cli_runs import Place

pytest_plugins = ("cli_fixtures",)

LINES = "".join(json.dumps({"text": f"thing {number}"}) + "\n" for number in range(4))


@pytest.fixture
def failed(place: Place) -> Place:
    """An output with one failed row; the endpoint is well again."""
    place.endpoint.control(faults_by_substring={"thing 2": "bad_request"})
    assert place.run(place.write(LINES)).code == 3
    place.endpoint.control(faults_by_substring={})
    place.endpoint.reset()
    return place


def test_failed_rows_are_the_default_and_json_is_one_object(failed: Place) -> None:
    said = batcher("retry", "out.parquet", "--json")
    assert said.code == 0, said.err
    assert said.summary["verb"] == "retry"
    assert said.summary["outcomes"] == {"ok": 4}
    assert "  out.parquet  4 rows, verified" in said.err
    assert failed.sent == 1


def test_nothing_to_do_is_said_and_exits_as_the_run_did(failed: Place) -> None:
    said = batcher("retry", "out.parquet", "--outcome", "truncated, refused", "--json")
    assert said.code == 3
    assert said.summary["finished_before"] is True
    assert failed.sent == 0


def test_a_stopped_retry_says_so_as_a_retry_and_goes_on(failed: Place) -> None:
    failed.endpoint.control(fail_after={"unauthorized": 0})
    said = batcher("retry", "out.parquet", "--json")
    assert said.code == 5
    assert (said.summary["verb"], said.summary["exit_reason"]) == ("retry", "account")
    failed.endpoint.control(fail_after={})
    assert batcher("retry", "out.parquet").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.parquet"], "absent.parquet"),
        (["out.parquet", "--outcome", "ok"], "rows that are ok are never touched"),
        (["out.parquet", "--set", "input.limit=1"], "input.limit"),
        (["out.parquet", "--set", "request.n=2"], "choices_json"),
        (["out.parquet", "--set", "nonsense"], "nonsense"),
        (["out.parquet", "--outcome", ""], "outcome"),
        ([], "OUT"),
    ],
)
def test_a_mistake_is_exit_2_and_nothing_is_sent(failed: Place, words: list[str], said: str) -> None:
    before = failed.output.read_bytes()
    found = batcher("retry", *words)
    assert found.code == 2, found.err
    assert said in found.err
    assert failed.sent == 0
    assert failed.output.read_bytes() == before


def test_limits_may_change_between_the_sessions_of_a_retry(failed: Place) -> None:
    bounded = ["--set", "prices.m={input=10, output=40}", "--set", "request.max_completion_tokens=50"]
    refused = batcher("retry", "out.parquet", "--max-cost", "5")
    assert refused.code == 2
    assert '[prices."m"]' in refused.err
    stopped = batcher("retry", "out.parquet", *bounded, "--max-cost", "0", "--json")
    assert (stopped.code, stopped.summary["next"]) == (6, "raise_budget")
    assert failed.sent == 0
    words = [
        "--max-cost",
        "5",
        "--rpm",
        "600",
        "--tpm",
        "100000",
        "--deadline",
        "1h",
        "--concurrency",
        "auto",
    ]
    assert batcher("retry", "out.parquet", *bounded, *words).code == 0
    assert failed.sent == 1


def test_a_refusal_before_the_session_names_its_verb_in_json(failed: Place) -> None:
    said = batcher("retry", "absent.parquet", "--json")
    assert (said.code, said.summary["verb"]) == (2, "retry")
    assert failed.sent == 0


def test_a_retry_in_a_shared_state_folder_finds_its_run(place: Place) -> None:
    place.endpoint.control(faults_by_substring={"thing 2": "bad_request"})
    assert place.run(place.write(LINES), "--state", "state").code == 3
    place.endpoint.control(faults_by_substring={})
    assert batcher("retry", "out.parquet").code == 4, "not beside the output"
    assert batcher("retry", "out.parquet", "--state", "state").code == 0
