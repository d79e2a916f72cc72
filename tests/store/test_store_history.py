from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from journal_samples import HASH, a_reply, an_intent, one_of_each

from batcher.errors import Conflict, StorageError
from batcher.records import (
    EndRecord,
    JournalRecord,
    Outcome,
    ReopenRecord,
    ReuseRecord,
    RowHistory,
    VoidRecord,
)
from batcher.store.codec import encode
from batcher.store.frames import encode_frame
from batcher.store.history import ShardHistory

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write(folder: Path, name: str, records: Iterable[JournalRecord]) -> Path:
    path = folder / name
    path.write_bytes(b"".join(encode_frame(encode(record)) for record in records))
    return path


def opened(folder: Path, *, first_row: int = 0, rows: int = 10) -> ShardHistory:
    return ShardHistory.open(sorted(folder.iterdir()), first_row=first_row, rows=rows)


def an_end(row_index: int, attempts: int = 0) -> EndRecord:
    return EndRecord(row_index, Outcome.FAILED, "bad_request", attempts=attempts)


def test_each_kind_of_record_finds_its_place(tmp_path: Path) -> None:
    records = one_of_each(100)
    write(tmp_path, "000001.s0001.jsonl", records)
    with opened(tmp_path, first_row=100) as history:
        assert history.history(100) == RowHistory(100, open_intents=1)
        assert history.history(101) == RowHistory(101)
        assert history.history(102).replies == (records[2],)
        assert history.history(103).replies == (records[3],)
        assert history.history(104).end == records[4]
        assert history.history(105) == RowHistory(105)
        assert history.history(106).reuse == records[6]
        assert history.history(109) == RowHistory(109)
        assert history.rows_seen() == list(range(100, 107))
        assert history.damaged == []


def test_sessions_are_read_in_their_order_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    first, second = a_reply(1, attempts=1), a_reply(1, attempts=2)
    write(tmp_path, "000000.s10000.jsonl", [second])
    write(tmp_path, "000000.s9999.jsonl", [first])
    with opened(tmp_path) as history:
        assert history.history(1).replies == (first, second)
        assert history.sessions == [9999, 10000]


def test_two_answers_for_a_row_are_both_kept_also_when_equal(tmp_path: Path) -> None:
    write(tmp_path, "000000.s0001.jsonl", [a_reply(1), a_reply(1)])
    write(tmp_path, "000000.s0002.jsonl", [a_reply(1)])
    with opened(tmp_path) as history:
        assert history.history(1).replies == (a_reply(1),) * 3


def test_copies_that_a_failed_sync_left_in_two_files_of_a_session_count_once(tmp_path: Path) -> None:
    tail: list[JournalRecord] = [an_intent(2), a_reply(2), an_end(3), ReopenRecord(3)]
    write(tmp_path, "000000.s0001.jsonl", [a_reply(1), *tail])
    for cut in range(len(tail) + 1):  # the new file may itself have been cut by a crash
        write(tmp_path, "000000.s0001.1.jsonl", tail[:cut])
        with opened(tmp_path) as history:
            assert history.history(2) == RowHistory(2, (a_reply(2),))
            assert history.history(3).end is None
            assert history.open_intents() == []


def test_an_intent_is_open_until_its_attempt_is_answered_in_its_session(tmp_path: Path) -> None:
    answers: dict[int, list[JournalRecord]] = {
        0: [],
        1: [VoidRecord(1, 1)],
        2: [a_reply(2, attempts=1)],
        3: [an_end(3)],
        4: [a_reply(4, attempts=1), an_intent(4, attempts=2)],
        5: [a_reply(5, attempts=3)],  # attempts 1 and 2 came back unpaid, without a void
        6: [VoidRecord(6, 1), an_intent(6, attempts=2), a_reply(6, attempts=2)],
        7: [ReuseRecord(7, HASH, "run", {})],
        8: [an_end(8, 1), ReopenRecord(8)],
    }
    records = [record for row, after in answers.items() for record in (an_intent(row), *after)]
    write(tmp_path, "000000.s0001.jsonl", records)
    with opened(tmp_path) as history:
        assert history.open_intents() == [(0, 1), (4, 1)]


def test_an_answer_of_a_later_session_leaves_the_lost_one_possibly_paid(tmp_path: Path) -> None:
    write(tmp_path, "000000.s0001.jsonl", [an_intent(1)])
    write(tmp_path, "000000.s0002.jsonl", [an_intent(1), an_intent(2)])
    write(tmp_path, "000000.s0003.jsonl", [an_intent(1), a_reply(1)])
    with opened(tmp_path) as history:
        assert history.open_intents() == [(1, 1), (1, 2), (2, 2)]
        assert history.history(1) == RowHistory(1, (a_reply(1),), open_intents=2)


def test_a_reopened_row_has_no_end_until_it_gets_another(tmp_path: Path) -> None:
    write(
        tmp_path, "000000.s0001.jsonl", [an_end(1), ReopenRecord(1), an_end(2), ReopenRecord(2), an_end(2, 3)]
    )
    with opened(tmp_path) as history:
        assert history.history(1).end is None
        assert history.history(2).end == an_end(2, 3)


def test_a_row_of_another_shard_is_damage_never_an_answer(tmp_path: Path) -> None:
    path = write(tmp_path, "000000.s0001.jsonl", [a_reply(99), a_reply(100), a_reply(110)])
    with opened(tmp_path, first_row=100) as history:
        assert [each.reason for each in history.damaged] == [
            "row 99 is not of this shard",
            "row 110 is not of this shard",
        ]
        assert {each.path for each in history.damaged} == {path}
        assert history.rows_seen() == [100]
        with pytest.raises(IndexError):
            history.history(110)


def test_a_whole_line_that_is_no_record_is_damage(tmp_path: Path) -> None:
    (tmp_path / "000000.s0001.jsonl").write_bytes(encode_frame(b'{"row":1}'))
    with opened(tmp_path) as history:
        assert [each.reason for each in history.damaged] == ["not a journal record"]


def test_a_kind_of_a_newer_version_stops_instead_of_buying_the_row_again(tmp_path: Path) -> None:
    (tmp_path / "000000.s0001.jsonl").write_bytes(encode_frame(b'{"k":"z","i":1,"a":1}'))
    with pytest.raises(Conflict):
        opened(tmp_path)


def test_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "notes.txt", [])
    with pytest.raises(StorageError, match="not named like a journal"):
        opened(tmp_path)


def test_what_is_appended_after_the_opening_is_not_seen(tmp_path: Path) -> None:
    path = write(tmp_path, "000000.s0001.jsonl", [a_reply(1)])
    with opened(tmp_path) as history:
        with path.open("ab") as file:
            file.write(encode_frame(encode(a_reply(2))))
        assert history.rows_seen() == [1]
        assert history.history(1).replies == (a_reply(1),)


def test_a_record_that_changed_since_the_opening_is_an_error_never_an_answer(tmp_path: Path) -> None:
    path = write(tmp_path, "000000.s0001.jsonl", [a_reply(1)])
    with opened(tmp_path) as history:
        path.write_bytes(path.read_bytes().replace(b"1250.0", b"1250.1"))
        with pytest.raises(StorageError, match="changed while it was read"):
            history.history(1)


def test_many_sessions_need_few_descriptors(tmp_path: Path) -> None:
    for session in range(1, 40):
        write(tmp_path, f"000000.s{session:04d}.jsonl", [a_reply(1, attempts=session), a_reply(2)])
    with opened(tmp_path) as history:
        assert len(history.history(1).replies) == 39
        assert len(history.history(2).replies) == 39
        assert len(history._descriptors) <= 8


def test_no_files_are_no_history(tmp_path: Path) -> None:
    history = opened(tmp_path)
    assert (history.rows_seen(), history.open_intents(), history.sessions) == ([], [], [])
    assert history.history(3) == RowHistory(3)


def test_the_index_takes_40_bytes_per_record_at_the_most(tmp_path: Path) -> None:
    rows = 65_536
    path = tmp_path / "000000.s0001.jsonl"
    with path.open("wb") as file:
        for row in range(rows):
            file.write(encode_frame(encode(VoidRecord(row, 1))))
    tracemalloc.start()
    history = ShardHistory.open([path], first_row=0, rows=rows)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(history.rows_seen()) == rows
    assert held < 40 * rows
    assert most < 40 * rows + 4 * (1 << 20)
