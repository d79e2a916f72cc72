"""Writing the index of reusable answers: answers one after another, their entries sorted a bucket at a time.

Entries are partitioned by the first byte of the hash, spilled to files, and each bucket is sorted on its own,
so memory is 1/256 of the entries (40 bytes each), whatever their number. Hashes are spread evenly, and so are
the buckets.
"""

from __future__ import annotations

import os
import struct
from array import array
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO
from zlib import crc32

import orjson

from batcher.store.files import FILE_MODE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batcher.store.reuse import AnswerSource, StoredAnswer

ENTRY = struct.Struct(">16sQII8s")
"""Request hash, offset, length, CRC-32 of the line, identity; sorted as bytes that is by hash, then by source
order.
"""
HASH_BYTES = 16
PREFIXES = 1 << 16
"""Hashes are looked up by their first two bytes: 15 entries each at a million answers."""
_FLUSH_ENTRIES = 100_000


@dataclass(slots=True)
class Buckets:
    """Entries by the first byte of their hash, spilled to one file per byte when many have gathered."""

    directory: Path
    gathered: dict[int, bytearray]
    count: int = 0

    def add(self, entry: bytes) -> None:
        self.gathered.setdefault(entry[0], bytearray()).extend(entry)
        self.count += 1
        if self.count >= _FLUSH_ENTRIES:
            self.spill()

    def spill(self) -> None:
        for first, entries in self.gathered.items():
            with self._path(first).open("ab") as file:
                file.write(entries)
        self.gathered.clear()
        self.count = 0

    def sorted_entries(self, first: int) -> list[bytes]:
        """The entries of one bucket in order, the second copies of an answer left out."""
        path = self._path(first)
        if not path.exists():
            return []
        raw = path.read_bytes()
        entries = sorted(raw[at : at + ENTRY.size] for at in range(0, len(raw), ENTRY.size))
        seen: set[bytes] = set()
        kept = []
        for entry in entries:
            identity = entry[:HASH_BYTES] + entry[-8:]
            if identity not in seen:
                seen.add(identity)
                kept.append(entry)
        return kept

    def clear(self) -> None:
        for first in range(256):
            self._path(first).unlink(missing_ok=True)

    def _path(self, first: int) -> Path:
        return self.directory / f"bucket.{first:02x}"


def write_index(directory: Path, sources: Sequence[AnswerSource]) -> dict[str, int]:
    """Write answers and index, not yet synced; returns the number of entries and the bytes of the answers."""
    buckets = Buckets(directory, {})
    buckets.clear()
    offset = 0
    with _private(directory / "answers.jsonl") as file:
        for source in sources:
            for answer in source:
                line = orjson.dumps({"run_id": answer.run_id, "values": dict(answer.values)}) + b"\n"
                key, identity = bytes.fromhex(answer.request_hash), _identity(answer)
                buckets.add(ENTRY.pack(key, offset, len(line), crc32(line), identity))
                file.write(line)
                offset += len(line)
    buckets.spill()
    counts = array("Q", bytes(8 * PREFIXES))
    with _private(directory / "index") as file:
        for first in range(256):
            for entry in buckets.sorted_entries(first):
                file.write(entry)
                counts[prefix_of(entry)] += 1
    buckets.clear()
    with _private(directory / "starts") as file:
        file.write(array("Q", accumulate(counts, initial=0)).tobytes())
    return {"entries": sum(counts), "bytes": offset}


def prefix_of(key: bytes) -> int:
    """The bucket of a hash: its first two bytes as a number."""
    return key[0] << 8 | key[1]


def _private(path: Path) -> BinaryIO:
    """An empty file for writing that only its owner may read, as all of the run directory."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb")


def _identity(answer: StoredAnswer) -> bytes:
    """Eight bytes that two copies of one bought answer share, and two answers do not."""
    values = answer.values
    marks = [answer.run_id, values.get("response_id"), values.get("received_at"), values.get("sent_at")]
    return blake2b(orjson.dumps(marks), digest_size=8).digest()
