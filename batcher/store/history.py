"""What a shard's journals say about each row, over all sessions.

Opening reads every file of the shard once and keeps offsets only, in flat arrays (19 bytes per record and 8
per row); a row's records are read and decoded when they are asked for. Rules:
    1. Order is the order of writing: sessions, then generations of a session's file, then offsets.
    2. After a failed sync the same records may stand in two generations of one session: copies count once,
       otherwise an answer would be billed twice.
    3. What does not fit its checksum, is no record, or names a row outside the shard is damage, and told.
    4. A record of a newer version is a `Conflict`: to count it as damage would buy its row again.
    5. An intent is open until a reply, void or end of the same session answers its attempt or a later one.

It must never return a record that was not written: each is checked again when it is read.
A journal that is still growing is read up to its size at the opening.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, NamedTuple, Self

from batcher.errors import StorageError
from batcher.records import EndRecord, JournalRecord, ReopenRecord, ReplyRecord, ReuseRecord, RowHistory
from batcher.store.codec import decode, peek
from batcher.store.files import storage_error, storage_errors
from batcher.store.frames import Damage, decode_frame, read_frames
from batcher.store.journal import JournalName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from batcher.store.codec import Head

_OPEN_FILES = 8
"""Descriptors kept: a shard that saw many crashes has many files, and sixteen shards may be open."""
_NONE = 0xFFFFFFFF


class DamagedBytes(NamedTuple):
    """Bytes of a journal that are no record of this shard. Whose they were is unknown: the rows run again.

    Attributes:
        offset, length: in bytes.
        reason: for a person.
    """

    path: Path
    offset: int
    length: int
    reason: str


class _Intents:
    """Which intents of one session nothing has answered; fed in order of writing."""

    def __init__(self, rows: int) -> None:
        self.open: dict[int, int] = {}  # row's place -> attempt
        self._answered = array("I", bytes(4 * rows))

    def see(self, place: int, head: Head) -> None:
        if head.kind == "i":
            if head.attempts > self._answered[place]:
                self.open[place] = head.attempts
            return
        if head.kind == "o":
            return
        attempts = self.open.get(place, 0) if head.kind in "eu" else 0
        attempts = max(head.attempts, attempts)
        self._answered[place] = max(self._answered[place], attempts)
        if self.open.get(place, _NONE) <= attempts:
            del self.open[place]


class ShardHistory:
    """The indexed journals of one shard; build it with `open`.

    Attributes:
        damaged: what could not be read, torn tails included, in order of files and offsets.
        sessions: numbers of the sessions that wrote, ascending.
    """

    def __init__(self, files: Sequence[tuple[JournalName, Path]], *, first_row: int, rows: int) -> None:
        self.damaged: list[DamagedBytes] = []
        self.sessions = sorted({name.session for name, _ in files})
        self._files = files
        self._first_row = first_row
        self._rows = rows
        self._file_of, self._offsets, self._lengths = array("H"), array("Q"), array("I")
        self._kinds, self._next = bytearray(), array("I")
        self._heads = array("I", [_NONE]) * rows
        self._ends = array("I", [_NONE]) * rows
        self._open_intents: list[tuple[int, int]] = []
        self._still_open: dict[int, int] = {}  # row_index -> sessions
        self._may_have_copies = any(name.generation for name, _ in files)
        self._descriptors: dict[int, int] = {}

    @classmethod
    def open(cls, paths: Sequence[Path], *, first_row: int, rows: int) -> Self:
        """Read the shard's journal files, given in any order.

        Raises:
            StorageError: a file cannot be read, or is not named like a journal.
            Conflict: a newer version wrote in them.
        """
        files = sorted(((_name_of(path), path) for path in paths), key=lambda file: file[0])
        history = cls(files, first_row=first_row, rows=rows)
        intents = _Intents(rows)
        for number, (name, path) in enumerate(files):
            if number and name.session != files[number - 1][0].session:
                history._keep_open(intents, files[number - 1][0].session)
                intents = _Intents(rows)
            with storage_errors("reading a journal", path):
                history._scan(number, path, intents)
        if files:
            history._keep_open(intents, files[-1][0].session)
        return history

    def _keep_open(self, intents: _Intents, session: int) -> None:
        for place in sorted(intents.open):
            row_index = self._first_row + place
            self._open_intents.append((row_index, session))
            self._still_open[row_index] = self._still_open.get(row_index, 0) + 1

    def _scan(self, number: int, path: Path, intents: _Intents) -> None:
        for found in read_frames(path):
            if isinstance(found, Damage):
                reason = "cut short" if found.is_torn_tail else "checksum does not fit"
                self.damaged.append(DamagedBytes(path, found.offset, found.length, reason))
                continue
            head = peek(found.payload)
            if head is None:
                self.damaged.append(DamagedBytes(path, found.offset, found.length, "not a journal record"))
                continue
            place = head.row_index - self._first_row
            if not 0 <= place < self._rows:
                reason = f"row {head.row_index} is not of this shard"
                self.damaged.append(DamagedBytes(path, found.offset, found.length, reason))
                continue
            self._add(place, number, found.offset, found.length, head.kind)
            intents.see(place, head)

    def _add(self, place: int, number: int, offset: int, length: int, kind: str) -> None:
        record = len(self._kinds)
        self._file_of.append(number)
        self._offsets.append(offset)
        self._lengths.append(length)
        self._kinds.append(ord(kind))
        self._next.append(_NONE)
        before = self._ends[place]
        if before == _NONE:
            self._heads[place] = record
        else:
            self._next[before] = record
        self._ends[place] = record

    def rows_seen(self) -> list[int]:
        """Absolute indices of the rows that any record names, ascending."""
        return [self._first_row + place for place in range(self._rows) if self._heads[place] != _NONE]

    def open_intents(self) -> list[tuple[int, int]]:
        """(row_index, session) of attempts that may have been paid and have no answer, by session."""
        return list(self._open_intents)

    def history(self, row_index: int) -> RowHistory:
        """Everything readable about one row; empty when no record names it.

        Raises:
            StorageError: a file changed since it was opened, or cannot be read.
            Conflict: a newer version wrote one of the row's records.
            IndexError: not a row of this shard.
        """
        place = row_index - self._first_row
        if not 0 <= place < self._rows:
            raise IndexError(f"row {row_index} is not of this shard")
        replies: list[ReplyRecord] = []
        end: EndRecord | None = None
        reuse: ReuseRecord | None = None
        for record in self._records(place):
            match record:
                case ReplyRecord():
                    replies.append(record)
                case EndRecord():
                    end = record
                case ReopenRecord():
                    end = None
                case ReuseRecord():
                    reuse = record
                case _:
                    pass  # intents and voids were counted at the opening
        return RowHistory(row_index, tuple(replies), end, reuse, self._still_open.get(row_index, 0))

    def _records(self, place: int) -> Iterator[JournalRecord]:
        """The row's records but intents and voids, decoded, in order, copies left out."""
        seen: dict[tuple[int, bytes], int] = {}
        record = self._heads[place]
        while record != _NONE:
            if self._kinds[record] not in b"iv":
                name = self._files[self._file_of[record]][0]
                payload = self._read(record)
                if not self._may_have_copies or _is_first(seen, name, payload):
                    yield decode(payload)
            record = self._next[record]

    def _read(self, record: int) -> bytes:
        number = self._file_of[record]
        path = self._files[number][1]
        try:  # not `storage_errors`: a context manager costs more than the read, and this is every row
            line = os.pread(self._descriptor(number), self._lengths[record], self._offsets[record])
        except OSError as err:
            raise storage_error(err, "reading a journal", path) from err
        payload = decode_frame(line)
        if payload is None:
            raise StorageError(
                f"{path} changed while it was read, at byte {self._offsets[record]:,}",
                hint="check the disk, then run the same command again: what is damaged is left out and told",
            )
        return payload

    def _descriptor(self, number: int) -> int:
        fd = self._descriptors.get(number)
        if fd is None:
            if len(self._descriptors) >= _OPEN_FILES:
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            fd = os.open(self._files[number][1], os.O_RDONLY | os.O_CLOEXEC)
            self._descriptors[number] = fd
        return fd

    def close(self) -> None:
        """Close the files; asking for a row opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _is_first(seen: dict[tuple[int, bytes], int], name: JournalName, payload: bytes) -> bool:
    """Whether no earlier generation of the same session holds this record; remembers it."""
    return seen.setdefault((name.session, payload), name.generation) == name.generation


def _name_of(path: Path) -> JournalName:
    name = JournalName.parse(path.name)
    if name is None:
        raise StorageError(f"{path} is not named like a journal", hint="move it out of the run's folder")
    return name
