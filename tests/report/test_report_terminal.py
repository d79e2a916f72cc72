"""Drawing: on a terminal, into a log, into a stream that is gone. Nothing here may end a run."""

from __future__ import annotations

import io
import sys
from itertools import pairwise

import pytest
from report_samples import GoneStream, Terminal

from batcher.report import Standing, terminal
from batcher.report.terminal import (
    LogDisplay,
    TerminalDisplay,
    display_for,
    print_lines,
    print_rows,
)

STANDING = Standing(rows_done=5, rows_total=10, rate=1.0, not_ok=0, in_flight=2)
ROWS: list[dict[str, object]] = [{"id": 1, "text": "a\x1b[2Jb"}, {"id": 2, "text": "x" * 500}, {"id": 3}]


class Clock:
    """Stands for the module `time`; moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    return clock


def test_a_terminal_gets_a_line_and_everything_else_a_log() -> None:
    assert isinstance(display_for(Terminal(), quiet=False), TerminalDisplay)
    assert isinstance(display_for(io.StringIO(), quiet=False), LogDisplay)


def test_nothing_is_shown_when_quiet_or_without_a_stream() -> None:
    closed = io.StringIO()
    closed.close()
    assert display_for(Terminal(), quiet=True) is None
    assert display_for(None, quiet=False) is None
    assert display_for(closed, quiet=False) is None


def test_the_log_says_a_line_every_thirty_seconds(clock: Clock) -> None:
    stream = io.StringIO()
    display = LogDisplay(stream)
    display.begin(10)
    said = []
    for _ in range(451):  # 90 s in steps of 0.2 s
        before = stream.tell()
        display.show(STANDING)
        if stream.tell() > before:
            said.append(clock.now)
        clock.now += 0.2
    display.end()
    assert [round(later - earlier) for earlier, later in pairwise([1000.0, *said])] == [30, 30, 30]
    assert stream.getvalue().splitlines()[0].startswith("  ts=00:17:10 rows=5/10 rate=1.0/s")


def test_after_a_long_pause_the_log_does_not_catch_up(clock: Clock) -> None:
    stream = io.StringIO()
    display = LogDisplay(stream)
    clock.now += 3600
    for _ in range(50):
        display.show(STANDING)
        clock.now += 0.2
    assert len(stream.getvalue().splitlines()) == 1


def test_what_the_log_says_is_flushed_and_harmless() -> None:
    stream = io.StringIO()
    LogDisplay(stream).say("  draining\x1b[2J\n1 request")
    assert stream.getvalue() == "  draining[2J 1 request\n"


def test_a_log_that_goes_away_ends_nothing(clock: Clock) -> None:
    display = LogDisplay(GoneStream(writes=1, is_terminal=False))
    for _ in range(3):
        clock.now += 31
        display.show(STANDING)
    display.say("still here")
    display.end()


def test_a_closed_log_ends_nothing() -> None:
    stream = io.StringIO()
    display = LogDisplay(stream)
    stream.close()
    display.say("still here")


def test_the_live_line_is_drawn_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    display = TerminalDisplay(stream)
    display.begin(10)
    display.show(STANDING)
    display.say("a line\x1b[31m that stays")
    display.end()
    drawn = stream.getvalue()
    assert "5/10" in drawn
    assert "a line[31m that stays" in drawn
    assert drawn.endswith(("\x1b[2K", "\x1b[?25h")) or "\x1b[2K" in drawn


@pytest.mark.parametrize("columns", ["20", "40", "80"])
def test_a_line_too_long_for_the_terminal_is_cut_and_never_wraps(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    stream = Terminal()
    display = TerminalDisplay(stream)
    display.begin(10)
    display.show(Standing(86_412, 200_000, 181.0, 131, 72, 15.48, "rate limit (tokens/min)"))
    drawn = [piece for piece in stream.getvalue().split("\r") if "86" in piece or "█" in piece]
    display.end()
    assert drawn
    assert all("\n" not in piece.rstrip("\n") for piece in drawn)
    assert all(len(piece.split("\x1b")[0].rstrip()) <= int(columns) for piece in drawn)


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5, 8])
def test_a_terminal_that_hangs_up_at_any_moment_ends_nothing(
    writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    streams = sys.stdout, sys.stderr
    display = TerminalDisplay(GoneStream(writes=writes))
    display.begin(10)
    for _ in range(4):
        display.show(STANDING)
        display.say("a line")
    display.end()
    assert (sys.stdout, sys.stderr) == streams


def test_a_closed_terminal_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    display = TerminalDisplay(stream)
    display.begin(10)
    stream.close()
    display.show(STANDING)
    display.say("a line")
    display.end()


def test_lines_and_rows_into_a_stream_that_is_gone_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (GoneStream(), GoneStream(is_terminal=False), closed):
        print_lines(["one", "two"], stream)
        if not stream.closed:
            print_rows(ROWS, ["id", "text"], stream)
    monkeypatch.setattr(sys, "stderr", None)
    print_lines(["nobody hears"])
    print_rows(ROWS, ["id", "text"])


def test_rows_are_a_table_of_short_harmless_cells() -> None:
    stream = io.StringIO()
    print_rows(ROWS, ["id", "text"], stream)
    header, *lines = [line for line in stream.getvalue().splitlines() if line.strip()]
    assert header.split() == ["id", "text"]
    assert lines[0].split() == ["1", "a[2Jb"]
    assert lines[1].rstrip().endswith("…")
    assert max(map(len, lines)) < 118
    assert lines[2].split() == ["3"]


def test_cells_are_never_taken_for_markup() -> None:
    stream = io.StringIO()
    print_rows([{"text": "[red]x[/red] [/nonsense]"}], ["text"], stream)
    assert "[red]x[/red] [/nonsense]" in stream.getvalue()


def test_no_rows_are_no_table() -> None:
    stream = io.StringIO()
    print_rows([], ["id"], stream)
    assert not stream.getvalue()
