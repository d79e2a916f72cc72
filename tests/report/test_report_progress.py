"""The progress line and the log line, as the design shows them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.report import Standing, log_line, terminal_line
from batcher.report.progress import BAR_CELLS

STANDING = Standing(
    rows_done=86_412,
    rows_total=200_000,
    rate=181.0,
    not_ok=131,
    in_flight=72,
    cost_usd=15.48,
    held_by="rate limit (tokens/min)",
)
NOW = 3 * 3600 + 12 * 60 + 30.9


def bar(done: int, total: int) -> str:
    return terminal_line(replace(STANDING, rows_done=done, rows_total=total)).split("  ")[1]


def test_the_terminal_line_reads_as_the_design_shows_it() -> None:
    assert terminal_line(STANDING) == (
        "  ██████────────  86,412/200,000  181 rows/s  ETA 10:28  $15.48 of ~$35.83  not ok 131"
        "  held by: rate limit (tokens/min)"
    )


def test_the_log_line_reads_as_the_design_shows_it() -> None:
    assert log_line(STANDING, now=NOW) == (
        "ts=03:12:30 rows=86412/200000 rate=181/s cost_usd=15.48 not_ok=131 in_flight=72 held_by=rate_limit eta=10m28s"
    )


def test_a_log_line_always_splits_into_its_pairs() -> None:
    unknown = Standing(rows_done=0, rows_total=0, rate=None, not_ok=0, in_flight=0)
    for standing in (STANDING, unknown, replace(STANDING, rate=0.5), replace(STANDING, held_by="slow start")):
        pairs = [pair.split("=") for pair in log_line(standing, now=NOW).split(" ")]
        names = ["ts", "rows", "rate", "cost_usd", "not_ok", "in_flight", "held_by", "eta"]
        assert [name for name, _ in pairs] == names
        assert all(value for _, value in pairs)


def test_what_is_unknown_is_said_to_be_so_or_left_out() -> None:
    standing = Standing(rows_done=0, rows_total=10, rate=None, not_ok=0, in_flight=4)
    assert terminal_line(standing) == f"  {'─' * BAR_CELLS}  0/10"
    assert "rate=unknown cost_usd=unknown not_ok=0 in_flight=4 held_by=nothing eta=unknown" in log_line(
        standing, now=NOW
    )


def test_a_rate_of_nothing_promises_no_end() -> None:
    standing = replace(STANDING, rate=0.0)
    assert "ETA" not in terminal_line(standing)
    assert log_line(standing, now=NOW).endswith("eta=unknown")


def test_draining_takes_the_place_of_the_end() -> None:
    line = terminal_line(replace(STANDING, draining=True))
    assert "draining 72 paid requests" in line
    assert "ETA" not in line


@pytest.mark.parametrize(("rate", "said"), [(0.31, "0.3"), (9.94, "9.9"), (9.96, "10"), (1234.4, "1234")])
def test_slow_rates_have_a_decimal(rate: float, said: str) -> None:
    assert f" rate={said}/s " in log_line(replace(STANDING, rate=rate), now=NOW)


@pytest.mark.parametrize(
    ("seconds", "clock", "span"),
    [(5, "0:05", "5s"), (59.6, "1:00", "1m00s"), (628, "10:28", "10m28s"), (11_100, "3:05:00", "3h05m")],
)
def test_the_time_left_reads_as_a_clock_and_as_one_word(seconds: float, clock: str, span: str) -> None:
    standing = Standing(rows_done=0, rows_total=1_000, rate=1_000 / seconds, not_ok=0, in_flight=0)
    assert f"ETA {clock}" in terminal_line(standing)
    assert log_line(standing, now=0).endswith(f"eta={span}")


@pytest.mark.parametrize("total", [1, 7, 112, 200_000])
def test_the_bar_keeps_its_width_and_never_shrinks(total: int) -> None:
    drawn = [bar(done, total) for done in sorted({0, 1, total // 3, total // 2, max(0, total - 1), total})]
    assert {len(each) for each in drawn} == {BAR_CELLS}
    assert drawn[-1] == "█" * BAR_CELLS
    assert "█" * BAR_CELLS not in drawn[:-1], "full only when all is done"
    fullness = [each.count("█") for each in drawn]
    assert fullness == sorted(fullness)


def test_the_bar_of_nothing_to_do_is_full() -> None:
    assert bar(0, 0) == "█" * BAR_CELLS


def test_an_eighth_is_seen() -> None:
    assert bar(1, BAR_CELLS * 8).startswith("▏─")
