"""The run's lock: one process at work on a run, and whoever comes second is told who.

By flock on an open file: the kernel drops it when the process dies, however it dies, so no lock is stale.
The file's content (pid, host, start) and its modification time (last sign of life) are for people only.

It must never delete the file: a second process could then lock the old one and a third the new one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import orjson

from batcher.errors import RunLocked
from batcher.store.files import FILE_MODE, storage_errors

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_TAKEN = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_TRIES = 4
_PAUSE_S = 0.025
"""`holder` holds the lock for microseconds to see whether it is free; a start must not stumble over that."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the run, or had it last. Times are seconds since the epoch; None where the file does not say.

    Attributes:
        last_sign_at: when the holder last touched the lock.
        is_alive: whether the lock is held now.
    """

    pid: int | None
    host: str | None
    started_at: float | None
    last_sign_at: float | None
    is_alive: bool


class RunLock:
    """A held lock; build it with `acquire`, let it go with `release` or at the end of a ``with``."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path, *, pid: int, host: str, now: float) -> Self:
        """Take the lock, or say who has it.

        Args:
            path: the lock file, created where there is none.
            pid: of this process, told to others.
            host: this machine's name, told to others.
            now: seconds since the epoch.

        Raises:
            RunLocked: another process, or another part of this one, has it.
            StorageError: the file system refuses.
        """
        with storage_errors("locking the run", path):
            fd = _locked(path)
            if fd is None:
                raise _refusal(path, now=now)
            line = orjson.dumps({"pid": pid, "host": host, "started_at": now}) + b"\n"
            try:
                os.pwrite(fd, line, 0)
                os.ftruncate(fd, len(line))
                os.utime(fd, (now, now))
            except OSError:
                os.close(fd)
                raise
        return cls(path, fd)

    def touch(self, *, now: float) -> None:
        """A sign of life. Raises StorageError."""
        with storage_errors("touching the lock", self._path):
            os.utime(self._fd, (now, now))

    def release(self) -> None:
        """Releasing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of the file now at `path`; None when somebody else does."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            if _try(fd, fcntl.LOCK_EX) and _is_at(path, fd):
                return fd
        except OSError:
            os.close(fd)
            raise
        os.close(fd)
    return None


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno not in _TAKEN:
            raise
        return False
    return True


def _is_at(path: Path, fd: int) -> bool:
    """Whether the locked file still is the one at `path`: the run's folder may have been deleted since."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _refusal(path: Path, *, now: float) -> RunLocked:
    found = _describe(path, is_alive=True)
    who = f"process {found.pid} on {found.host}" if found.pid is not None else "another process"
    since = "" if found.started_at is None else f", since {_clock(found.started_at)}"
    sign = ""
    if found.last_sign_at is not None:
        sign = f", last sign of life {max(0, now - found.last_sign_at):,.0f} s ago"
    return RunLocked(
        f"{who} is at work on this run{since}{sign} ({path.parent})",
        hint="wait for it or stop it; `batcher status` shows how far it is",
    )


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def holder(path: Path) -> Holder | None:
    """Who has the lock, or had it last; None when the run was never locked.

    Raises:
        StorageError: the file cannot be read.
    """
    with storage_errors("reading the lock", path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            is_alive = not _try(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)
        return _describe(path, is_alive=is_alive)


def _describe(path: Path, *, is_alive: bool) -> Holder:
    said: object = None
    last_sign_at: float | None = None
    with suppress(FileNotFoundError):
        last_sign_at = path.stat().st_mtime
        with suppress(orjson.JSONDecodeError):  # being written right now
            said = orjson.loads(path.read_bytes())
    words = said if isinstance(said, dict) else {}
    pid, host, started_at = words.get("pid"), words.get("host"), words.get("started_at")
    return Holder(
        pid=pid if isinstance(pid, int) else None,
        host=host if isinstance(host, str) else None,
        started_at=started_at if isinstance(started_at, int | float) else None,
        last_sign_at=last_sign_at,
        is_alive=is_alive,
    )
