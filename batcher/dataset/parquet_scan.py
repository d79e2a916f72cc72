"""Parquet files before anything is sent: footers and schemas, never a page.

Must never read data (that is what running is for), and must refuse here what would stop a run later:
encryption, unknown codecs, columns that disagree between files. The content hash is over footers and sizes,
which hold every page's place, size and statistics: any rewrite changes them; bytes altered in place under
the same footer are not seen.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from batcher.dataset.content import DIGEST
from batcher.dataset.footer import read_footer
from batcher.dataset.scanned import FileStamp, Scan
from batcher.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RUN_ID_KEY = b"batcher.run_id"
"""File metadata key that our own outputs carry."""
ROLE_KEY = b"batcher.role"
"""Field metadata key of the columns that we added to an output; input columns have none."""
BOOKKEEPING = b"bookkeeping"
"""The role of columns that mean nothing to a later run; what the model said (its answers) is data like any other."""


class _File(NamedTuple):
    path: Path
    schema: pa.Schema
    stamp: FileStamp
    is_ours: bool


def scan_parquet(files: Sequence[Path]) -> Scan:
    """Read footers and agree on one schema.

    Raises:
        DatasetError: a file that is no readable Parquet, or a column that differs between files.
    """
    opened = [_open(path) for path in files]
    dropped = tuple(
        dict.fromkeys(name for file in opened if file.is_ours for name in own_columns(file.schema))
    )
    kept = [_without(file, dropped) for file in opened]
    rows = sum(file.stamp.rows for file in opened)
    whole = hashlib.blake2b(b"".join(bytes.fromhex(f.stamp.content_hash) for f in opened), digest_size=DIGEST)
    notes = [
        f"{f.path.name} is an output of this tool; its bookkeeping columns are left out"
        for f in opened
        if f.is_ours
    ]
    return Scan(
        format="parquet",
        schema=_unified(kept),
        rows=rows,
        content_hash=whole.hexdigest(),
        files=tuple(file.stamp for file in opened),
        notes=tuple(notes),
        dropped=dropped,
    )


def own_columns(schema: pa.Schema) -> list[str]:
    """Columns that an earlier run of ours added for its bookkeeping, by their field metadata."""
    return [field.name for field in schema if (field.metadata or {}).get(ROLE_KEY) == BOOKKEEPING]


def is_own_output(metadata: Mapping[bytes, bytes] | None) -> bool:
    """Whether a Parquet file whose footer has these entries was written by this tool.

    The entries of the footer itself: Arrow's schema of a file leaves those out that were added when it was closed.
    """
    return RUN_ID_KEY in (metadata or {})


def footer_hash(path: Path, size: int) -> str:
    """32 hex digits over the raw footer and the file's size. Raises DatasetError or OSError."""
    return hashlib.blake2b(b"%d:" % size + read_footer(path), digest_size=DIGEST).hexdigest()


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open for reading with flat memory: pages come through a buffer of 1 MiB, not whole column chunks.

    Raises:
        DatasetError: the footer cannot be understood.
    """
    try:
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as err:
        raise DatasetError(f"{path} cannot be read as Parquet: {' '.join(str(err).split())}") from err


def _open(path: Path) -> _File:
    facts = path.stat()
    content_hash = footer_hash(path, facts.st_size)
    with open_parquet(path) as file:
        schema = file.schema_arrow
        rows = file.metadata.num_rows
        is_ours = is_own_output(file.metadata.metadata)
    stamp = FileStamp(
        path=str(path),
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        inode=facts.st_ino,
        rows=rows,
        content_hash=content_hash,
        length=facts.st_size,
    )
    return _File(path, schema, stamp, is_ours)


def _without(file: _File, dropped: tuple[str, ...]) -> _File:
    fields = [
        field.with_nullable(True) for field in file.schema if not (file.is_ours and field.name in dropped)
    ]
    return file._replace(schema=pa.schema(fields))


def _unified(files: list[_File]) -> pa.Schema:
    """One schema for all files: columns by name, absent ones null, numbers widened where nothing is lost."""
    first = files[0]
    if all(file.schema.equals(first.schema) for file in files):
        return first.schema
    fields: dict[str, pa.Field] = {}
    for file in files:
        for field in file.schema:
            if file.schema.names.count(field.name) > 1:
                raise DatasetError(
                    f"{file.path} has several columns named {field.name!r}, and the files differ"
                )
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _merged(known, field, file.path)
    return pa.schema(list(fields.values()))


def _merged(known: pa.Field, field: pa.Field, path: Path) -> pa.Field:
    if known.type.equals(field.type):
        return known
    try:
        merged = pa.unify_schemas(
            [pa.schema([known.remove_metadata()]), pa.schema([field.remove_metadata()])],
            promote_options="permissive",
        ).field(0)
    except pa.ArrowException as err:
        raise DatasetError(
            f"{path}: the column {field.name!r} is {field.type}, but {known.type} in the files before it",
            hint="convert one of them, or run the files apart",
        ) from err
    return merged.with_metadata(known.metadata or field.metadata)
