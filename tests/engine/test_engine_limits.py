"""What the user allows, held by whole runs: the budget and the deadline."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest
from engine_world import Builder, Setup, Step, error, lost, ok, play

from batcher.errors import JobError, LimitReached
from batcher.policy import FlowSettings
from batcher.records import Outcome


class Price(NamedTuple):
    """USD per million tokens."""

    input: float = 1.0
    cached_input: float | None = None
    output: float = 10.0


PAID_USD = (7 * 1.0 + 3 * 10.0) / 1e6
"""What `ok()` costs by its usage."""


WORST_USD = (20 * 1.0 + 3 * 10.0) / 1e6
"""What it could have cost: each byte a token."""


def spending(most_usd: float, *, concurrency: int | None = None, max_tokens: int | None = 3) -> Setup:
    settings = FlowSettings(concurrency=concurrency, max_cost_usd=most_usd, rates_of=lambda model: Price())
    builder = Builder(max_tokens=max_tokens, body=lambda n: b"x" * 20)
    return Setup(rows=1_000, settings=settings, builder=builder)


@pytest.mark.parametrize("concurrency", [None, 1, 64])
def test_a_budget_that_is_used_up_stops_the_run_and_nothing_is_lost(concurrency: int | None) -> None:
    world = play(lambda row, attempt, now: ok(), spending(100 * PAID_USD, concurrency=concurrency))
    assert isinstance(world.error, LimitReached)
    assert 99 <= len(world.sent) <= 100
    assert world.outcomes() == {Outcome.OK: len(world.sent)}
    assert world.flow.spend is not None
    assert world.flow.spend.spent_usd == pytest.approx(len(world.sent) * PAID_USD)


def test_what_may_have_been_paid_counts_in_full_and_what_was_not_counts_nothing() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return lost() if row % 7 == 0 and attempt == 1 else error(500) if attempt == 1 else ok()

    world = play(script, spending(100 * PAID_USD))
    assert isinstance(world.error, LimitReached)
    lost_ones = sum(sent.row % 7 == 0 and sent.attempt == 1 for sent in world.sent)
    answered = len(world.store.ended)
    assert answered * PAID_USD + lost_ones * WORST_USD <= 100 * PAID_USD
    assert (answered + 1) * PAID_USD + lost_ones * WORST_USD > 99 * PAID_USD


def test_a_budget_goes_by_what_the_gateway_charges_and_not_by_the_table() -> None:
    setup = replace(spending(100 * PAID_USD, concurrency=1), attempt_usd=2 * PAID_USD)
    world = play(lambda row, attempt, now: ok(), setup)
    assert isinstance(world.error, LimitReached)
    assert 49 <= len(world.sent) <= 50


def test_a_row_without_a_token_maximum_stops_a_run_that_has_a_budget() -> None:
    world = play(lambda row, attempt, now: ok(), spending(1.0, max_tokens=None))
    assert isinstance(world.error, JobError)
    assert "row 0" in str(world.error)
    assert not world.sent


def test_the_deadline_ends_a_run_as_a_first_signal_would() -> None:
    setup = Setup(rows=1_000, settings=FlowSettings(deadline_s=25.0))
    world = play(lambda row, attempt, now: ok(seconds=10.0), setup)
    assert isinstance(world.error, LimitReached)
    assert max(sent.at for sent in world.sent) < 25
    assert 25 < world.seconds <= 35, "what was in flight came home"
    assert world.outcomes() == {Outcome.OK: len(world.sent)}


def test_the_deadline_comes_though_nothing_is_sent() -> None:
    setup = Setup(rows=10, settings=FlowSettings(deadline_s=25.0), seconds_per_chunk=1_000.0)
    world = play(lambda row, attempt, now: ok(), setup)
    assert isinstance(world.error, LimitReached)
    assert world.seconds == 25
