"""A key that a stream repeats piece by piece: no search of the bytes finds it, and it would be whole in the answer.

The texts of the events are joined as a reader would join them, and where the key stands in what comes of it, its
letters are taken out of the pieces. Nothing else of a body is read: which field a text belongs to is all that counts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIELD: Final = (
    rb'"(content|reasoning_content|reasoning|refusal|arguments|text|thinking)"\s*:\s*'
    rb'"([^"\\]*(?:\\.[^"\\]*)*)"'
)
_TEXT: Final = re.compile(_FIELD)
_PART: Final = re.compile(rb'(?:^|[\r\n])data:|"index"\s*:\s*(\d+)|' + _FIELD)
_START: Final = 1_024
"""Bytes in which a stream of events has shown its first one."""

Span = tuple[int, int]


def without_split_key(body: bytes, forms: Sequence[bytes], *, mask: bytes) -> bytes:
    """The body with every key masked that stands across several texts of a stream; most bodies come back as they are.

    Args:
        body: already free of keys in one piece.
        forms: of the key, the longest first.
        mask: what stands in the place of its first piece.
    """
    if body[:1] == b"{" or b"data:" not in body[:_START]:
        return body
    if b'"index":1' not in body and not _is_in_one(body, forms):
        return body
    cuts = [cut for spans in _fields(body) for cut in _cuts(body, spans, forms)]
    for number, (start, end) in sorted(cuts, key=lambda cut: cut[1], reverse=True):
        body = body[:start] + (mask if number == 0 else b"") + body[end:]
    return body


def _is_in_one(body: bytes, forms: Sequence[bytes]) -> bool:
    """Whether the key is there when all texts are joined: asked first, because it costs half."""
    joined = b"".join([text for _, text in _TEXT.findall(body)])
    return any(form in joined for form in forms)


def _fields(body: bytes) -> list[list[Span]]:
    """Where the texts of each field of each choice (and call) stand, in order."""
    fields: dict[tuple[bytes, ...], list[Span]] = {}
    place: list[bytes] = []
    for part in _PART.finditer(body):
        if part[2] is not None:
            fields.setdefault((part[2], *place), []).append(part.span(3))
        elif part[1] is not None:
            place.append(part[1])
        else:
            place = []
    return list(fields.values())


def _cuts(body: bytes, spans: Sequence[Span], forms: Sequence[bytes]) -> list[tuple[int, Span]]:
    """(number of the piece within its key, where it stands) of everything to be taken out."""
    joined = b"".join([body[start:end] for start, end in spans])
    found: list[tuple[int, Span]] = []
    for form in forms:
        at = joined.find(form)
        while at >= 0:
            found += enumerate(_pieces(spans, at, at + len(form)))
            joined = joined[:at] + b"\0" * len(form) + joined[at + len(form) :]
            at = joined.find(form)
    return found


def _pieces(spans: Sequence[Span], first: int, last: int) -> list[Span]:
    """Where the bytes `first` to `last` of the joined texts stand in the body."""
    pieces: list[Span] = []
    offset = 0
    for start, end in spans:
        begin, stop = max(first - offset, 0), min(last - offset, end - start)
        if begin < stop:
            pieces.append((start + begin, start + stop))
        offset += end - start
    return pieces
