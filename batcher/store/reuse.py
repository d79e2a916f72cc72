"""Answers that were already bought, found by the hash of their request: an index on disk, flat in memory.

Layout of the folder: ``answers.jsonl`` (one answer a line), ``index`` (fixed-size entries sorted by hash,
pointing into it), ``starts`` (where each two-byte prefix begins, 512 kB, held in memory), ``taken`` (4 bytes
per entry, for one session) and ``sources.json``, written last: an index without it is built anew. The index
is read with pread, since mapped pages count as memory of the process; measured at 1,000,000 answers: built in
5.4 us each with 5 MB, an answer taken in 12 us, a miss in 4. Building partitions the entries by the first
byte of the hash and sorts one bucket at a time, so memory is 1/256 of the entries (40 bytes each) whatever
the number of answers.

Rules:

1. A hash covers body, endpoint and simulated-or-not, so an equal hash is all that is asked of an answer.
2. An answer serves at most one row of a run, because duplicates in the input are kept (dedupe is opt-in).
   Equal hashes are served in the order of the sources.
3. The same answer in two sources (bought by a try, taken over by an output) is one answer.
4. An answer is copied whole or not at all: every line has a CRC in its entry, and damage is an error, never a
   guess.

Numbers are positions in the sorted index, so the same sources always give the same numbers.
"""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self
from zlib import crc32

import orjson
import pyarrow as pa

from batcher.errors import StorageError
from batcher.records import ANSWERED
from batcher.store.columns import from_batch, our_columns
from batcher.store.files import DISK, make_private_dir, storage_errors, write_atomic
from batcher.store.part import open_part
from batcher.store.reuse_entries import ENTRY, HASH_BYTES, PREFIXES, prefix_of, write_index
from batcher.store.seal import sync_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from batcher.store.files import Disk

REUSED_COLUMNS = (
    "response_id",
    "request_id",
    "request_model",
    "response_model",
    "finish_reason",
    "warnings",
    "status_code",
    "error_type",
    "error_code",
    "error_message",
    "latency_ms",
    "ttft_ms",
    "sent_at",
    "received_at",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "outcome",
    "usage_json",
    "response_json",
    "reasoning",
    "refusal",
    "tool_calls",
    "choices_json",
    "logprobs_json",
    "completion",
)
"""What an answer brings along; the bookkeeping and the money of the run that bought it stay behind."""

_NEEDED = ("request_hash", "outcome", "run_id")
_READ = frozenset((*REUSED_COLUMNS, *_NEEDED, "reused_from"))
_SLICE_ROWS = 512

_FORMAT = 1


class StoredAnswer(NamedTuple):
    """One answer of a source.

    Attributes:
        request_hash: 32 hex digits.
        run_id: of the run that bought it.
        values: `REUSED_COLUMNS` by unprefixed name, nulls left out.
    """

    request_hash: str
    run_id: str
    values: Mapping[str, object]


class Taken(NamedTuple):
    """An answer taken out of the index; `number` names it to `ReuseIndex.mark_taken`."""

    number: int
    run_id: str
    values: Mapping[str, object]


class AnswerSource(Protocol):
    """Answers in a fixed order."""

    @property
    def description(self) -> Mapping[str, object]:
        """JSON values that change when the answers do."""
        ...

    @property
    def note(self) -> str | None:
        """Why nothing (more) came of the source, for a person; None when all is well."""
        ...

    def __iter__(self) -> Iterator[StoredAnswer]: ...


class ParquetAnswers:
    """The answers in one Parquet file of ours, streamed; what is not ours gives none, and a note."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.note: str | None = None

    @property
    def description(self) -> Mapping[str, object]:
        """Path, size and time of change. Raises OSError."""
        found = self._path.stat()
        return {"path": str(self._path.absolute()), "size": found.st_size, "mtime_ns": found.st_mtime_ns}

    def __iter__(self) -> Iterator[StoredAnswer]:
        self.note = None
        try:
            with open_part(self._path) as file:
                at = _our_names(file.schema_arrow)
                missing = [name for name in _NEEDED if name not in at]
                if missing:
                    self.note = f"{self._path} is not an output of batcher (no column {', '.join(missing)})"
                    return
                for index in range(file.num_row_groups):
                    table = file.read_row_group(index, columns=list(at.values()), use_threads=False)
                    for begin in range(0, table.num_rows, _SLICE_ROWS):
                        yield from _answers(table.slice(begin, _SLICE_ROWS), at)
        except (pa.ArrowException, OSError) as err:
            if isinstance(err, OSError) and err.errno is not None:
                raise
            self.note = f"{self._path} is not a whole Parquet file: {err}"


def parquet_answers(path: Path) -> ParquetAnswers:
    """The answers in one of our outputs, parts or tries."""
    return ParquetAnswers(path)


def _our_names(schema: pa.Schema) -> dict[str, str]:
    """Unprefixed name -> name in the file, of the columns to read.

    A file that another tool rewrote has lost the field metadata; then the plain names count.
    """
    found = {name: schema.names[index] for name, index in our_columns(schema).items()}
    if "request_hash" not in found:
        found = {name: name for name in schema.names if schema.names.count(name) == 1}
    return {name: column for name, column in found.items() if name in _READ}


def _answers(table: pa.Table, at: Mapping[str, str]) -> Iterator[StoredAnswer]:
    positions = {name: table.schema.get_field_index(column) for name, column in at.items()}
    for row in from_batch(table, positions):
        request_hash = row.get("request_hash")
        if row.get("outcome") not in ANSWERED or not _is_hash(request_hash):
            continue
        values = {name: row[name] for name in REUSED_COLUMNS if name in row}
        yield StoredAnswer(str(request_hash), str(row.get("reused_from") or row["run_id"]), values)


def _is_hash(value: object) -> bool:
    return (
        isinstance(value, str) and len(value) == 2 * HASH_BYTES and not set(value) - set("0123456789abcdef")
    )


class ReuseIndex:
    """Finds answers by request hash. Not for several threads at once; closed by whoever opened it.

    Which answers are taken is kept for one session: after `open` or `build` none is, and the caller marks
    those that its journals and parts hold. (A flag kept over a crash could mark an answer that no journal
    has: it would be bought again.)

    Attributes:
        notes: what the sources had to say when the index was built.
    """

    def __init__(self, directory: Path, *, entries: int, notes: Sequence[str]) -> None:
        self._directory = directory
        self._entries = entries
        self.notes = tuple(notes)
        self.taken_count = 0
        self._answers = os.open(directory / "answers.jsonl", os.O_RDONLY)
        self._index = os.open(directory / "index", os.O_RDONLY)
        self._starts = array("Q", (directory / "starts").read_bytes())
        self._steps = self._fresh_steps()

    def _fresh_steps(self) -> memoryview:
        """Per entry: 0 while it is free, else how far to go on from it to find a free one (shortened on the
        way).
        """
        path = self._directory / "taken"
        path.unlink(missing_ok=True)
        with path.open("x+b") as file:
            file.truncate(self._entries * 4)  # sparse: reads as zero, no block is written
            if not self._entries:
                return memoryview(b"").cast("I")  # an empty file cannot be mapped
            return memoryview(mmap.mmap(file.fileno(), self._entries * 4)).cast("I")

    @classmethod
    def build(cls, directory: Path, sources: Iterable[AnswerSource], *, disk: Disk = DISK) -> ReuseIndex:
        """The index of these sources: the one in the folder if it was made of the same, else a new one.

        Raises:
            StorageError: the disk.
        """
        listed = list(sources)
        with storage_errors("building the index of reusable answers", directory):
            descriptions = [dict(source.description) for source in listed]
            standing = _read_note(directory)
            if standing is None or standing.get("sources") != descriptions:
                make_private_dir(directory)
                (directory / "sources.json").unlink(missing_ok=True)
                counts = write_index(directory, listed)
                for name in ("answers.jsonl", "index", "starts"):
                    sync_path(directory / name, disk)
                notes = [source.note for source in listed if source.note is not None]
                note = {"format": _FORMAT, "sources": descriptions, "notes": notes, **counts}
                write_atomic(directory / "sources.json", orjson.dumps(note), disk=disk)
        found = cls.open(directory)
        if found is None:
            raise StorageError(f"the index of reusable answers in {directory} vanished while it was built")
        return found

    @classmethod
    def open(cls, directory: Path) -> ReuseIndex | None:
        """A finished index, whatever became of its sources; None when there is none, or not a whole one.

        Raises:
            StorageError: the disk.
        """
        with storage_errors("opening the index of reusable answers", directory):
            note = _read_note(directory)
            if note is None:
                return None
            entries, size, notes = note.get("entries"), note.get("bytes"), note.get("notes")
            if not isinstance(entries, int) or not isinstance(notes, list):
                return None
            wanted = {"index": entries * ENTRY.size, "answers.jsonl": size, "starts": 8 * (PREFIXES + 1)}
            if any(_size(directory / name) != each for name, each in wanted.items()):
                return None
            return cls(directory, entries=entries, notes=[str(each) for each in notes])

    def __len__(self) -> int:
        return self._entries

    def take(self, request_hash: str) -> Taken | None:
        """The next free answer to that request, now taken; None when there is none (left).

        Raises:
            StorageError: the answer is damaged on the disk.
        """
        number = self._next_free(bytes.fromhex(request_hash))
        if number is None:
            return None
        run_id, values = self._read(number)
        self.mark_taken(number)
        return Taken(number, run_id, values)

    def mark_taken(self, number: int) -> None:
        """That answer serves a row already. Marking it again changes nothing."""
        if not self._steps[number]:
            self._steps[number] = 1
            self.taken_count += 1

    def mark_row(self, request_hash: str, response_id: str | None) -> None:
        """Some row with this hash holds an answer of the index (its number is not known any more).

        Marks the free answer with that response id, or else the first free one; for a hash with hundreds of
        answers only the first ones are looked at, since any of them has the same worth.
        """
        key = bytes.fromhex(request_hash)
        first = self._next_free(key)
        if first is None:
            return
        number = first
        for candidate in range(first, min(first + _MOST_LOOKED_AT, self._entries)):
            if self._hash_at(candidate) != key:
                break
            if not self._steps[candidate] and self._read(candidate)[1].get("response_id") == response_id:
                number = candidate
                break
        self.mark_taken(number)

    def close(self) -> None:
        """Let the files go; the index stays."""
        self._steps.release()
        os.close(self._answers)
        os.close(self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hash_at(self, number: int) -> bytes:
        return os.pread(self._index, HASH_BYTES, number * ENTRY.size)

    def _first_at_or_after(self, key: bytes) -> int:
        """The first entry whose hash is not less; one read, unless thousands of hashes begin alike."""
        low, high = self._starts[prefix_of(key)], self._starts[prefix_of(key) + 1]
        while high - low > _WINDOW:
            middle = (low + high) // 2
            if self._hash_at(middle) < key:
                low = middle + 1
            else:
                high = middle
        window = os.pread(self._index, (high - low) * ENTRY.size, low * ENTRY.size)
        hashes = range(0, len(window), ENTRY.size)
        return low + bisect_left(hashes, key, key=lambda at: window[at : at + HASH_BYTES])

    def _next_free(self, key: bytes) -> int | None:
        """The first free entry with that hash."""
        low = self._first_at_or_after(key)
        number = low
        while number < self._entries and self._steps[number]:
            number += self._steps[number]
        if number > low:
            self._steps[low] = number - low
        if number >= self._entries or self._hash_at(number) != key:
            return None
        return number

    def _read(self, number: int) -> tuple[str, Mapping[str, object]]:
        with storage_errors("reading a reusable answer", self._directory):
            entry = os.pread(self._index, ENTRY.size, number * ENTRY.size)
            _, offset, length, crc, _ = ENTRY.unpack(entry)
            line = os.pread(self._answers, length, offset)
        if crc32(line) != crc:
            raise StorageError(
                f"the index of reusable answers is damaged: {self._directory}",
                hint=f"delete the folder {self._directory}; the same command builds it again",
            )
        answer = orjson.loads(line)
        return answer["run_id"], answer["values"]


_MOST_LOOKED_AT = 64
_WINDOW = 256
"""Entries read at once; beyond that many are halved first."""


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _read_note(directory: Path) -> Mapping[str, object] | None:
    path = directory / "sources.json"
    if not path.is_file():
        return None
    try:
        note = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return None
    return note if isinstance(note, dict) and note.get("format") == _FORMAT else None
