"""Server-sent events by the book (WHATWG HTML, 9.2): the bytes of a stream, as far as it came, to its events. Pure.

The rules:

1. a byte order mark at the start is passed over
2. lines end in CRLF, LF or CR
3. a blank line ends an event; a line that begins with a colon is a comment
4. a line is ``name: value``, and one space after the colon is no part of the value; without a colon it is a name
5. several ``data`` lines of an event are joined by line feeds; an event without data is none
6. ``event`` names the event; ``id`` and ``retry`` are for those who connect again, which costs money here

In two things it takes more than the book: an event that the end of the stream left open counts, because its text was
paid for, and a line ``error: {...}`` (llama.cpp) is an event of that name.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
_START = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:(?:data|event|id|retry)?:|error: ?\{)")


class Stream(NamedTuple):
    """The events of a stream, in order.

    Attributes:
        data: of each event; none is left out but those without a data line.
        errors: positions in `data` of events that are named ``error``.
        is_open: the stream ended before the last event did.
    """

    data: list[bytes]
    errors: frozenset[int]
    is_open: bool


class _Event(NamedTuple):
    data: bytes | None
    is_error: bool


def looks_streamed(body: bytes) -> bool:
    """Whether a body begins like a stream of events; no JSON does."""
    return _START.match(body) is not None


def events(body: bytes) -> Stream:
    """Raises nothing, whatever the bytes are."""
    if body.startswith(_DATA) and body.endswith(b"\n\n") and b"\r" not in body:
        data = body[len(_DATA) : -2].split(b"\n\n" + _DATA)
        if body.count(b"\n") == 2 * len(data):  # one line each and nothing beside, which is nearly always
            return Stream(data, frozenset(), is_open=False)
    return _any_events(body)


def _any_events(body: bytes) -> Stream:
    body = body.removeprefix(_BOM)
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data: list[bytes] = []
    errors: list[int] = []
    blocks = body.split(b"\n\n")
    for block in blocks:
        event = _event(block)
        if event.data is not None:
            if event.is_error:
                errors.append(len(data))
            data.append(event.data)
    return Stream(data, frozenset(errors), is_open=_event(blocks[-1]).data is not None)


def _event(block: bytes) -> _Event:
    """The event in the lines between two blank ones."""
    data: list[bytes] = []
    is_error = False
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            is_error = value == b"error"
        elif name == b"error":
            is_error = True
            data.append(value)
    return _Event(b"\n".join(data) if data else None, is_error)
