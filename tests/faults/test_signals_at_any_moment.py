"""Ctrl-C once, twice, three times, SIGTERM and SIGHUP at any moment: no traceback, the right exit code, resumable."""

from __future__ import annotations

import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attack import Ended, Scene, reached, wait, write_rows

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from batcher.simulator import Simulator

pytest_plugins = ("faults_fixtures",)

ROWS = 400
TURNS = 10
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def make(folder: Path, simulator: Simulator, rows: int = ROWS) -> Scene:
    simulator.reset()
    folder.mkdir(exist_ok=True)
    scene = Scene(folder, simulator)
    write_rows(scene.input, rows)
    return scene


def assert_stopped(ended: Ended, signum: int) -> None:
    """It stopped by that signal and said so; not with a traceback."""
    assert ended.code == 128 + signum, ended
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "KeyboardInterrupt" not in ended.stderr


def assert_goes_on(scene: Scene, *, rows: int = ROWS, most_twice: int = 0) -> None:
    ended = scene.run()
    scene.assert_right(ended, rows=rows)
    scene.assert_paid(ended, rows=rows, most_twice=most_twice)


def signalled(scene: Scene, moment: Callable[[subprocess.Popen[bytes]], bool], *signals: int) -> Ended:
    process = scene.start()
    assert reached(process, lambda: moment(process))
    for each in signals:
        process.send_signal(each)
    return wait(process)


@pytest.mark.parametrize("signum", SIGNALS)
def test_the_first_signal_while_sending_stores_what_comes_back_and_nothing_is_paid_twice(
    tmp_path: Path, simulator: Simulator, signum: int
) -> None:
    rng = random.Random(signum)
    for turn in range(2):
        scene = make(tmp_path / str(turn), simulator)
        at = rng.randrange(1, ROWS - 50)
        ended = signalled(scene, lambda _, at=at, scene=scene: scene.requests() >= at, signum)  # type: ignore[misc]
        assert_stopped(ended, signum)
        assert ended.summary["next"] == "rerun"
        assert ended.summary["exit_reason"] == "signal"
        assert_goes_on(scene)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_before_the_first_request_ends_the_run_and_buys_nothing(
    tmp_path: Path, simulator: Simulator, signum: int
) -> None:
    scene = make(tmp_path, simulator)
    lock = scene.state / "lock"
    ended = signalled(
        scene, lambda process: lock.exists() and str(process.pid).encode() in lock.read_bytes(), signum
    )
    assert_stopped(ended, signum)
    assert_goes_on(scene)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the process through /proc")
def test_a_signal_while_the_program_is_being_imported_ends_it_quietly(
    tmp_path: Path, simulator: Simulator
) -> None:
    scene = make(tmp_path, simulator)
    process = scene.start()
    status = Path(f"/proc/{process.pid}/status")

    def catches_sigterm() -> bool:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    assert reached(process, catches_sigterm)
    process.send_signal(signal.SIGINT)
    ended = wait(process)
    assert ended.code == 130, ended
    assert "Traceback" not in ended.stderr
    assert_goes_on(scene)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_while_draining_abandons_what_is_in_flight_and_the_next_run_names_it(
    tmp_path: Path, simulator: Simulator, signum: int
) -> None:
    scene = replace(make(tmp_path, simulator), quiet=False)
    simulator.control(latency="fixed:20")  # the canary hangs
    try:
        process = scene.start()
        assert reached(process, lambda: scene.requests() >= 1)
        process.send_signal(signum)
        assert process.stderr is not None
        assert any(b"draining 1 paid" in line for line in iter(process.stderr.readline, b""))
        process.send_signal(signum)
        ended = wait(process)
    finally:
        simulator.control(latency="uniform:0.002-0.01")
    assert_stopped(ended, signum)
    assert_goes_on(replace(scene, quiet=True), most_twice=1)


@pytest.mark.parametrize("signum", SIGNALS)
def test_three_signals_at_once_end_the_process_at_once_and_it_goes_on(
    tmp_path: Path, simulator: Simulator, signum: int
) -> None:
    scene = make(tmp_path, simulator)
    at = random.Random(signum).randrange(20, ROWS // 2)
    process = scene.start()
    assert reached(process, lambda: scene.requests() >= at)
    while process.poll() is None:
        process.send_signal(signum)
    ended = wait(process)
    assert_stopped(ended, signum)
    assert_goes_on(scene, most_twice=scene.concurrency)


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("stage_", ["seal", "publish"])
def test_a_signal_during_seal_or_publish_leaves_a_run_that_only_has_to_be_finished(
    tmp_path: Path, simulator: Simulator, signum: int, stage_: str
) -> None:
    rows = 3_000
    scene = make(tmp_path, simulator, rows)
    simulator.control(latency="fixed:0")
    parts = scene.state / "parts"

    def moment(_process: subprocess.Popen[bytes]) -> bool:
        return any(parts.glob("*.tmp" if stage_ == "seal" else "*.part"))

    try:
        ended = signalled(scene, moment, signum)
    finally:
        simulator.control(latency="uniform:0.002-0.01")
    sent = scene.requests()
    assert sent == rows
    if ended.code == 0:  # it was through before the signal arrived
        assert stage_ == "publish"
    else:
        assert_stopped(ended, signum)
    again = scene.run()
    scene.assert_right(again, rows=rows)
    assert scene.requests() == sent


def test_signals_at_any_moment_of_start_and_end_leave_no_traceback(
    tmp_path: Path, simulator: Simulator
) -> None:
    """A random walk: looks at the lock since the process took it are the clock, so that slow machines walk alike."""
    rng = random.Random(6)
    scene = make(tmp_path, simulator, 150)
    lock = scene.state / "lock"
    for _ in range(TURNS):
        looks, signum = rng.randrange(400), rng.choice(SIGNALS)
        process, counter = scene.start(), [0]

        def is_now(process: subprocess.Popen[bytes] = process, counter: list[int] = counter) -> bool:
            counter[0] += lock.exists() and str(process.pid).encode() in lock.read_bytes()
            return counter[0] > looks  # noqa: B023 - called within the turn

        if reached(process, is_now):
            process.send_signal(signum)
        ended = wait(process)
        assert "Traceback" not in ended.stderr, ended.stderr
        if (
            ended.summary.get("exit_code") == 0
        ):  # the interpreter was on its way out, with the system's own handlers
            assert ended.code in {0, 128 + signum, -signum}, ended
        else:
            assert ended.code == 128 + signum, ended
    assert_goes_on(scene, rows=150)


def test_a_hang_up_that_is_ignored_from_outside_does_not_stop_the_run(
    tmp_path: Path, simulator: Simulator
) -> None:
    scene = make(tmp_path, simulator)

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = scene.start(before=ignore)
    assert reached(process, lambda: scene.requests() >= 50)
    process.send_signal(signal.SIGHUP)
    scene.assert_right(wait(process), rows=ROWS)
