"""What a server said went wrong, dug out of whatever shape it used: JSON, JSON inside text, HTML, XML.

Finds message, type and code; never decides what they mean (`policy` does), and never searches an answer's
content. The result is safe to print: no control characters, no lone surrogates, bounded length. Keys are
scrubbed by the caller, who scrubs the reply's bytes: nothing here knows one.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

import orjson

from batcher.records import ApiError

MAX_MESSAGE_CHARS = 2000
"""The length `ApiError.message` promises."""

_MAX_NAME_CHARS = 200
_MAX_DEPTH = 6  # wrappers seen in practice: gateway(proxy(provider)), each twice
_MAX_MARKUP_CHARS = 16_384  # an error page says what it has to say in its first screens

# Control characters, and those that turn the direction of text around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"\s+")
_HIDDEN = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<(title|message)\b[^<>]*>([^<]+)</\1\s*>", re.IGNORECASE)
_CODE = re.compile(r"<code\b[^<>]*>([^<]{1,200})</code\s*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")

_INNER = (
    "error",
    "errors",
    "detail",
    "message",
    "msg",
    "error_description",
    "error_message",
    "title",
    "fault",
)
"""Where a message or a wrapped error is looked for, in this order."""


def error_said(value: object) -> ApiError | None:
    """The error in a parsed JSON value that is known to be one; None where it says nothing at all."""
    return _said(value, 0)


def error_in(body: dict[str, Any]) -> ApiError | None:
    """The error of a reply's top-level object, or None when it has none.

    An object is an error when it has an ``error``, ``errors`` or ``detail`` that says something, or a
    ``message`` that is text (Ollama's own replies have a ``message`` that is an object).
    """
    for key in ("error", "errors", "detail"):
        if body.get(key):
            return _said(body, 0) or ApiError()
    if isinstance(body.get("message") or body.get("msg"), str) or body.get("object") == "error":
        return _said(body, 0) or ApiError()
    return None


def error_in_text(text: str) -> ApiError | None:
    """The error in a body that is no JSON: the title of a page, or its text without markup."""
    text = text[:_MAX_MARKUP_CHARS]
    if "<" not in text:
        return _error(text, None, None)
    visible = _HIDDEN.sub(" ", text)
    title, code = _TITLE.search(visible), _CODE.search(visible)
    message = title.group(2) if title and title.group(2).strip() else _TAG.sub(" ", visible)
    return _error(html.unescape(message), None, html.unescape(code.group(1)) if code else None)


def _said(value: object, depth: int) -> ApiError | None:
    if isinstance(value, dict):
        return _said_by_object(value, depth)
    if isinstance(value, list):
        return _said_by_list(value, depth)
    if isinstance(value, str):
        return _said_by_text(value, depth)
    return _error(_text(value), None, None)


def _said_by_object(value: dict[str, Any], depth: int) -> ApiError | None:
    """The innermost error wins: a gateway's ``upstream_error`` says less than the error wrapped in it."""
    if isinstance(value.get("error"), str) and isinstance(value.get("message"), str) and value["message"]:
        # Spring and NestJS: error is only the status in words, message is the message.
        value = {"type": value["error"], **value, "error": None}
    inner = None
    if depth < _MAX_DEPTH:
        inner = next(filter(None, (_said(value[key], depth + 1) for key in _INNER if value.get(key))), None)
    type_ = _text(value.get("type") or value.get("error_type") or value.get("status"))
    code = _text(value.get("code"))
    if inner is not None:
        return ApiError(inner.message, inner.type or _name(type_), inner.code or _name(code))
    if depth >= _MAX_DEPTH or not (type_ or code):
        return _error(_json_text(value) if value else None, type_, code)
    return _error(None, type_, code)


def _said_by_list(value: list[Any], depth: int) -> ApiError | None:
    """All of a list's messages, joined; pydantic's (``loc``, ``msg``, ``type``) with the place in front."""
    if depth >= _MAX_DEPTH:
        return _error(_json_text(value), None, None)
    errors = [(item, error) for item in value[:20] if (error := _said(item, depth + 1)) is not None]
    if not errors:
        return None
    messages = [_place(item) + error.message for item, error in errors if error.message]
    first = errors[0][1]
    return _error("; ".join(messages), first.type, first.code)


def _place(item: object) -> str:
    if isinstance(item, dict) and isinstance(item.get("loc"), list):
        return ".".join(str(part) for part in item["loc"]) + ": "
    return ""


def _said_by_text(value: str, depth: int) -> ApiError | None:
    stripped = value.strip()
    if depth < _MAX_DEPTH and stripped[:1] in ("{", "["):
        try:
            parsed = orjson.loads(stripped)
        except orjson.JSONDecodeError:
            parsed = None
        error = _said(parsed, depth + 1) if parsed else None
        if error is not None:
            return error
    if stripped[:1] == "<":
        return error_in_text(stripped)
    return _error(stripped, None, None)


def _error(message: str | None, type_: str | None, code: str | None) -> ApiError | None:
    shown = printable(message)[:MAX_MESSAGE_CHARS] if message else None
    error = ApiError(shown or None, _name(type_), _name(code))
    return error if error != ApiError() else None


def _name(value: str | None) -> str | None:
    return printable(value)[:_MAX_NAME_CHARS] or None if value else None


def _text(value: object) -> str | None:
    """A scalar as text: llama.cpp sends ``code: 400`` as a number. None for anything that says nothing."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _json_text(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)[: 2 * MAX_MESSAGE_CHARS]
    except (ValueError, RecursionError):
        return ""


def printable(text: str) -> str:
    """One line without control characters, text-direction overrides and lone surrogates."""
    text = _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub(" ", text[: 8 * MAX_MESSAGE_CHARS]))
    return _BLANKS.sub(" ", text).strip()
