"""On resume: an answer that serves a row of the run already serves no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from part_samples import SampleSettled, answer_values, seal_sample
from run_samples import journalled, made

from batcher.records import Outcome, ReuseRecord
from batcher.store.manifest import SessionOpen, ShardOpen, ShardSeal
from batcher.store.reuse import ReuseIndex, parquet_answers
from batcher.store.run_state import replay
from batcher.store.taken import mark_taken_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.records import RowHistory

SAME = "ab" * 16
ROWS = 6


def same_request(history: RowHistory) -> SampleSettled:
    """Every row asks the same; the answers differ."""
    return SampleSettled(Outcome.OK, answer_values(history.row_index) | {"request_hash": SAME})


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ReuseIndex]:
    """Six answers to one request, with the response ids chatcmpl-0 to 5."""
    (tmp_path / "bought").mkdir()
    path, _ = seal_sample(tmp_path / "bought", 0, ROWS, settle=same_request)
    with ReuseIndex.build(tmp_path / "reuse", [parquet_answers(path)]) as index:
        yield index


def left(index: ReuseIndex) -> set[object]:
    found = set()
    while (taken := index.take(SAME)) is not None:
        found.add(taken.values["response_id"])
    return found


def reuse(row: int, number: int) -> ReuseRecord:
    return ReuseRecord(row, SAME, "run-0", {"response_id": f"chatcmpl-{number}", "completion": "x"})


def test_what_journals_took_over_is_taken(index: ReuseIndex, tmp_path: Path) -> None:
    directory = made(tmp_path)
    journalled(directory, [reuse(0, 4), reuse(2, 1)])
    state = replay([SessionOpen(1, 1, "h", 0.0, "0"), ShardOpen(0, 0, ROWS, 1, "")])
    mark_taken_rows(index, directory, state)
    assert left(index) == {f"chatcmpl-{number}" for number in (0, 2, 3, 5)}


def test_what_sealed_parts_took_over_is_taken_and_what_they_bought_is_not(
    index: ReuseIndex, tmp_path: Path
) -> None:
    directory = made(tmp_path)

    def partly_reused(history: RowHistory) -> SampleSettled:
        values = answer_values(history.row_index) | {"request_hash": SAME}
        if history.row_index == 3:
            values |= {"reused_from": "run-0"}
        return SampleSettled(Outcome.OK, values)

    path, sealed = seal_sample(tmp_path, 0, ROWS, settle=partly_reused)
    path.rename(directory.part(0))
    seal = ShardSeal(0, ROWS, sealed.size, sealed.checksum, {})
    mark_taken_rows(index, directory, replay([ShardOpen(0, 0, ROWS, 1, ""), seal]))
    assert left(index) == {f"chatcmpl-{number}" for number in (0, 1, 2, 4, 5)}


def test_a_part_that_is_gone_takes_nothing(index: ReuseIndex, tmp_path: Path) -> None:
    state = replay([ShardOpen(0, 0, ROWS, 1, ""), ShardSeal(0, ROWS, 1, "", {})])
    mark_taken_rows(index, made(tmp_path), state)
    assert len(left(index)) == ROWS
