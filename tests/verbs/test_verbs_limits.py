"""What the user and the machine allow a session, as the flow control takes it and as a person is told."""

from __future__ import annotations

import random
import time

import pytest

from batcher.cost.prices import Rates
from batcher.errors import LimitReached
from batcher.job import Job, JobOptions, load_job
from batcher.policy import FlowState
from batcher.verbs.limits import dollars, flow_settings, limit_told, rates_of, refuse_without_bound

BOUNDED = ("prices.m={input=1, output=2}", "request.max_completion_tokens=50")


def job_with(*sets: str) -> Job:
    options = JobOptions(input="in.jsonl", output="out.parquet", model="m", prompt="Say {{ text }}")
    return load_job(None, sets=sets, options=options)


def flow_of(job: Job, *, spent_usd: float = 0.0, elapsed_s: float = 0.0) -> FlowState:
    started = time.monotonic() - elapsed_s
    settings = flow_settings(job, most_concurrency=100, input_format="jsonl", started=started)
    return FlowState.from_settings(settings, rng=random.Random(1), now=0.0, spent_usd=spent_usd)


def test_the_flow_control_is_given_what_the_job_says() -> None:
    job = job_with(
        "limits.concurrency=7",
        "limits.requests_per_minute=90",
        "limits.tokens_per_minute=4000",
        "limits.max_cost_usd=5",
        "limits.deadline=1h",
        "request.n=3",
        *BOUNDED,
    )
    started = time.monotonic()
    found = flow_settings(job, most_concurrency=100, input_format="jsonl", started=started)
    assert (found.concurrency, found.most_concurrency, found.completions) == (7, 100, 3)
    assert (found.requests_per_minute, found.tokens_per_minute, found.max_cost_usd) == (90, 4000, 5)
    assert found.deadline_s == pytest.approx(3600, abs=1)
    assert found.rates_of("m") == Rates(1, None, 2)
    assert found.rates_of("nobody's") is None


def test_nothing_said_leaves_everything_to_be_found() -> None:
    found = flow_settings(job_with(), most_concurrency=100, input_format="jsonl", started=time.monotonic())
    assert (found.concurrency, found.requests_per_minute, found.tokens_per_minute) == (None, None, None)
    assert (found.max_cost_usd, found.deadline_s, found.completions) == (None, None, 1)


def test_batch_lines_say_themselves_how_many_completions_they_ask_for() -> None:
    found = flow_settings(
        job_with(), most_concurrency=100, input_format="openai-batch", started=time.monotonic()
    )
    assert found.completions is None


def test_a_deadline_counts_the_time_before_the_first_request() -> None:
    job = job_with("limits.deadline=60s")
    assert flow_of(job, elapsed_s=50).deadline_at == pytest.approx(10, abs=1)
    assert 0 < flow_of(job, elapsed_s=70).deadline_at < 1


def test_flat_prices_keep_the_price_of_cached_tokens_and_others_are_taken_at_their_dearest() -> None:
    flat = rates_of(job_with("prices.m={input=2, cached_input=1, output=4}"))("m")
    odd = rates_of(job_with("prices.m={input=2, cached_input=3, output=4}"))("m")
    assert flat is not None
    assert odd is not None
    assert (flat.input, flat.cached_input, flat.output) == (2, 1, 4)
    assert (odd.input, odd.cached_input, odd.output) == (3, None, 4)


def test_a_used_up_budget_tells_cap_spent_left_and_what_was_lost() -> None:
    job = job_with("limits.max_cost_usd=1", *BOUNDED)
    flow = flow_of(job, spent_usd=0.999)
    told = limit_told(LimitReached("?"), job, flow, certain_usd=0.959, now=1.0)
    assert str(told).startswith(
        "The budget of $1.00 is used up: $0.999 spent ($0.04 of it at most, for attempts"
    )
    clear = limit_told(LimitReached("?"), job, flow, certain_usd=0.999 + 1e-12, now=1.0)
    assert "$0.999 spent, $0.001 left" in str(clear)
    assert "$0.001 left" in str(told)
    assert "--max-cost" in str(told.hint)
    assert (told.exit_code, told.next_step) == (6, "raise_budget")


def test_a_passed_deadline_asks_for_no_money() -> None:
    job = job_with("limits.max_cost_usd=1", "limits.deadline=90m", *BOUNDED)
    told = limit_told(LimitReached("?"), job, flow_of(job), certain_usd=0.0, now=5_401.0)
    assert "90 min" in str(told) or "1 h 30 min" in str(told)
    assert (told.exit_code, told.next_step) == (6, "rerun")
    assert LimitReached.next_step == "raise_budget"


def test_a_budget_of_batch_lines_is_asked_for_row_by_row() -> None:
    refuse_without_bound(job_with("limits.max_cost_usd=1"), "openai-batch")


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "$0.00"),
        (1.0, "$1.00"),
        (12345.6, "$12,345.60"),
        (0.999, "$0.999"),
        (0.0004565, "$0.000456"),
        (20.0, "$20.00"),
    ],
)
def test_dollars_have_as_many_digits_as_tell_a_sum_from_its_cap(usd: float, text: str) -> None:
    assert dollars(usd) == text
