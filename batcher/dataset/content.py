"""The bytes of a JSONL file, decompressed, in blocks of one MiB: from any block on, to the exact byte where
it ends.

Must never hold more than a block or two, never run ahead of a decompression bomb, and never lose a byte that
could still be decompressed: where a compressed stream is damaged, everything before the damage is content.

zstd and gzip both go through Arrow's streams, which read concatenated members and frames to the end and
report a truncated one (pyarrow 26: tried with both codecs, skippable and empty frames included). On an error
they drop what the failing call had already decompressed, so the tail is read a second time, byte by byte, up
to the damage.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from batcher.errors import Conflict, DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from batcher.dataset.scanned import Codec

BLOCK = 1 << 20
"""Bytes of content per digest. Part of every content hash: to change it is to change all hashes."""
DIGEST = 16
BOMB_RATIO = 1_000  # gzip cannot exceed 1,032; honest JSONL stays far below
BOMB_BYTES = 64 << 20  # small files may compress as well as they like
_STEP = 1 << 16  # what one decompression call asks for; at most this much is read twice after damage

_REFUSED_MAGIC = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"PK\x03\x04": "zip", b"\x04\x22\x4d\x18": "lz4"}


def digest_of(block: bytes) -> bytes:
    return hashlib.blake2b(block, digest_size=DIGEST).digest()


def codec_of(path: Path) -> Codec:
    """How the file is compressed, by its first bytes, whatever its name says.

    Raises:
        DatasetError: compressed in a way that is not read here.
    """
    with path.open("rb") as file:
        head = file.read(8)
    for magic, name in _REFUSED_MAGIC.items():
        if head.startswith(magic):
            raise DatasetError(
                f"{path} is {name}-compressed; JSONL is read plain, .gz or .zst",
                hint=f"decompress it first, or: … | zstd > {path.stem}.zst",
            )
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # 50..5F 2A 4D 18 opens a skippable frame, which may come first.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    return ""


class _Raw(io.RawIOBase):
    """The first `size` bytes of a file, counted: what is appended after the scan does not exist."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._size = size
        self.taken = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.taken

    def skip_to(self, offset: int) -> None:
        self._file.seek(offset)
        self.taken = offset

    def read(self, size: int = -1) -> bytes:
        left = self._size - self.taken
        piece = self._file.read(left if size < 0 else min(size, left)) or b""
        self.taken += len(piece)
        return piece

    def close(self) -> None:
        self._file.close()
        super().close()


class Content:
    """One file's content, read once, front to back. Close it, or use it as a context manager.

    Attributes:
        damage: after `blocks` is used up: what cut a compressed stream short, or None.
    """

    def __init__(self, path: Path, codec: Codec, *, size: int, length: int | None = None) -> None:
        """Open the file.

        Args:
            path: the file.
            codec: from `codec_of`.
            size: bytes on disk that count.
            length: bytes of content that count, None to read to the end (or the damage).
        """
        self.path = path
        self.damage: str | None = None
        self._codec = codec
        self._size = size
        self._length = size if length is None and not codec else length
        self._position = 0
        self._raw = _Raw(path, size)
        self._stream: pa.NativeFile | None = self._decompress() if codec else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._raw.close()

    def blocks(self, *, first: int = 0) -> Iterator[bytes]:
        """Blocks from number `first` on, each of `BLOCK` bytes but the last.

        Raises:
            Conflict: the content is shorter than `length`.
            DatasetError: it cannot be decompressed at all, or is a decompression bomb.
            OSError: the disk failed.
        """
        if first and self._stream is None:
            self._position = first * BLOCK
            self._raw.skip_to(self._position)
        number = self._position // BLOCK
        while block := self._next_block():
            if number >= first:
                yield block
            number += 1

    def _next_block(self) -> bytes:
        parts: list[bytes] = []
        wanted = BLOCK
        if self._length is not None:
            wanted = min(wanted, self._length - self._position)
        while wanted > 0 and (piece := self._read(wanted)):
            parts.append(piece)
            wanted -= len(piece)
            self._position += len(piece)
        if wanted > 0 and self._length is not None:
            raise Conflict(
                f"{self.path} became shorter while it was used: {self._position:,} bytes of content, "
                f"{self._length:,} when it was scanned",
                hint="put the scanned file back, or start over with --replace",
            )
        return b"".join(parts)

    def _read(self, size: int) -> bytes:
        if self._stream is None:
            return self._raw.read(size)
        if self.damage is not None:
            return b""
        try:
            piece = bytes(self._stream.read(min(size, _STEP)))
        except (OSError, pa.ArrowException) as err:
            piece = self._salvage(err)
        self._refuse_bomb(self._position + len(piece))
        return piece

    def _decompress(self) -> pa.NativeFile:
        return pa.CompressedInputStream(pa.PythonFile(self._raw, mode="r"), self._codec)

    def _salvage(self, error: Exception) -> bytes:
        """What still decompresses between the last good call and the damage, at most `_STEP` bytes."""
        if getattr(error, "errno", None) is not None:
            raise error  # the disk, not the stream
        self.damage = " ".join(str(error).split())
        self._raw = _Raw(self.path, self._size)
        self._stream = self._decompress()
        skipped = 0
        while skipped < self._position:
            skipped += len(self._stream.read(min(_STEP, self._position - skipped)))
        tail = bytearray()
        try:
            while byte := self._stream.read(1):
                tail += byte
        except (OSError, pa.ArrowException):
            pass  # the damage again, now with every byte before it in hand
        if not tail and not self._position:
            raise DatasetError(
                f"{self.path} cannot be decompressed as {self._codec}: {self.damage}",
                hint=f"the file may be incomplete; test it with {self._codec} -t",
            ) from error
        return bytes(tail)

    def _refuse_bomb(self, produced: int) -> None:
        if produced > BOMB_BYTES and produced > BOMB_RATIO * max(self._raw.taken, 1):
            raise DatasetError(
                f"{self.path} grows more than {BOMB_RATIO:,}-fold when decompressed "
                f"({self._raw.taken:,} bytes became {produced:,}); this looks like a decompression bomb",
                hint="if it is honest data, decompress it yourself first",
            )


def unchanged_on_disk(path: Path, *, size: int, mtime_ns: int, inode: int) -> bool:
    """Whether size, modification time and inode are the same. Raises OSError."""
    now = path.stat()
    return (now.st_size, now.st_mtime_ns, now.st_ino) == (size, mtime_ns, inode)
