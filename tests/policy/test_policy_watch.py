"""What stops a run as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.errors import AccountError, EndpointUnavailable, EndpointUnusable, TooManyFailures
from batcher.policy import Stop, Verdict, Warning, Watch  # noqa: A004
from batcher.policy.table import TEMPLATES

OK = TEMPLATES["ok"]
HTML = replace(TEMPLATES["bad_body"], error_message="not JSON")
REFUSED = TEMPLATES["connect"]
BAD_REQUEST = replace(TEMPLATES["bad_request"], status_code=400, error_code="bad_param")
TRUNCATED = TEMPLATES["truncated"]
FAULT = TEMPLATES["server_error"]


def watched(*verdicts: Verdict, watch: Watch | None = None) -> list[Stop | Warning]:
    watch = watch or Watch()
    watch.start(0.0)
    words = [watch.observe(verdict, 1.0, row) for row, verdict in enumerate(verdicts)]
    return [word for word in words if word is not None]


def only_stop(words: list[Stop | Warning]) -> Stop:
    (word,) = words
    assert isinstance(word, Stop)
    return word


def test_a_run_fatal_verdict_stops_with_its_own_error() -> None:
    fatal = replace(TEMPLATES["account"], message='401 from the endpoint: "no"')
    error = only_stop(watched(fatal)).error
    assert isinstance(error, AccountError)
    assert str(error) == '401 from the endpoint: "no"'


def test_five_odd_replies_of_the_first_twenty_are_bad_luck_and_six_are_no_api() -> None:
    assert watched(*[OK] * 14, *[HTML] * 5, *[OK], *[HTML] * 50) == []
    stop = only_stop(watched(*[OK] * 14, *[HTML] * 6))
    assert isinstance(stop.error, EndpointUnusable)
    assert "is this an OpenAI-compatible /v1" in (stop.error.hint or "")


def test_three_refused_connections_at_the_very_first_stop_the_run() -> None:
    assert watched(REFUSED, REFUSED) == []
    assert isinstance(only_stop(watched(REFUSED, REFUSED, REFUSED)).error, EndpointUnavailable)


def test_refused_connections_after_something_was_reached_stop_nothing() -> None:
    assert watched(FAULT, *[REFUSED] * 50) == []


def test_twenty_of_the_first_fifty_rows_with_one_code_stop_the_run() -> None:
    assert watched(*[OK] * 30, *[BAD_REQUEST] * 19) == []
    assert isinstance(only_stop(watched(*[OK] * 30, *[BAD_REQUEST] * 20)).error, TooManyFailures)


def test_many_failures_with_different_codes_stop_nothing() -> None:
    assert watched(*[replace(BAD_REQUEST, error_code=str(n)) for n in range(200)]) == []


def test_later_more_than_half_of_the_last_two_hundred_rows_stop_the_run() -> None:
    assert watched(*[OK] * 200, *[BAD_REQUEST] * 100) == []
    assert isinstance(only_stop(watched(*[OK] * 200, *[BAD_REQUEST] * 101)).error, TooManyFailures)


def test_old_failures_leave_the_window() -> None:
    assert watched(*[OK] * 200, *[BAD_REQUEST] * 100, *[OK] * 200, *[BAD_REQUEST] * 100) == []


def test_many_truncated_answers_are_said_once() -> None:
    assert watched(*[OK] * 160, *[TRUNCATED] * 40) == []
    (word,) = watched(*[OK] * 160, *[TRUNCATED] * 300)
    assert isinstance(word, Warning)


def test_ten_minutes_without_any_success_end_the_patience() -> None:
    watch = Watch()
    watch.start(100.0)
    watch.observe(FAULT, 101.0, 0)
    assert watch.deadline_of_no_success(101.0) == 700.0
    assert watch.overdue(699.9) is None
    stop = watch.overdue(700.0)
    assert stop is not None
    assert isinstance(stop.error, EndpointUnavailable)


def test_after_a_success_the_patience_is_six_hours_from_it() -> None:
    watch = Watch()
    watch.start(0.0)
    watch.observe(OK, 50.0, 0)
    assert watch.deadline_of_no_success(60.0) == 50.0 + 6 * 3600


def test_announced_parking_is_not_counted_and_overlaps_count_once() -> None:
    watch = Watch()
    watch.start(0.0)
    parked = replace(TEMPLATES["daily_limit"], wait_s=3_600.0)
    watch.observe(parked, 10.0, 0)
    watch.observe(parked, 20.0, 1)
    assert watch.deadline_of_no_success(30.0) == pytest.approx(600 + 3_610)


def test_parking_beyond_a_day_stops_the_run() -> None:
    parked = replace(TEMPLATES["daily_limit"], wait_s=86_401.0)
    assert isinstance(only_stop(watched(parked)).error, EndpointUnavailable)
    watch = Watch()
    watch.start(0.0)
    halves = [replace(TEMPLATES["daily_limit"], wait_s=43_000.0)] * 3
    words = [watch.observe(half, 43_000.0 * n, n) for n, half in enumerate(halves)]
    assert [word is not None for word in words] == [False, False, True]
