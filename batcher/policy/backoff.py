"""How long a row waits before its next attempt, and how long an attempt may take.

Without a hint: full jitter, ``rand(0, min(60 s, b x 2^n))``, which spreads a crowd best and is short for
the first retry. With a hint: never less than it, upward jitter only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batcher.policy.constants import (
    ATTEMPT_BASE_S,
    ATTEMPT_LEAST_S,
    ATTEMPT_TOKENS_PER_S,
    BACKOFF_FAULT_S,
    BACKOFF_MOST_S,
    BACKOFF_THROTTLED_S,
    HINT_JITTER_MOST_S,
    HINT_JITTER_SHARE,
    HINT_JITTER_START_S,
    STREAM_IDLE_S,
)
from batcher.policy.verdict import Charge

if TYPE_CHECKING:
    import random

    from batcher.policy.verdict import Verdict

_MOST_DOUBLINGS = 10
"""2^10 x 0.5 s is beyond the cap; more would only overflow."""


def wait_for(verdict: Verdict, *, nth: int, rng: random.Random) -> float:
    """Seconds the row waits before it asks for a slot again.

    Args:
        verdict: what ended the last attempt.
        nth: how many attempts of the row have failed in a row, from 1.
        rng: source of the jitter.
    """
    doubled = 2.0 ** min(max(nth - 1, 0), _MOST_DOUBLINGS)
    if verdict.wait_s is not None:
        spread = max(
            HINT_JITTER_SHARE * verdict.wait_s, min(HINT_JITTER_MOST_S, HINT_JITTER_START_S * doubled)
        )
        return verdict.wait_s + rng.uniform(0.0, spread)
    start = BACKOFF_THROTTLED_S if Charge.T in verdict.charges else BACKOFF_FAULT_S
    return rng.uniform(0.0, min(BACKOFF_MOST_S, start * doubled))


def attempt_timeout_s(max_tokens: int | None, *, timeout_s: float | None = None) -> float:
    """The deadline of one attempt in seconds: the user's, else max(600, 60 + max_tokens / 10)."""
    if timeout_s is not None:
        return timeout_s
    return max(ATTEMPT_LEAST_S, ATTEMPT_BASE_S + (max_tokens or 0) / ATTEMPT_TOKENS_PER_S)


def stream_idle_s(idle_timeout_s: float | None) -> float:
    """Seconds between two pieces of a stream: the user's, else 120."""
    return STREAM_IDLE_S if idle_timeout_s is None else idle_timeout_s
