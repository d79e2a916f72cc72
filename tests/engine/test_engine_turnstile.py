"""The one line: who goes first, and that nobody is forgotten in it."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import anyio
import pytest
from engine_world import in_virtual_time

from batcher.engine.seats import PROBE_EVERY_S, Seats
from batcher.engine.turnstile import FIRST_WAITS_S, Abandoned, Turnstile
from batcher.errors import LimitReached
from batcher.policy import FlowState, Part, Wait
from batcher.policy.table import TEMPLATES
from batcher.records import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


def request(n: int) -> Request:
    return Request(n, b"{}", f"{n:032x}", "m")


class Door:
    """A turnstile whose canary has come home, and a note of who came in, in order."""

    def __init__(self, slots: int, further: Sequence[Part] = ()) -> None:
        self.flow = FlowState(concurrency=slots, rng=random.Random(0), further=further)
        self.stops: list[BaseException] = []
        self.turnstile = Turnstile(self.flow, stop=self.stops.append)
        self.inside: list[int] = []
        self.abandoned: list[int] = []

    async def enter(self, n: int, *, retrying: bool = False) -> None:
        try:
            await self.turnstile.enter(request(n), retrying=retrying)
        except Abandoned:
            self.abandoned.append(n)
        else:
            self.inside.append(n)
            self.flow.on_sent(anyio.current_time())

    async def retry(self, n: int) -> None:
        await self.enter(n, retrying=True)

    def leave(self) -> None:
        now = anyio.current_time()
        self.flow.on_verdict(TEMPLATES["ok"], now)
        self.flow.on_done(now)
        self.turnstile.leave()


def at_the_door(
    slots: int, test: Callable[[Door, anyio.abc.TaskGroup], Awaitable[None]], further: Sequence[Part] = ()
) -> Door:
    async def main() -> Door:
        door = Door(slots, further)
        await door.enter(-1)
        door.leave()
        door.inside.clear()
        async with anyio.create_task_group() as tasks:
            await test(door, tasks)
        return door

    return in_virtual_time(main)


async def settled() -> None:
    await anyio.wait_all_tasks_blocked()


def test_a_free_slot_costs_no_wait() -> None:
    async def main() -> float:
        door = Door(1)
        await door.enter(0)
        return anyio.current_time()

    assert in_virtual_time(main) == 0.0


def test_the_line_keeps_its_order_and_retries_stand_before_first_attempts() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        for n, retrying in ((1, False), (2, False), (3, True), (4, True)):
            tasks.start_soon(door.retry if retrying else door.enter, n)
            await settled()
        assert door.turnstile.waiting == 4
        for _ in range(4):
            door.leave()
            await settled()

    assert at_the_door(1, test).inside == [0, 3, 4, 1, 2]


def test_one_reply_lets_one_in_and_never_more_than_the_slots() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        for n in range(10):
            tasks.start_soon(door.enter, n)
        await settled()
        assert len(door.inside) == 3
        for _ in range(7):
            door.leave()
            await settled()
            assert door.flow.in_flight == 3

    assert sorted(at_the_door(3, test).inside) == list(range(10))


def test_a_first_attempt_that_waited_a_minute_goes_before_retries() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        tasks.start_soon(door.enter, 1)
        await settled()
        for n in (2, 3):
            tasks.start_soon(door.retry, n)
            await settled()
        await anyio.sleep(FIRST_WAITS_S - 1)
        door.leave()
        await anyio.sleep(1)
        door.leave()
        await settled()
        door.leave()

    assert at_the_door(1, test).inside == [0, 2, 1, 3]


def test_the_head_that_is_cancelled_makes_room_for_the_next() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        scope = anyio.CancelScope()

        async def give_up() -> None:
            with scope:
                await door.enter(1)

        tasks.start_soon(give_up)
        await settled()
        tasks.start_soon(door.enter, 2)
        await settled()
        scope.cancel()
        await settled()
        assert door.turnstile.waiting == 1
        door.leave()

    assert at_the_door(1, test).inside == [0, 2]


def test_a_slot_granted_to_a_waiter_that_is_cancelled_at_the_same_moment_is_given_back() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        scope = anyio.CancelScope()

        async def give_up() -> None:
            with scope:
                await door.enter(1)

        tasks.start_soon(give_up)
        await settled()
        tasks.start_soon(door.enter, 2)
        await settled()
        scope.cancel()
        door.leave()
        await settled()
        assert door.flow.in_flight == 1

    assert at_the_door(1, test).inside[-1] == 2


def test_the_head_asks_again_when_the_gate_opens_and_the_others_follow() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        refused = TEMPLATES["rate_limit"]
        await door.enter(0)
        now = anyio.current_time()
        door.flow.on_verdict(
            type(refused)(refused.rule, refused.action, charges=refused.charges, wait_s=30.0), now
        )
        door.flow.on_done(now)
        for n in range(1, 5):
            tasks.start_soon(door.enter, n)
            await settled()
        await anyio.sleep(29)
        assert door.inside == [0]
        await anyio.sleep(10)

    assert at_the_door(8, test).inside == [0, 1, 2, 3, 4]


def test_closing_abandons_everybody_who_waits_and_whoever_comes() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        for n in (1, 2, 3):
            tasks.start_soon(door.retry if n == 2 else door.enter, n)
        await settled()
        door.turnstile.close()
        await settled()
        door.leave()
        await door.enter(4)
        assert door.flow.in_flight == 0

    door = at_the_door(1, test)
    assert door.inside == [0]
    assert sorted(door.abandoned) == [1, 2, 3, 4]


def test_a_slot_granted_as_the_door_closes_is_not_used() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        tasks.start_soon(door.enter, 1)
        await settled()
        door.leave()
        door.turnstile.close()
        await settled()
        assert door.flow.in_flight == 0

    assert at_the_door(1, test).inside == [0]


class Picky(Part):
    """Holds some rows back, each until its own time; `stops` is a row that can never go."""

    def __init__(
        self, held_until: dict[int, float], *, stops: int | None = None, whole: bool = False
    ) -> None:
        self._held_until, self._stops, self._whole = held_until, stops, whole

    def ask(self, request: Request, now: float) -> Wait | None:
        if request.row_index == self._stops:
            return Wait(math.inf, "no", stop=LimitReached("no"))
        until = self._held_until.get(request.row_index, -math.inf)
        return Wait(until, "not this one", only_this_row=not self._whole) if now < until else None


def test_where_only_the_head_is_held_back_those_behind_it_go_first() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        for n, retrying in ((1, True), (2, True), (3, False), (4, False)):
            tasks.start_soon(door.retry if retrying else door.enter, n)
            await settled()
        door.leave()
        await settled()
        assert door.inside == [0, 3]
        door.leave()
        await settled()
        assert door.inside == [0, 3, 4]
        door.leave()
        await anyio.sleep(30.5)
        assert door.inside == [0, 3, 4, 2], "its time came first, though it is not the head"
        door.leave()
        await anyio.sleep(10)

    assert at_the_door(1, test, [Picky({1: 40.0, 2: 30.0})]).inside == [0, 3, 4, 2, 1]


def test_where_everybody_is_held_back_nobody_passes_the_head() -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        for n in (1, 2):
            tasks.start_soon(door.enter, n)
            await settled()
        assert not door.inside
        await anyio.sleep(31)

    assert at_the_door(2, test, [Picky({1: 30.0}, whole=True)]).inside == [1, 2]


@pytest.mark.parametrize("held", [{}, {1: 30.0}])
def test_what_no_event_can_change_stops_the_run(held: dict[int, float]) -> None:
    async def test(door: Door, tasks: anyio.abc.TaskGroup) -> None:
        await door.enter(0)
        for n in (1, 2) if held else (2,):
            tasks.start_soon(door.enter, n)
            await settled()
        door.leave()
        await settled()
        assert {type(stop) for stop in door.stops} == {LimitReached}
        door.turnstile.close()

    door = at_the_door(1, test, [Picky(held, stops=2)])
    assert door.inside == [0]
    assert 2 in door.abandoned


# --- seats ------------------------------------------------------------------------------------------------


def test_a_seat_is_free_at_once_or_when_one_is_given_back() -> None:
    async def main() -> list[float]:
        seats, at = Seats(lambda: 1), list[float]()
        await seats.take()
        at.append(anyio.current_time())
        async with anyio.create_task_group() as tasks:

            async def take() -> None:
                await seats.take()
                at.append(anyio.current_time())

            tasks.start_soon(take)
            await anyio.sleep(3)
            seats.give()
        return at

    assert in_virtual_time(main) == [0.0, 3.0]


@pytest.mark.parametrize("waiting", [1, 5])
def test_when_no_seat_comes_free_one_more_is_let_through_every_ten_seconds(waiting: int) -> None:
    async def main() -> list[float]:
        seats, at = Seats(lambda: 1), list[float]()

        async def take() -> None:
            await seats.take()
            at.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for _ in range(1 + waiting):
                tasks.start_soon(take)
        return at

    assert in_virtual_time(main) == [n * PROBE_EVERY_S for n in range(1 + waiting)]


def test_seats_beyond_the_bound_are_given_back_before_one_is_free_again() -> None:
    async def main() -> float:
        seats = Seats(lambda: 1)
        await seats.take()
        await seats.take()
        seats.give()
        before = anyio.current_time()
        await seats.take()
        return anyio.current_time() - before

    assert in_virtual_time(main) == PROBE_EVERY_S
