"""Whole runs against servers of every temper: nothing lost, nothing twice, nothing stuck.

Each seed draws a size, a concurrency and a server that fails in its own ways, sometimes for a while, sometimes for
certain rows; and, for some, a moment at which the run is stopped and gone on with, as a next session would.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import pytest
from engine_world import HANG, REFUSED, Builder, Setup, Step, World, completion, error, lost, ok, play, unsent

from batcher.engine import Settler
from batcher.errors import BatcherError, Interrupted
from batcher.records import Cost, CostSource, IntentRecord, Outcome, ReplyRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FAILURES = (
    error(500),
    error(503, retry_after="3"),
    error(429),
    error(429, retry_after="2"),
    error(429, retry_after_ms="40"),
    error(529),
    error(409),
    error(504),
    error(400, code="context_length_exceeded"),
    error(451),
    REFUSED,
    lost(),
    unsent(),
    HANG,
    ok(finish=None),
    ok(finish="length"),
    Step(200, b"<html>", 0.2),
    Step(200, b'{"error":{"message":"busy","code":429}}', 0.2),
    Step(200, completion()[:40], 0.2),
)
ENDLESS = frozenset({REFUSED, *FAILURES[1:6]})
"""What no row is charged for, so that a row which always meets it runs into the 6 hours; too slow for so many runs."""
RUNS = range(120)


@dataclass(frozen=True)
class Server:
    """Fails a share of all requests, all requests for a while, and some rows always."""

    seed: int
    share: float
    kinds: tuple[Step, ...]
    outage: tuple[float, float]
    poisoned: frozenset[int]

    def __call__(self, row: int, attempt: int, now: float) -> Step:
        rng = random.Random(f"{self.seed} {row} {attempt}")
        kind = self.kinds[row % len(self.kinds)]
        if self.outage[0] <= now < self.outage[1] or (row in self.poisoned and kind not in ENDLESS):
            return kind
        if rng.random() < self.share:
            return rng.choice(self.kinds)
        return ok(seconds=rng.uniform(0.05, 5.0))


def drawn(seed: int) -> tuple[Server, Setup]:
    rng = random.Random(seed)
    rows = rng.choice((1, 2, 7, 30, 120))
    start = rng.uniform(5, 40)
    server = Server(
        seed,
        share=rng.choice((0.0, 0.05, 0.3)),
        kinds=tuple(rng.sample(FAILURES, k=rng.choice((1, 2, 5)))),
        outage=(start, start + rng.choice((0, 0, 20, 400))),
        poisoned=frozenset(rng.sample(range(rows), k=min(rows, rng.choice((0, 0, 1, 3))))),
    )
    setup = Setup(
        rows=rows,
        concurrency=rng.choice((1, 2, 8, 64)),
        builder=Builder(invalid=rng.sample(range(rows), k=rows // 10)),
        answers=rng.sample(range(rows), k=rows // 10),
        rows_per_chunk=rng.choice((1, 8, 500)),
        timeout_s=60.0,
        seed=seed,
        meanwhile=_interruption(rng.uniform(0, 60)) if rng.random() < 0.3 else None,
    )
    return server, setup


def _interruption(at: float) -> Callable[[World], Awaitable[None]]:
    async def interrupt(world: World) -> None:
        await anyio.sleep(at)
        world.engine.stop(Interrupted(2))

    return interrupt


def settled(world: World) -> dict[int, Outcome]:
    """What the journal alone says of every row that has an end by it."""
    settle = Settler(run_id="run-1", price=lambda asked, answered, usage: Cost(0.001, CostSource.PRICES))
    rows = {record.row_index for record in world.store.journal}
    found = {row: settle(world.store.history(row)) for row in rows}
    return {row: each.outcome for row, each in found.items() if each is not None}


@pytest.mark.parametrize("seed", RUNS)
def test_every_row_ends_exactly_once_or_stays_pending_for_the_next_session(seed: int) -> None:
    server, setup = drawn(seed)
    world = play(server, setup)
    assert world.error is None or isinstance(world.error, BatcherError), world.error
    assert world.error is not None or len(world.store.ended) == setup.rows
    assert settled(world) == world.store.ended, "the journal alone says what the engine said"
    _nothing_is_exceeded(world, setup)
    _nothing_is_in_doubt(world)


def _nothing_is_exceeded(world: World, setup: Setup) -> None:
    assert world.endpoint.most <= setup.concurrency
    assert (world.flow.in_flight, world.tally.in_flight, world.engine.is_running) == (0, 0, False)
    assert len(world.sent) == world.tally.attempts
    invalid = {row for row, outcome in world.store.ended.items() if outcome is Outcome.INVALID}
    assert invalid.isdisjoint(sent.row for sent in world.sent)


def _nothing_is_in_doubt(world: World) -> None:
    """Nothing was cancelled, so every paid reply is there, counted, and no intent is left open."""
    for row in {sent.row for sent in world.sent}:
        records = world.store.of(row)
        kept = [record for record in records if isinstance(record, ReplyRecord)]
        assert [record.paid_attempts for record in kept] == list(range(1, len(kept) + 1))
        assert isinstance(records[0], IntentRecord)
        assert world.store.history(row).open_intents == 0
