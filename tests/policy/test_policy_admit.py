"""Admission: window, canary and gate asked together, debited together."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batcher.policy import FlowState, Part, Send, Verdict, Wait, admit
from batcher.policy.table import TEMPLATES
from batcher.records import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST = Request(row_index=0, body=b"{}", request_hash="0" * 32, model="m")
OK = replace(TEMPLATES["ok"], status_code=200)
FATAL = replace(TEMPLATES["account"], status_code=401)
UNREACHED = TEMPLATES["connect"]
HINTED = replace(TEMPLATES["rate_limit"], status_code=429, wait_s=4.0)
BLIND = replace(TEMPLATES["rate_limit"], status_code=429)
PARKED = replace(TEMPLATES["daily_limit"], status_code=429, wait_s=5_000.0)


def flow(concurrency: int = 64, *, further: Sequence[Part] = ()) -> FlowState:
    return FlowState(concurrency=concurrency, rng=random.Random(7), further=further)


def finish(state: FlowState, verdict: Verdict, now: float) -> None:
    state.on_verdict(verdict, now)
    state.on_done(now)


def warm(concurrency: int = 64) -> FlowState:
    """A state whose canary came back well at time 0."""
    state = flow(concurrency)
    assert isinstance(admit(state, REQUEST, 0.0), Send)
    state.on_sent(0.0)
    finish(state, OK, 0.0)
    return state


def sends(state: FlowState, now: float, most: int = 1_000) -> int:
    count = 0
    while count < most and isinstance(admit(state, REQUEST, now), Send):
        count += 1
    return count


def test_the_window_is_filled_and_never_overfilled() -> None:
    state = warm(concurrency=5)
    assert sends(state, 1.0) == 5
    wait = admit(state, REQUEST, 1.0)
    assert isinstance(wait, Wait)
    assert (wait.until, wait.reason) == (math.inf, "concurrency")
    state.on_done(1.0)
    assert sends(state, 1.0) == 1


def test_a_session_begins_with_one_request_alone() -> None:
    state = flow()
    assert sends(state, 10.0) == 1
    state.on_sent(11.0)
    assert admit(state, REQUEST, 12.0) == Wait(26.0, "canary")
    assert state.held_by(12.0) == "canary"
    finish(state, OK, 13.0)
    assert sends(state, 13.0) == 64


def test_a_refusal_that_is_not_fatal_opens_the_canary_too() -> None:
    state = flow()
    admit(state, REQUEST, 0.0)
    finish(state, replace(TEMPLATES["bad_request"], status_code=400), 1.0)
    assert sends(state, 1.0) == 64


def test_a_slow_canary_holds_the_others_for_fifteen_seconds_only() -> None:
    state = flow()
    admit(state, REQUEST, 0.0)
    state.on_sent(0.0)
    assert sends(state, 14.9) == 0
    assert sends(state, 15.0) == 63


def test_a_fatal_reply_opens_nothing() -> None:
    state = flow()
    admit(state, REQUEST, 0.0)
    finish(state, FATAL, 1.0)
    assert sends(state, 100.0) == 0


@pytest.mark.parametrize("judged", [True, False])
def test_a_canary_that_never_arrived_is_followed_by_another_one_alone(judged: bool) -> None:
    state = flow()
    admit(state, REQUEST, 0.0)
    if judged:
        state.on_verdict(UNREACHED, 1.0)
    state.on_done(1.0)
    assert sends(state, 1.0) == 1


def test_a_refusal_with_a_hint_closes_the_gate_for_everybody_at_least_that_long() -> None:
    state = warm()
    admit(state, REQUEST, 1.0)
    finish(state, HINTED, 1.0)
    wait = admit(state, REQUEST, 2.0)
    assert isinstance(wait, Wait)
    assert 5.0 <= wait.until <= 5.4
    assert (wait.reason, state.held_by(2.0)) == ("rate limit", "rate limit")


def test_on_opening_the_gate_ramps_up_within_a_second() -> None:
    state = warm()
    state.on_verdict(HINTED, 1.0)
    opening = admit(state, REQUEST, 2.0)
    assert isinstance(opening, Wait)
    at = opening.until
    assert sends(state, at) == 8
    step = admit(state, REQUEST, at)
    assert isinstance(step, Wait)
    assert step.until == pytest.approx(at + 0.1)
    assert sends(state, step.until) == 8
    assert sends(state, at + 1.0) == 48


def test_a_later_and_shorter_hint_does_not_open_the_gate_early() -> None:
    state = warm()
    state.on_verdict(HINTED, 1.0)
    first = admit(state, REQUEST, 1.5)
    state.on_verdict(replace(HINTED, wait_s=0.1), 1.5)
    assert admit(state, REQUEST, 1.5) == first


def test_single_refusals_without_a_hint_among_successes_close_nothing() -> None:
    state = warm()
    for n in range(300):
        state.on_verdict(BLIND if n % 10 == 0 else OK, 1.0)
    assert sends(state, 1.0) == 64


def test_a_wall_of_refusals_without_a_hint_closes_the_gate_longer_each_time() -> None:
    state = warm()
    now, spans = 1.0, []
    for _ in range(12):
        while isinstance(wait := admit(state, REQUEST, now), Send):
            finish(state, BLIND, now)
        spans.append(wait.until - now)
        now = wait.until + 1.0
    assert spans[:7] == sorted(spans[:7])
    assert 0.25 <= spans[0] <= 0.28
    assert 30.0 <= spans[-1] <= 33.0


def test_parking_is_announced() -> None:
    state = warm()
    assert state.parked_until == -math.inf
    state.on_verdict(PARKED, 10.0)
    assert state.parked_until == 5_010.0
    assert admit(state, REQUEST, 11.0) == Wait(5_010.0, "parked")
    assert state.held_by(11.0) == "parked"


def test_stopping_admits_nothing_for_ever() -> None:
    state = warm()
    state.stop()
    assert admit(state, REQUEST, 1e9) == Wait(math.inf, "stopping")
    assert state.held["stopping"] == 1


def test_nothing_holds_a_run_that_merely_fills_its_window() -> None:
    state = warm(concurrency=1)
    admit(state, REQUEST, 1.0)
    admit(state, REQUEST, 1.0)
    assert state.held_by(1.0) is None


class Ledger(Part):
    """A part that refuses on demand and counts what it was debited."""

    def __init__(self) -> None:
        self.debits = 0
        self.refuses = False

    def ask(self, request: Request, now: float) -> Wait | None:
        return Wait(now + 7, "ledger") if self.refuses else None

    def commit(self, request: Request, now: float) -> None:
        self.debits += 1


def test_nothing_is_debited_unless_all_agree_and_the_longest_wait_is_told() -> None:
    ledger = Ledger()
    state = flow(concurrency=1, further=[ledger])
    assert isinstance(admit(state, REQUEST, 0.0), Send)
    finish(state, OK, 0.0)
    ledger.refuses = True
    assert admit(state, REQUEST, 0.0) == Wait(7.0, "ledger")
    assert (ledger.debits, state.in_flight) == (1, 0)
    ledger.refuses = False
    admit(state, REQUEST, 0.0)
    ledger.refuses = True
    assert admit(state, REQUEST, 0.0) == Wait(math.inf, "concurrency")


def test_a_window_of_nothing_and_an_end_without_a_beginning_are_bugs() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        flow(concurrency=0)
    with pytest.raises(RuntimeError, match="never admitted"):
        flow().on_done(0.0)


class Traffic(RuleBasedStateMachine):
    """Requests, replies and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = flow(concurrency=4)
        self.now = 1_000.0
        self.out = 0
        self.gate = 0.0

    @rule()
    def ask(self) -> None:
        answer = admit(self.state, REQUEST, self.now)
        if isinstance(answer, Send):
            self.out += 1
            assert self.now >= self.gate
        else:
            assert answer.until > self.now, "a wait that is over must not be told: the caller would spin"

    @precondition(lambda self: self.out > 0)
    @rule(verdict=st.sampled_from([OK, HINTED, BLIND, UNREACHED, None]))
    def end(self, verdict: Verdict | None) -> None:
        if verdict is not None:
            self.state.on_verdict(verdict, self.now)
            if verdict is HINTED:
                self.gate = max(self.gate, self.now + 4.0)
        self.state.on_done(self.now)
        self.out -= 1

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.1 + 1e-9, 1.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sleep_until_told(self) -> None:
        answer = admit(self.state, REQUEST, self.now)
        if isinstance(answer, Send):
            self.out += 1
        elif answer.until < math.inf:
            self.now = answer.until

    @invariant()
    def the_window_holds(self) -> None:
        assert self.state.in_flight == self.out <= 4


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
