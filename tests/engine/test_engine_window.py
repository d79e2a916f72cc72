"""How many work at once: as many as the window lets send, and never more than there is work for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from engine_world import Setup, Step, World, error, ok, play

from batcher.policy import FlowSettings
from batcher.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def workers_at(seconds: float, seen: list[int]) -> Callable[[World], Awaitable[None]]:
    async def look(world: World) -> None:
        await anyio.sleep(seconds)
        seen.append(world.engine._workers)

    return look


def test_a_growing_window_is_filled() -> None:
    world = play(
        lambda row, attempt, now: ok(), Setup(rows=3000, settings=FlowSettings(), rows_per_chunk=512)
    )
    assert world.outcomes() == {Outcome.OK: 3000}
    assert world.endpoint.most > 256
    assert world.seconds < 20


def test_a_pinned_window_is_filled_and_not_exceeded() -> None:
    world = play(lambda row, attempt, now: ok(), Setup(rows=3000, settings=FlowSettings(concurrency=200)))
    assert world.endpoint.most == 200
    assert world.seconds < 3000 / 200 + 4


def test_few_rows_have_few_workers_however_wide_the_window() -> None:
    seen: list[int] = []
    play(
        lambda row, attempt, now: ok(seconds=5.0),
        Setup(rows=10, concurrency=4000, meanwhile=workers_at(2.0, seen)),
    )
    assert seen == [11]


def test_rows_that_need_no_exchange_hire_nobody() -> None:
    seen: list[int] = []
    setup = Setup(
        rows=5000, answers=range(4999), concurrency=64, meanwhile=workers_at(0.5, seen), rows_per_chunk=512
    )
    play(lambda row, attempt, now: ok(), setup)
    assert seen == [2]


def test_a_window_that_shrank_and_grew_again_is_filled_again() -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(529) if 8.0 <= now < 14.0 else ok()

    world = play(script, Setup(rows=12_000, settings=FlowSettings(most_concurrency=64)))
    least = min(sent.in_flight for sent in world.sent if 15 < sent.at < 30)
    most = max(sent.in_flight for sent in world.sent if sent.at > 60)
    assert least < 32
    assert most > 48
    assert world.outcomes() == {Outcome.OK: 12_000}
