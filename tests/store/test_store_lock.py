from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from batcher.errors import RunLocked, StorageError
from batcher.store.lock import Holder, RunLock, holder

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from batcher.store.lock import RunLock
lock = RunLock.acquire(Path(sys.argv[1]), pid=4711, host="elsewhere", now=1000.0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def acquire(path: Path, *, now: float = 2000.0) -> RunLock:
    return RunLock.acquire(path, pid=1, host="here", now=now)


def test_a_second_process_is_refused_and_told_who_has_the_run(path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunLocked) as caught:
            acquire(path, now=1012.0)
        assert caught.value.exit_code == 9
        for word in ("4711", "elsewhere", "1970-01-01 00:16:40 UTC", "12 s ago", str(path.parent)):
            assert word in str(caught.value)
        assert holder(path) == Holder(4711, "elsewhere", 1000.0, 1000.0, is_alive=True)
        other.kill()
        other.wait()
        assert holder(path) == Holder(4711, "elsewhere", 1000.0, 1000.0, is_alive=False)
        with acquire(path):
            pass


def test_a_second_open_in_the_same_process_is_refused(path: Path) -> None:
    with acquire(path), pytest.raises(RunLocked):
        acquire(path)
    with acquire(path):
        pass


def test_a_touch_is_the_last_sign_of_life(path: Path) -> None:
    with acquire(path, now=2000.0) as lock:
        lock.touch(now=2345.5)
        assert holder(path) == Holder(1, "here", 2000.0, 2345.5, is_alive=True)


def test_looking_at_the_lock_does_not_take_it(path: Path) -> None:
    assert holder(path) is None
    assert not path.exists()
    acquire(path).release()
    assert holder(path) == Holder(1, "here", 2000.0, 2000.0, is_alive=False)
    with acquire(path):
        pass


def test_a_shorter_text_leaves_nothing_of_the_longer_one(path: Path) -> None:
    RunLock.acquire(path, pid=123456789, host="a-very-long-host-name", now=1763852691.123).release()
    acquire(path).release()
    assert path.read_bytes() == b'{"pid":1,"host":"here","started_at":2000.0}\n'


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid":"x","host":3}'])
def test_an_unreadable_text_is_unknown_not_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found = holder(path)
    assert found is not None
    assert (found.pid, found.host, found.started_at, found.is_alive) == (None, None, None, False)


def test_a_lock_file_that_was_deleted_under_a_holder_does_not_lock_the_new_one(path: Path) -> None:
    with acquire(path):
        path.unlink()
        with acquire(path):
            pass


def test_a_file_that_is_deleted_between_opening_and_locking_is_not_taken_for_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = fcntl.flock, []

    def deleted_once(fd: int, kind: int) -> None:
        calls.append(kind)
        if len(calls) == 1:
            path.unlink()
        real(fd, kind)

    monkeypatch.setattr(fcntl, "flock", deleted_once)
    with acquire(path), pytest.raises(RunLocked):
        acquire(path)


def test_a_folder_that_cannot_hold_a_lock_is_a_storage_error(path: Path) -> None:
    with pytest.raises(StorageError, match="locking the run"):
        acquire(path / "nowhere")
