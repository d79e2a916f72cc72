"""Whole runs in every weather, with all parts of the flow control: nothing lost, nothing twice, nothing stuck.

Each seed draws a server (rate limits with and without hints, outages, a queue, losses, rows that always fail), the
user's limits (a budget, a deadline, a pace, a window) and moments at which the process is killed; sessions go on until
all is done. By default some seeds run, with `-m long` a thousand; the seed is the test's name.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest
from engine_weather import (
    BODY,
    MAX_TOKENS,
    PAID_USD,
    TIMEOUT_S,
    WORST_USD,
    Weather,
    drawn_kills,
    drawn_settings,
    weather,
)
from engine_world import Builder, MemoryStore, Setup, Step, World, play, repeatable
from test_engine_simulation import settled

from batcher.errors import EndpointUnavailable, Interrupted, LimitReached
from batcher.records import IntentRecord, Outcome, ReplyRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batcher.policy import FlowSettings

SEEDS = 60
LONG_SEEDS = 1_000
LONGEST_PAUSE_S = 100.0
"""Between two requests of a session: a back-off of 60 s, an attempt that hangs for 30 s, some jitter."""
LONGEST_PROOF_S = 600.0
"""And so much where a row's last attempt may be paid for in vain: it waits for a proof that the endpoint is alive."""
AGAIN_S = 120.0
"""After a stop that asks to come back later."""
OUTAGE_S = 600.0
"""Up to this much outage in all fails no row."""


class Exchange(NamedTuple):
    begun: float
    over: float
    is_probe: bool


@dataclass
class Session:
    """One process at work: what it sent, seen from inside."""

    sky: Weather
    settings: FlowSettings
    since: float
    exchanges: list[Exchange] = field(default_factory=list)
    world: World | None = None

    def prepare(self, world: World) -> None:
        self.world = world

    def script(self, row: int, attempt: int, now: float) -> Step:
        assert self.world is not None
        flow = self.world.flow
        assert 1 <= flow.window <= flow.most_window <= self.settings.most_concurrency
        step = self.sky(row, self.since + now)
        lasts = TIMEOUT_S if step.seconds is None else min(TIMEOUT_S, step.seconds)
        # By row: what was admitted as the breaker opened may begin a moment after.
        assert flow._breaker is not None
        self.exchanges.append(Exchange(now, now + lasts, flow._breaker._probe == row))
        return step

    def play(self, store: MemoryStore | None, kill_at: float | None) -> World:
        return play(
            self.script,
            Setup(
                rows=self.sky.rows,
                settings=self.settings,
                spent_usd=0.0 if store is None else spent_usd(store),
                store=store,
                builder=Builder(max_tokens=MAX_TOKENS, body=lambda row: b"x" * BODY),
                rows_per_chunk=64,
                timeout_s=TIMEOUT_S,
                seed=self.sky.seed,
                prepare=self.prepare,
                meanwhile=None if kill_at is None else _killing(kill_at),
            ),
        )


def _killing(at: float) -> Callable[[World], Awaitable[None]]:
    async def kill(world: World) -> None:
        await anyio.sleep(at)
        if world.engine.is_running:
            world.engine.stop(Interrupted(9))
            world.engine.abandon()

    return kill


def spent_usd(store: MemoryStore) -> float:
    """What the next session must take for spent: replies by their usage, what nobody knows in full."""
    spent = 0.0
    is_open: dict[int, bool] = {}
    for record in store.journal:
        row = record.row_index
        if isinstance(record, IntentRecord):
            spent += WORST_USD * is_open.get(row, False)
        elif isinstance(record, ReplyRecord):
            spent += PAID_USD if record.reply.status == 200 else WORST_USD
        is_open[row] = isinstance(record, IntentRecord)
    return spent + WORST_USD * sum(is_open.values())


@pytest.mark.parametrize(
    "seed",
    [*range(SEEDS), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(SEEDS, LONG_SEEDS))],
)
def test_every_row_is_done_once_whatever_the_weather_and_however_often_it_is_killed(seed: int) -> None:
    repeatable(seed)
    sky = weather(seed)
    allowed = drawn_settings(seed, sky.rows)
    store: MemoryStore | None = None
    since = 0.0
    kills: list[float | None] = [*drawn_kills(seed), None]
    while True:
        session = Session(sky, allowed, since)
        world = session.play(store, kills.pop(0) if kills else None)
        _is_in_order(session, world)
        if world.error is None or _only_cursed_rows_are_left(sky, world):
            break
        since += world.seconds + (AGAIN_S if isinstance(world.error, EndpointUnavailable) else 0.0)
        store = world.store
        store.go_on()
        if isinstance(world.error, LimitReached):
            allowed = replace(allowed, max_cost_usd=None, deadline_s=None)
        assert since < 48 * 3600, "it goes on for ever"
    _is_complete(sky, world)


def _only_cursed_rows_are_left(sky: Weather, world: World) -> bool:
    left = set(range(sky.rows)) - world.store.ended.keys()
    return isinstance(world.error, EndpointUnavailable) and left <= sky.cursed


def _is_in_order(session: Session, world: World) -> None:
    """What holds for every session, whatever ended it."""
    assert isinstance(world.error, Interrupted | LimitReached | EndpointUnavailable | None), world.error
    assert settled(world) == world.store.ended, "the journal alone says what the engine said"
    flow, settings = world.flow, session.settings
    assert (flow.in_flight, flow.unanswered, world.tally.in_flight) == (0, 0, 0)
    assert world.endpoint.most <= min(settings.most_concurrency, settings.concurrency or 10**9)
    _never_pauses(session, world)
    _probes_come_one_by_one(session)
    if settings.requests_per_minute is not None:
        _keeps_the_pace(session, settings.requests_per_minute)
    if settings.max_cost_usd is not None:
        assert session.sky.charged_usd <= settings.max_cost_usd + 1e-12


def _never_pauses(session: Session, world: World) -> None:
    moments = [0.0, *(each.begun for each in session.exchanges), world.seconds]
    longest = max(later - earlier for earlier, later in pairwise(moments))
    assert longest <= LONGEST_PAUSE_S + LONGEST_PROOF_S * session.sky.takes_in_vain, "a stall"


def _probes_come_one_by_one(session: Session) -> None:
    probes = [each for each in session.exchanges if each.is_probe]
    for earlier, later in pairwise(probes):
        assert later.begun >= earlier.over - 1e-6


def _keeps_the_pace(session: Session, per_minute: float) -> None:
    begun = [each.begun for each in session.exchanges]
    first = 0
    for count, at in enumerate(begun, start=1):
        while begun[first] <= at - 60.0 + 1e-6:
            first += 1
        assert count - first <= max(per_minute * 1.05, per_minute + 1)


def _is_complete(sky: Weather, world: World) -> None:
    ended = world.store.ended
    assert set(range(sky.rows)) - ended.keys() <= sky.cursed, "a row was lost"
    failed = {row for row, outcome in ended.items() if outcome is not Outcome.OK}
    outage_s = sum(end - begin for begin, end, _ in sky.outages)
    is_certain = all(step.progress.value != "sent" for _, _, step in sky.outages)
    if not sky.noise and is_certain and outage_s <= OUTAGE_S and sky.capacity is None:
        assert failed <= sky.cursed, "a row was failed that was not at fault"
