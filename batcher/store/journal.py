"""The journal: one append-only file per (shard, session), where a paid answer goes the moment it arrives.

Rules:
    1. `Journal.append` returns when the whole record is with the operating system: a kill -9 cannot take it.
    2. A write that fails or is cut short is taken back: the file never keeps half a record in its middle.
    3. A record is safe from a power loss after a commit. What was written since the last good sync is also
       held in memory; after a failed sync it is rewritten to a new file (``...s0007.1.jsonl``), because the
       kernel may have dropped the pages, and a second sync of the same descriptor proves nothing.
    4. On a full disk the `Ballast` is given up for what was already paid; an intent never takes it, and after
       it is given up every intent is refused, so nothing new is sent.

One thread owns a journal. Only the sync may run in another one; see `commit.py`.
It must never replace, reopen or shorten a file of another session.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from batcher.errors import StorageError
from batcher.records import IntentRecord, VoidRecord
from batcher.store.ballast import Ballast
from batcher.store.codec import encode
from batcher.store.commit import GroupCommit
from batcher.store.files import DISK, FILE_MODE, SPACE_ERRNOS, storage_error, storage_errors, write_fully
from batcher.store.frames import encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batcher.records import JournalRecord
    from batcher.store.files import Disk

__all__ = ["Ballast", "GroupCommit", "Journal", "JournalName", "Mark"]

_NAME = re.compile(r"(\d{6,})\.s(\d{4,})(?:\.(\d+))?\.jsonl")


class JournalName(NamedTuple):
    """What a journal's file name says; sorts in order of writing within a shard.

    Attributes:
        generation: 0, then one more for every failed sync.
    """

    shard: int
    session: int
    generation: int = 0

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """None when it is not a journal's name."""
        found = _NAME.fullmatch(name)
        return None if found is None else cls(int(found[1]), int(found[2]), int(found[3] or 0))

    def __str__(self) -> str:
        tail = f".{self.generation}" if self.generation else ""
        return f"{self.shard:06d}.s{self.session:04d}{tail}.jsonl"


class Mark(NamedTuple):
    """How much of a journal a sync that begins now will cover: records in the tail, and the file's end."""

    records: int
    end: int


class Journal:
    """One open journal file; see the module for its rules. Build it with `create`.

    Attributes:
        path: the file written now; changes after a failed sync.
        end: bytes of whole records in it.
        unsynced_bytes: bytes of the records that a power loss could take.
        on_append: told after each append: the journal, the bytes, and whether a power loss may cost money.
    """

    def __init__(
        self, path: Path, name: JournalName, fd: int, *, disk: Disk, ballast: Ballast | None
    ) -> None:
        self.path = path
        self.end = 0
        self.unsynced_bytes = 0
        self._name = name
        self._fd = fd
        self._disk = disk
        self._ballast = ballast
        self._tail: list[bytes] = []  # frames since the last good sync, in order
        self._synced_end = 0
        self._is_torn = False
        self.on_append: Callable[[Journal, int, bool], None] | None = None

    @classmethod
    def create(cls, path: Path, *, disk: Disk = DISK, ballast: Ballast | None = None) -> Self:
        """Create the file, which must not exist; its name is durable on return.

        Args:
            path: named as `JournalName` says.
            disk: what it is written to.
            ballast: the session's reserve, or None for none.

        Raises:
            StorageError: not creatable, or this session already had one for this shard.
        """
        name = JournalName.parse(path.name)
        if name is None:
            raise ValueError(f"{path.name} is not a journal's name")
        with storage_errors("creating a journal", path):
            return cls(path, name, _create(path, disk), disk=disk, ballast=ballast)

    @property
    def fd(self) -> int:
        """For the sync alone."""
        return self._fd

    @property
    def unsynced_records(self) -> int:
        return len(self._tail)

    def append(self, record: JournalRecord) -> int:
        """Write one record at once; it survives a crash of the process from here on.

        Returns:
            Bytes written.

        Raises:
            StorageError: it is not in the file, and nothing half is.
            TypeError: a value that cannot be journalled (`codec.encode`); nothing was written.
        """
        frame = encode_frame(encode(record))
        is_paid = type(record) is not IntentRecord and type(record) is not VoidRecord
        if self._ballast is not None and self._ballast.is_released and type(record) is IntentRecord:
            raise _full(self.path)
        self._write(frame, may_use_reserve=is_paid)
        self._tail.append(frame)
        self.unsynced_bytes += len(frame)
        if self.on_append is not None:
            self.on_append(self, len(frame), is_paid)
        return len(frame)

    def _write(self, frame: bytes, *, may_use_reserve: bool) -> None:
        try:
            self._write_or_take_back(frame)
        except OSError as err:
            is_worth_it = may_use_reserve and err.errno in SPACE_ERRNOS and self._ballast is not None
            if not is_worth_it or self._ballast is None or not self._ballast.release():
                raise storage_error(err, "writing the journal", self.path) from err
            with storage_errors("writing the journal", self.path):
                self._write_or_take_back(frame)

    def _write_or_take_back(self, frame: bytes) -> None:
        if self._is_torn:
            os.ftruncate(self._fd, self.end)
            self._is_torn = False
        try:
            write_fully(self._fd, frame, disk=self._disk)
        except OSError:
            self._is_torn = True
            with suppress(OSError):  # tried again before the next write; readers can do with the torn record
                os.ftruncate(self._fd, self.end)
                self._is_torn = False
            raise
        self.end += len(frame)

    def mark(self) -> Mark:
        """To be taken before a sync and given to `synced` after it."""
        return Mark(len(self._tail), self.end)

    def synced(self, mark: Mark) -> None:
        """A sync that began at `mark` succeeded."""
        self.unsynced_bytes -= sum(map(len, self._tail[: mark.records]))
        del self._tail[: mark.records]
        self._synced_end = mark.end

    def sync(self) -> None:
        """Sync now, blocking; a failed sync moves the tail to a new file.

        Raises:
            StorageError: that failed too; a power loss may take what came since the last good sync.
        """
        mark = self.mark()
        try:
            self._disk.sync_file(self._fd)
        except OSError as err:
            self.rewrite_tail(err)
        else:
            self.synced(mark)

    def rewrite_tail(self, cause: OSError) -> None:
        """After a failed sync: all since the last good one goes to a new file, durable on return.

        The old file is cut back to what is known to be good. A crash in between leaves the same records in
        two files of one session; `history` drops the copies.

        Args:
            cause: what the failed sync said.

        Raises:
            StorageError: the new file failed as well. The old one still takes records, which survive a crash
                of the process, but no longer a power loss for certain.
        """
        if cause.errno in SPACE_ERRNOS and self._ballast is not None:
            self._ballast.release()
        name = self._name._replace(generation=self._name.generation + 1)
        path = self.path.with_name(str(name))
        content = b"".join(self._tail)
        with storage_errors("rewriting the journal after a failed sync", path):
            fd = _create(path, self._disk)
            try:
                write_fully(fd, content, disk=self._disk)
                self._disk.sync_file(fd)
            except OSError:
                os.close(fd)
                raise
        with suppress(OSError):
            os.ftruncate(self._fd, self._synced_end)
        os.close(self._fd)
        self.path, self._name, self._fd = path, name, fd
        self.end = self._synced_end = len(content)
        self._tail.clear()
        self.unsynced_bytes = 0
        self._is_torn = False

    def close(self) -> None:
        """Close without a sync. Closing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _create(path: Path, disk: Disk) -> int:
    """Raises OSError, also when the file exists."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
    try:
        disk.sync_dir(path.parent)
    except OSError:
        os.close(fd)
        raise
    return fd


def _full(path: Path) -> StorageError:
    return StorageError(
        f"the disk is full ({path.parent}): nothing new is sent, what was paid is stored",
        hint="free some space, then run the same command again: it goes on where it stopped",
    )
