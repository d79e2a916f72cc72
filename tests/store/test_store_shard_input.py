"""A shard's input: cut in order, read back the same, damage found and never taken for rows."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from run_samples import SampleSource

from batcher.errors import StorageError
from batcher.store.files import checksum_of
from batcher.store.shard_input import ShardCutter, ShardRows

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.records import InputRow

COLUMNS = frozenset({"id", "text"})


def read(path: Path, *, first_row: int, rows: int, columns: frozenset[str] = COLUMNS) -> list[InputRow]:
    reader = ShardRows(path, first_row=first_row, rows=rows)
    found: list[InputRow] = []
    while (batch := reader.next_rows(columns)) is not None:
        found += batch
    reader.close()
    return found


def test_shards_follow_each_other_and_hold_every_row_once(tmp_path: Path) -> None:
    source = SampleSource(750, {333: "no good"})
    cutter = ShardCutter(source, first_row=0, end_row=750)
    rows: list[InputRow] = []
    while (cut := cutter.cut(tmp_path / "s.arrow", most_rows=230)) is not None:
        assert cut.first_row == len(rows)
        assert cut.checksum == checksum_of(tmp_path / "s.arrow")
        assert cut.size == (tmp_path / "s.arrow").stat().st_size
        rows += read(tmp_path / "s.arrow", first_row=cut.first_row, rows=cut.rows)
    assert [row.row_index for row in rows] == list(range(750))
    assert all(row.values["id"] == 10 * row.row_index for row in rows)
    assert {row.row_index: row.problem for row in rows if row.problem} == {333: "no good"}
    assert source.given == 8, "the source is read once, in order"


def test_a_shard_ends_where_rows_bytes_or_the_limit_end(tmp_path: Path) -> None:
    path = tmp_path / "s.arrow"

    def first(end_row: int, **most: int) -> int:
        cut = ShardCutter(SampleSource(750), first_row=0, end_row=end_row).cut(path, **most)
        assert cut is not None
        return cut.rows

    assert first(750) == 750
    assert first(42) == 42
    assert first(750, most_rows=7) == 7
    assert first(750, most_bytes=1) == 100, "whole slices"
    assert ShardCutter(SampleSource(750), first_row=750, end_row=750).cut(path) is None


def test_it_begins_in_the_middle(tmp_path: Path) -> None:
    cut = ShardCutter(SampleSource(750), first_row=512, end_row=600).cut(tmp_path / "s.arrow")
    assert cut is not None
    found = read(tmp_path / "s.arrow", first_row=512, rows=cut.rows)
    assert (found[0].row_index, found[0].values["id"], len(found)) == (512, 5120, 88)


def test_only_the_columns_asked_for_are_decoded_and_only_the_rows(tmp_path: Path) -> None:
    ShardCutter(SampleSource(50), first_row=0, end_row=50).cut(tmp_path / "s.arrow")
    found = read(tmp_path / "s.arrow", first_row=0, rows=3, columns=frozenset({"id"}))
    assert [dict(row.values) for row in found] == [{"id": 0}, {"id": 10}, {"id": 20}]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("batcher.store.shard_input.sync_file", full)
    with pytest.raises(OSError, match="No space"):
        ShardCutter(SampleSource(50), first_row=0, end_row=50).cut(tmp_path / "s.arrow")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 5, 400, -9])
def test_a_file_that_is_cut_is_damaged_and_says_what_to_do(tmp_path: Path, size: int) -> None:
    path = tmp_path / "s.arrow"
    ShardCutter(SampleSource(50), first_row=0, end_row=50).cut(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StorageError, match="damaged") as caught:
        read(path, first_row=0, rows=50)
    assert "same command again" in str(caught.value.hint)


def test_a_file_that_is_gone_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        ShardRows(tmp_path / "absent.arrow", first_row=0, rows=1)


def test_rows_are_private(tmp_path: Path) -> None:
    ShardCutter(SampleSource(5), first_row=0, end_row=5).cut(tmp_path / "s.arrow")
    assert (tmp_path / "s.arrow").stat().st_mode & 0o077 == 0
    assert pa.ipc.open_file(tmp_path / "s.arrow").num_record_batches == 1
