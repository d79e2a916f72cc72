"""SIGKILL at random moments of a run with 64 requests in flight, again and again, until it is done."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

import pytest
from attack import Scene, completions_of, reached, wait, write_rows

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from batcher.simulator import Simulator

    Process = subprocess.Popen[bytes]
    Moment = Callable[[Scene, Process], Callable[[], bool]]

pytest_plugins = ("faults_fixtures",)

SIGKILLED = -9


def starting(turns: int) -> Moment:
    """So many looks after the process took the lock."""

    def moment(scene: Scene, process: Process) -> Callable[[], bool]:
        lock, seen = scene.state / "lock", [0]

        def is_now() -> bool:
            if lock.exists() and str(process.pid).encode() in lock.read_bytes():
                seen[0] += 1
            return seen[0] > turns

        return is_now

    return moment


def sending(total: int, more: int) -> Moment:
    """When the provider has seen so many requests in all, and so many of this process."""

    def moment(scene: Scene, _process: Process) -> Callable[[], bool]:
        at = max(total, scene.requests() + more)
        return lambda: scene.requests() >= at

    return moment


def sealing(_scene: Scene, _process: Process) -> Callable[[], bool]:
    parts = _scene.state / "parts"
    return lambda: any(parts.glob("*.tmp"))


def publishing(scene: Scene, _process: Process) -> Callable[[], bool]:
    parts = scene.state / "parts"
    return lambda: any(parts.glob("*.part")) or any(scene.folder.glob(".out.parquet.*.tmp"))


def moments(rng: random.Random, *, rows: int, kills: int) -> deque[Moment]:
    """A fifth at start-up, most while sending, the last ones while sealing and publishing."""
    ends = max(2, kills // 10)
    starts = kills // 5
    found: list[Moment] = [
        sending(total, rng.randrange(1, 130))
        for total in sorted(rng.sample(range(rows), kills - starts - 2 * ends))
    ]
    for _ in range(starts):
        found.insert(rng.randrange(len(found) + 1), starting(rng.randrange(200)))
    return deque([*found, *[sealing] * ends, *[publishing] * ends])


def killed_until_done(scene: Scene, plan: deque[Moment]) -> tuple[int, int]:
    """Kill at each moment; returns how many processes died and how many came through to the end before theirs."""
    kills = 0
    while plan:
        process = scene.start()
        if not reached(process, plan.popleft()(scene, process)):
            ended = wait(process)
            assert ended.code == 0, ended
            return kills, len(plan) + 1
        process.kill()
        assert wait(process).code in {SIGKILLED, 0}
        kills += 1
    return kills, 0


def attack(folder: Path, simulator: Simulator, *, rows: int, kills: int, seed: int) -> None:
    scene = Scene(folder, simulator, concurrency=64)
    write_rows(scene.input, rows)
    died, spared = killed_until_done(scene, moments(random.Random(seed), rows=rows, kills=kills))
    ended = scene.run()
    assert died >= kills - max(2, kills // 10), f"{spared} kills came too late"
    scene.assert_right(ended, rows=rows)
    paid = scene.paid()
    assert sorted(paid) == list(range(rows))
    assert paid.total() <= rows + died * scene.concurrency
    again = {row for row, times in paid.items() if times > 1}
    assert again <= scene.possibly_paid(), "paid twice and nowhere named"
    quiet = folder / "undisturbed"
    quiet.mkdir()
    simulator.reset()
    whole = Scene(quiet, simulator, concurrency=64)
    write_rows(whole.input, rows)
    whole.assert_right(whole.run(), rows=rows)
    assert completions_of(scene.output) == completions_of(whole.output)


def test_25_kills_lose_no_row_and_pay_none_twice_but_those_in_flight(
    tmp_path: Path, simulator: Simulator
) -> None:
    attack(tmp_path, simulator, rows=20_000, kills=25, seed=25)


@pytest.mark.long
def test_200_kills_over_two_shards_lose_no_row_and_pay_none_twice_but_those_in_flight(
    tmp_path: Path, simulator: Simulator
) -> None:
    attack(tmp_path, simulator, rows=70_000, kills=200, seed=200)
