"""What a scan found, as frozen values: the dataset's shape, its size, and enough to find and trust its rows
again.

A `Scan` is written once into ``run.json`` and read back on every resume, so its JSON form must come back
equal. It never holds a row. Each JSONL file carries one digest per MiB of its content: a reader checks every
block against it before it hands out a row, so a file that is rewritten in mid-run is noticed whatever its
times say.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

Format: TypeAlias = Literal["jsonl", "parquet", "openai-batch"]
Codec: TypeAlias = Literal["", "gzip", "zstd"]

JSON_TEXT_KEY = b"batcher.json"
"""Field metadata key of a column whose every value is JSON text (a plain string stands there in quotes)."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """One input file as it was when it was scanned.

    Attributes:
        path: absolute.
        size: bytes on disk; what is appended later does not count.
        mtime_ns: modification time, nanoseconds since the epoch.
        inode: inode number.
        rows: rows in this file, invalid ones included, blank lines not.
        content_hash: 32 hex digits, see `Scan.content_hash`.
        codec: how the bytes on disk are compressed, "" for not at all (always "" for Parquet).
        length: bytes of content after decompression; equals `size` where codec is "".
        blocks: JSONL only: blake2b-128 of each MiB of content, one after the other; empty for Parquet.
        marks: JSONL only: (row within this file, content offset of the start of its line), ascending, sparse.
        damage: what cut the content short (a truncated compressed stream), or None.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int
    rows: int
    content_hash: str
    codec: Codec = ""
    length: int = 0
    blocks: bytes = b""
    marks: tuple[tuple[int, int], ...] = ()
    damage: str | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "path": self.path,
            "size": self.size,
            "mtime_ns": self.mtime_ns,
            "inode": self.inode,
            "rows": self.rows,
            "content_hash": self.content_hash,
            "codec": self.codec,
            "length": self.length,
            "blocks": base64.b64encode(self.blocks).decode(),
            "marks": [list(mark) for mark in self.marks],
            "damage": self.damage,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> FileStamp:
        marks = cast("list[list[int]]", fields["marks"])
        return cls(
            path=cast("str", fields["path"]),
            size=cast("int", fields["size"]),
            mtime_ns=cast("int", fields["mtime_ns"]),
            inode=cast("int", fields["inode"]),
            rows=cast("int", fields["rows"]),
            content_hash=cast("str", fields["content_hash"]),
            codec=cast("Codec", fields["codec"]),
            length=cast("int", fields["length"]),
            blocks=base64.b64decode(cast("str", fields["blocks"])),
            marks=tuple((row, offset) for row, offset in marks),
            damage=cast("str | None", fields["damage"]),
        )


@dataclass(frozen=True, slots=True)
class ColumnFact:
    """What the scan saw in one JSONL column.

    Attributes:
        name: the column.
        non_null: rows with a value other than null.
        usable: whether any value was neither null nor empty ("", [] or {}).
    """

    name: str
    non_null: int
    usable: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """A dataset, scanned.

    Attributes:
        format: what the rows are.
        schema: the input columns, all nullable, in order of first appearance, without schema-level metadata.
        rows: all rows, invalid ones included.
        content_hash: 32 hex digits, independent of path, times and (for JSONL) compression. JSONL:
            blake2b-128 over the digests of every MiB of content. Parquet: over the raw footers and file
            sizes only, because reading all pages is what a scan should not do; a page altered in place under
            the same footer is not seen.
        files: in the order their rows are numbered.
        problems: rows that the scan knows to be invalid (Parquet: always 0, its pages are not read).
        notes: warnings for a person.
        columns: JSONL only, one per column of `schema`.
        dropped: columns left out because the input is an output of ours and they are its bookkeeping.
    """

    format: Format
    schema: pa.Schema
    rows: int
    content_hash: str
    files: tuple[FileStamp, ...]
    problems: int = 0
    notes: tuple[str, ...] = ()
    columns: tuple[ColumnFact, ...] = ()
    dropped: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As JSON values; `from_json` of it is equal."""
        return {
            "format": self.format,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
            "rows": self.rows,
            "content_hash": self.content_hash,
            "files": [stamp.to_json() for stamp in self.files],
            "problems": self.problems,
            "notes": list(self.notes),
            "columns": [[fact.name, fact.non_null, fact.usable] for fact in self.columns],
            "dropped": list(self.dropped),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> Scan:
        """Back from `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        schema = base64.b64decode(cast("str", fields["schema"]))
        columns = cast("list[tuple[str, int, bool]]", fields["columns"])
        return cls(
            format=cast("Format", fields["format"]),
            schema=pa.ipc.read_schema(pa.BufferReader(schema)),
            rows=cast("int", fields["rows"]),
            content_hash=cast("str", fields["content_hash"]),
            files=tuple(FileStamp.from_json(f) for f in cast("list[dict[str, object]]", fields["files"])),
            problems=cast("int", fields["problems"]),
            notes=tuple(cast("list[str]", fields["notes"])),
            columns=tuple(ColumnFact(name, non_null, usable) for name, non_null, usable in columns),
            dropped=tuple(cast("list[str]", fields["dropped"])),
        )


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive rows.

    Attributes:
        first_row: row_index of the first.
        batch: has exactly `Scan.schema`.
        problems: row_index -> why that row cannot be used; its unreadable columns are null.
    """

    first_row: int
    batch: pa.RecordBatch
    problems: dict[int, str]
