from __future__ import annotations

import os
from typing import TYPE_CHECKING
from zlib import crc32

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_samples import FaultyDisk, put

from batcher.errors import Conflict, StorageError
from batcher.store import manifest
from batcher.store.frames import Frame, encode_frame, read_frames
from batcher.store.manifest import (
    Manifest,
    ManifestRecord,
    ManifestView,
    Publish,
    RetryOpen,
    SessionOpen,
    ShardOpen,
    ShardSeal,
    Stop,
)

if TYPE_CHECKING:
    from pathlib import Path

RECORDS: list[ManifestRecord] = [
    SessionOpen(1, 4711, "host", 1763852691.5, "0.1.0", limit=50, extra={"possibly_paid": [[1, 2]]}),
    ShardOpen(0, 0, 65_536, 12_345, ""),
    ShardSeal(0, 65_536, 999, "ab" * 16, {"outcomes": {"ok": 65_536}, "cost_usd": 0.25}, (1, 2)),
    RetryOpen(1, ("failed", "truncated"), {"request.max_tokens": 256}, 12),
    Publish("/x/out.parquet", 65_536, 999, "ab" * 16, {"cost_usd": None}, 3, {"rows": 65_536}),
    Stop(1, 130, "signal \N{SNOWMAN}", {}),
]


def write(path: Path, records: list[ManifestRecord]) -> bytes:
    writer = Manifest.open(path, disk=FaultyDisk())
    for record in records:
        writer.append(record)
    writer.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.jsonl"


def test_records_come_back_typed_and_in_order(path: Path) -> None:
    content = write(path, RECORDS)
    assert manifest.read(path) == ManifestView(tuple(RECORDS), len(content))
    assert Manifest.open(path).records == RECORDS
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_file_is_an_empty_manifest_and_reading_does_not_make_one(path: Path) -> None:
    assert manifest.read(path) == ManifestView((), 0)
    assert not path.exists()


@given(
    texts=st.lists(st.text(), max_size=4),
    number=st.integers(0, 2**53),
    amount=st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_text_and_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], number: int, amount: float
) -> None:
    records: list[ManifestRecord] = [
        Stop(number, 1, text, {"amount": amount, text: [text, {"x": None}]}, {"n": number}) for text in texts
    ]
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    write(path, records)
    assert list(manifest.read(path).records) == records


def test_append_is_synced_before_it_returns(path: Path) -> None:
    disk = FaultyDisk()
    writer = Manifest.open(path, disk=disk)
    before = disk.synced
    writer.append(RECORDS[0])
    writer.append(RECORDS[1])
    assert disk.synced == before + 2


def test_an_end_cut_at_any_byte_is_ignored_and_appending_goes_on_from_there(path: Path) -> None:
    content = write(path, RECORDS)
    ends = [each.offset + each.length for each in read_frames(path)]
    for cut in range(len(content)):
        put(path, content[:cut])
        whole = sum(end <= cut for end in ends)
        assert list(manifest.read(path).records) == RECORDS[:whole]
        assert path.stat().st_size == cut  # a reader changes nothing
        write(path, RECORDS[whole : whole + 1] or [RECORDS[0]])
        assert list(manifest.read(path).records) == RECORDS[: whole + 1]


def test_any_flipped_bit_is_exit_8_never_a_wrong_record(path: Path) -> None:
    content = bytearray(write(path, RECORDS[:4]))
    for place in range(len(content)):
        for bit in range(8):
            content[place] ^= 1 << bit
            put(path, content)
            with pytest.raises(StorageError) as caught:
                manifest.read(path)
            assert caught.value.exit_code == 8
            content[place] ^= 1 << bit


@given(data=st.data())
def test_damage_of_any_kind_gives_an_error_or_true_records(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    content = bytearray(write(path, RECORDS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, len(content)))
        content[start:stop] = data.draw(st.binary(max_size=40) | st.just(bytes(content[:60])))
    put(path, content)
    try:
        found = list(manifest.read(path).records)
    except StorageError:
        return
    assert found == RECORDS[: len(found)]


@pytest.mark.parametrize("change", ["lost", "twice", "swapped", "joined"])
def test_a_line_that_is_lost_repeated_or_moved_is_noticed(path: Path, change: str) -> None:
    lines = write(path, RECORDS).splitlines(keepends=True)
    changed = {
        "lost": [*lines[:2], *lines[3:]],
        "twice": [*lines[:3], lines[2], *lines[3:]],
        "swapped": [lines[0], lines[2], lines[1], *lines[3:]],
        "joined": [lines[0][:-1], *lines[1:]],
    }[change]
    put(path, b"".join(changed))
    with pytest.raises(StorageError, match="damaged at record") as caught:
        manifest.read(path)
    assert "--fresh" in (caught.value.hint or "")


def test_records_of_another_manifest_do_not_fit_into_the_chain(path: Path, tmp_path: Path) -> None:
    lines = write(path, RECORDS[:3]).splitlines(keepends=True)
    other = write(tmp_path / "other.jsonl", [RECORDS[5], *RECORDS[1:3]]).splitlines(keepends=True)
    put(path, b"".join([*lines[:1], *other[1:]]))
    with pytest.raises(StorageError):
        manifest.read(path)


@pytest.mark.parametrize(
    "values",
    [
        {"k": "lease"},
        {"k": "stop", "session": 1, "exit_code": 0, "reason": "", "summary": {}, "extra": {}, "new": 1},
        {"k": "stop", "session": 1, "exit_code": 0, "reason": "", "summary": {}},
        {"k": "stop", "session": "1", "exit_code": 0, "reason": "", "summary": {}, "extra": {}},
        {"k": "stop", "session": True, "exit_code": 0, "reason": "", "summary": {}, "extra": {}},
    ],
)
def test_what_a_newer_version_wrote_is_exit_4(path: Path, values: dict[str, object]) -> None:
    content = write(path, RECORDS[:1])
    link = b"%08x" % crc32(content[9:-1])
    put(path, content + encode_frame(orjson.dumps({"n": 1, "p": link.decode(), **values})))
    for reader in (manifest.read, Manifest.open):
        with pytest.raises(Conflict) as caught:
            reader(path)
        assert caught.value.exit_code == 4


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_record_that_does_not_fit_is_taken_back_and_none_follows(path: Path, room: int) -> None:
    disk = FaultyDisk()
    writer = Manifest.open(path, disk=disk)
    writer.append(RECORDS[0])
    disk.room = room
    with pytest.raises(StorageError, match="disk is full"):
        writer.append(RECORDS[1])
    disk.room = None
    with pytest.raises(StorageError, match="start the command again"):
        writer.append(RECORDS[1])
    assert list(manifest.read(path).records) == writer.records == RECORDS[:1]


def test_a_failed_sync_takes_the_record_back_and_none_follows(path: Path) -> None:
    disk = FaultyDisk(failing_syncs=frozenset({2}))
    writer = Manifest.open(path, disk=disk)
    writer.append(RECORDS[0])
    with pytest.raises(StorageError):
        writer.append(RECORDS[1])
    with pytest.raises(StorageError):
        writer.append(RECORDS[2])
    assert list(manifest.read(path).records) == RECORDS[:1]


def test_a_reader_beside_a_writer_sees_a_beginning_of_the_truth(path: Path) -> None:
    writer = Manifest.open(path)
    seen = []
    for record in RECORDS:
        seen.append(manifest.read(path).records)
        writer.append(record)
    assert [len(each) for each in seen] == list(range(len(RECORDS)))
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(fd, b"0123abcd {")
    os.close(fd)
    assert list(manifest.read(path).records) == RECORDS


def test_every_frame_is_numbered_from_zero(path: Path) -> None:
    write(path, RECORDS)
    numbers = [orjson.loads(each.payload)["n"] for each in read_frames(path) if isinstance(each, Frame)]
    assert numbers == list(range(len(RECORDS)))
