"""Charging over time: whose failure a failure is, who waits, and who goes first."""

from __future__ import annotations

import anyio
from engine_world import REFUSED, Setup, Step, World, error, ok, play, unsent

from batcher.engine.seats import PROBE_EVERY_S, retry_seats
from batcher.errors import EndpointUnavailable
from batcher.records import FaultKind, Outcome

HOUR = 3600.0


def test_an_outage_of_an_hour_fails_no_row() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500, seconds=15.0) if 100 < now < 100 + HOUR else ok()

    world = play(script, Setup(rows=2000, concurrency=4))
    assert max(sent.attempt for sent in world.sent) > 6
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 2000}
    assert world.seconds > HOUR


def test_an_hour_without_connections_fails_no_row_even_at_the_very_end() -> None:
    world = play(lambda row, attempt, now: REFUSED if 3 < now < HOUR else ok(), Setup(rows=20))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 20}


def test_an_hour_of_refusals_for_rate_fails_no_row_even_at_the_very_end() -> None:
    world = play(lambda row, attempt, now: error(429) if 3 < now < HOUR else ok(), Setup(rows=20))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 20}


def test_the_last_row_that_always_fails_ends_after_some_minutes() -> None:
    world = play(lambda row, attempt, now: error(500) if row == 19 else ok(), Setup(rows=20))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 19, Outcome.FAILED: 1}
    assert 10 * 60 < world.seconds < 18 * 60


def test_several_last_rows_that_always_fail_end_together() -> None:
    world = play(lambda row, attempt, now: error(500) if row >= 10 else ok(), Setup(rows=20))
    assert world.outcomes() == {Outcome.OK: 10, Outcome.FAILED: 10}
    assert world.seconds < 15 * 60


def test_a_last_row_still_under_way_keeps_the_others_from_being_charged() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return ok(seconds=500.0) if row == 0 else error(500) if row == 1 else ok()

    world = play(script, Setup(rows=4, timeout_s=590.0))
    assert world.end_of(1).attempts > 5
    assert world.seconds > 500


def test_a_row_whose_connection_always_closes_before_it_is_sent_ends_alone() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return unsent() if row == 3 else ok(seconds=2.0)

    world = play(script, Setup(rows=6_000, concurrency=3))
    assert world.error is None
    end = world.end_of(3)
    assert end.error_type == "not_sent", "its own failure, not a throttling"
    assert end.attempts == 101, "the first one is free"
    assert world.outcomes()[Outcome.OK] == 5_999


def test_a_last_row_that_is_never_sent_ends_after_some_minutes() -> None:
    world = play(lambda row, attempt, now: unsent(FaultKind.STALE) if row == 19 else ok(), Setup(rows=20))
    assert world.error is None
    assert world.end_of(19).error_type == "stale_connection"
    assert world.seconds < 18 * 60


def test_a_row_refused_a_hundred_times_while_a_thousand_are_answered_is_throttled() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(429, retry_after_ms="1") if row == 3 else ok(seconds=0.5)

    world = play(script, Setup(rows=4000, concurrency=8))
    end = world.end_of(3)
    assert (end.error_type, end.status_code) == ("throttled", 429)
    assert end.attempts >= 100


def test_a_storm_of_429_charges_nobody() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(429, retry_after_ms="200") if attempt <= 6 else ok()

    world = play(script, Setup(rows=60))
    assert world.outcomes() == {Outcome.OK: 60}
    assert world.tally.throttled == 60 * 6


def test_retry_after_closes_the_gate_for_everybody() -> None:
    refused_at: list[float] = []

    def script(row: int, attempt: int, now: float) -> Step:
        if row == 9 and attempt == 1:
            refused_at.append(now + 0.1)
            return error(429, retry_after="30")
        return ok()

    world = play(script, Setup(rows=60))
    (at,) = refused_at
    assert not [sent for sent in world.sent if at + 0.001 < sent.at < at + 30]
    assert [sent for sent in world.sent if sent.at > at + 30]


def test_no_slot_is_held_during_back_off() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if row < 16 and attempt < 5 else ok()

    world = play(script, Setup(rows=400, concurrency=4))
    assert world.endpoint.most == 4
    assert world.seconds < 400 / 4 + 4, "as if nothing had failed, but for the failed exchanges themselves"


def test_retries_stand_before_first_attempts() -> None:
    lines: list[tuple[int, int]] = []

    async def look(world: World) -> None:
        await anyio.sleep(20)
        turnstile = world.engine._turnstile
        lines.append((len(turnstile._retries), len(turnstile._firsts)))

    def script(row: int, attempt: int, now: float) -> Step:
        failures = {4: error(429, retry_after="30", seconds=1.0), 3: error(500, seconds=1.0)}
        return failures[row] if row in failures and attempt == 1 else ok()

    world = play(script, Setup(rows=400, meanwhile=look))
    assert lines == [(1, 4)], "row 3 stands in front; row 4 sleeps as long as it was told to"
    assert next(sent.row for sent in world.sent if sent.at > 20) == 3


def test_workers_take_no_new_rows_when_all_retry_seats_are_taken() -> None:
    concurrency = 4
    taken: list[int] = []

    def script(row: int, attempt: int, now: float) -> Step:
        if now < PROBE_EVERY_S:
            taken.append(row)
        return error(500) if 0 < now < 60 else ok()

    play(script, Setup(rows=1000, concurrency=concurrency))
    assert max(taken) <= retry_seats(concurrency) + concurrency, "one of them was answered"


def test_one_row_more_is_tried_every_ten_seconds_while_the_seats_are_full() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if 10 < now < 600 else ok()

    world = play(script, Setup(rows=1000, concurrency=4))
    begun = [sent.row for sent in world.sent if 100 < sent.at < 600 and sent.attempt == 1]
    assert 0.8 * 500 / PROBE_EVERY_S < len(begun) < 1.2 * 500 / PROBE_EVERY_S


def test_more_failing_rows_than_seats_do_not_stop_the_run() -> None:
    bad = retry_seats(4) + 40

    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if 4 <= row < 4 + bad else ok()

    world = play(script, Setup(rows=1000, concurrency=4))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 1000 - bad, Outcome.FAILED: bad}


def test_slow_failures_that_fill_every_slot_leave_room_for_a_new_row() -> None:
    bad = retry_seats(2) + 20

    def script(row: int, attempt: int, now: float) -> Step:
        return error(500, seconds=10.0) if 4 <= row < 4 + bad else ok()

    world = play(script, Setup(rows=300, concurrency=2))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 300 - bad, Outcome.FAILED: bad}


def test_an_announced_parking_is_slept_through() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(429, retry_after=str(5 * HOUR)) if 2.5 < now < 3.5 else ok()

    world = play(script, Setup(rows=60))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 60}
    assert 5 * HOUR < world.seconds < 6 * HOUR
    assert not [sent for sent in world.sent if 10 < sent.at < 5 * HOUR]


def test_ten_minutes_without_any_success_stop_the_run_resumable() -> None:
    world = play(lambda row, attempt, now: error(500, seconds=5), Setup(rows=3000))
    assert isinstance(world.error, EndpointUnavailable)
    assert world.seconds < 620
    assert not world.store.ended


def test_six_hours_without_a_success_stop_a_run_that_had_some() -> None:
    world = play(lambda row, attempt, now: ok() if row < 3 else REFUSED, Setup(rows=6))
    assert isinstance(world.error, EndpointUnavailable)
    assert 6 * HOUR < world.seconds < 6 * HOUR + 120
    assert world.outcomes().keys() == {Outcome.OK}


def test_time_spent_without_sending_is_no_lack_of_success() -> None:
    world = play(
        lambda row, attempt, now: ok(),
        Setup(rows=4, answers=range(3), rows_per_chunk=1, seconds_per_chunk=400.0),
    )
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 4}
    assert world.seconds > 10 * 60
