"""JSON values that strict JSON would have refused, made fit to be kept: no lone surrogates, no NaN. Pure.

Two halves of one character that came in two strings, as servers that stream may cut it, are one again first.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_WIDE = "utf-16-le"


def mended(value: Any, odd: dict[str, None]) -> Any:
    """The value without lone surrogates (U+FFFD) and without NaN and Infinity (None).

    Args:
        value: as a forgiving parser gave it.
        odd: takes the words for the ``warnings`` column, in the order in which they came up.
    """
    if isinstance(value, str):
        return _text(value, odd)
    if isinstance(value, float) and not isfinite(value):
        odd["nan_in_json"] = None
        return None
    if isinstance(value, list):
        return [mended(item, odd) for item in value]
    if isinstance(value, dict):
        return {mended(key, odd): mended(item, odd) for key, item in value.items()}
    return value


def _text(text: str, odd: dict[str, None]) -> str:
    if _SURROGATE.search(text):
        text = text.encode(_WIDE, "surrogatepass").decode(_WIDE, "surrogatepass")
        if _SURROGATE.search(text):
            odd["lone_surrogate_replaced"] = None
            return _SURROGATE.sub("\ufffd", text)
    return text
