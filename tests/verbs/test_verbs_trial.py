"""`try`: the same rows every time, bought once, taken over by the run and by the next try, crash or no crash."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_rows import rows_of, sent_to
from verb_runs import PROMPT, batcher, write_rows

from batcher.errors import AccountError
from batcher.job import JobOptions, load_job
from batcher.store.directory import run_directory
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run
from batcher.verbs.trial import Trial, chosen, try_rows

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job
    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)

PRICES = ["prices.m.input=1.0", "prices.m.output=4.0"]
OPTIONS = RunOptions(environ={})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.jsonl", [f"thing {number}" for number in range(40)])


def job_of(at: Simulator, rows: Path, *, prompt: str = PROMPT, limit: int | None = None) -> Job:
    given = JobOptions(
        input=str(rows), output=str(rows.with_name("out.parquet")), model="m", prompt=prompt,
        base_url=at.base_url, concurrency=4, limit=limit,
    )  # fmt: skip
    return load_job(None, sets=PRICES, options=given)


def answers_of(trial: Trial) -> dict[str, str]:
    return {row["text"]: row["completion"] for row in rows_of(trial.part)}


# --- which rows


@given(st.integers(0, 5_000), st.integers(1, 60))
@settings(deadline=None, max_examples=50)
def test_the_chosen_rows_are_as_many_as_there_are_distinct_and_in_order(rows: int, count: int) -> None:
    found = chosen(rows, count)
    assert len(found) == min(rows, count)
    assert list(found) == sorted(set(found))
    assert all(0 <= row < rows for row in found)
    assert found == chosen(rows, count)


def test_the_rows_of_a_file_never_change_between_versions() -> None:
    assert chosen(1_000, 5) == (6, 11, 45, 304, 980)


def test_the_rows_are_spread_over_the_file() -> None:
    tenths = {row // 1_000 for row in chosen(10_000, 60)}
    assert tenths == set(range(10))


def test_choosing_does_not_disturb_anybody_elses_randomness() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    chosen(1_000, 50)
    assert random.random() == expected


# --- bought once


def test_a_second_try_looks_at_the_same_rows_and_buys_nothing(endpoint: Simulator, rows: Path) -> None:
    first = try_rows(job_of(endpoint, rows), OPTIONS, count=6)
    assert sent_to(endpoint) == 6
    second = try_rows(job_of(endpoint, rows), OPTIONS, count=6)
    assert sent_to(endpoint) == 6
    assert answers_of(first) == answers_of(second)
    assert first.row_indices == second.row_indices == chosen(40, 6)
    assert [row["row_index"] for row in rows_of(first.part)] == list(first.row_indices)
    assert second.summary.reused == 6
    assert second.summary.cost_usd == 0
    assert second.full_cost_usd == first.full_cost_usd, (
        "what all rows cost does not depend on who bought the sample"
    )
    assert first.full_cost_usd == pytest.approx((first.summary.cost_usd or 0) / 6 * 40, rel=0.05)
    assert (first.summary.try_number, second.summary.try_number) == (1, 2)
    assert first.summary.tried_for == str(rows.with_name("out.parquet"))


def test_a_try_publishes_nothing_under_the_outputs_name(endpoint: Simulator, rows: Path) -> None:
    trial = try_rows(job_of(endpoint, rows), OPTIONS, count=3)
    assert not rows.with_name("out.parquet").exists()
    assert trial.part.suffix == ".part"
    assert trial.rows_of_all == 40
    assert not list(rows.parent.rglob("*.parquet"))


def test_a_run_takes_over_what_was_tried(endpoint: Simulator, rows: Path) -> None:
    trial = try_rows(job_of(endpoint, rows), OPTIONS, count=6)
    summary = run(job_of(endpoint, rows), OPTIONS)
    assert sent_to(endpoint) == 40
    assert endpoint.totals()["paid_again"] == 0
    assert (summary.reused, summary.outcomes) == (6, {"ok": 40})
    by_text = {row["text"]: row for row in rows_of(rows.with_name("out.parquet"))}
    for text, completion in answers_of(trial).items():
        assert by_text[text]["completion"] == completion
        assert by_text[text]["reused_from"] == trial.summary.run_id
        assert by_text[text]["cost_usd"] == 0, "the try paid; sums over files and ledgers are spend"


def test_after_an_edit_the_changed_prompt_is_bought_and_the_old_one_is_not_forgotten(
    endpoint: Simulator, rows: Path
) -> None:
    first = try_rows(job_of(endpoint, rows), OPTIONS, count=5)
    edited = try_rows(job_of(endpoint, rows, prompt="Now in short: {{ text }}"), OPTIONS, count=5)
    assert edited.row_indices == first.row_indices, "two prompts are compared on equal rows"
    assert sent_to(endpoint) == 10
    assert answers_of(edited) != answers_of(first)
    back = try_rows(job_of(endpoint, rows), OPTIONS, count=5)
    assert sent_to(endpoint) == 10
    assert answers_of(back) == answers_of(first)


def test_a_larger_try_buys_only_what_is_new_to_it(endpoint: Simulator, rows: Path) -> None:
    small, large = set(chosen(40, 5)), set(chosen(40, 12))
    try_rows(job_of(endpoint, rows), OPTIONS, count=5)
    try_rows(job_of(endpoint, rows), OPTIONS, count=12)
    assert sent_to(endpoint) == len(small | large)


def test_a_try_of_more_rows_than_there_are_is_all_of_them(endpoint: Simulator, rows: Path) -> None:
    trial = try_rows(job_of(endpoint, rows, limit=4), OPTIONS, count=50)
    assert trial.row_indices == (0, 1, 2, 3)
    run(job_of(endpoint, rows, limit=4), OPTIONS)
    assert sent_to(endpoint) == 4


def test_a_try_after_the_run_buys_nothing(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows), OPTIONS)
    trial = try_rows(job_of(endpoint, rows), OPTIONS, count=7)
    assert sent_to(endpoint) == 40
    assert trial.summary.reused == 7


# --- stopped and killed


def test_what_a_stopped_try_bought_is_taken_over_by_the_next(endpoint: Simulator, rows: Path) -> None:
    endpoint.control(fail_after={"unauthorized": 3})
    with pytest.raises(AccountError):
        try_rows(job_of(endpoint, rows), OPTIONS, count=8)
    paid = endpoint.totals()["generated"]
    assert paid >= 3
    leftovers = run_directory(rows.with_name("out.parquet")).try_directory(1)
    assert leftovers.run_json.exists()
    endpoint.control(fail_after={})
    trial = try_rows(job_of(endpoint, rows), OPTIONS, count=8)
    assert trial.summary.try_number == 2
    assert trial.summary.reused == paid
    totals = endpoint.totals()
    assert (totals["generated"], totals["paid_again"]) == (8, 0)


def test_what_a_killed_try_bought_is_taken_over_by_the_run(
    endpoint: Simulator, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("batcher.verbs.closing.publish", killed_publish)
        with pytest.raises(KeyboardInterrupt):
            try_rows(job_of(endpoint, rows), OPTIONS, count=6)
    assert run_directory(rows.with_name("out.parquet")).try_directory(1).path.is_dir()
    summary = run(job_of(endpoint, rows), OPTIONS)
    assert (summary.reused, summary.outcomes) == (6, {"ok": 40})
    assert endpoint.totals()["paid_again"] == 0


def killed_publish(*_: object, **__: object) -> None:
    """Stands for `publish` in a process that is killed before it."""
    raise KeyboardInterrupt


def test_an_interrupted_try_does_not_lend_its_number(
    endpoint: Simulator, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("batcher.verbs.trial.shutil.rmtree", killed_publish)
        with pytest.raises(KeyboardInterrupt):
            try_rows(job_of(endpoint, rows), OPTIONS, count=3)
    directory = run_directory(rows.with_name("out.parquet"))
    assert directory.try_part(1).exists()
    second = try_rows(job_of(endpoint, rows), OPTIONS, count=3)
    assert second.part == directory.try_part(2)
    assert sent_to(endpoint) == 3


# --- as a command


def test_the_command_shows_answers_label_counts_and_what_all_would_cost(
    endpoint: Simulator, rows: Path
) -> None:
    said = batcher(
        "try", "-i", rows, "-o", rows.with_name("out.parquet"), "--model", "m", "--prompt", PROMPT,
        "--base-url", endpoint.base_url, "-n", "4", "--show", "2", "--set", "prices.m.output=4.0",
        "--set", "prices.m.input=1.0", "--set", 'labels.kind=["good", "bad"]',
    )  # fmt: skip
    assert said.exit_code == 0, said.stderr
    assert not said.stdout
    assert "try 1 of " in said.stderr
    assert "out.parquet  4 rows" in said.stderr
    assert "001.part" not in said.stderr
    kinds = next(line for line in said.stderr.splitlines() if line.startswith("  kind: "))
    assert sum(int(word) for word in kinds.split() if word.isdigit()) == 4
    assert "all 40 rows, from " in said.stderr
    assert len([line for line in said.stderr.splitlines() if line.startswith("r")]) == 2


def test_an_edited_prompt_shows_how_many_answers_changed(endpoint: Simulator, rows: Path) -> None:
    words = ["-i", rows, "-o", rows.with_name("out.parquet"), "--model", "m", "--base-url", endpoint.base_url]
    labels = ["-n", "6", "--set", 'labels.kind=["good", "bad"]']
    first = batcher("try", *words, "--prompt", PROMPT, *labels)
    assert "since try" not in first.stderr
    again = batcher("try", *words, "--prompt", PROMPT, *labels)
    assert "since try 1: kind 6 of 6 the same" in again.stderr
    edited = batcher("try", *words, "--prompt", "In other words: {{ text }}", *labels)
    directory = run_directory(rows.with_name("out.parquet"))
    before, after = ([row["kind"] for row in rows_of(directory.try_part(number))] for number in (2, 3))
    changed = next(line for line in edited.stderr.splitlines() if "since try 2: kind" in line)
    same = sum(one == other for one, other in zip(before, after, strict=True))
    assert f"{same} of 6 the same" in changed
    pairs = list(zip(before, after, strict=True))
    for one, other in (("good", "bad"), ("bad", "good")):
        assert (f"{one} -> {other} {pairs.count((one, other))}" in changed) is ((one, other) in pairs)
    assert same < 6


def test_two_models_stand_side_by_side_and_each_row_is_bought_once_from_each(
    endpoint: Simulator, rows: Path
) -> None:
    words = [
        "-i",
        rows,
        "-o",
        rows.with_name("out.parquet"),
        "--prompt",
        PROMPT,
        "--base-url",
        endpoint.base_url,
    ]
    prices = ["--set", "prices.cheap.input=1.0", "--set", "prices.cheap.output=4.0"]
    said = batcher("try", *words, "--model", "cheap,unpriced", "-n", "6", "--json", *prices)
    assert said.exit_code == 0, said.stderr
    told = json.loads(said.stdout)
    assert [each["outlook"]["unpriced_models"] for each in told["tries"]] == [[], ["unpriced"]]
    table = [line for line in said.stderr.splitlines() if line.startswith(("cheap ", "unpriced "))]
    assert "$" in table[0]
    assert "no price" in table[1]
    assert sent_to(endpoint) == 12
    assert endpoint.totals()["paid_again"] == 0


def test_all_rows_tried_are_all_rows_known(endpoint: Simulator, rows: Path) -> None:
    trial = try_rows(job_of(endpoint, rows), OPTIONS, count=40)
    spent = endpoint.totals()
    total = trial.outlook.whole.total
    assert total.low == total.likely == total.high == spent["prompt_tokens"] + spent["completion_tokens"]


def test_rows_that_fail_or_make_no_request_are_no_part_of_the_mean(
    endpoint: Simulator, tmp_path: Path
) -> None:
    texts = [None if number % 5 == 0 else f"thing {number}" for number in range(40)]
    rows = write_rows(tmp_path / "in.jsonl", texts)
    endpoint.control(faults_by_substring={"thing 7": "bad_request", "thing 13": "bad_request"})
    trial = try_rows(job_of(endpoint, rows, prompt="{{ text | upper | lower }}"), OPTIONS, count=40)
    spent = endpoint.totals()
    assert trial.outlook.rows == 32
    assert trial.outlook.whole.prompt.likely == pytest.approx(spent["prompt_tokens"])
