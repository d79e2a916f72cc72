"""Others at the same files: a second process, an editor, a flipped bit, a changed input, somebody else's output."""

from __future__ import annotations

import os
import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
import pytest
from attack import Ended, Scene, Stage, reached, wait, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.simulator import Simulator

pytest_plugins = ("faults_fixtures",)

ROWS = 200
CONFLICT, STORAGE, LOCKED = 4, 8, 9
FOREIGN = b"PAR1 is how it begins, and it is somebody's thesis"


@pytest.fixture
def scene(tmp_path: Path, simulator: Simulator) -> Scene:
    found = Scene(tmp_path, simulator, concurrency=32)
    write_rows(found.input, ROWS)
    return found


@pytest.fixture
def half(scene: Scene, stage: Stage) -> Scene:
    """A run that died in the middle of sending."""
    died, _ = stage.run(scene, at=ROWS)
    assert died.code == 137
    return scene


@contextmanager
def slow(simulator: Simulator, latency_s: float) -> Iterator[None]:
    """So slow that a test can come in between, whatever the machine."""
    simulator.control(latency=f"fixed:{latency_s}")
    try:
        yield
    finally:
        simulator.control(latency="uniform:0.002-0.01")


def obstructed(scene: Scene) -> Ended:
    """A run whose output's name is taken while it is sending; it is sealed, and cannot be published."""
    with slow(scene.simulator, 0.3):
        process = scene.start()
        assert reached(process, lambda: scene.requests() >= 1)
        scene.output.write_bytes(FOREIGN)
        return wait(process)


def assert_refused(ended: Ended, code: int, *words: str) -> None:
    assert ended.code == code, ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr


def assert_done(scene: Scene, *, rows: int = ROWS, most_twice: int = 32) -> Ended:
    ended = scene.run()
    scene.assert_right(ended, rows=rows)
    scene.assert_paid(ended, rows=rows, most_twice=most_twice)
    return ended


def test_a_second_process_is_refused_with_pid_and_host_and_the_first_is_not_disturbed(scene: Scene) -> None:
    with slow(scene.simulator, 4):
        first = scene.start()
        assert reached(first, lambda: scene.requests() >= 1)  # the canary, and it is still out
        assert_refused(scene.run(), LOCKED, str(first.pid), socket.gethostname())
    ended = wait(first)
    scene.assert_right(ended, rows=ROWS)
    scene.assert_paid(ended, rows=ROWS, most_twice=0)


def test_a_run_json_that_was_edited_by_hand_is_refused_and_never_guessed(half: Scene) -> None:
    path, sent = half.state / "run.json", half.requests()
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"simulated": false', b'"simulated": true'))
    assert_refused(half.run(), CONFLICT, "changed after it was written")
    assert half.requests() == sent
    path.write_bytes(content)
    assert_done(half)


def test_a_run_directory_of_a_newer_version_is_refused(half: Scene) -> None:
    path, sent = half.state / "run.json", half.requests()
    content = path.read_bytes()
    path.write_bytes(orjson.dumps({**orjson.loads(content), "format": 99}))
    assert_refused(half.run(), CONFLICT, "newer version")
    assert half.requests() == sent
    path.write_bytes(content)
    assert_done(half)


def test_a_manifest_that_is_damaged_in_its_middle_stops_the_run_and_buys_nothing(half: Scene) -> None:
    content, sent = half.manifest.read_bytes(), half.requests()
    flipped = bytearray(content)
    flipped[len(content) // 4] ^= 4
    half.manifest.write_bytes(flipped)
    assert_refused(half.run(), STORAGE, "damaged at record")
    assert half.requests() == sent
    half.manifest.write_bytes(content)
    assert_done(half)


def test_a_flipped_bit_in_the_journal_runs_its_row_again_and_is_reported(half: Scene) -> None:
    journal = next((half.state / "journal").iterdir())
    content = bytearray(journal.read_bytes())
    place = random.Random(4).randrange(len(content) // 4, len(content) // 2)
    content[place] ^= 16
    journal.write_bytes(content)
    ended = half.run()
    half.assert_right(ended, rows=ROWS)
    assert ended.summary["damaged"] == 1
    assert half.paid().total() <= ROWS + half.concurrency + 1


def test_a_flipped_bit_in_a_shard_s_input_is_noticed_and_the_input_written_again(half: Scene) -> None:
    path = next((half.state / "input").iterdir())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert_done(half)


def test_a_shard_input_that_is_gone_is_written_again(half: Scene) -> None:
    next((half.state / "input").iterdir()).unlink()
    assert_done(half)


@pytest.mark.parametrize("harm", ["flip", "delete"])
def test_a_lost_part_is_told_with_its_rows_and_bought_again_only_when_told_to(
    scene: Scene, harm: str
) -> None:
    obstructed(scene)
    scene.output.unlink()
    part = scene.state / "parts" / "000000.part"
    assert not any((scene.state / "journal").iterdir())
    if harm == "flip":
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
    else:
        part.unlink()
    assert_refused(scene.run(), STORAGE, f"{ROWS} rows", "--yes")
    assert scene.paid().total() == ROWS
    scene.assert_right(scene.run("--yes"), rows=ROWS)
    assert scene.paid().total() == 2 * ROWS


def test_an_input_that_changed_between_sessions_is_refused_with_what_it_would_cost(half: Scene) -> None:
    sent = half.requests()
    before = half.input.read_text()
    half.input.write_text(before.replace("row 7 please", "row 7 pleased"))
    assert_refused(half.run(), CONFLICT, "nothing was sent")
    assert half.requests() == sent
    half.input.write_text(before)
    assert_done(half)


def test_an_input_that_shrank_between_sessions_is_refused(half: Scene) -> None:
    sent = half.requests()
    write_rows(half.input, ROWS - 20)
    assert_refused(half.run(), CONFLICT, "nothing was sent")
    assert half.requests() == sent


def test_a_lowered_limit_publishes_the_rows_begun_and_a_raised_one_buys_only_the_rest(scene: Scene) -> None:
    ended = scene.run("--limit", "80")
    scene.assert_right(ended, rows=80)
    ended = scene.run("--limit", "120")
    scene.assert_right(ended, rows=120)
    assert scene.paid().total() == 120
    ended = scene.run("--limit", "50")  # the output holds them
    assert ended.code == 0
    assert scene.paid().total() == 120
    assert_done(scene, most_twice=0)


def test_a_limit_changed_in_mid_run_loses_and_repeats_nothing(half: Scene) -> None:
    touched = half.requests() + half.concurrency  # with those that were intended and not yet sent
    ended = half.run("--limit", "10")
    assert ended.code == 0, ended.stderr
    assert 10 <= ended.summary["rows_total"] <= touched
    half.assert_right(ended, rows=ended.summary["rows_total"])
    assert_done(half)


def test_an_output_deleted_after_publish_is_made_by_a_new_run_that_says_so(scene: Scene) -> None:
    assert_done(scene, most_twice=0)
    scene.output.unlink()
    ended = scene.run()
    scene.assert_right(ended, rows=ROWS)


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_a_foreign_file_at_the_output_s_name_is_refused_before_anything_is_sent(
    scene: Scene, kind: str
) -> None:
    elsewhere = scene.folder / "elsewhere"
    if kind == "file":
        scene.output.write_bytes(FOREIGN)
    else:
        scene.output.symlink_to(elsewhere)
        if kind == "link":
            elsewhere.write_bytes(FOREIGN)
    assert_refused(scene.run(), CONFLICT, "nothing was sent")
    assert_refused(scene.run("--replace"), CONFLICT)
    assert scene.requests() == 0
    assert os.path.lexists(scene.output)
    if kind != "dangling":
        assert scene.output.read_bytes() == FOREIGN
    scene.output.unlink()
    assert_done(scene, most_twice=0)


def test_a_foreign_file_that_appears_in_mid_run_is_never_overwritten(scene: Scene) -> None:
    assert_refused(obstructed(scene), CONFLICT, "left as it is", "-o")
    assert scene.output.read_bytes() == FOREIGN
    scene.output.unlink()
    sent = scene.requests()
    assert_done(scene, most_twice=0)
    assert scene.requests() == sent
