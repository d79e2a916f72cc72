"""Taking up a run: what its journals hold is done, what a crash may have lost is listed once, nothing is guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from journal_samples import a_reply, an_intent
from part_samples import seal_sample
from run_samples import SampleSource, journalled, made, settle

from batcher.errors import StorageError
from batcher.records import EndRecord, Outcome, ReopenRecord, VoidRecord
from batcher.store.files import checksum_of
from batcher.store.manifest import SessionOpen, ShardOpen, ShardSeal
from batcher.store.recovery import check_parts, recover
from batcher.store.run_state import RunState, replay
from batcher.store.shard_input import ShardCutter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batcher.store.directory import RunDirectory
    from batcher.store.recovery import Recovery

ROWS = 20


def begun(
    directory: RunDirectory, *, shards: int = 1, possibly_paid: tuple[tuple[int, int], ...] = ()
) -> RunState:
    """A run whose first session opened these shards of twenty rows and crashed."""
    extra: dict[str, object] = {"possibly_paid": [list(pair) for pair in possibly_paid]}
    records: list[SessionOpen | ShardOpen] = [SessionOpen(1, 1, "host", 0.0, "0", extra=extra)]
    cutter = ShardCutter(SampleSource(ROWS * shards), first_row=0, end_row=ROWS * shards)
    for number in range(shards):
        cut = cutter.cut(directory.input(number), most_rows=ROWS)
        assert cut is not None
        records.append(ShardOpen(number, cut.first_row, cut.rows, cut.size, cut.checksum))
    return replay(records)


def recovered(
    directory: RunDirectory,
    state: RunState,
    *,
    end_row: int = ROWS,
    selected: Callable[[int, int], bytes] | None = None,
    source: SampleSource | None = None,
) -> Recovery:
    return recover(
        directory, state, source=source or SampleSource(ROWS), settle=settle, end_row=end_row, selected=selected
    )  # fmt: skip


def done_rows(found: Recovery) -> list[int]:
    return [
        shard.first_row + place
        for shard in found.shards
        for place, is_done in enumerate(shard.done)
        if is_done
    ]


def test_nothing_was_done(tmp_path: Path) -> None:
    directory = made(tmp_path)
    found = recovered(directory, begun(directory))
    assert (found.answered, found.damaged, found.possibly_paid, found.last_touched) == (0, 0, [], -1)
    assert [shard.remaining for shard in found.shards] == [ROWS]


def test_answers_and_ends_are_done_and_an_open_intent_is_possibly_paid(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory)
    ended = EndRecord(4, Outcome.FAILED, "bad_request")
    journalled(
        directory,
        [an_intent(3), a_reply(3), ended, an_intent(5), an_intent(6), VoidRecord(6, 1), an_intent(7)],
    )
    found = recovered(directory, state)
    assert done_rows(found) == [3, 4]
    assert found.possibly_paid == [(1, 5), (1, 7)]
    assert (found.answered, found.last_touched, found.shards[0].remaining) == (2, 7, ROWS - 2)


def test_a_reopened_row_is_pending(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory)
    journalled(directory, [EndRecord(4, Outcome.FAILED, "bad_request"), ReopenRecord(4)])
    assert done_rows(recovered(directory, state)) == []


def test_what_was_reported_before_is_not_reported_again(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory, possibly_paid=((1, 5),))
    journalled(directory, [an_intent(5), an_intent(6)])
    assert recovered(directory, state).possibly_paid == [(1, 6)]


def test_journals_of_several_sessions_are_one_history(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory)
    journalled(directory, [an_intent(2)], session=1)
    journalled(directory, [an_intent(2), a_reply(2), an_intent(9)], session=2)
    found = recovered(directory, state)
    assert done_rows(found) == [2]
    assert (1, 2) in found.possibly_paid
    assert (2, 9) in found.possibly_paid


def test_a_damaged_record_is_counted_and_only_its_row_runs_again(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory)
    path = journalled(directory, [a_reply(1), a_reply(2), a_reply(3)])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:40] + bytes([lines[1][40] ^ 1]) + lines[1][41:]
    path.write_bytes(b"".join(lines))
    found = recovered(directory, state)
    assert done_rows(found) == [1, 3]
    assert found.damaged == 1


def test_rows_that_are_not_selected_are_done_from_the_start(tmp_path: Path) -> None:
    directory = made(tmp_path)
    found = recovered(
        directory, begun(directory), selected=lambda _first, rows: bytes([1] * 3 + [0] * (rows - 3))
    )
    assert found.shards[0].remaining == 3
    assert done_rows(found) == list(range(3, ROWS))


def test_a_lowered_limit_keeps_what_was_touched_and_leaves_out_the_rest(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory, shards=3)
    journalled(directory, [a_reply(25)], shard=1)
    found = recovered(directory, state, end_row=5, source=SampleSource(3 * ROWS))
    assert [(shard.number, shard.rows) for shard in found.shards] == [(0, ROWS), (1, 6)]
    assert recovered(directory, state, end_row=60, source=SampleSource(3 * ROWS)).shards[2].rows == ROWS


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_an_input_file_that_is_not_whole_is_written_again_from_the_source(
    tmp_path: Path, damage: str
) -> None:
    directory = made(tmp_path)
    state = begun(directory)
    path = directory.input(0)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            whole[:-5] if damage == "cut" else whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
        )
    recovered(directory, state)
    assert checksum_of(path) == state.opened[0].input_checksum


def test_a_source_that_has_fewer_rows_by_now_stops(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory)
    directory.input(0).unlink()
    with pytest.raises((StorageError, StopIteration)):
        recovered(directory, state, source=SampleSource(ROWS - 4))


def test_parts_are_held_against_the_manifest_and_leftovers_of_good_ones_go(tmp_path: Path) -> None:
    directory = made(tmp_path)
    state = begun(directory, shards=3)
    for number in range(3):
        path, sealed = seal_sample(tmp_path, number * ROWS, ROWS)
        path.rename(directory.part(number))
        journalled(directory, [a_reply(number * ROWS)], shard=number)
        state.apply(ShardSeal(number, ROWS, sealed.size, sealed.checksum, sealed.totals.to_json()))
    content = bytearray(directory.part(1).read_bytes())
    content[len(content) // 2] ^= 1
    directory.part(1).write_bytes(content)
    directory.part(2).unlink()
    assert check_parts(directory, state) == [1, 2]
    assert directory.journals(0) == []
    assert not directory.input(0).exists()
    assert directory.journals(1), "from which the part is built again"
