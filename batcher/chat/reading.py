"""Reply bytes become a reading: what shape they have, the answer, the error, and what was odd.

Never raises, whatever came; never decides about a retry; never loses a paid answer over a detail: a reply
that strict JSON refuses (a lone surrogate, NaN, a raw line break inside a string) is read a second time with
the forgiving parser of the standard library and flagged. Numbers that are no plausible counts become None and
are flagged, because pyarrow would turn 10.5 tokens into 10 without a word.

Reading twice only what strict JSON refuses keeps the good reply cheap: most of its time is one orjson.loads.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from batcher.chat.answer import answer_of
from batcher.chat.errors_said import error_in, error_in_text, error_said
from batcher.chat.gateway_cost import cost_in_headers
from batcher.records import Answer, ApiError, Reading, Shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.records import Reply

_BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile("[\ud800-\udfff]")
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
    """`read_reply` of a `Reply`; its fault and progress are for others to judge."""
    return read_reply(reply.status, reply.headers, reply.body)


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
    mended: dict[str, None] = {}
    if body.startswith(_BOM):
        mended["bom_in_json"] = None
        body = body[len(_BOM) :]
    if body.lstrip()[:1] not in (b"{", b"[", b'"'):
        return _UNREADABLE, ()
    # ValueError: no UTF-8, no JSON, an integer of 5,000 digits. RecursionError: nested deeper than the stack.
    try:
        value = _mended(json.loads(body.decode(), strict=False), mended)
    except (ValueError, RecursionError):
        return _UNREADABLE, ()
    return value, tuple(mended) or ("json_not_strict",)


def _mended(value: Any, mended: dict[str, None]) -> Any:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            mended["lone_surrogate_replaced"] = None
            return _SURROGATE.sub("\ufffd", value)
        return value
    if isinstance(value, float) and not isfinite(value):
        mended["nan_in_json"] = None
        return None
    if isinstance(value, list):
        return [_mended(item, mended) for item in value]
    if isinstance(value, dict):
        return {_mended(key, mended): _mended(item, mended) for key, item in value.items()}
    return value


def _page_error(status: int | None, headers: Iterable[tuple[str, str]], body: bytes) -> ApiError | None:
    """The message of an error page or plain text; None for a success, whose text is nobody's error."""
    if not body or status is None or 200 <= status < 300:
        return None
    content_type = next((text for name, text in headers if name == "content-type"), "")
    named = _CHARSET.search(content_type)
    charset = named.group(1).lower() if named else "utf-8"
    return error_in_text(body[:65_536].decode(charset if charset in _PAGE_CHARSETS else "utf-8", "replace"))
