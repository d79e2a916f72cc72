"""The manifest: what has happened to a run, one durable record after the other, never changed.

Rules:
    1. `Manifest.append` returns when the record would survive a power loss; one that failed is taken back.
    2. Every record carries its number and the checksum of the one before it, so a lost line is noticed.
    3. A cut end is what a crash leaves: it is ignored, and cut off before anything is appended.
    4. Any other damage stops with a StorageError. The manifest says which parts are sealed; a guess there
       would lose rows or buy them again.
    5. A kind, key or type that this version does not know is a Conflict: a newer version wrote it.

Readers take no lock: they ignore the end that is being written; to start over when it grew is the caller's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson

from batcher.errors import Conflict, StorageError
from batcher.store.files import DISK, FILE_MODE, storage_errors, write_fully
from batcher.store.frames import Damage, Frame, cut_tail, decode_frame, encode_frame, parse_json, read_frames

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batcher.store.files import Disk

_FIRST_LINK = "00000000"


@dataclass(frozen=True, slots=True)
class SessionOpen:
    """A process began to work on the run.

    Attributes:
        session: from 1, one more for every process.
        started_at: seconds since the epoch.
        version: of batcher.
        verb: what the process was asked to do: "run", "retry", ...
        limit: rows wanted in all, None for all rows.
    """

    session: int
    pid: int
    host: str
    started_at: float
    version: str
    verb: str = "run"
    limit: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardOpen:
    """A shard's input columns are on the disk.

    Attributes:
        input_bytes: size of its input file.
        input_checksum: blake2b-128 of it in hex, or "" where the format checks itself.
    """

    shard: int
    first_row: int
    rows: int
    input_bytes: int
    input_checksum: str
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardSeal:
    """A shard's part stands under its name, verified; its journal and input may go.

    Attributes:
        rows: of the part.
        size: of the part in bytes.
        checksum: blake2b-128 of the part in hex.
        totals: rows per outcome and sums over the part's columns.
        sessions: whose journals went into it.
    """

    shard: int
    rows: int
    size: int
    checksum: str
    totals: Mapping[str, object]
    sessions: tuple[int, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetryOpen:
    """A published run is taken up again for some of its rows.

    Attributes:
        retry: from 1.
        outcomes: whose rows are done again.
        settings: what was changed: key -> new value.
        rows: how many rows were selected.
    """

    retry: int
    outcomes: tuple[str, ...]
    settings: Mapping[str, object]
    rows: int
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Publish:
    """The output stands under its final name, verified.

    Attributes:
        path: of the output, absolute.
        size: in bytes.
        checksum: blake2b-128 in hex.
        totals: rows per outcome and sums over its columns.
        exit_code: what this run exits with, then and whenever it is started again.
        summary: as printed by ``--json``.
    """

    path: str
    rows: int
    size: int
    checksum: str
    totals: Mapping[str, object]
    exit_code: int
    summary: Mapping[str, object]
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """A session ended in an orderly way; one that crashed has none."""

    session: int
    exit_code: int
    reason: str
    summary: Mapping[str, object]
    extra: Mapping[str, object] = field(default_factory=dict)


ManifestRecord = SessionOpen | ShardOpen | ShardSeal | RetryOpen | Publish | Stop

_KINDS: dict[str, type[ManifestRecord]] = {
    "session": SessionOpen,
    "shard_open": ShardOpen,
    "shard_seal": ShardSeal,
    "retry_open": RetryOpen,
    "publish": Publish,
    "stop": Stop,
}
_NAMES = {record: kind for kind, record in _KINDS.items()}
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "str": (str,),
    "Mapping[str, object]": (dict,),
    "tuple[int, ...]": (list,),
    "tuple[str, ...]": (list,),
}


class ManifestView(NamedTuple):
    """What a reader saw.

    Attributes:
        records: in order.
        size: bytes of them; a later, larger size means the manifest grew.
    """

    records: tuple[ManifestRecord, ...]
    size: int


def encode(record: ManifestRecord, *, number: int, link: str) -> bytes:
    """The payload of one record.

    Args:
        record: what happened.
        number: of the record, from 0.
        link: checksum of the record before it, in hex.
    """
    head = {"k": _NAMES[type(record)], "n": number, "p": link}
    return orjson.dumps(
        head | {each.name: getattr(record, each.name) for each in fields(record)}, default=dict
    )


def decode(payload: bytes, *, number: int, link: str, path: Path) -> ManifestRecord:
    """The record of a payload whose checksum fitted; see `encode`.

    Raises:
        StorageError: it is not the record that belongs here.
        Conflict: a newer version wrote it.
    """
    try:
        values = parse_json(payload)
    except ValueError as err:
        raise _damaged(path, number) from err
    if not isinstance(values, dict) or values.pop("n", None) != number or values.pop("p", None) != link:
        raise _damaged(path, number)
    kind = values.pop("k", None)
    record = _KINDS.get(kind) if isinstance(kind, str) else None
    if record is None:
        raise _newer(path, f"a record of kind {kind!r}")
    return _typed(record, values, path)


def _typed(record: type[ManifestRecord], values: dict[str, Any], path: Path) -> ManifestRecord:
    types = {each.name: str(each.type) for each in fields(record)}
    if values.keys() != types.keys():
        raise _newer(path, f"the keys {sorted(values.keys() ^ types.keys())} in a {_NAMES[record]} record")
    for name, value in values.items():
        if not isinstance(value, _TYPES[types[name]]) or isinstance(value, bool):
            raise _newer(path, f"{name} = {value!r} in a {_NAMES[record]} record")
        if isinstance(value, list):
            values[name] = tuple(value)
    return record(**values)


def _damaged(path: Path, number: int) -> StorageError:
    return StorageError(
        f"{path} is damaged at record {number + 1}; nothing was changed and nothing was sent",
        hint=f"restore {path.name} from a backup, or start anew with --fresh (what was paid is bought again)",
    )


def _newer(path: Path, what: str) -> Conflict:
    return Conflict(
        f"{path} holds {what}, which this version does not know; nothing was guessed",
        hint="go on with the version of batcher that began this run",
    )


def read(path: Path) -> ManifestView:
    """All records, without a lock; no file is no records.

    A writer may cut a torn end off and append while we read, which can look like damage, so damage counts
    only when a second look finds it too.

    Raises:
        StorageError: damaged, or unreadable.
        Conflict: a newer version wrote in it.
    """
    try:
        return _read(path)
    except StorageError:
        return _read(path)


def _read(path: Path) -> ManifestView:
    return _walk(path).view


class _Walked(NamedTuple):
    view: ManifestView
    link: str


def _walk(path: Path) -> _Walked:
    records: list[ManifestRecord] = []
    link, size = _FIRST_LINK, 0
    with storage_errors("reading the manifest", path):
        if not path.exists():
            return _Walked(ManifestView((), 0), link)
        for found in read_frames(path):
            if isinstance(found, Damage):
                _check_cut_end(path, found, number=len(records))
                break
            records.append(decode(found.payload, number=len(records), link=link, path=path))
            link, size = _link(found), found.offset + found.length
    return _Walked(ManifestView(tuple(records), size), link)


def _check_cut_end(path: Path, found: Damage, *, number: int) -> None:
    """A cut end is the beginning of a record; a whole one whose newline became another byte is damage."""
    if not found.is_torn_tail:
        raise _damaged(path, number)
    with path.open("rb") as file:
        file.seek(found.offset)
        tail = file.read(found.length)
    if decode_frame(tail[:-1] + b"\n") is not None:
        raise _damaged(path, number)


def _link(frame: Frame) -> str:
    """The checksum of a frame as the next record repeats it."""
    return encode_frame(frame.payload)[:8].decode("ascii")


class Manifest:
    """The manifest for its one writer, who holds the run's lock. Build it with `open`.

    Attributes:
        records: all of them, in order.
    """

    def __init__(self, path: Path, fd: int, walked: _Walked, *, disk: Disk) -> None:
        self.records = list(walked.view.records)
        self._path = path
        self._fd = fd
        self._end = walked.view.size
        self._link = walked.link
        self._disk = disk
        self._is_broken = False

    @classmethod
    def open(cls, path: Path, *, disk: Disk = DISK) -> Self:
        """Read the manifest, creating it where there is none, and cut a torn end off.

        Raises:
            StorageError: damaged, or the disk refuses.
            Conflict: a newer version wrote in it.
        """
        walked = _walk(path)
        with storage_errors("opening the manifest", path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
            try:
                cut_tail(path, disk=disk)
                disk.sync_dir(path.parent)
            except OSError:
                os.close(fd)
                raise
        return cls(path, fd, walked, disk=disk)

    def append(self, record: ManifestRecord) -> None:
        """Add one record; it would survive a power loss on return.

        Raises:
            StorageError: it may not be there after a restart. The file takes no more records: after a failed
                sync nothing that follows could be trusted.
        """
        if self._is_broken:
            raise StorageError(f"{self._path} could not be written before; start the command again")
        frame = encode_frame(encode(record, number=len(self.records), link=self._link))
        with storage_errors("writing the manifest", self._path):
            try:
                write_fully(self._fd, frame, disk=self._disk)
                self._disk.sync_file(self._fd)
            except OSError:
                self._is_broken = True
                with suppress(OSError):  # a record that stays after all is whole, and true
                    os.ftruncate(self._fd, self._end)
                raise
        self._end += len(frame)
        self._link = frame[:8].decode("ascii")
        self.records.append(record)

    def close(self) -> None:
        """Closing twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
