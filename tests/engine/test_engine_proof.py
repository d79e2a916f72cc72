"""What attempts that must not be wasted wait for, and for how long."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from engine_world import Setup, Step, World, error, in_virtual_time, lost, ok, play

from batcher.engine.life import RowLife
from batcher.engine.proof import Proof
from batcher.policy import FlowSettings, RowBudget, RowLimits, Verdict
from batcher.policy.table import TEMPLATES
from batcher.records import Outcome, Request

LIMITS = RowLimits()
FAULT, LOST, THROTTLED = TEMPLATES["server_error"], TEMPLATES["no_reply"], TEMPLATES["rate_limit"]


def failed(verdict: Verdict, *, charged: int = 0, paid: int = 0, at: float = 0.0, row: int = 1) -> RowLife:
    """A row whose latest attempt was sent then and failed at once."""
    life = RowLife(Request(row, b"", "0" * 32, "m"), queued_at=0.0, last_attempt_at=at, sent_at_tick=at)
    life.verdict, life.budget = verdict, RowBudget(firm=charged, paid=paid)
    return life


def waited(life: RowLife, *answers: tuple[float, float], limits: RowLimits = LIMITS) -> float:
    """How long it waits, while at the first time of each pair a request that was sent at the second is answered."""

    async def main() -> float:
        proof = Proof()

        async def answer() -> None:
            for at, sent_at in answers:
                await anyio.sleep_until(at)
                proof.answered(sent_at)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            await proof.wait(life, limits)
            tasks.cancel_scope.cancel()
        return anyio.current_time()

    return in_virtual_time(main)


@pytest.mark.parametrize(
    ("life", "seconds"),
    [
        (failed(FAULT, charged=3), 0.0),
        (failed(FAULT, charged=4), 60.0),
        (failed(LOST, paid=1), 5.0),
        (failed(LOST, paid=2), 600.0),
        (failed(LOST, paid=1, charged=4), 60.0),
        (failed(THROTTLED, charged=4), 0.0),
        (failed(LOST, paid=2, at=-590.0), 10.0),
    ],
    ids=[
        "not the last",
        "last of R",
        "perhaps paid",
        "last of P",
        "both",
        "throttled",
        "a timeout has waited",
    ],
)
def test_only_attempts_that_must_not_be_wasted_wait(life: RowLife, seconds: float) -> None:
    assert waited(life) == pytest.approx(seconds)


def test_a_throttled_row_never_waits_even_where_one_attempt_is_all_it_has() -> None:
    assert waited(failed(THROTTLED), limits=RowLimits(max_attempts=1)) == 0.0


def test_the_answer_to_a_request_sent_after_the_failure_ends_the_wait_and_none_before() -> None:
    late, proof = (2.0, -0.5), (8.0, 3.0)
    assert waited(failed(FAULT, charged=4), late, proof) == pytest.approx(8.0)


def test_of_many_rows_that_may_have_been_paid_for_one_asks_every_ten_seconds() -> None:
    async def main() -> list[float]:
        proof = Proof()
        asked: list[float] = []

        async def wait(row: int) -> None:
            await proof.wait(failed(LOST, paid=1, row=row), LIMITS)
            asked.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for row in range(6):
                tasks.start_soon(wait, row)
        return asked

    assert in_virtual_time(main) == pytest.approx([5.0, 15.0, 25.0, 35.0, 45.0, 55.0])


def test_a_row_with_a_long_back_off_is_told_no_later_than_those_that_failed_after_it() -> None:
    async def main() -> list[float]:
        proof = Proof()
        told: list[float] = []

        async def wait(failed_at: float) -> None:
            await proof.wait(failed(FAULT, charged=4, at=failed_at), LIMITS)
            told.append(failed_at)

        async with anyio.create_task_group() as tasks:
            for failed_at in (3.0, 1.0, 2.0):
                tasks.start_soon(wait, failed_at)
                await anyio.sleep(1.0)
            proof.answered(2.5)
            await anyio.sleep(1.0)
            told.append(0.0)
            proof.answered(3.5)
        return told

    first, second, then, last = in_virtual_time(main)
    assert ({first, second}, then, last) == ({1.0, 2.0}, 0.0, 3.0)


@pytest.mark.parametrize("latency_s", [0.5, 8.0, 40.0])
@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_bad_row_takes_as_many_attempts_as_it_may_however_slow_the_others_are(
    latency_s: float, most: int
) -> None:
    def script(row: int, attempt: int, now: float) -> Step:
        return error(500) if row == 30 else ok(seconds=latency_s)

    limits = replace(LIMITS, max_attempts=most)
    world = play(script, Setup(rows=600, settings=FlowSettings(most_concurrency=16), limits=limits))
    assert world.outcomes() == {Outcome.OK: 599, Outcome.FAILED: 1}
    assert world.end_of(30).attempts == most


def test_a_run_that_waits_for_a_sign_of_life_says_so() -> None:
    said: list[str | None] = []

    async def look(world: World) -> None:
        for _ in range(20):
            await anyio.sleep(30)
            said.append(world.flow.held_by(anyio.current_time()))

    setup = Setup(rows=2, settings=FlowSettings(), meanwhile=look)
    world = play(lambda row, attempt, now: ok() if row == 0 or now > 500 else lost(), setup)
    assert world.outcomes() == {Outcome.OK: 2}
    assert said.count("sign of life") > 10
    assert world.flow.awaiting_proof == 0
