"""No, readably: what changed, what of it is bought already, what going on would send and cost; nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typed_rows import rows_of, sent_to
from verb_runs import write_rows

from batcher.errors import AccountError, Conflict
from batcher.job import JobOptions, load_job
from batcher.store.directory import run_directory
from batcher.verbs.options import RunOptions
from batcher.verbs.run import run
from batcher.verbs.trial import try_rows

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.job import Job
    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)

PRICES = ["prices.m.input=1000", "prices.m.output=1000"]
BEFORE, AFTER = "Classify this ticket.\n{{ text }}", "Classify this support ticket.\n{{ text }}"
OPTIONS = RunOptions(environ={})
ROWS = 30


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "in.jsonl", [f"thing {number}" for number in range(ROWS)])


def job_of(at: Simulator, rows: Path, prompt: str, *sets: str, limit: int | None = None) -> Job:
    given = JobOptions(
        input=str(rows), output=str(rows.with_name("labels.parquet")), model="m", prompt=prompt,
        base_url=at.base_url, limit=limit,
    )  # fmt: skip
    return load_job(None, sets=[*PRICES, *sets], options=given)


def refused(job: Job) -> Conflict:
    with pytest.raises(Conflict) as caught:
        run(job, OPTIONS)
    return caught.value


def test_a_changed_prompt_is_shown_as_a_difference_with_its_price(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows, BEFORE), OPTIONS)
    trial = try_rows(job_of(endpoint, rows, AFTER), OPTIONS, count=10)
    assert trial.summary.sent == 10
    sent = sent_to(endpoint)
    found = refused(job_of(endpoint, rows, AFTER))
    lines = str(found).splitlines()
    assert lines[0] == "labels.parquet was made by a different request; nothing was sent."
    assert lines[1].split()[:2] == ["request.prompt", "-"]
    assert "Classify this ticket" in lines[1]
    assert lines[2].split()[0] == "+"
    assert "Classify this support ticket" in lines[2]
    cost = sum(row["cost_usd"] for row in rows_of(rows.with_name("labels.parquet"))) / ROWS * (ROWS - 10)
    assert lines[3] == f"Reusable 10 of 30; to send 20, about ${cost:,.2f}."
    assert found.hint == ("go on: the same command with --replace    keep both: -o labels-v2.parquet")
    assert sent_to(endpoint) == sent


def test_without_prices_no_dollars_are_promised(endpoint: Simulator, rows: Path) -> None:
    given = JobOptions(
        input=str(rows),
        output=str(rows.with_name("o.parquet")),
        model="m",
        base_url=endpoint.base_url,
        limit=3,
    )
    run(load_job(None, sets=["request.prompt={{ text }}"], options=given), OPTIONS)
    found = refused(load_job(None, sets=["request.prompt=Now {{ text }}"], options=given))
    assert "Reusable 0 of 3; to send 3." in str(found)


def test_a_changed_input_says_so_and_counts_what_stayed(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows, BEFORE), OPTIONS)
    write_rows(rows, [*(f"thing {number}" for number in range(28)), "new", "newer", "newest"])
    found = refused(job_of(endpoint, rows, BEFORE))
    assert "Reusable 28 of 31; to send 3" in str(found)
    assert any(line.lstrip().startswith("input") for line in str(found).splitlines())


def test_equal_rows_need_an_answer_each(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows, BEFORE), OPTIONS)
    write_rows(rows, ["thing 1"] * 5)
    assert "Reusable 1 of 5; to send 4" in str(refused(job_of(endpoint, rows, BEFORE)))


def test_a_run_in_the_making_is_refused_alike_and_its_answers_count(endpoint: Simulator, rows: Path) -> None:
    endpoint.control(fail_after={"unauthorized": 7})
    with pytest.raises(AccountError):
        run(job_of(endpoint, rows, BEFORE), OPTIONS)
    paid = endpoint.totals()["generated"]
    endpoint.control(fail_after={})
    found = refused(job_of(endpoint, rows, AFTER))
    assert "Reusable 0 of 30; to send 30" in str(found)
    endpoint.reset()
    summary = run(job_of(endpoint, rows, BEFORE), OPTIONS)
    assert sent_to(endpoint) == ROWS - paid
    assert summary.outcomes == {"ok": ROWS}


def test_without_the_run_directory_it_still_refuses_and_says_what_it_does_not_know(
    endpoint: Simulator, rows: Path
) -> None:
    run(job_of(endpoint, rows, BEFORE, limit=4), OPTIONS)
    state = rows.with_name(".batcher")
    state.rename(rows.with_name("elsewhere"))
    found = refused(job_of(endpoint, rows, AFTER, limit=4))
    assert "its run directory is gone, so what changed is not known" in str(found)
    assert "Reusable 0 of 4" in str(found)


def test_a_foreign_file_is_named_and_left_alone(endpoint: Simulator, rows: Path) -> None:
    output = rows.with_name("labels.parquet")
    output.write_bytes(b"somebody's")
    for options in (OPTIONS, RunOptions(environ={}, replace=True), RunOptions(environ={}, fresh=True)):
        with pytest.raises(Conflict) as caught:
            run(job_of(endpoint, rows, BEFORE), options)
        assert "not an output of batcher" in str(caught.value)
        assert str(caught.value.hint).endswith("-o labels-v2.parquet")
    assert output.read_bytes() == b"somebody's"
    assert sent_to(endpoint) == 0


def test_a_file_that_came_while_the_run_was_stopped_is_refused_before_anything_more_is_paid(
    endpoint: Simulator, rows: Path
) -> None:
    endpoint.control(fail_after={"unauthorized": 3})
    with pytest.raises(AccountError):
        run(job_of(endpoint, rows, BEFORE), OPTIONS)
    endpoint.control(fail_after={})
    endpoint.reset()
    output = rows.with_name("labels.parquet")
    output.write_bytes(b"somebody's")
    assert "not an output of batcher" in str(refused(job_of(endpoint, rows, BEFORE)))
    assert sent_to(endpoint) == 0
    output.unlink()
    assert run(job_of(endpoint, rows, BEFORE), OPTIONS).outcomes == {"ok": ROWS}


def test_replace_keeps_the_old_output_in_the_run_directory(endpoint: Simulator, rows: Path) -> None:
    first = run(job_of(endpoint, rows, BEFORE, limit=5), OPTIONS)
    output = rows.with_name("labels.parquet")
    old = output.read_bytes()
    second = run(job_of(endpoint, rows, AFTER, limit=5), RunOptions(environ={}, replace=True))
    assert second.run_id != first.run_id
    archive = run_directory(output).replaced_output(first.run_id or "")
    assert archive.read_bytes() == old
    assert run(job_of(endpoint, rows, BEFORE, limit=5), RunOptions(environ={}, replace=True)).sent == 0


def test_fresh_takes_nothing_over(endpoint: Simulator, rows: Path) -> None:
    run(job_of(endpoint, rows, BEFORE, limit=5), OPTIONS)
    summary = run(job_of(endpoint, rows, BEFORE, limit=5), RunOptions(environ={}, fresh=True))
    assert (summary.sent, summary.reused) == (5, 0)
    again = run(job_of(endpoint, rows, BEFORE, limit=5), OPTIONS)
    assert again.finished_before
