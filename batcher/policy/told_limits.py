"""The limits that a server tells in ``x-ratelimit-limit-requests`` and ``-tokens``: per minute.

Only the two names with a suffix: without one the span is anybody's guess. Not LiteLLM's ``llm_provider-``
copies: they speak of one backend of many. Stale or out-of-order headers are ignored: those of a request that
was sent before the one that told the present limits. Zero, negative and absurd numbers are no limit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_START: Final = "x-ratelimit-limit-"
_LENGTH: Final = len(_START)
_LONGEST: Final = 20
_MOST: Final = 1e12


class ToldLimits:
    """The latest word of the server.

    Attributes:
        requests: per minute; None: never told.
        tokens: per minute; None: never told.
    """

    def __init__(self) -> None:
        self.requests: float | None = None
        self.tokens: float | None = None
        self._sent_at = -math.inf
        self._texts = ("", "")

    def read(self, headers: Sequence[tuple[str, str]], *, sent_at: float) -> bool:
        """Take over what a reply's headers say; whether anything changed."""
        requests = tokens = ""
        for name, value in headers:
            if name[:_LENGTH] == _START:
                if name == "x-ratelimit-limit-requests":
                    requests = value
                elif name == "x-ratelimit-limit-tokens":
                    tokens = value
        if not (requests or tokens) or sent_at < self._sent_at:
            return False
        self._sent_at = sent_at
        if (requests, tokens) == self._texts:
            return False
        self._texts = (requests, tokens)
        before = (self.requests, self.tokens)
        self.requests = _limit(requests) or self.requests
        self.tokens = _limit(tokens) or self.tokens
        return (self.requests, self.tokens) != before


def _limit(text: str) -> float | None:
    text = text.strip()
    if not (0 < len(text) <= _LONGEST) or not text.isascii() or not text.replace(".", "", 1).isdigit():
        return None
    number = float(text)
    return number if 1.0 <= number <= _MOST else None
