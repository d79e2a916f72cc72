"""Lines that know whether they are whole: ``crc32 SPACE json NEWLINE``.

The checksum is eight lower-case hex digits of the CRC-32 of the JSON bytes, which hold no raw newline.
Rules of reading:
    1. A line whose checksum fits is a frame; nothing else is.
    2. In a line that does not fit, the first inner ``crc {"`` whose JSON reaches exactly to the line's end,
       with a fitting checksum and valid JSON, is a frame too: a torn record does not swallow the next one.
    3. What remains of a bad line is reported as damage, never repaired, never guessed.
    4. Bytes after the last newline are a torn tail: not a record, to be cut off before anything is appended.

Rule 2 cannot be fooled by text inside a record. In a line of valid JSON a candidate that begins inside a
string sees an odd number of unescaped quotes up to the line's end, and its escapes stand outside its own
strings; so it is never valid JSON, whatever its checksum.

It must never hold a whole file: files are read with pread in windows (mmap counts as memory of the process),
and what is kept is one window and the line in hand.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import orjson

from batcher.store.files import DISK, Disk, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WINDOW = 1 << 20
PREFIX = 9
"""Bytes before the payload: eight hex digits and a space."""
_INNER = re.compile(rb'[0-9a-f]{8} \{"')


class Frame(NamedTuple):
    """A whole record.

    Attributes:
        offset: of the checksum's first digit, from the start of the file.
        length: of the frame in bytes, newline included.
        payload: the JSON.
    """

    offset: int
    length: int
    payload: bytes


class Damage(NamedTuple):
    """Bytes that are not a record.

    Attributes:
        offset: from the start of the file.
        length: in bytes, newline included where there is one.
        is_torn_tail: they end the file without a newline, as a write that was cut short does.
    """

    offset: int
    length: int
    is_torn_tail: bool = False


def encode_frame(payload: bytes) -> bytes:
    """The line for a JSON payload, which must hold no raw newline (orjson writes none)."""
    return b"%08x %b\n" % (crc32(payload), payload)


def decode_frame(line: bytes) -> bytes | None:
    """The payload of one line, newline included; None when it is not exactly one whole frame."""
    payload = line[PREFIX:-1]
    if line[-1:] != b"\n" or line[:PREFIX] != b"%08x " % crc32(payload) or not payload.startswith(b"{"):
        return None
    return payload


def parse_json(payload: bytes) -> object:
    """Parse JSON, also what only the standard library writes: lone surrogates, NaN, integers beyond 64 bits.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            return json.loads(payload)
        except RecursionError as err:
            raise ValueError("nested too deeply") from err


@contextmanager
def _opened(source: int | Path) -> Iterator[int]:
    if isinstance(source, int):
        yield source
        return
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def read_frames(source: int | Path, *, window: int = WINDOW) -> Iterator[Frame | Damage]:
    """Frames and damage, in file order, up to the file's size at the first step.

    Args:
        source: a path, or a descriptor, which stays open and is read by position.
        window: bytes per read; more are held only while one line is longer.

    Raises:
        OSError: the file cannot be read.
    """
    with _opened(source) as fd:
        size = os.fstat(fd).st_size
        held: list[bytes] = []  # the line in hand, whose newline has not come yet
        start = position = 0
        while position < size and (chunk := os.pread(fd, min(window, size - position), position)):
            position += len(chunk)
            held.append(chunk)
            cut = chunk.rfind(b"\n") + 1
            if not cut:
                continue
            block = b"".join(held)
            whole = len(block) - len(chunk) + cut
            yield from _read_block(block, whole, start)
            held = [block[whole:]]
            start += whole
        if position > start:
            yield Damage(start, position - start, is_torn_tail=True)


def _read_block(block: bytes, whole: int, offset: int) -> Iterator[Frame | Damage]:
    """The lines of ``block[:whole]``, ending in a newline; `offset` is the block's place in the file."""
    start = 0
    while start < whole:
        end = block.index(b"\n", start) + 1
        payload = block[start + PREFIX : end - 1]
        if block[start : start + PREFIX] == b"%08x " % crc32(payload) and payload[:1] == b"{":
            yield Frame(offset + start, end - start, payload)
        else:
            yield from _read_bad_line(block[start:end], offset + start)
        start = end


def _read_bad_line(line: bytes, offset: int) -> Iterator[Frame | Damage]:
    for found in _INNER.finditer(line):
        at = found.start()
        payload = decode_frame(line[at:])
        if payload is not None and _is_json(payload):
            yield Damage(offset, at)
            yield Frame(offset + at, len(line) - at, payload)
            return
    yield Damage(offset, len(line))


def _is_json(payload: bytes) -> bool:
    try:
        parse_json(payload)
    except ValueError:
        return False
    return True


def torn_tail(source: int | Path, *, window: int = WINDOW) -> int:
    """Where the bytes after the last newline begin; the file's size when nothing is torn. Raises OSError."""
    with _opened(source) as fd:
        end = os.fstat(fd).st_size
        while end > 0:
            start = max(0, end - window)
            newline = os.pread(fd, end - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def cut_tail(path: Path, *, disk: Disk = DISK) -> int:
    """Cut a torn tail off, durably; the caller holds the run's lock.

    Returns:
        Bytes cut off; 0 when the file ended with a whole line.

    Raises:
        StorageError: the file could not be read or cut.
    """
    with storage_errors("cutting a torn record off", path):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            good = torn_tail(fd)
            if good < size:
                os.ftruncate(fd, good)
                disk.sync_file(fd)
        finally:
            os.close(fd)
    return size - good
