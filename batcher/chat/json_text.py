"""JSON in a model's text: strictly, or in a code fence that is the whole text; and values as JSON text again.

Never searches prose for braces: a value picked out of a sentence may be the one that the model rejects in the
next. Servers without constrained decoding put fences around their JSON, and a fence is unambiguous.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import orjson

IN_FENCE = "json_in_fence"
"""The word for the ``warnings`` column."""

_FENCED = re.compile(r"\s*```[a-zA-Z]*[ \t]*\r?\n?(.*?)\s*```\s*", re.DOTALL)
_SHOWN_CHARS = 40


class NotJson(ValueError):
    """The text is no JSON; the message says where it stops being so."""


class Found(NamedTuple):
    """A JSON value.

    Attributes:
        value: Python's form of it; integers beyond 64 bits are floats there.
        text: as it stood, without fence and blanks around it.
        warnings: words for the ``warnings`` column.
    """

    value: object
    text: str
    warnings: tuple[str, ...] = ()


def json_in(text: str) -> Found:
    """Read a text that ought to be JSON.

    Raises:
        NotJson: it is none, or has something before or after it.
    """
    bare = unfenced(text)
    stripped = bare.strip()
    try:
        value: object = orjson.loads(stripped)
    except orjson.JSONDecodeError as err:
        place = f"line {err.lineno} column {err.colno}"
        raise NotJson(f"not JSON ({err.msg}, {place}), begins {stripped[:_SHOWN_CHARS]!r}") from err
    return Found(value, stripped, () if bare is text else (IN_FENCE,))


def json_text(value: object) -> str | None:
    """A value that was JSON as JSON text; None where even Python's own writer gives up."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer beyond 64 bits, or nested deeper than orjson writes: both were read
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def unfenced(text: str) -> str:
    """The inside of a code fence that is the whole text; any other text itself."""
    if "```" not in text:
        return text
    fenced = _FENCED.fullmatch(text)
    return fenced.group(1) if fenced else text
