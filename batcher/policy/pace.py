"""Requests and tokens per minute, as far as they are known: set by the user, or told by the server.

- Each limit is a continuous bucket with a burst of one request or 50 ms of its rate, whichever is more. Set by
  the user: 30 ms, so that no sliding window of a second or more that leaves here holds more than the limit + 3 %
  or one request, and none that arrives more than 5 %.
- The smaller of the user's and the server's limit counts; the server's is followed when it changes.
- Tokens have two buckets of the same rate. One is debited what a provider reserves (prompt estimate + max
  tokens) and credited back from `usage`. The other is debited what the request will likely use, and
  corrected by the difference; without it, credits that come together would leave together. It keeps the
  burst; the first one holds 2 s, or else whichever bucket waits for the other loses its refill: a third.
- A refused or unsent attempt gets its tokens back, an ambiguous one does not. Requests are never given back.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.policy import constants as c
from batcher.policy.bucket import Bucket
from batcher.policy.estimate import Estimate
from batcher.policy.part import Part, Wait
from batcher.policy.told_limits import ToldLimits
from batcher.policy.verdict import Paid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.policy.estimate import Weigher
    from batcher.policy.events import EventLog
    from batcher.policy.part import Observation
    from batcher.records import Request

REQUESTS: Final = "rate limit (requests/min)"
TOKENS: Final = "rate limit (tokens/min)"
_LEAST_STEP_S: Final = 1e-5


class _TokenBuckets:
    """The two buckets of one token limit; a debit is (reserved, likely) tokens."""

    def __init__(self, per_s: float, now: float, *, burst_s: float) -> None:
        self.reserved = Bucket(per_s, now, burst_s=c.RESERVED_BURST_S)
        self.likely = Bucket(per_s, now, burst_s=burst_s)

    def wait_s(self, debit: tuple[float, float], now: float) -> float:
        reserved, likely = debit
        return self.reserved.wait_s(reserved, now) or self.likely.wait_s(likely, now)

    def take(self, debit: tuple[float, float]) -> None:
        reserved, likely = debit
        self.reserved.take(reserved)
        self.likely.take(likely)

    def used(self, debit: tuple[float, float], actual: float) -> None:
        reserved, likely = debit
        self.reserved.give(reserved - actual, room=c.CREDITS_KEPT * reserved)
        self.likely.give(likely - actual)

    def change(self, per_s: float, now: float) -> None:
        self.reserved.change(per_s, now)
        self.likely.change(per_s, now)


class Pace(Part):
    """`requests_per_minute`, `tokens_per_minute`: the user's limits, > 0; None: none."""

    def __init__(
        self,
        *,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        now: float,
        log: EventLog,
        weigher: Weigher | None = None,
    ) -> None:
        for name, limit in (("requests", requests_per_minute), ("tokens", tokens_per_minute)):
            if limit is not None and not (limit > 0 and math.isfinite(limit)):
                raise ValueError(f"{name} per minute must be above 0, got {limit}")
        self._user = (requests_per_minute, tokens_per_minute)
        self._share = 1.0 if tokens_per_minute is None else c.SET_TOKENS_SHARE
        self._log = log
        self._told = ToldLimits()
        self._read_again_at = -math.inf
        self._estimate = Estimate(weigher)
        self._requests: Bucket | None = None
        self._tokens: _TokenBuckets | None = None
        self._debits: dict[int, tuple[float, float]] = {}
        self._next: tuple[Request, tuple[float, float]] | None = None  # of the latest `ask`, for its `commit`
        self._apply(now, "set by the user")

    @property
    def is_known(self) -> bool:
        """Whether any limit is known."""
        return self._requests is not None or self._tokens is not None

    def ask(self, request: Request, now: float) -> Wait | None:
        if self._requests is not None:
            wait_s = self._requests.wait_s(1.0, now)
            if wait_s:
                return Wait(now + max(wait_s, _LEAST_STEP_S), REQUESTS)
        if self._tokens is not None:
            debit = self._estimate.of(request)
            wait_s = self._tokens.wait_s(debit, now)
            if wait_s:
                return Wait(now + max(wait_s, _LEAST_STEP_S), TOKENS)
            self._next = (request, debit)
        return None

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002 - the protocol's form
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            asked = self._next
            debit = asked[1] if asked and asked[0] is request else self._estimate.of(request)
            self._tokens.take(debit)
            self._debits[request.row_index] = debit

    def on_reply(self, seen: Observation) -> None:
        # Not every reply: looking through its headers costs as much as all else here.
        if seen.headers and seen.received_at >= self._read_again_at:
            self._read_again_at = seen.received_at + c.TOLD_APART_S
            if self._told.read(seen.headers, sent_at=seen.sent_at):
                self._apply(seen.received_at, "told by the server")
        if self._tokens is not None:
            self._settle(self._tokens, seen)

    def on_unanswered(self, request: Request, now: float) -> None:  # noqa: ARG002
        self._debits.pop(request.row_index, None)

    def holding(self, now: float) -> str | None:
        if self._requests is not None and self._requests.wait_s(1.0, now):
            return REQUESTS
        if self._tokens is not None and self._tokens.wait_s((1.0, 1.0), now):
            return TOKENS
        return None

    def state(self, now: float) -> Mapping[str, object]:  # noqa: ARG002
        return {
            "limits": {
                "requests_per_minute": None if self._requests is None else self._requests.per_s * 60,
                "tokens_per_minute": self._tokens_per_minute,
                "told_by_server": {"requests": self._told.requests, "tokens": self._told.tokens},
            }
        }

    @property
    def _tokens_per_minute(self) -> float | None:
        """The limit, of which `_share` is used; None: none is known."""
        return None if self._tokens is None else self._tokens.reserved.per_s * 60 / self._share

    def _settle(self, tokens: _TokenBuckets, seen: Observation) -> None:
        usage = seen.usage
        self._estimate.learn(seen.request, usage)
        debit = self._debits.pop(seen.request.row_index, None)
        if debit is None:
            return
        if usage.prompt_tokens is not None and usage.completion_tokens is not None:
            tokens.used(debit, usage.prompt_tokens + usage.completion_tokens)
        elif seen.verdict.paid is Paid.NO:
            tokens.used(debit, 0.0)

    def _apply(self, now: float, reason: str) -> None:
        requests = _smaller(self._user[0], self._told.requests)
        tokens = _smaller(self._user[1], self._told.tokens)
        if requests is not None:
            old = None if self._requests is None else self._requests.per_s * 60
            if self._requests is None:
                self._requests = Bucket(requests / 60, now, burst_s=_burst_s(self._user[0]))
            else:
                self._requests.change(requests / 60, now)
            self._tell(now, f"requests/min {reason}", old, requests)
        if tokens is not None:
            old = None if self._tokens is None else self._tokens_per_minute
            if self._tokens is None:
                self._tokens = _TokenBuckets(self._share * tokens / 60, now, burst_s=_burst_s(self._user[1]))
            else:
                self._tokens.change(self._share * tokens / 60, now)
            self._tell(now, f"tokens/min {reason}", old, tokens)

    def _tell(self, now: float, reason: str, old: float | None, new: float) -> None:
        if old is None or not math.isclose(old, new):
            self._log.tell(now, "pace", reason, old=old, new=new)


def _burst_s(user_limit: float | None) -> float:
    return c.PACE_BURST_S if user_limit is None else c.SET_BURST_S


def _smaller(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
