"""Pure: the least of HTTP/1.1 that a server needs to read: a request head, a chunked body.

Not h11: the simulator must cost less than the client under test, and h11 refuses to send what modes must
send.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_HEAD_BYTES = 65_536


class NotHttpError(ValueError):
    """What came cannot be read as an HTTP/1.x request."""


class Head(NamedTuple):
    """Attributes:
    length: bytes of body announced; 0 when none is.
    authorization: the header's value, or None.
    keep_alive: whether the client wants the connection kept.
    """

    method: str
    path: str
    query: str
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool
    authorization: str | None


def parse_head(raw: bytes) -> Head:
    """Reads what stands before the empty line. Raises NotHttpError."""
    end = raw.find(b"\r\n")
    words = (raw if end < 0 else raw[:end]).split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        raise NotHttpError("the first line is not METHOD TARGET HTTP/1.x")
    lowered = raw.lower()
    length = _value(raw, lowered, b"\r\ncontent-length:")
    if length is not None and not length.isdigit():
        raise NotHttpError("content-length is not a number")
    connection = (_value(raw, lowered, b"\r\nconnection:") or "").lower()
    path, _, query = words[1].decode("latin-1").partition("?")
    return Head(
        method=words[0].decode("latin-1"),
        path=path,
        query=query,
        length=int(length) if length is not None else 0,
        chunked="chunked" in (_value(raw, lowered, b"\r\ntransfer-encoding:") or "").lower(),
        keep_alive="keep-alive" in connection if words[2] == b"HTTP/1.0" else "close" not in connection,
        expects_continue=b"\r\nexpect:" in lowered,
        authorization=_value(raw, lowered, b"\r\nauthorization:"),
    )


def _value(raw: bytes, lowered: bytes, name: bytes) -> str | None:
    at = lowered.find(name)
    if at < 0:
        return None
    end = raw.find(b"\r\n", at + 2)
    return raw[at + len(name) : end if end >= 0 else len(raw)].strip().decode("latin-1")


def take_chunked(buffer: bytes) -> tuple[bytes, int] | None:
    """A whole chunked body at the start of `buffer` and its length on the wire; None while it is not whole.

    Raises:
        NotHttpError: a chunk size is not a number.
    """
    pieces: list[bytes] = []
    at = 0
    while True:
        line_end = buffer.find(b"\r\n", at)
        if line_end < 0:
            return None
        try:
            size = int(buffer[at:line_end].split(b";")[0], 16)
        except ValueError as err:
            raise NotHttpError("a chunk size is not a number") from err
        start = line_end + 2
        if size == 0:
            trailer_end = buffer.find(b"\r\n", start)
            return (b"".join(pieces), trailer_end + 2) if trailer_end >= 0 else None
        if len(buffer) < start + size + 2:
            return None
        pieces.append(buffer[start : start + size])
        at = start + size + 2
