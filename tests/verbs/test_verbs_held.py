"""What holds a run is decided by rules in their order, and each rule decides something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batcher.verbs.held import CPU, DISK, WINDOW, Load, Look, holder

REQUESTS = "rate limit (requests/min)"
TOKENS = "rate limit (tokens/min)"
QUIET = Look(said=None, refused={}, sent=20, in_flight=10, window=64)


@pytest.mark.parametrize(
    "said", ["deadline", "parked", "rate limit", "overloaded", "endpoint down", "budget", "canary", "ramp"]
)
def test_a_state_of_the_flow_control_comes_before_all_else(said: str) -> None:
    look = replace(
        QUIET, said=said, refused={TOKENS: 99}, is_syncing=True, store=DISK, is_cpu_short=True, window=10
    )
    assert holder(look) == said


@pytest.mark.parametrize(("refused", "held_by"), [(9, None), (10, REQUESTS), (40, REQUESTS)])
def test_a_pace_holds_when_half_of_what_was_sent_waited_for_it(refused: int, held_by: str | None) -> None:
    assert holder(replace(QUIET, said=REQUESTS, refused={REQUESTS: refused, TOKENS: 1})) == held_by


def test_a_pace_holds_while_nothing_can_be_sent_at_all() -> None:
    assert holder(replace(QUIET, said=TOKENS, sent=0)) == TOKENS
    assert holder(replace(QUIET, said=TOKENS, sent=0, window=10)) == WINDOW, "a full window asks no pace"


def test_waiting_for_a_place_in_the_window_is_not_waiting_for_a_pace() -> None:
    full = replace(QUIET, refused={"concurrency": 100, "stopping": 70}, in_flight=64)
    assert holder(full) == WINDOW
    assert holder(replace(full, is_cpu_short=True)) == CPU


def test_the_store_holds_when_there_is_room_in_the_window() -> None:
    for store in ("dataset", DISK):
        assert holder(replace(QUIET, store=store, is_cpu_short=True)) == store
        assert holder(replace(QUIET, store=store, in_flight=64)) == WINDOW


def test_a_sync_that_answers_wait_for_is_the_disk_whatever_the_window() -> None:
    assert holder(replace(QUIET, is_syncing=True, in_flight=64, is_cpu_short=True)) == DISK


def test_the_last_rows_on_their_way_are_held_by_nothing() -> None:
    assert holder(replace(QUIET, sent=0)) is None


def load(*looks: tuple[float, float, float], wanted: float = 0.0) -> Load:
    """Looks at (now, CPU so far, lateness); `wanted` is the share of time in which the loop wanted a core."""
    found = Load()
    for now, cpu_s, late_s in looks:
        found.add(now, cpu_s=cpu_s, wanted_s=wanted * now, late_s=late_s)
    return found


def test_a_core_used_up_for_two_seconds_is_a_short_cpu() -> None:
    assert load(*((100 + at / 5, 7 + 0.96 * at / 5, 0.0) for at in range(11))).is_short
    assert not load(*((100 + at / 5, 7 + 0.90 * at / 5, 0.0) for at in range(11))).is_short
    assert not load(*((100 + at / 5, 7 + at / 5, 0.0) for at in range(9))).is_short, "only 1.6 s were seen"


def test_a_core_that_other_processes_have_is_short_too() -> None:
    half = [(at / 5, 0.5 * at / 5, 0.0) for at in range(11)]
    assert load(*half, wanted=0.97).is_short
    assert not load(*half, wanted=0.6).is_short


def test_timers_that_come_late_are_a_short_cpu_too() -> None:
    assert load(*((at * 0.4, 0.0, 0.2) for at in range(7))).is_short
    assert not load(*((at * 0.22, 0.0, 0.02) for at in range(12))).is_short


def test_what_was_two_seconds_ago_is_forgotten() -> None:
    busy = [(at / 5, at / 5, 0.2) for at in range(20)]
    calm = [(4 + at / 5, 4.0, 0.0) for at in range(12)]
    assert load(*busy).is_short
    assert not load(*busy, *calm).is_short
