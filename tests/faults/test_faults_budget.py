"""Attacks on `--max-cost`: what the server generated, at the job's prices, comes close to the cap and never over it.

The bill is the simulator's ledger, not our own sums: every answer that was generated is on it, delivered or not.
"""

from __future__ import annotations

import json
import random
import resource
from typing import TYPE_CHECKING

import orjson
import pytest
from attack import Scene, Stage, write_rows
from runs import MODEL, PROMPT, carry, marked, write_texts
from stage import KILLED

from batcher.errors import LimitReached
from batcher.job import JobOptions, load_job
from batcher.records import Outcome
from batcher.report import Summary
from batcher.simulator import SimulatorConfig, launch
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry
from batcher.verbs.trial import try_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runs import Ended

    from batcher.job import Job
    from batcher.simulator import Simulator

pytest_plugins = ("faults_fixtures",)

INPUT_PRICE, OUTPUT_PRICE = 10.0, 40.0
"""USD per million tokens: an answer costs about $0.0014, and at worst (64 tokens) $0.0038."""
MOST_TOKENS = 64
WORST_USD = 0.004
PRICES = f"{{input={INPUT_PRICE}, output={OUTPUT_PRICE}}}"
BOUNDED = (f'prices."{MODEL}"={PRICES}', f"request.max_completion_tokens={MOST_TOKENS}")
FAULTS = {
    "server_error": 0.05,
    "unavailable": 0.03,
    "rate_limit": 0.05,
    "body_cut": 0.04,
    "gateway_timeout": 0.05,
    "usage_missing": 0.02,
    "malformed_json": 0.02,
    "silence": 0.003,  # until the attempt's deadline: paid for, never received
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="uniform:0.001-0.004", max_sentences=3)) as simulator:
        yield simulator


@pytest.fixture
def server(provider: Simulator) -> Simulator:
    provider.control(faults={}, faults_by_substring={}, fail_after={}, latency="uniform:0.001-0.004")
    provider.reset()
    return provider


def job_of(
    folder: Path,
    server: Simulator,
    *,
    cap: float | None,
    concurrency: int | str = 16,
    sets: tuple[str, ...] = BOUNDED,
) -> Job:
    options = JobOptions(
        input=str(folder / "in.jsonl"),
        output=str(folder / "out.parquet"),
        model=MODEL,
        prompt=PROMPT,
        base_url=server.base_url,
        concurrency=concurrency,
        max_cost_usd=cap,
    )
    return load_job(None, sets=sets, options=options)


def billed(server: Simulator) -> float:
    """What the provider's books say that all answers cost."""
    paid = [entry for entry in server.ledger() if entry["generated"]]
    prompt = sum(int(entry["prompt_tokens"]) for entry in paid)
    completion = sum(int(entry["completion_tokens"]) for entry in paid)
    return (prompt * INPUT_PRICE + completion * OUTPUT_PRICE) / 1e6


def assert_stopped_at(ended: Ended, *, then: str = "raise_budget") -> None:
    """It stopped at a limit of the user's, and says how to go on."""
    assert ended.exit_code == 6, ended
    assert (ended.said.exit_reason, ended.said.next) == ("limit_reached", then)


@pytest.mark.parametrize("concurrency", [1, 64, "auto"])
def test_the_bill_comes_close_to_the_cap_and_never_over_it(
    tmp_path: Path, server: Simulator, concurrency: int | str
) -> None:
    rows, cap = 600, 0.4
    write_texts(tmp_path / "in.jsonl", marked(rows))
    ended = carry(job_of(tmp_path, server, cap=cap, concurrency=concurrency))
    assert_stopped_at(ended)
    assert cap - WORST_USD < billed(server) <= cap
    assert f"${cap:.2f}" in str(ended.error)

    again = carry(job_of(tmp_path, server, cap=cap, concurrency=concurrency))
    assert_stopped_at(again)
    assert (again.said.sent, again.said.rows_done) == (0, ended.said.rows_done)

    raised = carry(job_of(tmp_path, server, cap=1.5 * cap, concurrency=concurrency))
    assert_stopped_at(raised)
    assert 1.5 * cap - WORST_USD < billed(server) <= 1.5 * cap

    done = carry(job_of(tmp_path, server, cap=100, concurrency=concurrency))
    assert done.exit_code == 0
    assert done.said.cost_usd == pytest.approx(billed(server))


@pytest.mark.parametrize("concurrency", [1, 64, "auto"])
def test_what_fails_after_it_was_paid_is_on_the_bill_too(
    tmp_path: Path, server: Simulator, concurrency: int | str
) -> None:
    server.control(faults=FAULTS)
    cap = 0.2 if concurrency == 1 else 1.0
    write_texts(tmp_path / "in.jsonl", marked(2000))
    job = job_of(
        tmp_path, server, cap=cap, concurrency=concurrency, sets=(*BOUNDED, "endpoint.timeout_s=0.5")
    )
    ended = carry(job)
    assert_stopped_at(ended)
    assert 0.75 * cap < billed(server) <= cap


def budget_words(cap: float) -> list[str]:
    sets = [f"prices.m={PRICES}", f"request.max_completion_tokens={MOST_TOKENS}"]
    return [*(word for each in sets for word in ("--set", each)), "--max-cost", str(cap)]


def test_a_run_that_is_killed_again_and_again_keeps_to_its_cap(
    tmp_path: Path, server: Simulator, stage: Stage
) -> None:
    cap, rows, rng = 1.5, 1200, random.Random(6)
    scene = Scene(tmp_path, server, concurrency=24)
    write_rows(scene.input, rows)
    server.control(
        faults={"rate_limit": 0.05}
    )  # none that leaves a doubt, which would hide what the kills cost
    for _ in range(6):
        killed, _ = stage.run(scene, *budget_words(cap), at=rng.randrange(150, 400))
        assert killed.code == KILLED
        assert 0 < billed(server) <= cap
    ended, _ = stage.run(scene, *budget_words(cap))
    assert (ended.code, ended.summary["next"]) == (6, "raise_budget"), ended
    assert 0.7 * cap < billed(server) <= cap
    assert "of it at most, for attempts of unknown cost" in ended.stderr

    server.control(faults={})
    done, _ = stage.run(scene, *budget_words(100))
    scene.assert_right(done, rows=rows)


def test_attempts_lost_before_a_shard_was_sealed_count_for_its_retry(
    tmp_path: Path, server: Simulator
) -> None:
    """Journals go with the seal: what they knew of lost answers stands in the seal record."""
    # The others last 3 s, for the row's last attempt waits until others are answered: it may be paid for in vain.
    server.control(faults_by_substring={"<3>": "gateway_timeout"}, latency="fixed:0.1")
    write_texts(tmp_path / "in.jsonl", marked(480))
    first = carry(job_of(tmp_path, server, cap=None))
    assert first.exit_code == 3
    spent_for_certain = first.said.cost_usd
    assert first.said.ambiguous == 3
    assert spent_for_certain is not None

    server.control(faults_by_substring={})
    output, wish = tmp_path / "out.parquet", RetryWish((Outcome.FAILED,))
    tight = spent_for_certain + 2 * WORST_USD  # enough, did the three not count
    with pytest.raises(LimitReached, match="of it at most, for attempts of unknown cost") as caught:
        retry(output, wish, RunOptions(), job_options=JobOptions(max_cost_usd=tight))
    assert isinstance(caught.value.summary, Summary)
    assert (caught.value.summary.sent, caught.value.summary.next) == (0, "raise_budget")

    wide = spent_for_certain + 5 * WORST_USD
    done = retry(output, wish, RunOptions(), job_options=JobOptions(max_cost_usd=wide))
    assert done.outcomes == {"ok": 480}
    assert billed(server) <= wide


def test_a_retry_stopped_by_its_budget_goes_on_with_a_raised_one(tmp_path: Path, server: Simulator) -> None:
    server.control(faults_by_substring={"bad": "bad_request"})
    write_texts(tmp_path / "in.jsonl", [*marked(4), *marked(15, word="bad", start=4)])
    first = carry(job_of(tmp_path, server, cap=1.0))
    assert first.exit_code == 3
    server.control(faults_by_substring={})
    before = billed(server)

    def again(cap: float) -> Summary:
        wish = RetryWish((Outcome.FAILED,), (f"limits.max_cost_usd={cap}",))
        return retry(tmp_path / "out.parquet", wish, RunOptions())

    with pytest.raises(LimitReached):
        again(before + 0.02)
    assert before < billed(server) <= before + 0.02
    assert again(1.0).outcomes == {"ok": 19}


def test_answers_that_are_taken_over_cost_the_run_nothing(tmp_path: Path, server: Simulator) -> None:
    write_texts(tmp_path / "in.jsonl", marked(12))
    try_rows(job_of(tmp_path, server, cap=1.0), RunOptions(), count=12)
    ended = carry(job_of(tmp_path, server, cap=0))
    assert ended.exit_code == 0
    assert (ended.said.reused, ended.said.sent) == (12, 0)


def test_a_gateway_that_bills_above_the_list_keeps_to_the_cap_too(tmp_path: Path, server: Simulator) -> None:
    """A hundred times the list: after the first answer everything is set aside at what the gateway bills."""
    write_texts(tmp_path / "in.jsonl", marked(300))
    options = JobOptions(
        input=str(tmp_path / "in.jsonl"), output=str(tmp_path / "out.parquet"), model="gpt-4o-mini",
        prompt=PROMPT, base_url=server.base_url, concurrency=32, max_cost_usd=0.5,
    )  # fmt: skip
    server.control(gateway_price=100.0)
    ended = carry(load_job(None, sets=BOUNDED[1:], options=options))
    server.control(gateway_price=None)
    assert_stopped_at(ended)
    totals = server.totals()
    assert 0.4 < 100e-6 * (totals["prompt_tokens"] + totals["completion_tokens"]) <= 0.5


def test_a_cap_of_nothing_buys_nothing(tmp_path: Path, server: Simulator) -> None:
    write_texts(tmp_path / "in.jsonl", marked(5))
    ended = carry(job_of(tmp_path, server, cap=0))
    assert_stopped_at(ended)
    assert server.totals()["requests"] == 0


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        ((), f'[prices."{MODEL}"]'),
        (BOUNDED[:1], "max_completion_tokens"),
        (BOUNDED[1:], f'[prices."{MODEL}"]'),
    ],
)
def test_a_cap_that_cannot_be_kept_is_refused_with_the_line_to_add(
    tmp_path: Path, server: Simulator, sets: tuple[str, ...], line: str
) -> None:
    write_texts(tmp_path / "in.jsonl", marked(5))
    ended = carry(job_of(tmp_path, server, cap=5, sets=sets))
    assert ended.exit_code == 2
    assert ended.error is not None
    assert line in str(ended.error.hint)
    assert server.totals()["requests"] == 0
    assert not (tmp_path / ".batcher" / "out.parquet.run" / "run.json").exists()


@pytest.mark.parametrize(
    ("own", "line"), [({"model": "dear"}, '[prices."dear"]'), ({"model": MODEL}, "max_completion_tokens")]
)
def test_a_row_of_its_own_model_without_a_bound_stops_the_run_before_it_is_sent(
    tmp_path: Path, server: Simulator, own: dict[str, str], line: str
) -> None:
    (tmp_path / "in.jsonl").write_text(batch_line(0, **own))
    sets = (BOUNDED[0], 'input.format="openai-batch"')
    options = JobOptions(
        input=str(tmp_path / "in.jsonl"), output=str(tmp_path / "out.parquet"), model=MODEL,
        base_url=server.base_url, max_cost_usd=5,
    )  # fmt: skip
    ended = carry(load_job(None, sets=sets, options=options))
    assert ended.exit_code == 2, ended
    assert ended.error is not None
    assert line in str(ended.error.hint)
    assert "row 0" in str(ended.error)
    assert server.totals()["requests"] == 0


def batch_line(row: int, **body: object) -> str:
    whole = {"messages": [{"role": "user", "content": f"<{row}>"}], **body}
    line = {"custom_id": f"r{row}", "method": "POST", "url": "/v1/chat/completions", "body": whole}
    return json.dumps(line) + "\n"


def test_a_deadline_ends_the_session_and_the_same_command_goes_on(tmp_path: Path, server: Simulator) -> None:
    server.control(latency="fixed:0.1")
    write_texts(tmp_path / "in.jsonl", marked(200))
    ended = carry(job_of(tmp_path, server, cap=None, concurrency=4, sets=("limits.deadline=1s",)))
    assert_stopped_at(ended, then="rerun")
    assert "deadline of 1.0 s" in str(ended.error)
    assert ended.said.sent == ended.said.rows_done > 0  # what was in flight came home
    assert ended.said.elapsed_s < 3
    server.control(latency="fixed:0")
    done = carry(job_of(tmp_path, server, cap=None, sets=('limits.deadline="8h"',)))
    assert done.exit_code == 0
    assert server.totals()["paid_again"] == 0


@pytest.mark.parametrize(("hard", "is_capped"), [(160, True), (1024, False)])
def test_the_limit_of_open_files_bounds_what_is_in_flight(
    tmp_path: Path, server: Simulator, hard: int, is_capped: bool
) -> None:
    server.control(latency="fixed:0.05")
    scene = Scene(tmp_path, server, concurrency=300)
    write_rows(scene.input, 600)
    ended = scene.run(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard)))
    scene.assert_right(ended, rows=600)
    told = "at most 64 requests in flight, not 300" in orjson.dumps(ended.summary["warnings"]).decode()
    assert told is is_capped
    most = server.totals()["max_in_flight"]
    assert most <= 64 if is_capped else most > 64
