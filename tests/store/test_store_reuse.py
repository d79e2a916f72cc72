"""The index of answers that were already bought: found by hash, each served once, damage never served."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from part_samples import INPUT_SCHEMA, SampleSettled, answer_values, properties, seal_sample

from batcher.errors import StorageError
from batcher.records import Outcome
from batcher.store import reuse_entries
from batcher.store.columns import COLUMNS, Features, OutputSchema
from batcher.store.reuse import REUSED_COLUMNS, ReuseIndex, StoredAnswer, parquet_answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from batcher.records import RowHistory


class Listed:
    """Answers from a list."""

    note: str | None = None

    def __init__(self, name: str, answers: Sequence[StoredAnswer]) -> None:
        self.description: Mapping[str, object] = {"name": name}
        self.read = 0
        self._answers = answers

    def __iter__(self) -> Iterator[StoredAnswer]:
        self.read += 1
        return iter(self._answers)


def hash_of(number: int) -> str:
    return blake2b(str(number).encode(), digest_size=16).hexdigest()


def answer(number: int, response_id: str = "a", run_id: str = "run-0") -> StoredAnswer:
    return StoredAnswer(hash_of(number), run_id, {"response_id": response_id, "completion": f"c{number}"})


def test_an_answer_is_found_by_its_hash_with_the_run_that_bought_it(tmp_path: Path) -> None:
    with ReuseIndex.build(tmp_path, [Listed("s", [answer(n) for n in range(500)])]) as index:
        assert len(index) == 500
        for number in random.Random(1).sample(range(500), 500):
            taken = index.take(hash_of(number))
            assert taken is not None
            assert (taken.run_id, taken.values["completion"]) == ("run-0", f"c{number}")
        assert index.taken_count == 500
        assert index.take(hash_of(501)) is None


@pytest.mark.parametrize("request_hash", ["0" * 32, "f" * 32])
def test_hashes_beyond_either_end_and_an_empty_index_hold_nothing(tmp_path: Path, request_hash: str) -> None:
    with ReuseIndex.build(tmp_path / "some", [Listed("s", [answer(1), answer(2)])]) as index:
        assert index.take(request_hash) is None
    with ReuseIndex.build(tmp_path / "none", []) as index:
        assert (len(index), index.take(request_hash)) == (0, None)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), max_size=40), st.lists(st.integers(0, 6), max_size=60))
def test_every_answer_serves_one_row_in_the_order_of_the_sources(
    tmp_path_factory: pytest.TempPathFactory, bought: list[int], asked: list[int]
) -> None:
    answers = [answer(number, f"id{place}") for place, number in enumerate(bought)]
    left = {number: [f"id{p}" for p, each in enumerate(bought) if each == number] for number in range(7)}
    with ReuseIndex.build(tmp_path_factory.mktemp("index"), [Listed("s", answers)]) as index:
        for number in asked:
            taken = index.take(hash_of(number))
            expected = left[number].pop(0) if left[number] else None
            assert (None if taken is None else taken.values["response_id"]) == expected


def test_many_answers_to_one_request_are_served_without_passing_the_taken_ones_again(tmp_path: Path) -> None:
    answers = [answer(1, f"id{place}") for place in range(20_000)]
    with ReuseIndex.build(tmp_path, [Listed("s", answers)]) as index:
        served = [index.take(hash_of(1)) for _ in range(20_000)]
        assert [taken.values["response_id"] for taken in served if taken] == [f"id{n}" for n in range(20_000)]
        assert index._steps[0] == 19_999  # the first leads straight to the last that was free
        assert index.take(hash_of(1)) is None


def test_the_same_bought_answer_in_two_sources_is_one_answer(tmp_path: Path) -> None:
    bought, copied = answer(1, "a"), answer(1, "a")
    other_run = answer(1, "a", run_id="run-9")
    with ReuseIndex.build(
        tmp_path, [Listed("try", [bought]), Listed("output", [copied, other_run])]
    ) as index:
        assert len(index) == 2


def test_numbers_are_the_same_whenever_the_same_sources_are_indexed(tmp_path: Path) -> None:
    sources = [Listed("s", [answer(n) for n in range(50)])]
    with ReuseIndex.build(tmp_path / "1", sources) as one, ReuseIndex.build(tmp_path / "2", sources) as two:
        for number in range(50):
            assert one.take(hash_of(number)) == two.take(hash_of(number))


def test_an_index_of_the_same_sources_is_opened_and_of_others_built_anew(tmp_path: Path) -> None:
    source = Listed("s", [answer(1)])
    ReuseIndex.build(tmp_path, [source]).close()
    ReuseIndex.build(tmp_path, [source]).close()
    assert source.read == 1
    with ReuseIndex.build(tmp_path, [Listed("other", [answer(2)])]) as index:
        assert index.take(hash_of(1)) is None
        assert index.take(hash_of(2)) is not None


def test_after_opening_nothing_is_taken_until_it_is_marked(tmp_path: Path) -> None:
    answers = [answer(1, "a"), answer(1, "b"), answer(1, "c"), answer(2, "d")]
    with ReuseIndex.build(tmp_path, [Listed("s", answers)]) as index:
        taken = index.take(hash_of(1))
        assert taken is not None
    reopened = ReuseIndex.open(tmp_path)
    assert reopened is not None
    with reopened as index:
        assert index.taken_count == 0
        index.mark_taken(taken.number)
        index.mark_taken(taken.number)
        index.mark_row(hash_of(1), "c")
        index.mark_row(hash_of(3), "x")
        assert index.taken_count == 2
        remaining = index.take(hash_of(1))
        assert remaining is not None
        assert remaining.values["response_id"] == "b"
        assert index.take(hash_of(1)) is None
        index.mark_row(hash_of(2), "unknown id")
        assert index.take(hash_of(2)) is None


def test_an_index_that_was_not_finished_or_was_cut_is_not_opened(tmp_path: Path) -> None:
    assert ReuseIndex.open(tmp_path) is None
    source = Listed("s", [answer(n) for n in range(5)])
    ReuseIndex.build(tmp_path, [source]).close()
    (tmp_path / "sources.json").rename(tmp_path / "kept")
    assert ReuseIndex.open(tmp_path) is None
    (tmp_path / "kept").rename(tmp_path / "sources.json")
    for name in ("starts", "index", "answers.jsonl"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-1])
        assert ReuseIndex.open(tmp_path) is None
        (tmp_path / name).write_bytes(whole)


def test_a_build_that_was_interrupted_is_built_again(tmp_path: Path) -> None:
    class Interrupted(Listed):
        def __iter__(self) -> Iterator[StoredAnswer]:
            yield answer(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ReuseIndex.build(tmp_path, [Interrupted("s", [])])
    with ReuseIndex.build(tmp_path, [Listed("s", [answer(2)])]) as index:
        assert len(index) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "answers.jsonl",
        "index",
        "sources.json",
        "starts",
        "taken",
    ]


def test_entries_that_were_spilled_to_buckets_are_all_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse_entries, "_FLUSH_ENTRIES", 7)
    with ReuseIndex.build(tmp_path, [Listed("s", [answer(n) for n in range(100)])]) as index:
        assert all(index.take(hash_of(number)) for number in range(100))


def test_a_damaged_answer_is_an_error_and_never_served(tmp_path: Path) -> None:
    ReuseIndex.build(tmp_path, [Listed("s", [answer(1)])]).close()
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes().replace(b"c1", b"c2"))
    found = ReuseIndex.open(tmp_path)
    assert found is not None
    with found as index, pytest.raises(StorageError, match="damaged"):
        index.take(hash_of(1))


# --- sources ---


def settle_mixed(history: RowHistory) -> SampleSettled:
    row = history.row_index
    outcome = list(Outcome)[row % 5]
    values = answer_values(row) | {"outcome": outcome.value, "request_hash": hash_of(row)}
    if row % 10 == 0:
        values["reused_from"] = "run-of-old"
    return SampleSettled(outcome, values)


@pytest.mark.parametrize("prefix", ["", "b_"])
def test_an_output_of_ours_gives_its_answers_without_their_bookkeeping(tmp_path: Path, prefix: str) -> None:
    schema = OutputSchema.build(
        INPUT_SCHEMA, features=Features(properties=properties("category")), prefix=prefix
    )
    part, _ = seal_sample(tmp_path, 0, 1_000, settle=settle_mixed, schema=schema)
    source = parquet_answers(part)
    answers = list(source)
    assert source.note is None
    assert [each.request_hash for each in answers] == [hash_of(row) for row in range(1_000) if row % 5 < 3]
    assert answers[0].run_id == "run-of-old"
    assert answers[1].run_id == "run-1"
    expected = {name: value for name, value in answer_values(1).items() if name in REUSED_COLUMNS}
    assert answers[1].values == expected | {"outcome": "truncated"}
    assert not {"cost_usd", "run_id", "attempts", "billed_prompt_tokens"} & set(answers[1].values)
    with ReuseIndex.build(tmp_path / "index", [source]) as index:
        taken = index.take(hash_of(1))
        assert taken is not None
        assert taken.values == answers[1].values


def test_every_reused_column_is_declared() -> None:
    assert set(REUSED_COLUMNS) <= {column.name for column in COLUMNS}


def test_an_output_that_another_tool_wrote_again_still_gives_its_answers(tmp_path: Path) -> None:
    part, _ = seal_sample(tmp_path, 0, 20, settle=settle_mixed)
    pl.read_parquet(part).filter(pl.col("outcome") == "ok").write_parquet(tmp_path / "ok.parquet")
    answers = list(parquet_answers(tmp_path / "ok.parquet"))
    assert [each.values["completion"] for each in answers] == [
        "answer 0",
        "answer 5",
        "answer 10",
        "answer 15",
    ]
    assert answers[1].values["prompt_tokens"] == 100


def test_files_that_are_not_ours_are_skipped_with_a_note_each(tmp_path: Path) -> None:
    pq.write_table(pa.table({"outcome": ["ok"]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("no")
    (tmp_path / "empty.parquet").touch()
    part, _ = seal_sample(tmp_path, 0, 5, settle=settle_mixed)
    names = ("foreign.parquet", "text.parquet", "empty.parquet", part.name)
    with ReuseIndex.build(tmp_path / "index", [parquet_answers(tmp_path / name) for name in names]) as index:
        assert len(index) == 3
        assert len(index.notes) == 3
        assert "request_hash" in index.notes[0]
        assert all(name in note for name, note in zip(names, index.notes, strict=False))


def test_hashes_that_are_none_are_passed_over(tmp_path: Path) -> None:
    columns = {"outcome": ["ok"] * 4, "run_id": ["r"] * 4, "request_hash": [None, "xyz", "G" * 32, "a" * 32]}
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    assert [each.request_hash for each in parquet_answers(tmp_path / "f.parquet")] == ["a" * 32]


def test_a_changed_source_file_makes_a_new_index(tmp_path: Path) -> None:
    part, _ = seal_sample(tmp_path, 0, 10, settle=settle_mixed)
    ReuseIndex.build(tmp_path / "index", [parquet_answers(part)]).close()
    part, _ = seal_sample(tmp_path, 0, 20, settle=settle_mixed)
    with ReuseIndex.build(tmp_path / "index", [parquet_answers(part)]) as index:
        assert len(index) == 12


def test_a_vanished_source_file_is_a_storage_error_and_its_finished_index_still_opens(tmp_path: Path) -> None:
    part, _ = seal_sample(tmp_path, 0, 10, settle=settle_mixed)
    ReuseIndex.build(tmp_path / "index", [parquet_answers(part)]).close()
    part.unlink()
    with pytest.raises(StorageError):
        ReuseIndex.build(tmp_path / "other", [parquet_answers(part)])
    found = ReuseIndex.open(tmp_path / "index")
    assert found is not None
    with found as index:
        assert len(index) == 6


def test_nothing_of_the_index_is_readable_by_others(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    ReuseIndex.build(folder, [Listed("s", [answer(1)])]).close()
    for path in (
        folder,
        folder / "answers.jsonl",
        folder / "index",
        folder / "sources.json",
        folder / "starts",
    ):
        assert path.stat().st_mode & 0o077 == 0
