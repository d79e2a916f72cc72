"""Reply bytes become a reading: what shape they have, the answer, the error, and what was odd.

Never raises, whatever came; never decides about a retry; never loses a paid answer over a detail: a reply
that strict JSON refuses (a lone surrogate, NaN, a raw line break inside a string) is read a second time with
the forgiving parser of the standard library and flagged. Numbers that are no plausible counts become None and
are flagged, because pyarrow would turn 10.5 tokens into 10 without a word.

Reading twice only what strict JSON refuses keeps the good reply cheap: most of its time is one orjson.loads. A
stream of events is put together (`sse_answer`) and then read as the plain reply that it stands for, whether it was
asked for or not: the bytes tell.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from batcher.chat.answer import answer_of
from batcher.chat.errors_said import error_in, error_in_text, error_said
from batcher.chat.gateway_cost import cost_in_headers
from batcher.chat.mending import mended
from batcher.chat.sse import looks_streamed
from batcher.chat.sse_answer import assembled
from batcher.records import Answer, ApiError, Reading, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.chat.sse_answer import Assembled
    from batcher.records import Reply

_BOM = b"\xef\xbb\xbf"
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w-]+)", re.IGNORECASE)
_PAGE_CHARSETS = frozenset(
    {
        "iso-8859-1",
        "latin-1",
        "windows-1252",
        "gbk",
        "gb2312",
        "gb18030",
        "big5",
        "shift_jis",
        "euc-jp",
        "euc-kr",
    }
)
"""Encodings of error pages besides UTF-8; a list, because a server may name any of Python's codecs."""


class _Unreadable(NamedTuple):
    """In place of a value: the body is not JSON."""


_UNREADABLE = _Unreadable()


def read(reply: Reply) -> Reading:
    """`read_reply` of a `Reply`, and how it came; its fault and progress are for others to judge."""
    reading = read_reply(reply.status, reply.headers, reply.body)
    if reading.shape is not Shape.CHOICES:
        return reading
    way = _way(reply, reading)
    return reading if way is None else replace(reading, warnings=(*reading.warnings, way))


def _way(reply: Reply, reading: Reading) -> str | None:
    """What was odd about how an answer came, for the ``warnings`` column."""
    if reply.ttft_ms is not None and reading.ended is None:
        return "not_streamed"
    if reading.ended and reply.fault is not None:
        return "stream_cut_after_answer"
    return "streamed_unasked" if reading.ended and reply.ttft_ms is None else None


def read_reply(status: int | None, headers: Iterable[tuple[str, str]], body: bytes) -> Reading:
    """Parse a reply once. Raises nothing.

    Args:
        status: decides only whether the text of a body that is no JSON is an error message (any status but
            2xx).
        headers: names in lower case; only content-type is looked at, for the encoding of an error page, and
            the cost that a gateway tells where usage has none.
        body: scrubbed of the key, content-encoding undone.
    """
    reading = _read_body(status, headers, body)
    if reading.answer is not None and reading.answer.usage.cost_usd is not None:
        return reading
    return _with_cost(reading, headers)


def _read_body(status: int | None, headers: Iterable[tuple[str, str]], body: bytes) -> Reading:
    try:
        value: object = orjson.loads(body)
        warnings: tuple[str, ...] = ()
    except orjson.JSONDecodeError:
        stream = assembled(body) if looks_streamed(body) else None
        if stream is not None:
            return _read_stream(stream)
        value, warnings = _forgiving(body)
    if value is _UNREADABLE:
        return Reading(Shape.NOT_JSON, error=_page_error(status, headers, body))
    return _read_value(value, warnings)


def _with_cost(reading: Reading, headers: Iterable[tuple[str, str]]) -> Reading:
    """The reading with the cost in the headers; also where the answer is lost, for it may have been paid for."""
    odd: list[str] = []
    cost = cost_in_headers(headers, odd)
    if cost is None and not odd:
        return reading
    warnings = tuple(dict.fromkeys((*reading.warnings, *odd)))
    if cost is None:
        return replace(reading, warnings=warnings)
    answer = reading.answer or Answer()
    return replace(
        reading, answer=replace(answer, usage=replace(answer.usage, cost_usd=cost)), warnings=warnings
    )


def _read_stream(stream: Assembled) -> Reading:
    """An error in the middle of an answer makes it an error, which keeps what had come."""
    reading = _read_object(stream.completion, stream.warnings)
    if reading.shape is Shape.CHOICES and not stream.ended:
        error = error_in(stream.completion)
        if error is not None:
            reading = replace(reading, shape=Shape.ERROR, error=error)
    return replace(reading, ended=stream.ended)


def _read_value(value: object, warnings: tuple[str, ...]) -> Reading:
    if isinstance(value, dict):
        return _read_object(value, warnings)
    error = error_said(value) if isinstance(value, str) or _holds_errors(value) else None
    if error is not None:
        return Reading(Shape.ERROR, error=error, warnings=warnings)
    return Reading(Shape.EMPTY, answer=Answer(), warnings=warnings)


def _holds_errors(value: object) -> bool:
    """Gemini's OpenAI endpoint puts its error object into an array."""
    return isinstance(value, list) and any(isinstance(item, dict) and error_in(item) for item in value[:5])


def _read_object(value: dict[str, Any], warnings: tuple[str, ...]) -> Reading:
    answer, is_usable, odd = answer_of(value)
    if is_usable:
        said_error = ("error_beside_choices",) if value.get("error") else ()
        return Reading(Shape.CHOICES, answer=answer, warnings=(*warnings, *odd, *said_error))
    error = error_in(value)
    if error is not None:
        return Reading(Shape.ERROR, error=error, warnings=warnings)
    return Reading(Shape.EMPTY, answer=answer, warnings=(*warnings, *odd))


def _forgiving(body: bytes) -> tuple[object, tuple[str, ...]]:
    """What strict JSON refused, read again; `_UNREADABLE` when it is really none.

    Returns:
        The value without lone surrogates (replaced by U+FFFD) and without NaN and Infinity (None), and what
        was mended.
    """
    odd: dict[str, None] = {}
    if body.startswith(_BOM):
        odd["bom_in_json"] = None
        body = body[len(_BOM) :]
    if body.lstrip()[:1] not in (b"{", b"[", b'"'):
        return _UNREADABLE, ()
    # ValueError: no UTF-8, no JSON, an integer of 5,000 digits. RecursionError: nested deeper than the stack.
    try:
        value = mended(json.loads(body.decode(), strict=False), odd)
    except (ValueError, RecursionError):
        return _UNREADABLE, ()
    return value, tuple(odd) or ("json_not_strict",)


def _page_error(status: int | None, headers: Iterable[tuple[str, str]], body: bytes) -> ApiError | None:
    """The message of an error page or plain text; None for a success, whose text is nobody's error."""
    if not body or status is None or 200 <= status < 300:
        return None
    content_type = next((text for name, text in headers if name == "content-type"), "")
    named = _CHARSET.search(content_type)
    charset = named.group(1).lower() if named else "utf-8"
    return error_in_text(body[:65_536].decode(charset if charset in _PAGE_CHARSETS else "utf-8", "replace"))
