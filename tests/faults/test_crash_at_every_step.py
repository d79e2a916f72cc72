"""The process dies before each step on the file system of a small run, one after the other, and is started again."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest
from attack import Scene, Stage, assert_ledger, completions_of, write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.simulator import Simulator

pytest_plugins = ("faults_fixtures",)

ROWS = 60
KILLED = 137


def undisturbed(folder: Path, simulator: Simulator, stage: Stage, *more: str) -> tuple[dict[int, str], int]:
    """Completions of a run that nothing happens to, and its number of steps."""
    scene = make(folder, simulator)
    ended, steps = stage.run(scene, *more)
    scene.assert_right(ended, rows=ROWS)
    return completions_of(scene.output), steps


def make(folder: Path, simulator: Simulator) -> Scene:
    folder.mkdir()
    simulator.reset()
    scene = Scene(folder, simulator)
    write_rows(scene.input, ROWS)
    return scene


def marks(steps: int, *, every: int) -> list[int]:
    """Every step of beginning and end; of the journal's writes between them, which are all alike, only some."""
    edge = 32
    return sorted({*range(1, edge), *range(edge, steps - edge, every), *range(steps - edge, steps + 3)})


def test_a_run_that_dies_before_any_step_ends_right_when_it_is_started_again(
    tmp_path: Path, simulator: Simulator, stage: Stage
) -> None:
    completions, steps = undisturbed(tmp_path / "whole", simulator, stage)
    for at in marks(steps, every=20):
        scene = make(tmp_path / f"at{at}", simulator)
        died, _ = stage.run(scene, at=at)
        assert died.code in {KILLED, 0}  # group commits make the number of steps vary a little
        ended, _ = stage.run(scene)
        scene.assert_right(ended, rows=ROWS, completions=completions)
        scene.assert_paid(ended, rows=ROWS, most_twice=scene.concurrency)
        assert_ledger(scene)


@pytest.mark.long
def test_a_strict_run_that_dies_before_any_step_ends_right_when_it_is_started_again(
    tmp_path: Path, simulator: Simulator, stage: Stage
) -> None:
    completions, steps = undisturbed(tmp_path / "whole", simulator, stage, "--durability", "strict")
    for at in range(1, steps + 3):
        scene = make(tmp_path / f"at{at}", simulator)
        stage.run(scene, "--durability", "strict", at=at)
        ended, _ = stage.run(scene, "--durability", "strict")
        scene.assert_right(ended, rows=ROWS, completions=completions)
        scene.assert_paid(ended, rows=ROWS, most_twice=scene.concurrency)


def test_a_start_that_dies_before_any_step_of_taking_up_a_run_leaves_it_as_good(
    tmp_path: Path, simulator: Simulator, stage: Stage
) -> None:
    completions, steps = undisturbed(tmp_path / "whole", simulator, stage)
    rng = random.Random(3)
    for at in range(1, 25):
        scene = make(tmp_path / f"at{at}", simulator)
        stage.run(scene, at=rng.randrange(25, steps - 25))
        stage.run(scene, at=at)
        ended, _ = stage.run(scene)
        scene.assert_right(ended, rows=ROWS, completions=completions)
        scene.assert_paid(ended, rows=ROWS, most_twice=2 * scene.concurrency)
        assert_ledger(scene)


def test_a_replacement_that_dies_before_any_step_buys_no_answer_again(
    tmp_path: Path, simulator: Simulator, stage: Stage
) -> None:
    """The first run was killed half-way; then the input grew, so that another run takes its answers over."""
    place, kept = tmp_path / "place", tmp_path / "kept"
    scene = begun(place, simulator, stage)
    shutil.copytree(place, kept)
    before = scene.paid()
    ended, steps = stage.run(scene, "--replace")
    assert ended.summary["reused"] > 10, ended
    for at in [*range(1, 45), *range(45, steps, 20)]:
        shutil.rmtree(place)
        shutil.copytree(kept, place)
        simulator.reset()
        stage.run(scene, "--replace", at=at)
        ended, _ = stage.run(scene, "--replace")
        scene.assert_right(ended, rows=ROWS + 5)
        paid = before + scene.paid()
        assert sorted(paid) == list(range(ROWS + 5))
        assert paid.total() - ROWS - 5 <= 2 * scene.concurrency, f"step {at}"


def begun(folder: Path, simulator: Simulator, stage: Stage) -> Scene:
    """A run that died half-way, with a longer input by now."""
    scene = make(folder, simulator)
    stage.run(scene, at=120)
    write_rows(scene.input, ROWS + 5)
    return scene
