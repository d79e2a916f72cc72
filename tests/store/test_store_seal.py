"""Sealing a shard, alone and over an old output (`retry`), and what a crash leaves."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from part_samples import (
    FACTS,
    INPUT_SCHEMA,
    SCHEMA,
    SampleSettled,
    answer_values,
    ended,
    sample_settle,
    seal_sample,
    write_input,
)

from batcher.errors import StorageError
from batcher.records import Outcome, RowHistory
from batcher.store import seal as seal_module
from batcher.store.columns import Features, OutputSchema, from_batch, our_columns
from batcher.store.files import RealDisk
from batcher.store.footer import read_facts
from batcher.store.part import measure, reopen_and_check
from batcher.store.seal import merge_retry, seal_shard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def rows_of(path: Path) -> list[dict[str, object]]:
    table = pq.ParquetFile(path).read()
    return from_batch(table, our_columns(table.schema))


def test_a_part_holds_every_row_with_its_input_and_its_answer_in_order(tmp_path: Path) -> None:
    part, sealed = seal_sample(tmp_path, 1_000, 1_300)
    table = pq.ParquetFile(part).read()
    assert table.column("row_index").to_pylist() == list(range(1_000, 2_300))
    assert table.column("id").to_pylist() == [10 * row for row in range(1_000, 2_300)]
    assert table.column("completion")[7].as_py() == "answer 1007"
    assert set(table.column("run_id").to_pylist()) == {"run-1"}
    assert table.column_names[:2] == ["id", "text"]
    assert "__problem" not in table.column_names
    assert (sealed.totals.rows, sealed.totals.prompt_tokens) == (1_300, 130_000)
    assert (sealed.size, sealed.checksum) == measure(part)
    assert read_facts(part) == FACTS


def test_other_threads_run_after_every_512_rows(tmp_path: Path) -> None:
    pauses: list[None] = []
    write_input(tmp_path / "in", 0, 1_200, batch_rows=1_200)
    seal_shard(
        shard=0,
        input_path=tmp_path / "in",
        first_row=0,
        rows=1_200,
        history=ended,
        settle=sample_settle,
        schema=SCHEMA,
        facts=FACTS,
        part_path=tmp_path / "out",
        pause=lambda: pauses.append(None),
    )
    assert len(pauses) == 3


def test_a_slice_of_huge_answers_is_cut_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal_module, "SLICE_BYTES", 100)
    part, _ = seal_sample(
        tmp_path,
        0,
        50,
        settle=lambda history: SampleSettled(Outcome.OK, answer_values(history.row_index, "x" * 60)),
    )
    assert [row["row_index"] for row in rows_of(part)] == list(range(50))


def test_a_row_that_is_not_done_is_a_bug_that_names_the_row(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="row 3 "):
        seal_sample(tmp_path, 0, 5, settle=lambda h: None if h.row_index == 3 else sample_settle(h))
    assert not (tmp_path / "000000.part").exists()


def test_an_input_file_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    write_input(tmp_path / "in", 0, 5)
    with pytest.raises(StorageError, match="shard 7 holds 5 rows instead of 6"):
        seal_shard(
            shard=7,
            input_path=tmp_path / "in",
            first_row=0,
            rows=6,
            history=ended,
            settle=sample_settle,
            schema=SCHEMA,
            facts=FACTS,
            part_path=tmp_path / "out",
        )
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in"]


def test_a_damaged_input_file_is_a_storage_error_that_names_the_shard(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"ARROW1 no more")
    with pytest.raises(StorageError, match="shard 7"):
        seal_shard(
            shard=7,
            input_path=tmp_path / "in",
            first_row=0,
            rows=1,
            history=ended,
            settle=sample_settle,
            schema=SCHEMA,
            facts=FACTS,
            part_path=tmp_path / "out",
        )


def test_rows_that_are_not_consecutive_keep_their_own_numbers(tmp_path: Path) -> None:
    write_input(tmp_path / "in", 0, 3)
    sealed = seal_shard(
        shard=0,
        input_path=tmp_path / "in",
        first_row=0,
        rows=3,
        row_indices=[4, 9, 70],
        history=ended,
        settle=sample_settle,
        schema=SCHEMA,
        facts=FACTS,
        part_path=tmp_path / "out",
    )
    assert [row["row_index"] for row in rows_of(tmp_path / "out")] == [4, 9, 70]
    reopen_and_check(tmp_path / "out", sealed.totals, SCHEMA, first_row=None)


class FailingDisk(RealDisk):
    """Refuses the nth sync."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync_file(self, fd: int) -> None:
        self._count()
        super().sync_file(fd)

    def sync_dir(self, path: Path) -> None:
        self._count()
        super().sync_dir(path)


@pytest.mark.parametrize("nth", [0, 1])
def test_a_disk_that_fails_while_sealing_leaves_nothing_unfinished_and_sealing_again_works(
    tmp_path: Path, nth: int
) -> None:
    write_input(tmp_path / "in", 0, 5)

    def seal(disk: RealDisk) -> None:
        seal_shard(
            shard=0,
            input_path=tmp_path / "in",
            first_row=0,
            rows=5,
            history=ended,
            settle=sample_settle,
            schema=SCHEMA,
            facts=FACTS,
            part_path=tmp_path / "out",
            disk=disk,
        )

    with pytest.raises(StorageError, match="disk is full"):
        seal(FailingDisk(nth))
    assert not (tmp_path / "out.tmp").exists()
    seal(RealDisk())
    assert len(rows_of(tmp_path / "out")) == 5


def test_the_name_is_given_only_after_the_content_is_synced(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []
    write_input(tmp_path / "in", 0, 2)

    class Watching(RealDisk):
        def sync_file(self, fd: int) -> None:
            seen.append(("file", (tmp_path / "out").exists()))

        def sync_dir(self, path: Path) -> None:
            seen.append(("dir", (tmp_path / "out").exists()))

    seal_shard(
        shard=0,
        input_path=tmp_path / "in",
        first_row=0,
        rows=2,
        history=ended,
        settle=sample_settle,
        schema=SCHEMA,
        facts=FACTS,
        part_path=tmp_path / "out",
        disk=Watching(),
    )
    assert seen == [("file", False), ("dir", True)]


# --- over an old output ---

TRUNCATED: dict[str, object] = {
    "outcome": "truncated",
    "completion": "half",
    "run_id": "old",
    "attempts": 1,
    "paid_attempts": 1,
    "billed_prompt_tokens": 100,
    "billed_completion_tokens": 10,
    "cost_usd": 0.5,
    "cost_source": "prices",
}
OK: dict[str, object] = {
    **TRUNCATED,
    "outcome": "ok",
    "completion": "whole",
    "run_id": "new",
    "cost_usd": 0.25,
}
FAILED: dict[str, object] = {
    "outcome": "failed",
    "error_type": "read_timeout",
    "run_id": "new",
    "attempts": 3,
    "paid_attempts": 3,
}


def test_a_new_answer_replaces_the_old_one_and_the_money_adds_up() -> None:
    merged = merge_retry(TRUNCATED, OK)
    assert (merged["completion"], merged["outcome"], merged["run_id"]) == ("whole", "ok", "new")
    assert (merged["attempts"], merged["paid_attempts"], merged["cost_usd"]) == (2, 2, 0.75)
    assert (merged["billed_prompt_tokens"], merged["billed_completion_tokens"]) == (200, 20)
    assert "warnings" not in merged


def test_an_answer_is_never_lost_to_a_failed_retry() -> None:
    merged = merge_retry(TRUNCATED | {"warnings": "odd"}, FAILED)
    assert (merged["completion"], merged["outcome"], merged["run_id"]) == ("half", "truncated", "old")
    assert (merged["attempts"], merged["paid_attempts"], merged["cost_usd"]) == (4, 4, 0.5)
    assert merged["warnings"] == "odd, retry_failed"
    assert "error_type" not in merged
    assert merge_retry(merged, FAILED)["warnings"] == "odd, retry_failed"


def test_a_failure_after_a_failure_is_the_new_failure() -> None:
    merged = merge_retry({**FAILED, "error_type": "eof", "attempts": 2, "cost_usd": None}, FAILED)
    assert (merged["error_type"], merged["attempts"]) == ("read_timeout", 5)
    assert "cost_usd" not in merged
    assert "warnings" not in merged


def test_a_row_that_was_ok_stays_whatever_came() -> None:
    assert merge_retry(OK, TRUNCATED)["completion"] == "whole"
    assert merge_retry(OK, FAILED)["warnings"] == "retry_failed"


def test_unknown_money_and_known_money_is_the_known() -> None:
    merged = merge_retry({"outcome": "failed", "cost_usd": 0.5, "cost_source": "gateway"}, FAILED)
    assert (merged["cost_usd"], merged["cost_source"], merged["attempts"]) == (0.5, "gateway", 3)


@pytest.mark.parametrize(
    ("before", "now", "source"),
    [("gateway", "gateway", "gateway"), ("gateway", "prices", "prices"), ("prices", "gateway", "prices")],
)
def test_a_cost_that_was_reckoned_in_part_is_not_the_gateways_word(
    before: str, now: str, source: str
) -> None:
    old, fresh = ({**FAILED, "cost_usd": 0.25, "cost_source": each} for each in (before, now))
    merged = merge_retry(old, fresh)
    assert (merged["cost_usd"], merged["cost_source"]) == (0.5, source)


def old_rows(path: Path) -> Callable[[int, int], pa.Table]:
    read: Callable[[int, int], pa.Table] = pq.ParquetFile(path).read().slice
    return read


def settle_old(history: RowHistory) -> SampleSettled:
    row = history.row_index
    if row % 10:
        return SampleSettled(Outcome.OK, answer_values(row))
    return SampleSettled(Outcome.TRUNCATED, answer_values(row) | {"cost_usd": 0.5, "warnings": "odd"})


def test_rows_without_history_are_the_old_ones_bit_by_bit(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    part, old = seal_sample(tmp_path / "old", 0, 600, settle=settle_old)
    retried = {100, 590}
    new, sealed = seal_sample(
        tmp_path,
        0,
        600,
        facts=FACTS,
        settle=lambda h: SampleSettled(Outcome.OK, answer_values(h.row_index, "again")),
        history=lambda row: ended(row) if row in retried else RowHistory(row),
        base=old_rows(part),
    )
    before, after = pq.ParquetFile(part).read(), pq.ParquetFile(new).read()
    keep = [row for row in range(600) if row not in retried]
    assert after.take(keep).equals(before.take(keep))
    for row in rows_of(new):
        if row["row_index"] in retried:
            assert (row["completion"], row["outcome"]) == ("again", "ok")
            assert (row["cost_usd"], row["attempts"]) == (pytest.approx(0.501), 2)
    assert sealed.totals.outcomes == {"ok": 542, "truncated": 58}
    assert sealed.totals.billed_prompt_tokens == old.totals.billed_prompt_tokens + 200


def test_an_old_output_with_other_features_and_prefix_serves_as_base(tmp_path: Path) -> None:
    other = OutputSchema.build(INPUT_SCHEMA, features=Features(streaming=True, refusal=False), prefix="b_")
    (tmp_path / "old").mkdir()
    part, _ = seal_sample(tmp_path / "old", 0, 3, schema=other)
    new, _ = seal_sample(tmp_path, 0, 3, history=RowHistory, base=old_rows(part))
    for number, row in enumerate(rows_of(new)):
        expected = answer_values(number) | {"row_index": number, "run_id": "run-1"}
        del expected["category"]
        assert row == expected


def test_an_old_output_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    part, _ = seal_sample(tmp_path / "old", 0, 3)
    with pytest.raises(StorageError, match="old output holds 3 rows from row 0 on instead of 5"):
        seal_sample(tmp_path, 0, 5, base=old_rows(part))
