"""Whole runs against an endpoint that goes away and comes back, and against rows that always fail."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from engine_world import REFUSED, Setup, Step, World, error, lost, ok, play

from batcher.errors import EndpointUnavailable
from batcher.policy import FlowSettings
from batcher.records import Outcome

MINUTE = 60.0
LAST_ROW = 18 * MINUTE
"""A single last row that always fails ends within this."""


def around(seconds: float, row: int, attempt: int) -> float:
    return seconds * random.Random(f"{row} {attempt}").uniform(0.8, 1.2)


def settings(most: int = 64) -> FlowSettings:
    return FlowSettings(most_concurrency=most)


def rate(world: World, begin: float, end: float) -> float:
    return sum(begin <= sent.at < end for sent in world.sent) / (end - begin)


@pytest.mark.parametrize("down", [error(500), REFUSED, error(503)], ids=["500", "refused", "503"])
@pytest.mark.parametrize("concurrency", [None, 64])
def test_ten_minutes_of_outage_fail_no_row_and_are_over_within_a_minute(
    down: Step, concurrency: int | None
) -> None:
    begin, end = 30.0, 30.0 + 10 * MINUTE

    def script(row: int, attempt: int, now: float) -> Step:
        return down if begin <= now < end else ok(seconds=around(1.0, row, attempt))

    flow = FlowSettings(concurrency=concurrency, most_concurrency=64)
    world = play(script, Setup(rows=6_000, settings=flow, rows_per_chunk=512))
    assert world.outcomes() == {Outcome.OK: 6_000}
    probes = [sent for sent in world.sent if begin + 12 <= sent.at < end]
    assert 50 <= len(probes) <= 75
    assert all(probe.in_flight == 1 for probe in probes)
    assert all(later.at - earlier.at >= 1.0 for earlier, later in pairwise(probes))
    assert len({probe.row for probe in probes}) == len(probes), "each with another row"
    assert rate(world, end + MINUTE, end + MINUTE + 10) >= 0.9 * rate(world, begin - 10, begin)


@pytest.mark.parametrize("rows", [2, 3, 8, 20, 64, 300])
@pytest.mark.parametrize("begin", [0.5, 4.0])
@pytest.mark.parametrize("down", [error(500), lost(0.01)], ids=["500", "reset"])
def test_ten_minutes_of_outage_at_the_end_of_a_small_run_fail_no_row(
    rows: int, begin: float, down: Step
) -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        is_down = begin <= now < begin + 10 * MINUTE
        return down if is_down else ok(seconds=around(0.4, row, attempt))

    world = play(script, Setup(rows=rows, settings=settings()))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: rows}


@pytest.mark.parametrize(("bad", "within"), [(1, LAST_ROW), (2, 25 * MINUTE), (10, 25 * MINUTE)])
def test_the_last_rows_that_always_fail_end(bad: int, within: float) -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if row >= 100 - bad else ok()

    world = play(script, Setup(rows=100, settings=settings()))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 100 - bad, Outcome.FAILED: bad}
    assert world.seconds < within


def test_a_bad_row_that_failed_while_others_were_answered_does_not_keep_a_small_run_for_long() -> None:
    world = play(
        lambda row, attempt, now: error(500) if row == 50 else ok(), Setup(rows=100, settings=settings())
    )
    assert world.outcomes() == {Outcome.OK: 99, Outcome.FAILED: 1}
    assert world.seconds < 3 * MINUTE


@pytest.mark.parametrize("bad", [1, 40])
def test_rows_that_always_fail_fail_alone_and_stop_nobody(bad: int) -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if 500 <= row < 500 + bad else ok(seconds=around(0.5, row, attempt))

    setup = Setup(rows=8_000, settings=settings(), rows_per_chunk=512)
    world = play(script, setup)
    healthy = play(lambda row, attempt, now: ok(seconds=around(0.5, row, attempt)), setup)
    assert world.outcomes() == {Outcome.OK: 8_000 - bad, Outcome.FAILED: bad}
    assert all(world.end_of(row).attempts >= 5 for row in range(500, 500 + bad))
    done = max(sent.at for sent in world.sent if sent.row >= 500 + bad)
    assert done < 1.3 * healthy.seconds + 10


def test_where_nothing_ever_succeeds_the_run_stops_and_no_row_is_failed() -> None:
    world = play(lambda row, attempt, now: error(500), Setup(rows=20, settings=settings()))
    assert isinstance(world.error, EndpointUnavailable)
    assert world.seconds == pytest.approx(10 * MINUTE, abs=5)
    assert not world.store.ended


@pytest.mark.parametrize(
    "down",
    [error(500), error(503), REFUSED, lost(0.01), error(504)],
    ids=["500", "503", "refused", "reset", "504"],
)
@pytest.mark.parametrize("slow_s", [0.5, 12.0])
def test_ten_minutes_of_outage_do_not_fail_the_only_row_that_is_left(down: Step, slow_s: float) -> None:
    """`slow_s`: another row's answer, sent before the outage, comes in while it goes on."""

    def script(row: int, attempt: int, now: float) -> Step:
        if row == 0:
            return ok(seconds=0.2)
        if row == 1:
            return ok(seconds=slow_s)
        return down if now < 10 * MINUTE else ok()

    world = play(script, Setup(rows=3, settings=settings()))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 3}


@pytest.mark.parametrize("concurrency", [None, 64])
@pytest.mark.parametrize("seconds", [0.005, 2.0])
def test_an_outage_that_takes_requests_and_answers_none_costs_no_row_more_than_it_must(
    concurrency: int | None, seconds: float
) -> None:
    begin, end = 5.0, 5.0 + 10 * MINUTE

    def script(row: int, attempt: int, now: float) -> Step:
        return lost(seconds) if begin <= now < end else ok(seconds=around(1.0, row, attempt))

    flow = FlowSettings(concurrency=concurrency, most_concurrency=64)
    world = play(script, Setup(rows=1_000, settings=flow, rows_per_chunk=512))
    assert world.outcomes() == {Outcome.OK: 1_000}
    taken = [sent.row for sent in world.sent if begin <= sent.at < end]
    assert len(taken) < 300
    assert len(taken) - len(set(taken)) <= 3, "hardly any row is sent, and perhaps paid, twice"


@pytest.mark.parametrize(("rows", "within"), [(1, LAST_ROW), (20, LAST_ROW), (1_000, 20 * MINUTE)])
def test_a_session_that_finds_only_rows_that_always_fail_ends_them(rows: int, within: float) -> None:
    setup = Setup(rows=rows, settings=FlowSettings(answered_before=True), answered_before=True)
    world = play(lambda row, attempt, now: error(500), setup)
    assert world.error is None
    assert world.outcomes() == {Outcome.FAILED: rows}
    assert 12 * MINUTE < world.seconds < within
    assert all(world.end_of(row).attempts >= 5 for row in range(rows))


@pytest.mark.parametrize("down", [error(503), error(502), lost(0.01)], ids=["503", "502", "reset"])
def test_a_session_that_finds_the_endpoint_down_waits_and_fails_no_row(down: Step) -> None:
    end = 40 * MINUTE

    def script(row: int, attempt: int, now: float) -> Step:
        return down if now < end else ok()

    setup = Setup(rows=300, settings=FlowSettings(answered_before=True), answered_before=True)
    world = play(script, setup)
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 300}


def test_a_session_that_was_answered_takes_an_hour_of_500s_for_an_outage() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if 10 <= now < 10 + 60 * MINUTE else ok()

    setup = Setup(rows=2_000, settings=FlowSettings(answered_before=True), answered_before=True)
    assert play(script, setup).outcomes() == {Outcome.OK: 2_000}
