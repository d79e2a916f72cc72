from __future__ import annotations

import math
import string
from datetime import UTC, date, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_samples import HASH, a_reply, one_of_each

from batcher.errors import Conflict, StorageError
from batcher.records import (
    EndRecord,
    Fault,
    FaultKind,
    IntentRecord,
    JournalRecord,
    Outcome,
    Progress,
    ReopenRecord,
    Reply,
    ReplyRecord,
    ReuseRecord,
    VoidRecord,
)
from batcher.store.codec import Head, decode, encode, peek

counts = st.integers(0, 10_000)
rows = st.integers(0, 2**40)
texts = st.text(st.characters())  # lone surrogates included
maybe_text = st.none() | texts
numbers = st.floats(allow_nan=False)
maybe_number = st.none() | numbers
hashes = st.text(string.hexdigits, min_size=32, max_size=32) | texts
bodies = st.binary() | texts.map(lambda text: text.encode("utf-8", "replace"))
zones = st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30)), None])
atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | numbers
    | texts
    | st.binary()
    | st.dates()
    | st.datetimes(timezones=zones)
)
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(["$date", "$object", "$"]), inner, max_size=3)
    ),
    max_leaves=6,
)
replies = st.builds(
    Reply,
    status=st.none() | st.integers(100, 999),
    headers=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    body=bodies,
    progress=st.sampled_from(Progress),
    fault=st.none() | st.builds(Fault, st.sampled_from(FaultKind), texts),
    sent_at=numbers,
    received_at=numbers,
    latency_ms=numbers,
    reused_connection=st.booleans(),
    ttft_ms=maybe_number,
)
journal_records: st.SearchStrategy[JournalRecord] = st.one_of(
    st.builds(IntentRecord, rows, hashes, counts),
    st.builds(VoidRecord, rows, counts),
    st.builds(ReopenRecord, rows),
    st.builds(ReplyRecord, rows, hashes, texts, counts, counts, numbers, replies, maybe_text),
    st.builds(
        EndRecord,
        rows,
        st.sampled_from(Outcome),
        texts,
        maybe_text,
        maybe_text,
        st.none() | counts,
        maybe_text,
        maybe_text,
        counts,
        counts,
        counts,
        maybe_number,
        maybe_number,
        maybe_number,
        maybe_number,
        maybe_text,
        maybe_text,
    ),
    st.builds(ReuseRecord, rows, hashes, texts, st.dictionaries(texts, values, max_size=4), maybe_text),
)


@given(journal_records)
def test_every_record_comes_back_as_it_was_on_one_line(record: JournalRecord) -> None:
    payload = encode(record)
    assert b"\n" not in payload
    assert decode(payload) == record


@given(journal_records)
def test_kind_row_and_attempt_can_be_seen_without_decoding(record: JournalRecord) -> None:
    head = peek(encode(record))
    assert head is not None
    assert head.row_index == record.row_index
    assert head.attempts == getattr(record, "attempts", 0)


def test_each_type_has_its_own_kind() -> None:
    kinds = [head.kind for record in one_of_each() if (head := peek(encode(record)))]
    assert kinds == ["i", "v", "r", "r", "e", "o", "u"]
    assert peek(b'{"x":1}') is None
    assert peek(encode(VoidRecord(7, 3))) == Head("v", 7, 3)


def test_not_a_number_survives_where_json_has_no_word_for_it() -> None:
    record = ReuseRecord(1, HASH, "run", {"score": [math.nan, math.inf]})
    back = decode(encode(record))
    assert isinstance(back, ReuseRecord)
    score = back.values["score"]
    assert isinstance(score, list)
    assert math.isnan(score[0])
    assert score[1] == math.inf


def test_the_types_of_output_values_survive() -> None:
    given_values: dict[str, object] = {
        "sent_at": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        "day": date(2026, 1, 2),
        "count": 2**70 + 1,  # no float is equal to it
        "raw": b"\xff",
        "odd": {"$date": "not one"},
        "outcome": Outcome.OK,
    }
    back = decode(encode(ReuseRecord(1, HASH, "run", given_values)))
    assert isinstance(back, ReuseRecord)
    assert back.values == given_values
    assert type(back.values["sent_at"]) is datetime


def test_a_value_without_a_place_in_a_column_is_refused_before_anything_is_written() -> None:
    with pytest.raises(TypeError, match="object"):
        encode(ReuseRecord(1, HASH, "run", {"x": object()}))
    with pytest.raises(TypeError, match="key"):
        encode(ReuseRecord(1, HASH, "run", {"x": {1: 2}}))


def test_text_stays_readable_and_only_binary_bodies_become_base64() -> None:
    assert orjson.loads(encode(a_reply(1, body=b"caf\xc3\xa9")))["b"] == "café"
    assert orjson.loads(encode(a_reply(1, body=b"\xff")))["B"] == "/w=="


@pytest.mark.parametrize(
    "payload",
    [
        b'{"k":"z","i":1,"a":1}',
        b'{"k":"i","i":1,"a":1,"h":"x","new":1}',
        b'{"k":"e","i":1,"a":1,"o":"paused","et":"x"}',
        b'{"k":"i","i":1,"a":1}',
    ],
)
def test_what_a_newer_version_wrote_is_a_conflict(payload: bytes) -> None:
    with pytest.raises(Conflict, match="newer version") as caught:
        decode(payload)
    assert caught.value.exit_code == 4


def test_an_unknown_kind_is_a_conflict_already_when_indexed() -> None:
    with pytest.raises(Conflict):
        peek(b'{"k":"z","i":1,"a":1}')


@pytest.mark.parametrize("payload", [b"{", b"[]", b"{}", b'{"k":1}'])
def test_what_is_no_record_is_a_storage_error(payload: bytes) -> None:
    with pytest.raises(StorageError):
        decode(payload)
