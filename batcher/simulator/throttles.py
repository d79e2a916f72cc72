"""Modes that ask the client to slow down: 429, 402 and 503 with Retry-After, 529, in all the forms of a hint.

The hints that a test wants to be short are `retry_after_s` of the configuration; the absurd ones are
constants.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from batcher.simulator import lines
from batcher.simulator.limits import reset_text
from batcher.simulator.plan import Mode, http_date
from batcher.simulator.replies import error_body

if TYPE_CHECKING:
    from batcher.simulator.plan import Delivery, Occasion

YEAR_S = 31_536_000


def seconds_text(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


def hint_headers(occasion: Occasion, hint: str) -> str:
    """The header lines of a named hint, for a wait of `retry_after_s`."""
    wait_s = occasion.config.retry_after_s
    text = seconds_text(wait_s)
    until = http_date(int(occasion.call.now) + max(1, math.ceil(wait_s)))
    return {
        "openai": (
            f"retry-after-ms: {math.ceil(wait_s * 1000)}\r\nretry-after: {max(1, math.ceil(wait_s))}\r\n"
        ),
        "ms": f"retry-after-ms: {math.ceil(wait_s * 1000)}\r\n",
        "seconds": f"retry-after: {text}\r\n",
        "date": f"retry-after: {until}\r\n",
        "litellm": f"llm_provider-retry-after: {text}\r\n",
        "reset": (
            "x-ratelimit-limit-requests: 500\r\nx-ratelimit-remaining-requests: 0\r\n"
            f"x-ratelimit-reset-requests: {reset_text(wait_s * 500)}\r\n"
        ),
        "daily": f"retry-after: {seconds_text(occasion.config.daily_wait_s)}\r\n",
        "zero": "retry-after: 0\r\n",
        "negative": "retry-after: -1\r\n",
        "nan": "retry-after: nan\r\n",
        "infinite": "retry-after: 1e999\r\n",
        "year": f"retry-after: {YEAR_S}\r\n",
        "garbage": "retry-after: soon, hopefully\r\n",
        "none": "",
    }[hint]


def _throttle(
    occasion: Occasion,
    *,
    hint: str,
    status: int = 429,
    kind: str = "requests",
    code: str | None = "rate_limit_exceeded",
    message: str = "Rate limit reached for {model} in organization org-simulated on requests per min (RPM).",
) -> Delivery:
    text = message.replace("{model}", occasion.call.model)
    text = text.replace("{wait}", f"{math.ceil(occasion.config.retry_after_s * 1000)}ms")
    return occasion.reply(status, error_body(text, kind, code), headers=hint_headers(occasion, hint))


def _passing(name: str, description: str, line: str, *, odd: str | None = None, **how: object) -> Mode:
    return Mode(name, description, False, line, False, partial(_throttle, **how), odd_reply=odd)  # type: ignore[arg-type]


def _lasting(name: str, description: str, line: str, **how: object) -> Mode:
    return Mode(name, description, False, line, True, partial(_throttle, **how))  # type: ignore[arg-type]


_RATE = lines.RATE_LIMIT
_ODD = lines.RETRY_AFTER_ODD
_DAILY = "Rate limit reached for {model} on requests per day (RPD): Limit 10000, Used 10000, Requested 1."
_TOO_LARGE = (
    "Request too large for {model} in organization org-simulated on tokens per min (TPM): "
    "Limit 30000, Requested 45211. The input or output tokens must be reduced in order to run successfully."
)

THROTTLES: tuple[Mode, ...] = (
    _passing("rate_limit", "429 with OpenAI's hints: retry-after-ms and retry-after", _RATE, hint="openai"),
    _passing("rate_limit_ms", "429 with retry-after-ms only", _RATE, hint="ms"),
    _passing("rate_limit_seconds", "429 with retry-after in seconds, fractions too", _RATE, hint="seconds"),
    _passing("rate_limit_date", "429 with retry-after as an HTTP date", _RATE, hint="date"),
    _passing(
        "rate_limit_reset",
        "429 with remaining 0 and x-ratelimit-reset-requests until full",
        _RATE,
        hint="reset",
    ),
    _passing(
        "rate_limit_message",
        '429 with "try again in 20ms" in the message only',
        _RATE,
        hint="none",
        message="Rate limit reached for {model}. Please try again in {wait}.",
    ),
    _passing("rate_limit_no_hint", "429 without any hint", _RATE, hint="none"),
    _passing(
        "rate_limit_litellm",
        "LiteLLM's 429 with llm_provider-retry-after",
        _RATE,
        hint="litellm",
        message="litellm.RateLimitError: RateLimitError: OpenAIException - rate limited",
        kind="throttling_error",
        code="429",
    ),
    _passing(
        "rate_limit_litellm_bare",
        "LiteLLM's 429 of type internal_server_error, without Retry-After",
        _RATE,
        hint="none",
        kind="internal_server_error",
        code="429",
        odd=lines.LITELLM_429,
        message="No deployments available for selected model. Passed model={model}",
    ),
    _passing("rate_limit_retry_after_zero", "429 with retry-after 0", _RATE, hint="zero", odd=_ODD),
    _passing("rate_limit_retry_after_negative", "429 with retry-after -1", _RATE, hint="negative", odd=_ODD),
    _passing("rate_limit_retry_after_nan", "429 with retry-after nan", _RATE, hint="nan", odd=_ODD),
    _passing(
        "rate_limit_retry_after_infinite", "429 with retry-after 1e999", _RATE, hint="infinite", odd=_ODD
    ),
    _passing(
        "rate_limit_retry_after_garbage",
        "429 with retry-after that is no time",
        _RATE,
        hint="garbage",
        odd=_ODD,
    ),
    _passing(
        "rate_limit_retry_after_year", "429 with retry-after of a year", lines.DAILY, hint="year", odd=_ODD
    ),
    _passing(
        "daily_limit",
        "429 of a daily limit, retry-after `daily_wait_s`",
        lines.DAILY,
        hint="daily",
        message=_DAILY,
    ),
    _passing(
        "payment_required_retry",
        "402 with Retry-After",
        _RATE,
        hint="seconds",
        status=402,
        kind="rate_limit",
        message="Requests are temporarily limited by your payment plan.",
    ),
    _lasting("throttled_for_ever", "429 for this content on every attempt", lines.THROTTLED, hint="openai"),
    _lasting(
        "exceeds_tpm",
        "429 because one request is larger than the limit",
        lines.EXCEEDS_LIMIT,
        hint="none",
        message=_TOO_LARGE,
        kind="tokens",
    ),
    _passing(
        "overloaded",
        "529",
        lines.OVERLOADED,
        hint="none",
        status=529,
        kind="overloaded_error",
        code=None,
        message="Overloaded",
    ),
    _passing(
        "unavailable_retry_after",
        "503 with Retry-After",
        lines.OVERLOADED,
        hint="seconds",
        status=503,
        kind="service_unavailable",
        code=None,
        message="The engine is currently overloaded.",
    ),
)
