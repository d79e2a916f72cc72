"""The board keeps the account of what holds a run, and leaves it in `progress.json` and `events.jsonl`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batcher.engine import Tally
from batcher.policy import FlowSettings, FlowState, Observation, Send, admit
from batcher.policy.table import TEMPLATES
from batcher.records import Request
from batcher.store.events import Events
from batcher.verbs import session
from batcher.verbs.session import Board, Silence

if TYPE_CHECKING:
    from pathlib import Path

ROW = Request(0, b"{}", "0" * 32, "m")


class Clock:
    """Stands for the module `time`: the wall is the run's clock plus a million, and no CPU is used."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e6 + self.now

    def process_time(self) -> float:
        return 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(session, "time", made)
    return made


@pytest.fixture
def board(tmp_path: Path, clock: Clock) -> Board:
    flow = FlowState.from_settings(FlowSettings(concurrency=8), rng=random.Random(1), now=clock.now)
    return Board(
        tally=Tally(price=lambda *_: None),
        flow=flow,
        display=Silence(),
        rows_total=100,
        rows_before=0,
        progress_file=tmp_path / "progress.json",
        touch=lambda: None,
        events=Events(tmp_path / "events.jsonl"),
    )


def events_of(board: Board) -> list[dict[str, Any]]:
    lines = (board.progress_file.parent / "events.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def refused(board: Board, clock: Clock, *, wait_s: float) -> None:
    """One request goes out and comes back with a Retry-After."""
    assert isinstance(admit(board.flow, ROW, clock.now), Send)
    verdict = TEMPLATES["rate_limit"]
    verdict = type(verdict)(
        **{name: getattr(verdict, name) for name in verdict.__slots__} | {"wait_s": wait_s}
    )
    board.flow.on_reply(Observation(ROW, clock.now - 0.5, clock.now, verdict))
    board.flow.on_verdict(verdict, clock.now)
    board.flow.on_done(clock.now, ROW)


def test_a_pause_is_told_while_it_lasts_and_counted_when_it_is_over(board: Board, clock: Clock) -> None:
    board.look(clock.now)
    refused(board, clock, wait_s=3.0)
    for _ in range(30):
        clock.now += 0.2
        board.look(clock.now)
        if clock.now < 103:
            assert board.standing(clock.now).held_by == "rate limit"
    board.finish()
    told = orjson.loads(board.progress_file.read_bytes())
    assert 3.0 <= told["flow"]["held_s"]["rate limit"] <= 3.6
    assert told["flow"]["pauses"] == {"rate limit": 1}
    assert told["flow"]["window"] == {"limit": 8, "most": 8, "in_flight": 0, "mode": "pinned"}
    assert told["ts"] == 1e6 + clock.now
    shut, opened = (each for each in events_of(board) if each["event"] in {"gate", "pace"})
    assert (shut["ts"], shut["reason"]) == (1_000_100.0, "rate limit")
    assert opened["reason"] == "opened"
    assert 1_000_103.0 <= opened["ts"] <= 1_000_103.6


def test_the_account_is_there_for_the_summary_when_the_board_is_finished(board: Board, clock: Clock) -> None:
    clock.now += 1.0
    board.finish()
    assert board.account.to_json()["largest_window"] == 8


def test_what_the_store_waits_for_reaches_the_line(board: Board, clock: Clock) -> None:
    board.store_waits = lambda: "dataset"
    board.look(clock.now)
    assert board.standing(clock.now).held_by == "dataset"
    board.is_syncing = lambda: True
    board.look(clock.now)
    assert board.standing(clock.now).held_by == "disk"


def test_samples_are_in_the_file_every_two_seconds(board: Board, clock: Clock) -> None:
    for _ in range(26):
        clock.now += 0.2
        board.look(clock.now)
        board._write(board.standing(clock.now))
    samples = [each for each in events_of(board) if each["event"] == "sample"]
    assert [round(each["ts"] - 1e6, 1) for each in samples] == [100.2, 102.2, 104.2]
    assert set(samples[0]) == {
        "ts", "event", "window", "in_flight", "pace", "tokens_per_minute", "rows_per_s", "latency_p50_ms",
        "throttled", "held_by",
    }  # fmt: skip
