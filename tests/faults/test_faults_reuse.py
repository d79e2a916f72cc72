"""A request that was paid for is never paid for again: tries, changed prompts, repaired rows, other files, restarts."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from runs import (
    LEDGER_KEY,
    MODEL,
    PRICES,
    PROMPT,
    batcher,
    carry,
    keys_sent,
    make_job,
    marked,
    paid_by_content,
    table_of,
    write_texts,
)

from batcher.simulator import SimulatorConfig, launch
from batcher.verbs.options import RunOptions
from batcher.verbs.trial import try_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.job import Job
    from batcher.simulator import Simulator

ROWS = 300
OTHER_PROMPT = "Say two words about {{ text }}"
THIRD_PROMPT = "Say three words about {{ text }}"


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0.002", ledger_key=LEDGER_KEY)) as simulator:
        yield simulator


@pytest.fixture
def server(shared: Simulator) -> Simulator:
    shared.control(fail_after={}, faults={}, faults_by_substring={}, api_key=None, latency="fixed:0.002")
    shared.reset()
    return shared


def job_in(folder: Path, server: Simulator, **changes: Any) -> Job:
    return make_job(folder, server.base_url, sets=PRICES, **changes)


def bought_once(server: Simulator, count: int) -> None:
    """`count` different requests were paid for, each once."""
    paid = paid_by_content(server)
    assert set(paid.values()) == {1}
    assert len(paid) == count


def test_tries_edits_a_run_and_a_replacement_pay_each_request_once(server: Simulator, tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(ROWS))
    first = try_rows(job_in(tmp_path, server), RunOptions(), count=50)
    assert (first.summary.sent, len(first.row_indices)) == (50, 50)
    bought_once(server, 50)

    edited = job_in(tmp_path, server, prompt=OTHER_PROMPT)
    second = try_rows(edited, RunOptions(), count=50)
    assert (second.summary.sent, second.row_indices) == (50, first.row_indices)
    repeated = try_rows(edited, RunOptions(), count=50)
    assert (repeated.summary.sent, repeated.summary.reused) == (0, 50)
    bought_once(server, 100)

    whole = carry(edited)
    assert (whole.exit_code, whole.said.sent, whole.said.reused) == (0, ROWS - 50, 50)
    bought_once(server, ROWS + 50)
    before = (tmp_path / "out.parquet").read_bytes()

    third = job_in(tmp_path, server, prompt=THIRD_PROMPT)
    refused = carry(third)
    assert refused.exit_code == 4
    text = f"{refused.error}\n{refused.error.hint if refused.error else ''}"
    for part in ("request.prompt", "two words", "three words", f"to send {ROWS}", "$", "--replace"):
        assert part in text
    assert (tmp_path / "out.parquet").read_bytes() == before
    bought_once(server, ROWS + 50)

    replaced = carry(third, replace=True)
    assert (replaced.exit_code, replaced.said.sent) == (0, ROWS)
    bought_once(server, 2 * ROWS + 50)
    back = carry(job_in(tmp_path, server, prompt=PROMPT), replace=True)
    assert back.said.sent == ROWS - 50, "what the first try bought is still known"
    bought_once(server, 3 * ROWS)


def test_a_refusal_counts_what_is_bought_already(server: Simulator, tmp_path: Path) -> None:
    """Also answers of an output that was replaced meanwhile: going back to the old prompt costs nothing."""
    write_texts(tmp_path / "in.jsonl", marked(60))
    carry(job_in(tmp_path, server))
    carry(job_in(tmp_path, server, prompt=OTHER_PROMPT), replace=True)
    refused = carry(job_in(tmp_path, server))
    assert refused.exit_code == 4
    assert "Reusable 60 of 60; to send 0" in str(refused.error)
    again = carry(job_in(tmp_path, server), replace=True)
    assert (again.exit_code, again.said.sent, again.said.reused) == (0, 0, 60)


def test_twelve_repaired_rows_are_all_that_is_paid(server: Simulator, tmp_path: Path) -> None:
    texts = marked(ROWS)
    broken: list[str] = [text if number % 25 else "" for number, text in enumerate(texts)]
    write_texts(tmp_path / "in.jsonl", broken)
    first = carry(make_job(tmp_path, server.base_url, prompt="{{ text }}"))
    sent = first.said.sent
    write_texts(tmp_path / "in.jsonl", texts)
    changed = carry(make_job(tmp_path, server.base_url, prompt="{{ text }}"))
    assert changed.exit_code == 4
    assert str(changed.error).count("\n") >= 1, "it says what changed"
    replaced = carry(make_job(tmp_path, server.base_url, prompt="{{ text }}"), replace=True)
    assert (replaced.exit_code, replaced.said.sent, replaced.said.reused) == (0, 12, ROWS - 12)
    assert [row["text"] for row in table_of(tmp_path / "out.parquet")] == texts
    repaired = {str(number) for number in range(0, ROWS, 25)}
    assert {key for key, count in keys_sent(server).items() if count != 1} == set()
    assert repaired <= set(keys_sent(server))
    assert server.totals()["requests"] == sent + 12


def test_concurrency_and_key_are_tuning_and_resume(server: Simulator, tmp_path: Path) -> None:
    server.control(fail_after={"unauthorized": 100}, api_key="sk-old-0123456789abcdef")
    write_texts(tmp_path / "in.jsonl", marked(ROWS))
    stopped = carry(
        job_in(tmp_path, server, concurrency=4, api_key_env="OLD"), environ={"OLD": "sk-old-0123456789abcdef"}
    )
    assert stopped.exit_code == 5
    server.control(fail_after={}, api_key="sk-new-0123456789abcdef")
    done = carry(
        job_in(tmp_path, server, concurrency=32, api_key_env="NEW"),
        environ={"NEW": "sk-new-0123456789abcdef"},
    )
    assert (done.exit_code, done.said.sent) == (0, ROWS - 100)
    bought_once(server, ROWS)


@pytest.mark.parametrize(("mode", "exit_code"), [("ok", 0), ("refusal", 3), ("context_length", 3)])
def test_a_finished_run_sends_nothing_and_exits_as_it_did(
    server: Simulator, tmp_path: Path, mode: str, exit_code: int
) -> None:
    server.control(faults_by_substring={"<7>": mode})
    write_texts(tmp_path / "in.jsonl", marked(40))
    first = carry(job_in(tmp_path, server))
    before, requests = (tmp_path / "out.parquet").read_bytes(), server.totals()["requests"]
    second = carry(job_in(tmp_path, server))
    assert (first.exit_code, second.exit_code) == (exit_code, exit_code)
    assert second.said.finished_before
    assert second.said.outcomes == first.said.outcomes
    assert second.said.failures == first.said.failures
    assert server.totals()["requests"] == requests
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_a_simulated_run_is_not_in_the_real_ones_way(server: Simulator, tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(30))
    simulated = carry(job_in(tmp_path, server), simulate=True)
    assert simulated.exit_code == 0
    assert (tmp_path / "out.simulated.parquet").exists()
    assert not (tmp_path / "out.parquet").exists()
    real = carry(job_in(tmp_path, server))
    assert (real.exit_code, real.said.sent, real.said.reused) == (0, 30, 0)
    assert carry(job_in(tmp_path, server), simulate=True).said.finished_before
    bought_once(server, 30)


def test_simulated_answers_are_never_taken_for_real_ones(server: Simulator, tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(30))
    carry(job_in(tmp_path, server), simulate=True)
    real = carry(job_in(tmp_path, server), reuse=(str(tmp_path / "out.simulated.parquet"),))
    assert (real.said.sent, real.said.reused) == (30, 0)


def test_last_nights_output_is_reused_and_only_new_rows_are_paid(server: Simulator, tmp_path: Path) -> None:
    (tmp_path / "nights").mkdir()
    last = marked(200)
    write_texts(tmp_path / "monday.jsonl", last)
    carry(job_in(tmp_path, server, source="monday.jsonl", output="nights/monday.parquet"))
    new = last[20:] + marked(20, start=200)
    write_texts(tmp_path / "tuesday.jsonl", new)
    tuesday = carry(
        job_in(tmp_path, server, source="tuesday.jsonl", output="nights/tuesday.parquet"),
        reuse=(str(tmp_path / "nights" / "*.parquet"),),
    )
    assert (tuesday.exit_code, tuesday.said.sent, tuesday.said.reused) == (0, 20, 180)
    bought_once(server, 220)
    rows = table_of(tmp_path / "nights" / "tuesday.parquet")
    assert [row["text"] for row in rows] == new
    assert {row["cost_usd"] for row in rows[:180]} == {0.0}
    assert all(row["reused_from"] for row in rows[:180])
    assert not any(row["reused_from"] for row in rows[180:])
    monday = {row["text"]: row["completion"] for row in table_of(tmp_path / "nights" / "monday.parquet")}
    assert all(row["completion"] == monday[row["text"]] for row in rows[:180])


def test_fresh_buys_everything_anew_and_goes_on_after_a_stop(server: Simulator, tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(ROWS))
    carry(job_in(tmp_path, server))
    server.control(fail_after={"unauthorized": ROWS + 120})
    stopped = carry(job_in(tmp_path, server), fresh=True)
    assert (stopped.exit_code, stopped.said.outcomes) == (5, {"ok": 120})
    server.control(fail_after={})
    done = carry(job_in(tmp_path, server), fresh=True)
    assert (done.exit_code, done.said.sent, done.said.reused) == (0, ROWS - 120, 0)
    assert set(paid_by_content(server).values()) == {2}
    third = carry(job_in(tmp_path, server), fresh=True)
    assert third.said.sent == ROWS, "a finished fresh run begins anew"


def test_a_fresh_run_that_was_killed_goes_on_when_fresh_is_said_again(
    server: Simulator, tmp_path: Path
) -> None:
    write_texts(tmp_path / "in.jsonl", marked(ROWS))
    carry(job_in(tmp_path, server))
    server.control(latency="fixed:0.05")
    command = [sys.executable, "-P", "-m", "batcher.cli", "run", "-i", "in.jsonl", "-o", "out.parquet"]
    command += ["--model", MODEL, "--prompt", PROMPT, "--base-url", server.base_url, "--fresh"]
    command += ["--concurrency", "8", *(part for price in PRICES for part in ("--set", price))]
    before = (tmp_path / "out.parquet").read_bytes()
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while server.totals()["delivered"] < ROWS + 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    server.control(latency="fixed:0.002")
    assert (tmp_path / "out.parquet").read_bytes() == before
    done = carry(job_in(tmp_path, server), fresh=True)
    assert (done.exit_code, done.said.reused) == (0, 0)
    assert done.said.sent <= ROWS - 60 + 8
    assert server.totals()["generated"] <= 2 * ROWS + 8


def test_duplicates_are_each_paid_and_each_answer_serves_one_row(server: Simulator, tmp_path: Path) -> None:
    twins = ["<1> twin"] * 10
    write_texts(tmp_path / "in.jsonl", twins + marked(10, start=100))
    carry(job_in(tmp_path, server))
    assert server.totals()["generated"] == 20
    write_texts(tmp_path / "in.jsonl", twins * 2 + marked(10, start=100))
    more = carry(job_in(tmp_path, server), replace=True)
    assert (more.said.sent, more.said.reused) == (10, 20)
    assert [row["text"] for row in table_of(tmp_path / "out.parquet")] == twins * 2 + marked(10, start=100)


def test_a_raised_limit_pays_for_the_further_rows_only(server: Simulator, tmp_path: Path) -> None:
    write_texts(tmp_path / "in.jsonl", marked(ROWS))
    carry(job_in(tmp_path, server, limit=50))
    more = carry(job_in(tmp_path, server, limit=120))
    assert (more.exit_code, more.said.sent, more.said.rows_total) == (0, 70, 120)
    whole = carry(job_in(tmp_path, server))
    assert (whole.exit_code, whole.said.sent, whole.said.rows_total) == (0, ROWS - 120, ROWS)
    bought_once(server, ROWS)


def test_a_run_stopped_half_way_gives_its_answers_to_the_changed_one(
    server: Simulator, tmp_path: Path
) -> None:
    """Half the rows change while the run is stopped; the answers to the other half are kept."""
    write_texts(tmp_path / "in.jsonl", marked(ROWS))
    server.control(fail_after={"insufficient_quota": 150})
    carry(job_in(tmp_path, server))
    server.control(fail_after={})
    write_texts(tmp_path / "in.jsonl", marked(100) + marked(200, start=1_000))
    refused = carry(job_in(tmp_path, server))
    assert refused.exit_code == 4
    assert "Reusable 100 of 300" in str(refused.error)
    done = carry(job_in(tmp_path, server), replace=True)
    assert (done.exit_code, done.said.sent, done.said.reused) == (0, 200, 100)
    bought_once(server, 350)


def test_the_command_says_the_same_on_its_own_terminal(server: Simulator, tmp_path: Path) -> None:
    """Refused with a diff, a price and what to type, exit 4; nothing was sent."""
    write_texts(tmp_path / "in.jsonl", marked(40))
    command = ["run", "-i", "in.jsonl", "-o", "out.parquet", "--model", MODEL, "--base-url", server.base_url]
    command += [part for price in PRICES for part in ("--set", price)]
    assert batcher(*command, "--prompt", PROMPT, folder=tmp_path).returncode == 0
    refused = batcher(*command, "--prompt", OTHER_PROMPT, folder=tmp_path)
    said = refused.stderr.decode()
    assert refused.returncode == 4
    for part in ("(exit 4)", "request.prompt", "Reusable 0 of 40; to send 40, about $", "--replace"):
        assert part in said
    assert server.totals()["requests"] == 40
