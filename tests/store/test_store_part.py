"""Parquet files of ours: row groups, footer, totals, and every way in which a file may not be what was written."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from part_samples import FACTS, SCHEMA, answer_values, input_batch

from batcher.errors import StorageError
from batcher.store import part as part_module
from batcher.store.columns import Features, OutputSchema, to_batch
from batcher.store.footer import FileFacts, read_facts
from batcher.store.part import PartWriter, Totals, measure, reopen_and_check, row_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COUNT = st.integers(0, 2**62)


def sample_batch(numbers: Sequence[int], **changed: object) -> pa.RecordBatch:
    values: list[Mapping[str, object]] = [{**answer_values(i), "row_index": i, **changed} for i in numbers]
    return to_batch(SCHEMA, input_batch(numbers[0], len(numbers)), values)


def write(path: Path, *batches: pa.RecordBatch) -> Totals:
    with PartWriter(path, SCHEMA, FACTS) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.totals


def test_a_row_group_has_at_most_8192_rows_and_small_batches_share_one(tmp_path: Path) -> None:
    path = tmp_path / "p"
    write(path, *(sample_batch(range(begin, begin + 500)) for begin in range(0, 10_000, 500)))
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [8192, 1808]


def test_a_row_group_is_written_before_it_grows_beyond_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "ROW_GROUP_BYTES", 100_000)
    path = tmp_path / "p"
    write(path, *(sample_batch([i], completion="x" * 40_000) for i in range(5)))
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2, 2, 1]


def test_text_is_not_dictionary_encoded_and_pages_are_zstd_with_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "p"
    write(path, sample_batch(range(100)))
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert not columns["completion"].has_dictionary_page
    assert not columns["text"].has_dictionary_page
    assert columns["outcome"].has_dictionary_page
    assert {column.compression for column in columns.values()} == {"ZSTD"}


def test_a_part_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    write(tmp_path / "p", sample_batch([0]))
    assert (tmp_path / "p").stat().st_mode & 0o077 == 0


def test_a_file_without_rows_is_valid_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "p"
    totals = write(path)
    assert totals == Totals()
    reopen_and_check(path, totals, SCHEMA)
    assert list(row_groups(path)) == []
    assert len(pd.read_parquet(path)) == len(pl.read_parquet(path)) == 0
    assert pl.read_parquet(path).columns == SCHEMA.arrow.names


def test_facts_come_back_from_the_footer_with_unknown_entries_kept(tmp_path: Path) -> None:
    path = tmp_path / "p"
    facts = dataclasses.replace(
        FACTS, simulated=True, generation=2, prices_version="2026-01", extra={"later": "x"}
    )
    with PartWriter(path, SCHEMA, facts):
        pass
    assert read_facts(path) == facts


def test_what_is_not_ours_has_no_facts(tmp_path: Path) -> None:
    assert read_facts(tmp_path / "absent") is None
    assert read_facts(tmp_path) is None
    (tmp_path / "text").write_text("PAR1 no")
    assert read_facts(tmp_path / "text") is None
    (tmp_path / "empty").touch()
    assert read_facts(tmp_path / "empty") is None
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign")
    assert read_facts(tmp_path / "foreign") is None
    assert FileFacts.from_metadata({b"batcher.run_id": b"r", b"batcher.session": b"many"}) is None


def test_totals_count_outcomes_money_reuse_and_what_is_unknown() -> None:
    rows = [
        answer_values(0),
        {**answer_values(1), "outcome": "truncated", "cost_usd": None},
        {"outcome": "invalid", "attempts": 0, "paid_attempts": 0},
        {**answer_values(3), "cost_usd": 0.0, "paid_attempts": 0, "reused_from": "run-0"},
    ]
    totals = Totals.of(to_batch(SCHEMA, input_batch(0, 4), rows))
    assert totals.rows == 4
    assert totals.outcomes == {"ok": 2, "truncated": 1, "invalid": 1}
    assert (totals.prompt_tokens, totals.cached_tokens, totals.paid_attempts) == (300, 0, 2)
    assert totals.cost_usd == pytest.approx(0.001)
    assert (totals.cost_unknown, totals.reused) == (1, 1)


def test_the_cost_of_rows_without_any_price_is_unknown_and_not_zero() -> None:
    totals = Totals.of(sample_batch([0, 1], cost_usd=None))
    assert totals.cost_usd is None
    assert (totals + Totals(cost_usd=1.5)).cost_usd == 1.5
    assert (totals + Totals()).cost_usd is None


@given(
    st.builds(Totals, rows=COUNT, prompt_tokens=COUNT, cost_usd=st.none() | st.floats(0, 1e9), reused=COUNT)
)
def test_totals_survive_json(totals: Totals) -> None:
    assert Totals.from_json(json.loads(json.dumps(totals.to_json()))) == totals


def test_totals_from_something_else_are_refused() -> None:
    wrongs: tuple[dict[str, object], ...] = (
        {"rows": "many"},
        {"outcomes": []},
        {"cost_usd": "1"},
        {"rows": True},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match="number"):
            Totals.from_json(wrong)


def test_a_file_that_is_what_was_written_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "p"
    totals = write(path, sample_batch(range(5, 20)))
    measured = reopen_and_check(path, totals, SCHEMA, first_row=5)
    assert measured == measure(path)
    assert (measured.size, len(measured.checksum)) == (path.stat().st_size, 32)


@pytest.mark.parametrize("numbers", [[0, 2], [1, 0], [0, 0], [1, 2]])
def test_rows_out_of_order_missing_or_doubled_are_found(tmp_path: Path, numbers: list[int]) -> None:
    path = tmp_path / "p"
    totals = write(path, sample_batch(numbers))
    with pytest.raises(StorageError, match="input order"):
        reopen_and_check(path, totals, SCHEMA)


def test_the_order_is_checked_between_row_groups_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_module, "ROW_GROUP_ROWS", 2)
    path = tmp_path / "p"
    totals = write(path, sample_batch([0, 1]), sample_batch([3, 4]))
    reopen_and_check(path, totals, SCHEMA, first_row=None)
    with pytest.raises(StorageError, match="input order"):
        reopen_and_check(path, totals, SCHEMA)
    totals = write(path, sample_batch([3, 4]), sample_batch([4, 5]))
    with pytest.raises(StorageError, match="input order"):
        reopen_and_check(path, totals, SCHEMA, first_row=None)


def test_sums_that_differ_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p"
    totals = write(path, sample_batch([0, 1]))
    with pytest.raises(StorageError, match="prompt_tokens 200 instead of 201"):
        reopen_and_check(path, dataclasses.replace(totals, prompt_tokens=201), SCHEMA)
    with pytest.raises(StorageError, match="cost_usd"):
        reopen_and_check(path, dataclasses.replace(totals, cost_usd=0.003), SCHEMA)


def test_another_schema_is_found(tmp_path: Path) -> None:
    path = tmp_path / "p"
    totals = write(path, sample_batch([0]))
    other = OutputSchema.build(SCHEMA.arrow.remove_metadata(), features=Features(), prefix="b_")
    with pytest.raises(StorageError, match="columns"):
        reopen_and_check(path, totals, other)


def test_any_damaged_data_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "p"
    totals = write(path, sample_batch(range(50)))
    whole = path.read_bytes()
    group = pq.read_metadata(path).row_group(0)
    for index in range(group.num_columns):
        column = group.column(index)
        damaged = bytearray(whole)
        damaged[column.data_page_offset + column.total_compressed_size - 1] ^= 0x10
        if column.has_dictionary_page:
            damaged = bytearray(whole)
            damaged[column.data_page_offset - 1] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(StorageError):
            reopen_and_check(path, totals, SCHEMA)


def test_a_cut_or_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "p"
    totals = write(path, sample_batch(range(50)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StorageError, match="cannot be read back"):
        reopen_and_check(path, totals, SCHEMA)
    with pytest.raises(StorageError, match="cannot be read back"):
        reopen_and_check(tmp_path / "absent", totals, SCHEMA)
