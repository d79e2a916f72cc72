"""Records and a disk that fails on order, for the tests of the durable half of the store."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from pathlib import Path

HASH = "0123456789abcdef" * 2
BODY = b'{"id":"c1","choices":[{"message":{"content":"deadbeef {\\"k\\":1}\\n\xc3\xa9"}}]}'


def a_reply(
    row_index: int, *, attempts: int = 1, body: bytes = BODY, custom_id: str | None = None
) -> ReplyRecord:
    reply = Reply(
        status=200,
        headers=(("x-request-id", f"req_{row_index}"),),
        body=body,
        progress=Progress.COMPLETE,
        fault=None,
        sent_at=1763852691.25,
        received_at=1763852692.5,
        latency_ms=1250.0,
    )
    return ReplyRecord(row_index, HASH, "gpt-4o", attempts, attempts, 0.5, reply, custom_id)


def an_intent(row_index: int, *, attempts: int = 1) -> IntentRecord:
    return IntentRecord(row_index, HASH, attempts)


def one_of_each(first_row: int = 0) -> list[JournalRecord]:
    """Seven records, each of a row of its own."""
    cut = Reply(
        status=502,
        headers=(),
        body=b"\xff\x00half",
        progress=Progress.CUT,
        fault=Fault(FaultKind.BODY_CUT, "4 of 9 bytes"),
        sent_at=1.5,
        received_at=2.5,
        latency_ms=1000.0,
        reused_connection=True,
    )
    return [
        an_intent(first_row),
        VoidRecord(first_row + 1, 2),
        a_reply(first_row + 2),
        ReplyRecord(first_row + 3, HASH, "m", 2, 1, 0.0, cut, "id\n3"),
        EndRecord(first_row + 4, Outcome.FAILED, "bad_request", error_message="no \N{SNOWMAN}", attempts=3),
        ReopenRecord(first_row + 5),
        ReuseRecord(
            first_row + 6, HASH, "run-1", {"completion": "yes", "cost_usd": 0.25, "tags": ["a", None]}
        ),
    ]


def put(path: Path, content: bytes | bytearray) -> None:
    """A fresh file: ext4 flushes one that is cut to nothing and written anew, which takes milliseconds."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


class FaultyDisk:
    """A disk that writes truly, only counts its syncs (real ones take milliseconds), and fails where it is told.

    Attributes:
        room: bytes that can still be written; the write that passes it is cut short, the next gets ENOSPC.
        most_per_write: longest write that is taken whole.
        failing_syncs: numbers of file syncs (from 1) that fail with EIO.
        synced: file syncs so far, failed ones included.
    """

    def __init__(
        self,
        *,
        room: int | None = None,
        most_per_write: int = 1 << 30,
        failing_syncs: frozenset[int] = frozenset(),
    ) -> None:
        self.room = room
        self.most_per_write = most_per_write
        self.failing_syncs = failing_syncs
        self.synced = 0

    def write(self, fd: int, content: bytes | memoryview) -> int:
        size = min(len(content), self.most_per_write)
        if self.room is not None:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            size = min(size, self.room)
            self.room -= size
        return os.write(fd, content[:size])

    def sync_file(self, fd: int) -> None:
        os.fstat(fd)  # a closed descriptor is an error, as it is for a real sync
        self.synced += 1
        if self.synced in self.failing_syncs:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync_dir(self, path: Path) -> None:
        assert path.is_dir()
