"""Memory is bounded by bytes: large rows among small ones, larger than the limit, waiting for another attempt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from engine_world import Builder, Setup, Step, World, completion, error, ok, play

from batcher.errors import Interrupted
from batcher.policy import FlowSettings
from batcher.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 100_000
LARGE = 30_000


def size(row: int) -> int:
    return LARGE if row % 5 == 0 else 100


class Held:
    """The bytes of rows that were built and have not ended."""

    def __init__(self, size_of: Callable[[int], int]) -> None:
        self.most = 0
        self.size_of = size_of
        self._built: set[int] = set()
        self._world: World | None = None

    def prepare(self, world: World) -> None:
        self._world = world

    def body(self, row: int) -> bytes:
        assert self._world is not None
        self._built.add(row)
        self._built -= self._world.store.ended.keys()
        self.most = max(self.most, sum(map(self.size_of, self._built)))
        return b"x" * self.size_of(row)


def large_rows(held: Held, *, rows: int = 600, most: int = LIMIT, concurrency: int | None = 64) -> Setup:
    return Setup(
        rows=rows,
        settings=FlowSettings(concurrency=concurrency, most_bytes_in_flight=most),
        builder=Builder(body=held.body),
        prepare=held.prepare,
        rows_per_chunk=512,
    )


@pytest.mark.parametrize("concurrency", [None, 64])
def test_no_more_bytes_are_in_hand_than_the_limit_and_one_row(concurrency: int | None) -> None:
    held = Held(size)
    world = play(lambda row, attempt, now: ok(), large_rows(held, concurrency=concurrency))
    assert world.outcomes() == {Outcome.OK: 600}
    assert LIMIT / 2 < held.most <= LIMIT + LARGE
    assert world.seconds < 80, "three large rows and their small neighbours at a time"
    assert not world.flow.memory.state(0.0)["memory"]["bytes_in_hand"]  # type: ignore[index]


def test_rows_that_wait_for_another_attempt_are_counted() -> None:
    held = Held(size)

    def script(row: int, attempt: int, now: float) -> Step:
        return error(429, retry_after="2") if row % 5 == 0 and attempt == 1 else ok()

    world = play(script, large_rows(held, rows=200))
    assert world.outcomes() == {Outcome.OK: 200}
    assert held.most <= LIMIT + LARGE


def test_a_row_larger_than_the_limit_goes_alone() -> None:
    held = Held(lambda row: 3 * LIMIT if row == 20 else 100)
    world = play(lambda row, attempt, now: ok(), large_rows(held, rows=60))
    assert world.outcomes() == {Outcome.OK: 60}
    assert held.most < 4 * LIMIT


def test_large_rows_that_always_fail_do_not_block_the_run_for_ever() -> None:
    held = Held(lambda row: LARGE)

    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if 8 <= row < 14 else ok()

    world = play(script, large_rows(held, rows=60))
    assert world.error is None
    assert world.outcomes() == {Outcome.OK: 54, Outcome.FAILED: 6}


def test_large_replies_narrow_what_is_in_flight() -> None:
    text = "x" * 20_000
    held = Held(lambda row: 100)
    world = play(lambda row, attempt, now: ok(text=text), large_rows(held, rows=300))
    reply = len(completion(text))
    late = max(sent.in_flight for sent in world.sent if sent.at > 10)
    assert late <= LIMIT // reply
    assert world.outcomes() == {Outcome.OK: 300}


def test_a_run_whose_memory_is_full_can_be_stopped() -> None:
    async def interrupt(world: World) -> None:
        await anyio.sleep(20)
        world.engine.stop(Interrupted(2))

    setup = replace(large_rows(Held(lambda row: LARGE)), meanwhile=interrupt)
    world = play(lambda row, attempt, now: ok(seconds=50.0), setup)
    assert isinstance(world.error, Interrupted)
    assert world.seconds == pytest.approx(65, abs=1)
