r"""What a server says about how long to wait.

The first of these that is present and sane (finite, not negative) counts:

1. ``retry-after-ms``
2. ``retry-after`` in seconds, fractions too
3. ``retry-after`` as an HTTP date, minus the response's own ``date``
4. ``x-ratelimit-remaining-*: 0`` with ``x-ratelimit-reset-*``: OpenAI's reset is the time until the limit
   is *full* again, so reset / limit x the units needed, doubled for each repeated refusal up to the whole
   reset; the suffix-less headers of fixed-window servers (OpenRouter): the whole reset
5. "try again in 1.5s" in the error message

LiteLLM passes its provider's headers on as ``llm_provider-NAME``; they count after the plain ones. Nothing
here may ever return NaN, infinity or a negative number: ``float`` parses "nan" and "1e999" happily.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX: Final = "llm_provider-"
_LONGEST_TEXT: Final = 64
"""No duration or date is longer; longer texts are refused before any parser sees them."""
_SPAN: Final = re.compile(r"(?:\d{1,15}(?:\.\d{0,15})?(?:ms|[hms]))+", re.ASCII)
_SPAN_PART: Final = re.compile(r"(\d{1,15}(?:\.\d{0,15})?)(ms|[hms])", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{0,15})?(?:e[+-]?\d{1,3})?", re.ASCII)
_UNIT_S: Final = {"h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_IN_TEXT: Final = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+"
    r"((?:\d{1,9}(?:\.\d{1,9})?\s?(?:milliseconds?|seconds?|secs?|minutes?|mins?|hours?|ms|[hms])(?![a-z])\s?)+)",
    re.ASCII | re.IGNORECASE,
)
_TEXT_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(ms|milli|[hms])", re.ASCII | re.IGNORECASE)
_EPOCH_S: Final = 1_000_000_000.0
_EPOCH_MS: Final = 1_000_000_000_000.0
"""A reset of at least so much is a date: no reset is 31 years away."""
_SUFFIXES: Final = ("-requests", "-tokens")


def server_wait(
    headers: Sequence[tuple[str, str]],
    message: str | None,
    *,
    now: float,
    tokens_needed: int | None = None,
    refused_before: int = 0,
) -> float | None:
    """How many seconds the server asks to wait, or None when it says nothing usable.

    Args:
        headers: names in lower case.
        message: the error object's message.
        now: seconds since the epoch, used for dates where the response has no ``date`` of its own.
        tokens_needed: what the refused request reserves against a token limit; None: unknown, the whole
            reset.
        refused_before: how often this request was refused already, for doubling (rule 4).
    """
    named = _by_name(headers)
    if named:
        wait = _retry_after(named, now)
        if wait is None:
            wait = _limits_wait(named, now, tokens_needed=tokens_needed, refused_before=refused_before)
        if wait is not None:
            return wait
    return _wait_in_text(message) if message else None


def retry_after(headers: Sequence[tuple[str, str]], *, now: float) -> float | None:
    """Rules 1 to 3 alone: whether the server sent a usable Retry-After, in seconds."""
    return _retry_after(_by_name(headers), now)


def parse_reset(text: str, *, now: float) -> float | None:
    """Seconds until a reset: 20ms, 1s, 6m0s, 1h30m, plain seconds, RFC 3339, epoch s or ms; else None."""
    text = text.strip().lower()
    if not text or len(text) > _LONGEST_TEXT:
        return None
    if _SPAN.fullmatch(text):
        return _sane(sum(float(number) * _UNIT_S[unit] for number, unit in _SPAN_PART.findall(text)))
    number = _number(text)
    if number is None:
        return _until_rfc3339(text, now)
    if number >= _EPOCH_MS:
        number = number / 1000.0 - now
    elif number >= _EPOCH_S:
        number -= now
    return _sane(number)


def _by_name(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The headers that matter here; of repeated ones the first; plain ones before LiteLLM's."""
    named: dict[str, str] = {}
    passed_on: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(("retry-after", "x-ratelimit-")) or name == "date":
            named.setdefault(name, value)
        elif name.startswith(_PREFIX):
            passed_on.setdefault(name.removeprefix(_PREFIX), value)
    return passed_on | named if passed_on else named


def _retry_after(named: Mapping[str, str], now: float) -> float | None:
    in_ms = _number(named.get("retry-after-ms", ""))
    if in_ms is not None:
        return in_ms / 1000.0
    text = named.get("retry-after", "")
    seconds = _number(text)
    return seconds if seconds is not None else _until_http_date(text, named.get("date"), now)


def _until_http_date(text: str, date: str | None, now: float) -> float | None:
    then = _http_date(text)
    if then is None:
        return None
    sent = _http_date(date) if date else None
    return _sane(then - (now if sent is None else sent))


def _http_date(text: str) -> float | None:
    if not text or len(text) > _LONGEST_TEXT:
        return None
    try:
        return _epoch(parsedate_to_datetime(text))
    except (
        ValueError,
        OverflowError,
        IndexError,
        TypeError,
    ):  # garbage reaches the stdlib parser's own bugs
        return None


def _until_rfc3339(text: str, now: float) -> float | None:
    if "t" not in text and " " not in text:
        return None
    try:
        return _sane(_epoch(datetime.fromisoformat(text.upper())) - now)
    except (ValueError, OverflowError):
        return None


def _epoch(moment: datetime) -> float:
    """A date without a zone is UTC, as HTTP and RFC 3339 servers mean it."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _limits_wait(
    named: Mapping[str, str], now: float, *, tokens_needed: int | None, refused_before: int
) -> float | None:
    needs = (1, tokens_needed)
    waits = [_whole_reset(named, now)]
    for suffix, needed in zip(_SUFFIXES, needs, strict=True):
        waits.append(_share_of_reset(named, suffix, now, needed=needed, refused_before=refused_before))
    return max((wait for wait in waits if wait is not None), default=None)


def _whole_reset(named: Mapping[str, str], now: float) -> float | None:
    if _number(named.get("x-ratelimit-remaining", "")) != 0:
        return None
    return parse_reset(named.get("x-ratelimit-reset", ""), now=now)


def _share_of_reset(
    named: Mapping[str, str], suffix: str, now: float, *, needed: int | None, refused_before: int
) -> float | None:
    if _number(named.get("x-ratelimit-remaining" + suffix, "")) != 0:
        return None
    reset = parse_reset(named.get("x-ratelimit-reset" + suffix, ""), now=now)
    limit = _number(named.get("x-ratelimit-limit" + suffix, ""))
    if reset is None or not limit or needed is None:
        return reset
    return min(reset, reset / limit * needed * 2.0 ** min(refused_before, 60))


def _wait_in_text(message: str) -> float | None:
    """Also "6m0s", "20ms", "2 minutes 5 seconds"."""
    found = _IN_TEXT.search(message)
    if found is None:
        return None
    total = 0.0
    for number, unit in _TEXT_PART.findall(found.group(1)):
        total += float(number) * _UNIT_S["ms" if unit.lower() == "milli" else unit.lower()]
    return _sane(total)


def _number(text: str) -> float | None:
    """A plain, finite, non-negative number; "nan", "inf", "-1", "1e999" and "0x1" are none."""
    text = text.strip().lower()
    if len(text) > _LONGEST_TEXT or not _NUMBER.fullmatch(text):
        return None
    return _sane(float(text))


def _sane(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
