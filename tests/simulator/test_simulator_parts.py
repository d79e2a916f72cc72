"""Rate limits, bounded memory, the request parser."""

from __future__ import annotations

import pytest

from batcher.simulator.ledger import Memory
from batcher.simulator.limits import RateLimits, reset_text
from batcher.simulator.wire import NotHttpError, parse_head, take_chunked


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.02, "20ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (360, "6m0s"),
        (5400, "1h30m0s"),
        (59.9996, "1m0s"),
    ],
)
def test_reset_grammar_is_openais(seconds: float, text: str) -> None:
    assert reset_text(seconds) == text


def test_bucket_refills_continuously_and_only_up_to_its_burst() -> None:
    limits = RateLimits(rpm=None, rps=10, tpm=None, burst_s=0.5, now=0)
    assert [limits.admit(0, 1).admitted for _ in range(6)] == [True] * 5 + [False]
    assert limits.admit(0, 1).wait_s == pytest.approx(0.1)
    assert limits.admit(0.1, 1).admitted
    assert [limits.admit(100, 1).admitted for _ in range(6)] == [True] * 5 + [False]


def test_nothing_is_debited_unless_all_limits_admit() -> None:
    limits = RateLimits(rpm=600, rps=None, tpm=60, burst_s=1, now=0)
    assert limits.admit(0, 10).admitted  # larger than the bucket of 1 token: passes when full, leaves a debt
    verdict = limits.admit(0, 1)
    assert (verdict.admitted, verdict.limited_by) == (False, "tokens")
    assert verdict.wait_s == pytest.approx(10)
    assert "x-ratelimit-remaining-requests: 599\r\n" in limits.headers()


def test_a_changed_limit_goes_on_from_where_it_stood() -> None:
    before = RateLimits(rpm=None, rps=10, tpm=600, burst_s=1, now=0)
    assert [before.admit(0, 0).admitted for _ in range(9)] == [True] * 9
    after = RateLimits(rpm=None, rps=20, tpm=None, burst_s=1, now=0.1)
    after.follow(before, 0.1)  # 1 left and 1 refilled at the old rate
    assert [after.admit(0.1, 0).admitted for _ in range(3)] == [True, True, False]
    assert after.admit(0.15, 0).admitted


def test_tokens_given_back_can_be_taken_again_but_never_overfill() -> None:
    limits = RateLimits(rpm=None, rps=None, tpm=600, burst_s=1, now=0)
    assert limits.admit(0, 10).admitted
    limits.credit(0, 4)
    assert limits.admit(0, 5).wait_s == pytest.approx(0.1)
    limits.credit(0, 1_000)
    assert [limits.admit(0, 10).admitted for _ in range(2)] == [True, False]


def test_request_larger_than_a_minute_never_fits() -> None:
    assert RateLimits(rpm=None, rps=None, tpm=100, burst_s=1, now=0).admit(0, 101).too_large


def test_reset_header_tells_the_time_until_full() -> None:
    limits = RateLimits(rpm=60, rps=None, tpm=None, burst_s=60, now=0)
    for _ in range(30):
        limits.admit(0, 1)
    headers = limits.headers()
    assert "x-ratelimit-remaining-requests: 30\r\nx-ratelimit-reset-requests: 30s\r\n" in headers


def test_memory_forgets_only_the_oldest() -> None:
    memory = Memory(size=10)
    for number in range(25):
        assert memory.add(b"%d" % number) == 1
    assert memory.count(b"0") == 0
    assert all(memory.count(b"%d" % number) == 1 for number in range(15, 25))
    assert memory.add(b"24") == 2
    assert memory.add(b"15") == 2


def test_head_is_read_whatever_the_case() -> None:
    head = parse_head(
        b"POST /a?b=1 HTTP/1.1\r\nCONTENT-LENGTH:  7\r\nAuthorization: Bearer aB\r\nConnection: Close"
    )
    assert (head.method, head.path, head.query, head.length) == ("POST", "/a", "b=1", 7)
    assert (head.authorization, head.keep_alive, head.chunked) == ("Bearer aB", False, False)


def test_http_10_is_not_kept_alive_unless_asked() -> None:
    assert not parse_head(b"GET / HTTP/1.0").keep_alive
    assert parse_head(b"GET / HTTP/1.0\r\nconnection: keep-alive").keep_alive


def test_chunks_are_taken_when_whole() -> None:
    whole = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
    assert take_chunked(whole + b"next") == (b"abc0123456789", len(whole))
    assert all(take_chunked(whole[:cut]) is None for cut in range(len(whole)))
    with pytest.raises(NotHttpError):
        take_chunked(b"zz\r\n")
