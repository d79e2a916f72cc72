"""The account of a session's flow control, and the lines it leaves in `events.jsonl`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from batcher.policy import FlowEvent
from batcher.verbs.flow_account import FlowAccount, requests_per_minute, without_numbers
from batcher.verbs.flow_lines import FlowLines, Line

if TYPE_CHECKING:
    from collections.abc import Mapping

OPEN: Mapping[str, Any] = {"gate": {"open": True}, "breaker": {"open": False, "failed_probes": 0}}
SHUT: Mapping[str, Any] = {**OPEN, "gate": {"open": False}}


def growth(at: float, old: float, new: float) -> FlowEvent:
    return FlowEvent(at, "window", "growth", old, new)


def test_the_time_between_two_looks_counts_for_what_holds_at_the_second() -> None:
    account = FlowAccount()
    for now, held_by in (
        (10.0, "canary"),
        (10.5, "canary"),
        (11.0, "window"),
        (14.0, None),
        (20.0, "window"),
    ):
        account.look(now, held_by=held_by, window=4, state={})
    assert account.held_s == {"canary": 0.5, "window": 6.5}


@pytest.mark.parametrize(
    ("event", "cuts", "pauses"),
    [
        (("window", "overloaded", 64, 44), {"window: overloaded": 1}, {}),
        (("window", "growth", 64, 65), {}, {}),
        (("pace", "first refusal", None, 5_520), {"pace: first refusal": 1}, {}),
        (("pace", "refused", 6_000, 5_520), {"pace: refused": 1}, {}),
        (("pace", "raised", 5_520, 5_575), {}, {}),
        (("pace", "requests/min set by the user", None, 600), {}, {}),
        (("gate", "rate limit", 0.0, 2.5), {}, {"rate limit": 1}),
        (("breaker", "20 faults in a row", 0.0, 1.0), {}, {"faults in a row": 1}),
        (("breaker", "the endpoint answers again", 1.0, 0.0), {}, {}),
    ],
)  # fmt: skip
def test_cuts_and_pauses_are_counted_by_reason(
    event: tuple[str, str, float | None, float | None], cuts: dict[str, int], pauses: dict[str, int]
) -> None:
    account = FlowAccount()
    account.changed([FlowEvent(1.0, *event)])
    assert (dict(account.cuts), dict(account.pauses)) == (cuts, pauses)


def test_the_account_tells_the_last_state_and_the_largest_window() -> None:
    account = FlowAccount()
    assert account.to_json() == {}
    account.look(1.0, held_by=None, window=64, state={"window": {"limit": 64}, "held": {"concurrency": 9}})
    account.look(
        2.0, held_by="window", window=44, state={"window": {"limit": 44}, "held": {"concurrency": 9}}
    )
    told = account.to_json()
    assert (told["window"], told["largest_window"], told["held_s"]) == ({"limit": 44}, 64, {"window": 1.0})
    assert "held" not in told, "how often admission was asked in vain is nobody's business"


def test_the_pace_is_the_smaller_of_what_is_known_and_what_is_found() -> None:
    assert requests_per_minute({}) is None
    assert (
        requests_per_minute({"limits": {"requests_per_minute": 600.0}, "pace": {"requests_per_minute": None}})
        == 600
    )
    assert (
        requests_per_minute({"limits": {"requests_per_minute": 600.0}, "pace": {"requests_per_minute": 90.0}})
        == 90
    )


def test_reasons_of_one_kind_are_one_whatever_their_numbers() -> None:
    assert without_numbers("53% faults in 30 s") == without_numbers("80% faults in 30 s") == "faults in s"


# --- lines


def told(lines: list[Line]) -> list[tuple[object, ...]]:
    return [
        (line.at, line.name, *(line.facts.get(name) for name in ("reason", "old", "new", "times")))
        for line in lines
    ]


def test_the_first_change_of_a_kind_is_told_at_once_and_those_that_follow_as_one() -> None:
    lines = FlowLines(began=0.0)
    first = lines.changes([growth(1.0, 4, 8), growth(1.5, 8, 16), growth(2.5, 16, 32)], OPEN, 2.6)
    assert told(first) == [(1.0, "window", "growth", 4, 8, None)]
    assert lines.changes([], OPEN, 2.9) == []
    assert told(lines.changes([], OPEN, 3.0)) == [(1.5, "window", "growth", 8, 32, 2)]


def test_another_reason_is_told_at_once() -> None:
    lines = FlowLines(began=0.0)
    cut = FlowEvent(2.5, "window", "overloaded", 16.0, 11.0)
    assert [line.at for line in lines.changes([growth(1.0, 4, 8), growth(2.0, 8, 16), cut], OPEN, 2.9)] == [
        1.0,
        2.5,
    ]


def test_nothing_is_lost_when_the_session_ends() -> None:
    lines = FlowLines(began=0.0)
    lines.changes([growth(1.0, 4, 8), growth(2.0, 8, 16)], OPEN, 2.9)
    assert told(lines.rest()) == [(2.0, "window", "growth", 8, 16, None)]
    assert lines.rest() == []


def test_what_only_the_state_tells_becomes_a_change() -> None:
    lines = FlowLines(began=0.0)
    down = {**OPEN, "breaker": {"open": True, "failed_probes": 2}}
    assert lines.changes([], OPEN, 1.0) == lines.changes([], SHUT, 2.0) == []
    assert told(lines.changes([], OPEN, 3.0)) == [(3.0, "gate", "opened", None, 0.0, None)]
    assert told(lines.changes([], down, 4.0)) == [(4.0, "breaker", "probe failed", 0.0, 2.0, None)]
    assert lines.changes([], down, 5.0) == lines.changes([], OPEN, 6.0) == []


def run_of(hours: float) -> tuple[list[Line], int]:
    """The samples of a run that is looked at every 2 s and changes its pace every second, and all its lines' bytes."""
    account, lines = FlowAccount(), FlowLines(began=0.0)
    samples: list[Line] = []
    changes: list[Line] = []
    for step in range(int(hours * 1800)):
        now = step * 2.0
        account.look(now, held_by="window", window=64, state=OPEN)
        samples += lines.sample(account, now, rows=step * 40, throttled=step, in_flight=60, window=64)
        events = [
            FlowEvent(now + at, "pace", reason, 1.0, 2.0) for at, reason in ((0, "raised"), (1, "refused"))
        ]
        changes += lines.changes(events, OPEN, now)
    size = sum(len(str(line.facts)) + 40 for line in (*samples, *changes))
    return samples, size


def test_an_hour_has_samples_every_two_to_twenty_seconds_with_rates_of_that_span() -> None:
    samples, _ = run_of(1)
    spans = [later.at - sooner.at for sooner, later in pairwise(samples)]
    assert (min(spans), max(spans)) == (2.0, 20.0)
    assert samples[0].facts["rows_per_s"] is None
    assert {sample.facts["rows_per_s"] for sample in samples[1:]} == {20.0}
    assert samples[-1].facts["throttled"] == 10
    assert 500 < len(samples) < 650


def test_a_day_has_enough_points_and_fits_the_file() -> None:
    samples, size = run_of(24)
    assert 1_000 < len(samples) < 1_300
    spans = [later.at - sooner.at for sooner, later in pairwise(samples)]
    assert max(spans) <= 24 * 3_600 / 170
    assert size < 1 << 20, "what the first hour told is still there"
