"""Attacks on the journal: cut at every byte, any single bit flipped, in files that hold every kind of record.

The claim: every untouched record comes back, none comes back wrong, and appending afterwards is safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from journal_samples import FaultyDisk, a_reply, an_intent, one_of_each, put
from test_store_codec import journal_records

from batcher.store.codec import decode, encode
from batcher.store.frames import Frame, cut_tail, encode_frame, read_frames
from batcher.store.history import ShardHistory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from batcher.records import JournalRecord

NEW = encode_frame(encode(a_reply(9)))


def spans_of(records: list[JournalRecord]) -> tuple[bytes, list[tuple[int, int]]]:
    content, spans = b"", []
    for record in records:
        frame = encode_frame(encode(record))
        spans.append((len(content), len(content) + len(frame)))
        content += frame
    return content, spans


def payloads_in(path: Path) -> list[bytes]:
    return [each.payload for each in read_frames(path) if isinstance(each, Frame)]


def check(path: Path, content: bytes, *, untouched: list[bytes], written: list[bytes]) -> None:
    """The claim, for a file that now has this content."""
    put(path, content)
    found = payloads_in(path)
    assert [each for each in found if each in untouched] == untouched
    assert all(each in written for each in found)
    # Appended as the store does it, after the torn tail is cut off ...
    cut_tail(path, disk=FaultyDisk())
    with path.open("ab") as file:
        file.write(NEW)
    assert payloads_in(path) == [*found, NEW[9:-1]]
    # ... and even where somebody forgot to.
    put(path, content + NEW)
    assert payloads_in(path) == [*found, NEW[9:-1]]


def test_a_journal_cut_at_every_byte(tmp_path: Path) -> None:
    content, spans = spans_of(one_of_each())
    payloads = [content[start + 9 : end - 1] for start, end in spans]
    for cut in range(len(content) + 1):
        whole = [payload for payload, (_, end) in zip(payloads, spans, strict=True) if end <= cut]
        check(tmp_path / "j", content[:cut], untouched=whole, written=payloads)


def test_a_journal_with_any_single_bit_flipped(tmp_path: Path) -> None:
    content, spans = spans_of(one_of_each())
    payloads = [content[start + 9 : end - 1] for start, end in spans]
    path = tmp_path / "j"
    for place in range(len(content)):
        untouched = [
            payload for payload, (start, end) in zip(payloads, spans, strict=True) if not start <= place < end
        ]
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            put(path, flipped)
            assert payloads_in(path) == untouched
            if bit == place % 8:
                check(path, bytes(flipped), untouched=untouched, written=payloads)


def test_the_history_of_a_journal_with_any_single_bit_flipped(tmp_path: Path) -> None:
    records = one_of_each()[2:]
    content, spans = spans_of(records)
    path = tmp_path / "000000.s0001.jsonl"
    put(path, content)
    with ShardHistory.open([path], first_row=0, rows=10) as history:
        truth = {row: history.history(row) for row in range(10)}
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        put(path, flipped)
        touched = next(number for number, (start, end) in enumerate(spans) if start <= place < end)
        with ShardHistory.open([path], first_row=0, rows=10) as history:
            assert history.damaged
            for row in range(10):
                if row == records[touched].row_index:
                    assert history.history(row).replies == ()
                else:
                    assert history.history(row) == truth[row]


@given(
    records=st.lists(journal_records, min_size=1, max_size=6),
    place=st.integers(0, 10_000),
    bit=st.integers(0, 7),
    window=st.integers(1, 64),
)
def test_any_records_any_bit_any_window(
    tmp_path_factory: pytest.TempPathFactory, records: list[JournalRecord], place: int, bit: int, window: int
) -> None:
    content, spans = spans_of(records)
    place %= len(content)
    flipped = bytearray(content)
    flipped[place] ^= 1 << bit
    path = tmp_path_factory.mktemp("j") / "j"
    put(path, flipped)
    found = [decode(each.payload) for each in read_frames(path, window=window) if isinstance(each, Frame)]
    assert found == [
        record for record, (start, end) in zip(records, spans, strict=True) if not start <= place < end
    ]


@given(data=st.data())
def test_any_damage_gives_back_only_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    records = [a_reply(1), an_intent(2), *one_of_each(3)]
    content, _ = spans_of(records)
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(damaged)))
        stop = data.draw(st.integers(start, min(len(damaged), start + 300)))
        damaged[start:stop] = data.draw(
            st.binary(max_size=30) | st.just(content[: data.draw(st.integers(0, 400))])
        )
    path = tmp_path_factory.mktemp("j") / "j"
    put(path, damaged)
    for found in read_frames(path):
        if isinstance(found, Frame):
            assert decode(found.payload) in records
