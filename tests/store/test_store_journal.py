from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from journal_samples import FaultyDisk, a_reply, an_intent, one_of_each

from batcher.errors import StorageError
from batcher.records import VoidRecord
from batcher.store.ballast import Ballast
from batcher.store.codec import decode, encode
from batcher.store.frames import Damage, Frame, encode_frame, read_frames
from batcher.store.history import ShardHistory
from batcher.store.journal import Journal, JournalName

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.records import JournalRecord

FIRST = "000042.s0007.jsonl"


def records_in(path: Path) -> list[JournalRecord]:
    found = list(read_frames(path))
    assert not [each for each in found if isinstance(each, Damage)]
    return [decode(each.payload) for each in found if isinstance(each, Frame)]


def size_of(record: JournalRecord) -> int:
    return len(encode_frame(encode(record)))


def test_names_say_shard_session_and_generation_and_sort_in_order_of_writing() -> None:
    names = ["000042.s0007.jsonl", "000042.s0007.1.jsonl", "000042.s0007.10.jsonl", "000042.s10000.jsonl"]
    parsed = [name for each in names if (name := JournalName.parse(each))]
    assert [str(name) for name in parsed] == names
    assert sorted(parsed) == parsed
    assert JournalName.parse("000042.s0007.jsonl.tmp") is None


def test_a_record_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / FIRST)
    for number, record in enumerate(one_of_each(), 1):
        journal.append(record)
        assert len(records_in(journal.path)) == journal.unsynced_records == number
    assert records_in(journal.path) == one_of_each()
    assert journal.end == journal.unsynced_bytes == journal.path.stat().st_size
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.close()
    journal.close()


def test_a_journal_never_takes_over_an_existing_file(tmp_path: Path) -> None:
    Journal.create(tmp_path / FIRST).close()
    with pytest.raises(StorageError, match="exists"):
        Journal.create(tmp_path / FIRST)


def test_short_writes_are_continued_to_a_whole_record(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / FIRST, disk=FaultyDisk(most_per_write=7))
    journal.append(a_reply(1))
    journal.append(a_reply(2))
    assert records_in(journal.path) == [a_reply(1), a_reply(2)]
    journal.close()


@pytest.mark.parametrize("room", range(0, size_of(a_reply(2)), 13))
def test_a_record_that_does_not_fit_is_taken_back_whole(tmp_path: Path, room: int) -> None:
    disk = FaultyDisk()
    journal = Journal.create(tmp_path / FIRST, disk=disk)
    journal.append(a_reply(1))
    disk.room = room
    with pytest.raises(StorageError, match="disk is full"):
        journal.append(a_reply(2))
    assert journal.path.stat().st_size == journal.end == size_of(a_reply(1))
    disk.room = None
    journal.append(a_reply(3))
    assert records_in(journal.path) == [a_reply(1), a_reply(3)]
    assert journal.unsynced_records == 2
    journal.close()


def test_a_torn_record_that_could_not_be_taken_back_is_taken_back_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FaultyDisk()
    journal = Journal.create(tmp_path / FIRST, disk=disk)
    journal.append(a_reply(1))

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "ftruncate", refuse)
        disk.room = 20
        with pytest.raises(StorageError):
            journal.append(a_reply(2))
        disk.room = None
        with pytest.raises(StorageError):
            journal.append(a_reply(2))
    journal.append(a_reply(3))
    assert records_in(journal.path) == [a_reply(1), a_reply(3)]
    journal.close()


def test_a_full_disk_costs_the_ballast_and_the_paid_reply_is_stored(tmp_path: Path) -> None:
    disk = FaultyDisk()
    ballast = Ballast.create(tmp_path / "ballast", size=1 << 16)

    class Freed(Ballast):
        def release(self) -> bool:
            disk.room = None
            return ballast.release()

    journal = Journal.create(tmp_path / FIRST, disk=disk, ballast=Freed(tmp_path / "ballast"))
    disk.room = 10
    journal.append(a_reply(1))
    assert records_in(journal.path) == [a_reply(1)]
    assert not (tmp_path / "ballast").exists()
    journal.close()


def test_an_intent_never_takes_the_ballast_and_is_refused_after_it_is_gone(tmp_path: Path) -> None:
    disk = FaultyDisk()
    ballast = Ballast.create(tmp_path / "ballast", size=1 << 16)
    journal = Journal.create(tmp_path / FIRST, disk=disk, ballast=ballast)
    disk.room = 10
    for record in (an_intent(1), VoidRecord(1, 1)):
        with pytest.raises(StorageError, match="disk is full"):
            journal.append(record)
    assert not ballast.is_released
    disk.room = None
    journal.append(an_intent(1))
    assert ballast.release()
    assert not ballast.release()
    with pytest.raises(StorageError, match="nothing new is sent"):
        journal.append(an_intent(2))
    journal.append(a_reply(1))
    assert records_in(journal.path) == [an_intent(1), a_reply(1)]
    journal.close()


def test_the_ballast_holds_real_blocks(tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    path.write_bytes(b"left by a crash")
    ballast = Ballast.create(path)
    assert path.stat().st_size == 8 << 20
    assert path.stat().st_blocks * 512 >= 8 << 20
    ballast.remove()
    assert not path.exists()
    assert not ballast.is_released


def test_no_room_for_the_ballast_stops_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with pytest.raises(StorageError, match=r"reserving 8 MB .* the disk is full") as caught:
        Ballast.create(tmp_path / "ballast")
    assert caught.value.exit_code == 8
    assert not (tmp_path / "ballast").exists()


def test_where_blocks_cannot_be_reserved_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    Ballast.create(tmp_path / "ballast", size=3_000_000)
    assert (tmp_path / "ballast").stat().st_size == 3_000_000


def test_a_sync_covers_what_was_written_before_it_began(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / FIRST)
    journal.append(a_reply(1))
    mark = journal.mark()
    journal.append(a_reply(2))
    journal.synced(mark)
    assert (journal.unsynced_records, journal.unsynced_bytes) == (1, size_of(a_reply(2)))
    journal.sync()
    assert (journal.unsynced_records, journal.unsynced_bytes) == (0, 0)
    journal.close()


def test_after_a_failed_sync_the_tail_stands_synced_in_a_new_file(tmp_path: Path) -> None:
    disk = FaultyDisk(failing_syncs=frozenset({2}))
    journal = Journal.create(tmp_path / FIRST, disk=disk)
    journal.append(a_reply(1))
    journal.sync()
    journal.append(a_reply(2))
    journal.append(a_reply(3))
    journal.sync()
    assert disk.synced == 3  # the failed descriptor once, the new file once
    assert journal.path.name == "000042.s0007.1.jsonl"
    journal.append(a_reply(4))
    journal.sync()
    journal.close()
    assert records_in(tmp_path / FIRST) == [a_reply(1)]
    assert records_in(journal.path) == [a_reply(2), a_reply(3), a_reply(4)]


def test_after_a_failed_sync_a_record_that_does_not_fit_is_taken_back_in_the_new_file(tmp_path: Path) -> None:
    disk = FaultyDisk(failing_syncs=frozenset({2}))
    journal = Journal.create(tmp_path / FIRST, disk=disk)
    for row in (1, 2):
        journal.append(a_reply(row))
        journal.sync()
    disk.room = 20
    with pytest.raises(StorageError):
        journal.append(a_reply(3))
    disk.room = None
    journal.append(a_reply(4))
    journal.close()
    assert records_in(journal.path) == [a_reply(2), a_reply(4)]


def test_a_second_failed_sync_in_a_row_is_told_and_loses_nothing(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / FIRST, disk=FaultyDisk(failing_syncs=frozenset({1, 2})))
    journal.append(a_reply(1))
    with pytest.raises(StorageError, match="after a failed sync"):
        journal.sync()
    journal.append(a_reply(2))  # what is in flight is still better stored than not
    assert records_in(tmp_path / FIRST) == [a_reply(1), a_reply(2)]
    journal.close()
    with ShardHistory.open(list(tmp_path.iterdir()), first_row=0, rows=9) as history:
        assert [history.history(row).replies for row in (1, 2)] == [(a_reply(1),), (a_reply(2),)]


APPENDER = """
import resource, sys
from pathlib import Path
from journal_samples import a_reply, an_intent
from batcher.errors import StorageError
from batcher.store.ballast import Ballast
from batcher.store.journal import Journal
folder, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
journal = Journal.create(folder / "000000.s0001.jsonl", ballast=Ballast.create(folder / "ballast"))
row = 0
try:
    while True:
        journal.append(an_intent(row))
        journal.append(a_reply(row))
        row += 1
        print(row, flush=True)
except StorageError as err:
    print(err, file=sys.stderr)
    sys.exit(err.exit_code)
"""


def start_appender(folder: Path, *, limit: int = 0) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}  # noqa: PTH120
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(folder), str(limit)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_rows(folder: Path, acknowledged: int) -> ShardHistory:
    history = ShardHistory.open(list(folder.glob("*.jsonl")), first_row=0, rows=65_536)
    for row in range(acknowledged):
        assert history.history(row).replies == (a_reply(row),)
    return history


def test_a_file_size_limit_ends_with_exit_8_and_every_reply_before_it_whole(tmp_path: Path) -> None:
    process = start_appender(tmp_path, limit=20_011)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 8, err
    assert "largest allowed size" in err
    acknowledged = int(out.split()[-1])
    assert acknowledged > 20
    history = check_rows(tmp_path, acknowledged)
    assert history.damaged == []
    assert history.rows_seen()[: acknowledged + 1][-1] in {acknowledged - 1, acknowledged}


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_in_the_middle_of_appends_loses_no_acknowledged_reply(tmp_path: Path, seed: int) -> None:
    process = start_appender(tmp_path)
    assert process.stdout is not None
    acknowledged = 0
    for _ in range(random.Random(seed).randint(1, 400)):
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=60)
    acknowledged = max([acknowledged, *(int(each) for each in rest.splitlines() if each)])
    history = check_rows(tmp_path, acknowledged)
    assert [each.reason for each in history.damaged] in ([], ["cut short"])
    assert len(history.open_intents()) <= 1
