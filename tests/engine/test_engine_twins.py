"""Rows that ask the same: one is sent, the others wait without holding anything and take its answer over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from engine_world import Builder, Setup, World, error, ok, play

from batcher.engine.settle import Settler
from batcher.engine.twins import Twins
from batcher.errors import Interrupted
from batcher.records import InputRow, Outcome, Problem, Request, ReuseRecord

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ("completion", "outcome", "response_id", "response_json")


class Asking(Builder):
    """Row n asks what `of` says of it."""

    def __init__(self, of: Callable[[int], int]) -> None:
        super().__init__()
        self._of = of

    def build(self, row: InputRow) -> Request | Problem:
        built = super().build(row)
        assert isinstance(built, Request)
        return replace(built, request_hash=f"{self._of(row.row_index):032x}", custom_id=f"id-{row.row_index}")


def twins(**bounds: int) -> Twins:
    settle = Settler(run_id="run-1", price=lambda *_: None)
    return Twins(run_id="run-1", settle=settle, columns=COLUMNS, **bounds)


def setup(of: Callable[[int], int] = lambda n: 0, **more: Any) -> Setup:
    return Setup(builder=Asking(of), **{"twins": twins(), **more})


def copies(world: World) -> list[ReuseRecord]:
    return [record for record in world.store.journal if isinstance(record, ReuseRecord)]


def test_equal_rows_are_sent_once_and_each_has_the_answer_as_its_own() -> None:
    world = play(lambda row, attempt, now: ok(text=f"of {row}"), setup(of=lambda n: n % 3, rows=30))
    assert (world.error, world.outcomes()) == (None, {Outcome.OK: 30})
    assert sorted(sent.row for sent in world.sent) == [0, 1, 2]
    assert len(copies(world)) == 27
    for copy in copies(world):
        assert copy.values["completion"] == f"of {copy.row_index % 3}"
        assert (copy.reused_from, copy.custom_id) == ("run-1", f"id-{copy.row_index}")
    assert (world.tally.paid, world.tally.reused) == (3, 27)
    assert (world.flow.memory._rows, world.flow.memory._bodies) == (0, 0)


def test_rows_that_wait_for_a_twin_hold_no_slot() -> None:
    script = lambda row, attempt, now: ok(seconds=100.0 if row == 0 else 1.0)  # noqa: E731
    world = play(script, setup(of=lambda n: 0 if n < 50 else n, rows=54, concurrency=2))
    assert world.seconds == pytest.approx(100.0, abs=1.0)
    assert [sent.row for sent in world.sent][:2] == [0, 50]
    assert world.outcomes() == {Outcome.OK: 54}


def test_when_a_twin_fails_the_next_one_is_sent_and_nobody_waits_for_ever() -> None:
    script = lambda row, attempt, now: ok(text="at last") if row == 3 else error(400)  # noqa: E731
    world = play(script, setup(rows=6))
    assert world.error is None
    assert [sent.row for sent in world.sent] == [0, 1, 2, 3]
    assert world.outcomes() == {Outcome.FAILED: 3, Outcome.OK: 3}
    assert [copy.row_index for copy in copies(world)] == [4, 5]


def test_a_twin_that_is_retried_keeps_the_others_waiting() -> None:
    world = play(lambda row, attempt, now: error(500) if attempt < 3 else ok(), setup(rows=5))
    assert {sent.row for sent in world.sent} == {0}
    assert world.outcomes() == {Outcome.OK: 5}


def test_when_all_fail_each_has_its_own_failure() -> None:
    world = play(lambda row, attempt, now: error(422), setup(rows=9))
    assert (world.error, world.outcomes()) == (None, {Outcome.FAILED: 9})
    assert len(world.sent) == 9
    assert copies(world) == []


def test_a_truncated_answer_is_shared_as_it_is() -> None:
    world = play(lambda row, attempt, now: ok(finish="length"), setup(rows=3))
    assert world.outcomes() == {Outcome.TRUNCATED: 3}
    assert len(world.sent) == 1


def test_beyond_what_memory_holds_a_row_is_sent_again() -> None:
    of = lambda n: n % 4  # noqa: E731
    few = setup(of=of, rows=12, concurrency=1, twins=twins(most_answers=2))
    world = play(lambda row, attempt, now: ok(), few)
    assert len(world.sent) == 12
    long = setup(of=of, rows=12, concurrency=1, twins=twins(most_chars=10))
    assert len(play(lambda row, attempt, now: ok(text="x" * 20), long).sent) == 12


def test_rows_that_wait_when_the_run_stops_stay_pending_and_the_next_session_goes_on() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(1.0)
        world.engine.stop(Interrupted(2))

    first = play(lambda row, attempt, now: error(500), setup(rows=5, meanwhile=interrupt))
    assert isinstance(first.error, Interrupted)
    assert first.store.ended == {}
    first.store.go_on()
    second = play(lambda row, attempt, now: ok(), setup(store=first.store))
    assert second.outcomes() == {Outcome.OK: 5}
    assert len(second.sent) == 1


def test_an_answer_of_an_earlier_session_or_run_serves_all_twins() -> None:
    known = twins()
    known.remember(f"{0:032x}", "run-0", {"outcome": "ok", "completion": "known"})
    world = play(lambda row, attempt, now: ok(), setup(rows=4, twins=known))
    assert world.sent == []
    assert {copy.reused_from for copy in copies(world)} == {"run-0"}
    taken = play(lambda row, attempt, now: ok(), setup(rows=4, answers=[0]))
    assert taken.sent == []
    assert {copy.reused_from for copy in copies(taken)} == {"run-0"}
