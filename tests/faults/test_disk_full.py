"""The disk fills, or a file meets its limit, at any moment: what came back is stored or named, and it goes on."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from attack import Ended, Scene, Stage, reached, wait, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batcher.simulator import Simulator

pytest_plugins = ("faults_fixtures",)

ROWS = 300
STORAGE = 8
MB = 1 << 20


def make(folder: Path, simulator: Simulator, rows: int = ROWS) -> Scene:
    simulator.reset()
    folder.mkdir(exist_ok=True)
    scene = Scene(folder, simulator)
    write_rows(scene.input, rows)
    return scene


def at_most(size: int) -> Callable[[], None]:
    """For the child: no file may grow beyond `size` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def assert_stopped(ended: Ended) -> None:
    assert ended.code == STORAGE, ended
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.summary["exit_reason"] == "storage"
    assert ended.summary["next"] == "free_disk"


def assert_goes_on(scene: Scene, *, rows: int = ROWS, most_twice: int) -> None:
    ended = scene.run()
    scene.assert_right(ended, rows=rows)
    scene.assert_paid(ended, rows=rows, most_twice=most_twice)


def test_a_file_size_limit_at_ten_random_points_stops_the_run_and_it_goes_on_when_it_is_lifted(
    tmp_path: Path, simulator: Simulator
) -> None:
    rng = random.Random(7)
    for turn in range(10):
        scene = make(tmp_path / str(turn), simulator)
        ended = scene.run(before=at_most(rng.randrange(200, 280_000)))
        assert_stopped(ended)
        assert_goes_on(scene, most_twice=scene.concurrency)


def test_a_disk_that_is_full_from_any_step_on_stops_the_run_and_it_goes_on_with_space(
    tmp_path: Path, simulator: Simulator, stage: Stage
) -> None:
    """From the n-th step on nothing that needs room succeeds: cutting the input, the journal, seal and publish."""
    whole = make(tmp_path / "whole", simulator, 40)
    _, steps = stage.run(whole)
    points = sorted({*range(1, 32, 3), *range(32, steps - 24, 40), *range(steps - 24, steps + 1, 3)})
    for at in points:
        scene = make(tmp_path / f"at{at}", simulator, 40)
        ended, _ = stage.run(scene, at=at, how="full")
        assert "Traceback" not in ended.stderr, (at, ended.stderr)
        assert ended.code == STORAGE or scene.output.exists(), (at, ended)
        assert ended.code in {STORAGE, 0}, (at, ended)
        assert_goes_on(scene, rows=40, most_twice=scene.concurrency)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB, of which the program keeps 8 back."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root on Linux; RLIMIT_FSIZE is tried without")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here; RLIMIT_FSIZE is tried without")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, *, leave: int) -> Path:
    """Take the room, all but `leave` bytes."""
    volume = os.statvfs(place)
    size = volume.f_bavail * volume.f_frsize - leave
    filler = place / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return filler


@pytest.mark.parametrize("seed", range(3))
def test_a_full_file_system_in_mid_run_takes_what_is_in_flight_and_sends_nothing_more(
    small_disk: Path, simulator: Simulator, seed: int
) -> None:
    scene = make(small_disk, simulator, 800)
    at = random.Random(seed).randrange(20, 400)
    process = scene.start()
    assert reached(process, lambda: scene.requests() >= at)
    filler = fill(small_disk, leave=4096)
    ended = wait(process)
    assert_stopped(ended)
    paid = scene.paid()
    assert ended.summary["paid"] == paid.total(), (
        "every answer that came back is stored, thanks to the reserve"
    )
    assert not (scene.state / "ballast").exists()
    filler.unlink()
    assert_goes_on(scene, rows=800, most_twice=0)


def test_a_disk_too_full_to_begin_is_told_before_anything_is_sent(
    small_disk: Path, simulator: Simulator
) -> None:
    scene = make(small_disk, simulator, 50)
    filler = fill(small_disk, leave=MB)
    ended = scene.run()
    assert_stopped(ended)
    assert scene.requests() == 0
    filler.unlink()
    assert_goes_on(scene, rows=50, most_twice=0)
