"""The parts of the flow control one by one, and their bounds in any order of events."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batcher.errors import JobError, LimitReached
from batcher.policy import (
    FlowEvent,
    FlowSettings,
    FlowState,
    Observation,
    Send,
    Verdict,
    Wait,
    admit,
    most_in_flight,
    refusal_at_start,
    worst_cost_usd,
)
from batcher.policy.auto_window import AutoWindow
from batcher.policy.blocks import Blocks
from batcher.policy.bucket import Bucket
from batcher.policy.estimate import Estimate, completions_asked
from batcher.policy.events import EventLog
from batcher.policy.retry_bucket import RetryBucket
from batcher.policy.table import TEMPLATES
from batcher.policy.told_limits import ToldLimits
from batcher.records import Request, Usage

OK = TEMPLATES["ok"]
OVERLOADED = replace(TEMPLATES["overloaded"], status_code=529)
BROKEN = replace(TEMPLATES["server_error"], status_code=500)
LOST = TEMPLATES["no_reply"]
REFUSED = replace(TEMPLATES["rate_limit"], status_code=429)
USED = Usage(100, 50)


class Price:
    """USD per million tokens."""

    input = 1.0
    cached_input = 0.5
    output = 10.0


def request(row: int, body: bytes = b"{}", max_tokens: int | None = 100) -> Request:
    return Request(row, body, "0" * 32, "m", max_tokens=max_tokens)


def flow(**limits: Any) -> FlowState:
    return FlowState.from_settings(FlowSettings(**limits), rng=random.Random(7), now=0.0)


def answer(state: FlowState, row: int, verdict: Verdict, sent_at: float, now: float, **more: Any) -> None:
    seen = Observation(request(row), sent_at, now, verdict, usage=USED)._replace(**more)
    state.on_reply(seen)
    state.on_verdict(verdict, now)
    state.on_done(now, seen.request)


def send(state: FlowState, row: int, now: float) -> bool:
    if not isinstance(admit(state, request(row), now), Send):
        return False
    state.on_sent(now, request(row))
    return True


def warm(**limits: Any) -> FlowState:
    """A state whose canary (row 0) came back well at time 0."""
    state = flow(**limits)
    assert send(state, 0, 0.0)
    answer(state, 0, OK, 0.0, 0.0)
    return state


def fill(state: FlowState, first_row: int, now: float) -> list[int]:
    """Send until the window is full."""
    rows: list[int] = []
    while send(state, first_row + len(rows), now):
        rows.append(first_row + len(rows))
    return rows


def window_of(state: FlowState) -> int:
    return state.window


# --- window -----------------------------------------------------------------------------------------------


def grown(to: int) -> tuple[FlowState, float, int]:
    """(state, time, next row): a window that slow start has brought to this size."""
    state, now, row = warm(), 1.0, 1
    while state.window < to:
        rows = fill(state, row, now)
        row += len(rows)
        now += 1.0
        for each in rows:
            answer(state, each, OK, now - 1.0, now)
    return state, now, row


def test_slow_start_doubles_from_four_per_window_of_successes() -> None:
    state = warm()
    sizes = [state.window]
    now, row = 1.0, 1
    for _ in range(4):
        rows = fill(state, row, now)
        assert len(rows) == state.window
        row, now = row + len(rows), now + 1.0
        for each in rows:
            answer(state, each, OK, now - 1.0, now)
            send(state, row, now)
            row += 1
        for each in range(rows[-1] + 1, row):
            answer(state, each, OK, now, now)
        sizes.append(state.window)
    assert sizes[0] == 4
    assert all(later >= 2 * earlier for earlier, later in pairwise(sizes))


def test_a_window_that_is_not_used_does_not_grow() -> None:
    state = warm()
    for row in range(1, 500):
        send(state, row, float(row))
        answer(state, row, OK, float(row), row + 0.5)
    assert state.window == 4


@pytest.mark.parametrize(
    ("verdict", "count", "factor"), [(OVERLOADED, 1, 0.7), (BROKEN, 7, 0.7), (LOST, 7, 0.5)]
)
def test_congestion_cuts_once_per_episode(verdict: Verdict, count: int, factor: float) -> None:
    state, now, row = grown(64)
    rows = fill(state, row, now)
    for each in rows[: count - 1]:
        answer(state, each, verdict, now, now + 1)
    assert state.window == 64
    for each in rows[count - 1 :]:
        answer(state, each, verdict, now, now + 1)
    assert state.window == int(64 * factor)


def test_scattered_faults_are_no_burst() -> None:
    state, now, row = grown(64)
    for _ in range(30):
        row += 1
        now += 1.3
        send(state, row, now)
        answer(state, row, BROKEN, now, now + 0.1)
        for _ in range(2):
            row += 1
            send(state, row, now)
            answer(state, row, OK, now, now + 0.1)
    assert state.window == 64


def test_answers_to_requests_sent_before_a_cut_do_not_grow_it() -> None:
    state, now, row = grown(64)
    rows = fill(state, row, now)
    answer(state, rows[0], OVERLOADED, now, now + 1)
    for each in rows[1:]:
        answer(state, each, OK, now, now + 2)
    assert state.window == 44


def test_after_a_cut_the_window_grows_by_one() -> None:
    state, now, row = grown(64)
    rows = fill(state, row, now)
    answer(state, rows[0], OVERLOADED, now, now + 1)
    for each in rows[1:]:
        answer(state, each, OK, now, now + 2)
    now += 30
    for _ in range(3):
        rows = fill(state, row + 1000, now)
        row += 1000 + len(rows)
        for each in rows:
            answer(state, each, OK, now, now + 1)
            send(state, row := row + 1, now + 1)
        now += 2
    assert 45 <= state.window <= 48


def test_a_refusal_for_rate_does_not_cut_the_window() -> None:
    state, now, row = grown(64)
    for each in fill(state, row, now):
        answer(state, each, REFUSED, now, now + 0.1)
    assert state.window == 64


def test_the_cap_and_the_descriptors_bound_the_window() -> None:
    assert most_in_flight(None) == 4_096
    assert most_in_flight(1_024) == 928
    assert most_in_flight(10) == 1
    assert flow(concurrency=500, most_concurrency=100).window == 100
    with pytest.raises(ValueError, match="at least 1"):
        AutoWindow(most=0, log=EventLog())


def test_a_large_pinned_window_is_filled_over_the_first_second_and_a_small_one_at_once() -> None:
    small, large = warm(concurrency=32), warm(concurrency=1_000)
    assert len(fill(small, 1, 1.0)) == 32
    sent = [len(fill(large, 10_000 * n, 1.0 + 0.25 * n)) for n in range(5)]
    assert sent == [32, 218, 250, 250, 250]


def blocks_after(*speeds: tuple[int, float]) -> tuple[Blocks, int | None]:
    """Blocks of these (window, seconds per reply), the verdict on the last."""
    blocks = Blocks(speeds[0][0])
    said = None
    for window, seconds in speeds:
        blocks.grown(window)
        for _ in range(max(window, 50)):
            blocks.current.add(tokens=100, spent_s=seconds, in_flight=window)
        said = blocks.verdict(blocks.current)
    return blocks, said


def test_a_block_that_is_as_fast_per_request_is_kept_and_one_that_only_queues_is_not() -> None:
    assert blocks_after((16, 1.0), (32, 1.0), (64, 1.0))[1] is None
    assert blocks_after((16, 1.0), (32, 1.0), (64, 2.0))[1] == 32
    assert blocks_after((16, 1.0), (32, 1.0), (64, 1.9))[1] is None, "5 % more is worth it"


def test_the_step_back_goes_below_the_block_before_when_that_queued_already() -> None:
    assert blocks_after((24, 1.0), (48, 1.5), (96, 3.0))[1] == 37, (
        "32 are enough, and 15 % for what is not known"
    )
    assert blocks_after((30, 1.0), (36, 1.0), (72, 2.0))[1] == 36, "never more than the one that was as fast"


# --- pace -------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    per_s=st.floats(0.01, 10_000),
    needs=st.lists(st.floats(0.001, 5_000), min_size=1, max_size=60),
    idle=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_a_bucket_lets_go_no_more_than_its_rate_and_one_burst(
    per_s: float, needs: list[float], idle: list[float]
) -> None:
    bucket, now = Bucket(per_s, 0.0), 0.0
    sent: list[tuple[float, float]] = []
    for need, pause in zip(needs, idle, strict=False):
        now += pause
        wait = bucket.wait_s(need, now)
        now += wait
        assert bucket.wait_s(need, now) == 0.0, "a wait that was waited is over"
        bucket.take(need)
        sent.append((now, need))
    for first, (begin, _) in enumerate(sent):
        total = 0.0
        for at, need in sent[first:]:
            total += need
            burst = max(per_s * 0.05, *(n for _, n in sent[first:]))
            assert total <= (per_s * (at - begin) + burst) * (1 + 1e-6) + per_s * 1e-4


def test_told_limits_are_followed_and_stale_ones_ignored() -> None:
    told = ToldLimits()
    assert told.read([("x-ratelimit-limit-requests", "600")], sent_at=10.0)
    assert not told.read([("x-ratelimit-limit-requests", "9999")], sent_at=9.0)
    assert told.requests == 600
    assert told.read([("x-ratelimit-limit-requests", "300")], sent_at=11.0)
    for nonsense in ("0", "-1", "nan", "1e999", "", "soon", "9" * 30, "\u0663"):
        told.read([("x-ratelimit-limit-requests", nonsense)], sent_at=12.0)
    assert told.requests == 300
    assert told.tokens is None


def test_the_smaller_of_the_users_and_the_servers_limit_counts() -> None:
    state = warm(requests_per_minute=600)
    headers = (("x-ratelimit-limit-requests", "60000"),)
    send(state, 1, 1.0)
    answer(state, 1, OK, 1.0, 2.0, headers=headers)
    limits = state.state(2.0)["limits"]
    assert isinstance(limits, dict)
    assert limits["requests_per_minute"] == pytest.approx(600)
    assert limits["told_by_server"] == {"requests": 60_000.0, "tokens": None}


def test_the_estimate_learns_what_a_byte_weighs() -> None:
    estimate = Estimate()
    asked = request(1, b"x" * 350)
    assert estimate.of(asked) == (200.0, 200.0)
    for _ in range(200):
        estimate.learn(asked, Usage(50, 10))
    reserved, likely = estimate.of(asked)
    assert reserved == pytest.approx(150)
    assert likely == pytest.approx(60)
    estimate.learn(asked, Usage(0, None))
    assert estimate.of(asked)[0] == pytest.approx(150)


@pytest.mark.parametrize(
    ("body", "asked"),
    [(b'{"n":3}', 3), (b'{"n": null}', 1), (b"{}", 1), (b'"n"', 1), (b'{"n"', 1), (b'{"n":true}', 1)],
)
def test_completions_asked_for_are_counted(body: bytes, asked: int) -> None:
    assert completions_asked(body) == asked


def test_nothing_is_paced_before_a_flood_of_refusals() -> None:
    state, now, row = grown(64)
    assert state.state(now)["pace"] == {"requests_per_minute": None, "refused_at_any_rate": 0.0}
    rows = fill(state, row, now)
    assert len(rows) == 64
    answer(state, rows[0], REFUSED, now, now + 0.1)
    assert state.state(now)["pace"] == {"requests_per_minute": None, "refused_at_any_rate": 0.0}
    for row in rows[1:8]:
        answer(state, row, REFUSED, now, now + 0.1)
    pace = state.state(now)["pace"]
    assert isinstance(pace, dict)
    assert pace["requests_per_minute"] > 0


# --- retries and breaker ----------------------------------------------------------------------------------


def test_the_retry_bucket_gives_back_one_for_a_retry_and_a_tenth_for_others() -> None:
    bucket = RetryBucket(lambda: 100)
    assert bucket.capacity == 200
    for row in range(10):
        bucket.failed(row, BROKEN)
    assert bucket.level == 190
    bucket.succeeded(0)
    assert bucket.level == 191
    bucket.succeeded(777)
    assert bucket.level == pytest.approx(191.1)
    bucket.failed(5, REFUSED)
    assert bucket.level == pytest.approx(191.1)


def test_the_free_repetition_of_an_unsent_request_is_free_once() -> None:
    bucket = RetryBucket(lambda: 1)
    bucket.failed(1, TEMPLATES["not_sent"])
    assert bucket.level == 50
    bucket.failed(1, TEMPLATES["not_sent"])
    assert bucket.level == 49


def broken() -> tuple[FlowState, float]:
    """A state whose breaker has just opened, and when."""
    state, now, row = grown(32)
    for _ in range(200):
        row += 1
        now += 0.5
        send(state, row, now)
        answer(state, row, BROKEN, now, now + 0.1)
        if state.held_by(now + 0.1) == "endpoint down":
            return state, now + 0.1
    raise AssertionError("it never opened")


def test_an_open_breaker_probes_after_1_2_4_8_and_then_every_10_seconds_one_at_a_time() -> None:
    state, opened_at = broken()
    now, gaps = opened_at, []
    for row in range(10_000, 10_007):
        wait = admit(state, request(row), now)
        assert isinstance(wait, Wait)
        gaps.append(round(wait.until - now, 6))
        now = wait.until
        assert send(state, row, now)
        assert admit(state, request(99_999), now) == Wait(math.inf, "endpoint down")
        answer(state, row, BROKEN, now, now)
    assert gaps == [1, 2, 4, 8, 10, 10, 10]


def test_a_probed_row_lets_another_one_go_first() -> None:
    state, now = broken()
    assert send(state, 10_000, now + 1)
    answer(state, 10_000, BROKEN, now + 1, now + 1)
    wait = admit(state, request(10_000), now + 3)
    assert isinstance(wait, Wait)
    assert wait.only_this_row
    assert send(state, 10_001, now + 3)


def test_a_cancelled_probe_is_followed_by_another_one() -> None:
    state, now = broken()
    assert send(state, 10_000, now + 1)
    state.on_done(now + 1, request(10_000))
    assert send(state, 10_001, now + 3)


def test_a_probe_that_is_answered_closes_the_breaker_and_starts_slowly() -> None:
    state, now = broken()
    assert send(state, 10_000, now + 1)
    answer(state, 10_000, OK, now + 1, now + 2)
    assert state.held_by(now + 2) is None
    assert state.window == 4
    reasons = [event.reason for event in state.drain_events()]
    assert reasons[-2:] == ["the endpoint answers again", "slow start after an outage"]


def test_the_faults_of_an_outage_and_failed_probes_are_not_charged() -> None:
    state, now = broken()
    assert state.is_uncharged(BROKEN, now - 0.1)
    assert state.is_uncharged(BROKEN, now - 3.0), "one of those that opened it"
    assert not state.is_uncharged(BROKEN, now - 500.0)
    assert not state.is_uncharged(OK, now)
    assert send(state, 10_000, now + 1)
    answer(state, 10_000, OK, now + 1, now + 2)
    assert state.is_uncharged(BROKEN, now + 1)
    assert not state.is_uncharged(BROKEN, now + 3)


def test_throttling_opens_no_breaker() -> None:
    state, now, row = grown(32)
    for _ in range(300):
        row += 1
        now += 5
        if send(state, row, now):
            answer(state, row, REFUSED, now, now)
    assert state.held_by(now + 100) is None


# --- budget and deadline ----------------------------------------------------------------------------------


def budget(usd: float, **more: Any) -> FlowState:
    return warm_with(max_cost_usd=usd, rates_of=lambda _: Price(), **more)


def warm_with(**limits: Any) -> FlowState:
    state = flow(**limits)
    if send(state, 0, 0.0):
        answer(state, 0, replace(TEMPLATES["bad_request"], status_code=400), 0.0, 0.0)
    return state


WORST = (2 * 1.0 + 100 * 10.0) / 1e6  # the body "{}" and 100 completion tokens


def test_the_worst_case_of_all_in_flight_is_reserved() -> None:
    state = budget(3.5 * WORST, concurrency=64)
    assert len(fill(state, 1, 1.0)) == 3
    wait = admit(state, request(9), 1.0)
    assert wait == Wait(math.inf, "budget")
    answer(state, 1, OK, 1.0, 2.0, usage=Usage(2, 1))
    assert send(state, 9, 2.0)


def test_what_was_not_paid_is_given_back_and_what_is_ambiguous_counts_in_full() -> None:
    state = budget(10 * WORST)
    spend = state.spend
    assert spend is not None
    for row, verdict, cost in ((1, BROKEN, 0.0), (2, LOST, WORST), (3, OK, WORST + 51e-6)):
        send(state, row, 1.0)
        answer(state, row, verdict, 1.0, 2.0, usage=Usage(1, 5))
        assert spend.spent_usd == pytest.approx(cost)
        assert spend.reserved_usd == 0
    send(state, 4, 1.0)
    state.on_done(2.0, request(4))
    assert spend.spent_usd == pytest.approx(2 * WORST + 51e-6), "cancelled after sending"
    send(state, 5, 2.0)
    answer(state, 5, OK, 2.0, 3.0, cost_usd=0.0001)
    assert spend.spent_usd == pytest.approx(2 * WORST + 151e-6), "the gateway's word"


def test_when_nothing_is_in_flight_and_nothing_fits_the_run_stops() -> None:
    state = budget(2.5 * WORST)
    assert state.spend is not None
    state.spend.add_lost(2 * WORST)
    wait = admit(state, request(1), 1.0)
    assert isinstance(wait, Wait)
    assert isinstance(wait.stop, LimitReached)
    assert "--max-cost" in (wait.stop.hint or "")


def test_a_budget_needs_a_price_and_a_token_maximum() -> None:
    assert refusal_at_start(model="m", rates=Price(), max_tokens=5) is None
    no_price = refusal_at_start(model="m", rates=None, max_tokens=5)
    no_most = refusal_at_start(model="m", rates=Price(), max_tokens=None)
    assert no_price is not None
    assert '[prices."m"]' in (no_price.hint or "")
    assert no_most is not None
    assert "max_completion_tokens" in (no_most.hint or "")


def test_a_row_without_a_bound_stops_a_run_with_a_budget() -> None:
    state = budget(1.0)
    wait = admit(state, request(7, max_tokens=None), 1.0)
    assert isinstance(wait, Wait)
    assert isinstance(wait.stop, JobError)
    assert "row 7" in str(wait.stop)


def test_completions_and_images_are_in_the_worst_case() -> None:
    plain = worst_cost_usd(request(1, b"{}"), Price())
    three = worst_cost_usd(request(1, b'{"n":3}'), Price())
    image = worst_cost_usd(replace(request(1, b"{}" * 500), images=2, image_bytes=900), Price())
    assert plain == pytest.approx(WORST)
    assert three == pytest.approx((7 + 3_000) / 1e6)
    assert image == pytest.approx((100 + 2 * 50_000 + 1_000) / 1e6)


def test_an_image_weighs_what_images_weighed_and_not_its_bytes() -> None:
    estimate = Estimate()
    pictured = replace(request(1, b"x" * 7_350), images=2, image_bytes=7_000)
    assert estimate.prompt(pictured) == pytest.approx(100 + 2 * 765)
    for _ in range(3):
        estimate.learn(pictured, Usage(prompt_tokens=300))
    assert estimate.prompt(pictured) == pytest.approx(300)
    assert estimate.prompt(request(1, b"x" * 350)) == pytest.approx(100), "text is weighed as before"


def test_the_deadline_is_a_time_to_ask_again() -> None:
    state = warm(concurrency=1, deadline_s=10.0)
    assert state.deadline_at == 10.0
    send(state, 1, 1.0)
    assert admit(state, request(2), 1.0) == Wait(10.0, "concurrency")
    assert state.overdue(9.9) is None
    late = admit(state, request(2), 10.0)
    assert isinstance(late, Wait)
    assert isinstance(late.stop, LimitReached)


@pytest.mark.parametrize(
    "limits",
    [
        {"deadline_s": 0.0},
        {"requests_per_minute": 0.0},
        {"tokens_per_minute": math.inf},
        {"max_cost_usd": -1.0},
    ],
)
def test_limits_out_of_range_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="0"):
        flow(**limits)


# --- events and state -------------------------------------------------------------------------------------


def test_changes_are_told_once_with_their_reason_and_merged_within_a_second() -> None:
    log = EventLog()
    log.tell(1.0, "window", "growth", old=4, new=5)
    log.tell(1.5, "window", "growth", old=5, new=6)
    log.tell(3.0, "window", "growth", old=6, new=7)
    assert log.drain() == [FlowEvent(1.0, "window", "growth", 4, 6), FlowEvent(3.0, "window", "growth", 6, 7)]
    assert log.drain() == []
    for n in range(5_000):
        log.tell(2.0 * n, "pace", "raised", old=n, new=n + 1)
    assert len(log.drain()) == 1_000


def test_the_state_tells_every_part() -> None:
    told = budget(1.0, deadline_s=9.0).state(1.0)
    assert set(told) == {
        "held_by", "held", "window", "limits", "pace", "gate", "breaker", "budget", "deadline", "memory"
    }  # fmt: skip


# --- any order of events ----------------------------------------------------------------------------------

VERDICTS = [OK, OVERLOADED, BROKEN, LOST, REFUSED, replace(REFUSED, wait_s=1.0), TEMPLATES["connect"]]


class Weather(RuleBasedStateMachine):
    """Requests, replies and time in any order, all parts on."""

    def __init__(self) -> None:
        super().__init__()
        self.state = flow(
            most_concurrency=64,
            requests_per_minute=6_000,
            tokens_per_minute=1_000_000,
            max_cost_usd=0.05,
            rates_of=lambda _: Price(),
        )
        self.now, self.row = 0.0, 0
        self.out: dict[int, float] = {}
        self.before = self.state.window
        self.most_out_at_reply = 0

    @rule(many=st.integers(1, 80))
    def ask(self, many: int) -> None:
        for _ in range(many):
            self.row += 1
            told = admit(self.state, request(self.row), self.now)
            if not isinstance(told, Send):
                assert told.until > self.now
                assert (told.stop is None) or not self.out
                return
            assert len(self.out) < self.state.window
            self.state.on_sent(self.now, request(self.row))
            self.out[self.row] = self.now

    @precondition(lambda self: self.out)
    @rule(verdict=st.sampled_from(VERDICTS), many=st.integers(1, 80))
    def reply(self, verdict: Verdict, many: int) -> None:
        cuts, newest_cut = 0, -1.0
        for row in list(self.out)[:many]:
            before, used = self.state.window, len(self.out)
            sent_at = self.out.pop(row)
            answer(self.state, row, verdict, sent_at, self.now, usage=Usage(2, 10))
            after = self.state.window
            if after > before:
                assert verdict is OK
                assert used >= 0.8 * before, "growth only when used"
            elif after < before and verdict is not OK:
                assert sent_at > newest_cut, "one cut per episode"
                cuts, newest_cut = cuts + 1, self.now
        assert cuts <= 1

    @precondition(lambda self: self.out)
    @rule()
    def cancel(self) -> None:
        row = next(iter(self.out))
        del self.out[row]
        self.state.on_done(self.now, request(row))

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1, 1.0, 5.0, 70.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def everything_is_within_its_bounds(self) -> None:
        assert self.state.in_flight == len(self.out)
        assert 1 <= self.state.window <= 64
        spend = self.state.spend
        assert spend is not None
        assert spend.spent_usd + spend.reserved_usd <= 0.05
        assert (spend.reserved_usd == 0) == (not self.out)
        pace = self.state.state(self.now)["pace"]
        assert isinstance(pace, dict)
        per_minute = pace["requests_per_minute"]
        assert per_minute is None or 0 < per_minute < math.inf


Weather.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWeather = Weather.TestCase
