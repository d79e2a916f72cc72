"""Events are bounded, private and never in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from batcher.store import events
from batcher.store.events import Events

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_each_event_is_one_json_line(tmp_path: Path) -> None:
    told = Events(tmp_path / "events.jsonl")
    told.tell("session", ts=1.5, session=1, verb="run")
    told.tell("stop", ts=2.0, exit_code=5)
    lines = [orjson.loads(line) for line in (tmp_path / "events.jsonl").read_bytes().splitlines()]
    assert lines == [
        {"ts": 1.5, "event": "session", "session": 1, "verb": "run"},
        {"ts": 2.0, "event": "stop", "exit_code": 5},
    ]
    assert (tmp_path / "events.jsonl").stat().st_mode & 0o777 == 0o600


def test_the_files_stay_bounded_and_keep_the_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_BYTES", 1_000)
    told = Events(tmp_path / "events.jsonl")
    for number in range(500):
        told.tell("flow", ts=float(number), number=number)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"events.jsonl", "events.old.jsonl"}
    assert max(sizes.values()) <= 1_000
    last = (tmp_path / "events.jsonl").read_bytes().splitlines()[-1]
    assert orjson.loads(last)["number"] == 499


def test_a_disk_that_refuses_is_no_error(tmp_path: Path) -> None:
    Events(tmp_path / "gone" / "events.jsonl").tell("flow", ts=0.0)
