"""How long to wait: every form a server uses, in order, and nothing insane."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.policy import Action, Charge, Verdict, attempt_timeout_s, wait_for
from batcher.policy.waits import parse_reset, retry_after, server_wait

NOW = 1_780_000_000.0


def wait(headers: dict[str, str], message: str | None = None, **more: int) -> float | None:
    return server_wait(tuple(headers.items()), message, now=NOW, **more)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "31536000"}, 31536000.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT", "date": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"llm_provider-retry-after": "7"}, 7.0),
        ({"llm_provider-retry-after": "7", "retry-after": "3"}, 3.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "nan", "retry-after": "4"}, 4.0),
        ({"retry-after": "\u0663"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], expected: float | None) -> None:
    assert wait(headers) == expected
    assert retry_after(tuple(headers.items()), now=NOW) == expected


def test_a_date_is_measured_by_the_servers_own_clock_even_when_ours_is_years_off() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2020 07:28:30 GMT", "date": "Wed, 21 Oct 2020 07:28:00 GMT"}
    assert wait(headers) == 30.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("12", 12.0),
        (str(NOW + 5), 5.0),
        (f"{(NOW + 5) * 1000:.0f}", 5.0),
        ("2026-05-28T20:26:50Z", 10.0),
        ("2026-05-28T22:26:50+02:00", 10.0),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("6x", None),
        ("9" * 80, None),
        (str(NOW - 50), None),
    ],
)
def test_the_grammar_of_resets(text: str, seconds: float | None) -> None:
    assert parse_reset(text, now=NOW) == pytest.approx(seconds)


def limits(kind: str, remaining: str, reset: str, limit: str) -> dict[str, str]:
    return {
        f"x-ratelimit-remaining{kind}": remaining,
        f"x-ratelimit-reset{kind}": reset,
        f"x-ratelimit-limit{kind}": limit,
    }


def test_an_empty_bucket_refills_one_unit_in_reset_over_limit() -> None:
    assert wait(limits("-requests", "0", "60s", "600")) == pytest.approx(0.1)
    assert wait(limits("-requests", "0", "60s", "600"), refused_before=2) == pytest.approx(0.4)
    assert wait(limits("-requests", "0", "60s", "600"), refused_before=500) == 60.0
    assert wait(limits("-requests", "5", "60s", "600")) is None


def test_tokens_wait_for_what_the_request_needs_or_for_the_whole_reset() -> None:
    headers = limits("-tokens", "0", "1m", "60000")
    assert wait(headers, tokens_needed=1000) == pytest.approx(1.0)
    assert wait(headers) == 60.0


def test_a_fixed_window_is_waited_out() -> None:
    assert wait(limits("", "0", f"{(NOW + 42) * 1000:.0f}", "20")) == pytest.approx(42.0)


def test_retry_after_counts_before_the_limits_and_those_before_the_text() -> None:
    headers = limits("-requests", "0", "60s", "60")
    assert wait({**headers, "retry-after": "9"}, "try again in 3s") == 9.0
    assert wait(headers, "try again in 3s") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 1.5s.", 1.5),
        ("Please try again in 20ms. Visit", 0.02),
        ("try again in 6m0s", 360.0),
        ("Please retry in 34.07s", 34.07),
        ("Please retry after 6 seconds.", 6.0),
        ("Try again in 2 minutes 5 seconds", 125.0),
        ("try again in 500 milliseconds", 0.5),
        ("try again in a while", None),
        ("try again in 5 monkeys", None),
        ("", None),
    ],
)
def test_the_error_text_may_say_it(message: str, seconds: float | None) -> None:
    assert wait({}, message) == (None if seconds is None else pytest.approx(seconds))


NAMES = ["retry-after", "retry-after-ms", "date"] + [
    f"x-ratelimit-{what}{kind}"
    for what in ("remaining", "reset", "limit")
    for kind in ("", "-requests", "-tokens")
]
VALUES = st.text(max_size=40) | st.sampled_from(
    ["0", "nan", "1e308", "-1", "1e999", "6m0s", "9" * 15, "0001-01-01T00:00"]
)


@settings(max_examples=300, deadline=None)
@given(
    headers=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=8),
    message=st.none() | st.text(max_size=60),
    now=st.floats(0, 1e10),
    refused=st.integers(0, 10_000),
)
def test_no_header_can_make_a_wait_that_is_negative_or_without_end(
    headers: list[tuple[str, str]], message: str | None, now: float, refused: int
) -> None:
    seconds = server_wait(headers, message, now=now, refused_before=refused)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0)


FAULT = Verdict("server_error", Action.RETRY, charges=Charge.R | Charge.B)
THROTTLED = Verdict("rate_limit", Action.RETRY, charges=Charge.T)


@settings(max_examples=100, deadline=None)
@given(nth=st.integers(0, 10_000), seed=st.integers(), hint=st.floats(0, 1e6))
def test_backoff_keeps_its_bounds_and_never_undercuts_a_hint(nth: int, seed: int, hint: float) -> None:
    rng = random.Random(seed)
    assert 0 <= wait_for(FAULT, nth=nth, rng=rng) <= min(60, 0.5 * 2.0 ** min(max(nth - 1, 0), 10))
    assert 0 <= wait_for(THROTTLED, nth=nth, rng=rng) <= min(60, 2 * 2.0 ** min(max(nth - 1, 0), 10))
    hinted = Verdict("rate_limit", Action.RETRY, charges=Charge.T, wait_s=hint)
    assert hint <= wait_for(hinted, nth=nth, rng=rng) <= hint + max(0.1 * hint, 2.0)


def test_the_first_throttled_retry_uses_the_whole_two_seconds() -> None:
    rng = random.Random(1)
    waits = [wait_for(THROTTLED, nth=1, rng=rng) for _ in range(200)]
    assert min(waits) < 0.2
    assert max(waits) > 1.8


def test_the_attempt_deadline_grows_with_the_tokens_asked_for() -> None:
    assert attempt_timeout_s(None) == 600
    assert attempt_timeout_s(1000) == 600
    assert attempt_timeout_s(100_000) == 10_060
    assert attempt_timeout_s(100_000, timeout_s=5) == 5
