"""Bodies as bytes: content-encoding undone, and what can be saved when the framing is broken. Pure.

Nothing here loses a byte: a body that cannot be decoded is returned as it came.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.records import FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_BYTES: Final = 64 * 2**20
"""Of a body, encoded or decoded."""
ACCEPTED_ENCODINGS: Final = "gzip, deflate"
_HEAD_END: Final = b"\r\n\r\n"


class Decoded(NamedTuple):
    body: bytes
    problem: FaultKind | None
    """BAD_ENCODING, TOO_LARGE, or None."""


class Salvaged(NamedTuple):
    """What a reply holds that the HTTP parser refused."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def decode(body: bytes, headers: Sequence[tuple[str, str]], *, most: int = MOST_BYTES) -> Decoded:
    """Undo gzip and deflate, in the reverse order of their mention; unknown encodings leave the body as it
    came.
    """
    if len(body) > most:
        return Decoded(body[:most], FaultKind.TOO_LARGE)
    names = [
        word.strip().lower()
        for name, value in headers
        if name == "content-encoding"
        for word in value.split(",")
    ]
    decoded = body
    for name in reversed(names):
        if name in {"", "identity"}:
            continue
        try:
            step = _inflate(decoded, name, most)
        except zlib.error:
            step = None
        if step is None:
            return Decoded(body, FaultKind.BAD_ENCODING)
        if len(step) > most:
            return Decoded(step[:most], FaultKind.TOO_LARGE)
        decoded = step
    return Decoded(decoded, None)


def decode_cut(body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    """As much of a body that was cut short as can be decoded; as it came when that is nothing."""
    names = [value.strip().lower() for name, value in headers if name == "content-encoding"]
    if names not in (["gzip"], ["x-gzip"], ["deflate"]):
        return body
    try:
        return zlib.decompressobj(wbits=47).decompress(body, MOST_BYTES) or body
    except zlib.error:
        return body


def _inflate(body: bytes, name: str, most: int) -> bytes | None:
    """The decoded body (one byte more than `most` when it would be longer); None: damaged, cut, or
    unknown.
    """
    if name in {"gzip", "x-gzip"}:
        return _members(body, most)
    if name != "deflate":
        return None
    try:
        return _one(zlib.decompressobj(), body, most)
    except zlib.error:  # some servers mean the raw stream by "deflate"
        return _one(zlib.decompressobj(wbits=-15), body, most)


def _one(inflater: zlib._Decompress, body: bytes, most: int) -> bytes | None:
    decoded = inflater.decompress(body, most + 1)
    return decoded if inflater.eof or len(decoded) > most else None


def _members(body: bytes, most: int) -> bytes | None:
    """Every member of a gzip body; bytes after the last one that are no member are ignored, as curl does."""
    parts: list[bytes] = []
    size = 0
    while True:
        inflater = zlib.decompressobj(wbits=31)
        part = _one(inflater, body, most - size)
        if part is None:
            return None
        parts.append(part)
        size += len(part)
        body = inflater.unused_data
        if size > most or not body.startswith(b"\x1f\x8b"):
            return b"".join(parts)


def head_end(raw: bytes) -> int:
    """Where the final response's head ends in what arrived, interim (1xx) responses passed over; -1:
    nowhere.
    """
    start = 0
    while True:
        end = raw.find(_HEAD_END, start)
        if end < 0:
            return -1
        end += len(_HEAD_END)
        if not _is_interim(raw[start : start + 12]):
            return end
        start = end


def salvage(raw: bytes) -> Salvaged | None:
    """Read a response that the HTTP parser refused (a repeated or negative Content-Length): None: it is no
    HTTP at all.
    """
    start = 0
    while _is_interim(raw[start : start + 12]) and raw.find(_HEAD_END, start) >= 0:
        start = raw.find(_HEAD_END, start) + len(_HEAD_END)
    line, _, rest = raw[start:].partition(b"\r\n")
    words = line.split(b" ", 2)
    if not line.startswith(b"HTTP/1.") or len(words) < 2 or len(words[1]) != 3 or not words[1].isdigit():
        return None
    head, found, body = rest.partition(_HEAD_END)
    if not found:
        return Salvaged(int(words[1]), (), rest)
    headers = tuple(_header(each) for each in head.split(b"\r\n") if b":" in each)
    if any(name == "transfer-encoding" and "chunked" in value.lower() for name, value in headers):
        body = unchunk(body).body
    return Salvaged(int(words[1]), headers, body)


class Unchunked(NamedTuple):
    body: bytes
    surplus: bool
    """Bytes stand behind the last chunk, or there is no last chunk."""


def unchunk(raw: bytes) -> Unchunked:
    """The content of a chunked body; from the first damage on everything as it came."""
    parts: list[bytes] = []
    position = 0
    while True:
        line_end = raw.find(b"\r\n", position)
        size = _chunk_size(raw[position:line_end]) if line_end >= 0 else None
        start = line_end + 2
        if size is None or raw[start + size : start + size + 2] not in {b"\r\n", b""}:
            return Unchunked(b"".join([*parts, raw[position:]]), surplus=True)
        if size == 0:
            return Unchunked(b"".join(parts), surplus=raw[start:] != b"\r\n")
        parts.append(raw[start : start + size])
        position = min(start + size + 2, len(raw))
        if position >= len(raw):
            return Unchunked(b"".join(parts), surplus=True)


def _chunk_size(line: bytes) -> int | None:
    digits = line.partition(b";")[0].strip()
    if not digits or len(digits) > 8 or not all(digit in b"0123456789abcdefABCDEF" for digit in digits):
        return None
    return int(digits, 16)


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return name.strip().decode("latin-1").lower(), value.strip().decode("latin-1")


def _is_interim(line: bytes) -> bool:
    return line.startswith(b"HTTP/1.") and line[9:10] == b"1" and line[9:12] != b"101"
