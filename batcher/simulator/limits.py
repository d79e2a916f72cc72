"""Pure: the simulated provider's rate limits as continuous token buckets, and OpenAI's way to tell their
state.

`now` is passed in. A changed limit keeps its bucket's level, so that no change is a gift. A request larger
than a bucket passes when the bucket is full (the level goes below
zero), and one larger than a whole minute's tokens never passes, as at OpenAI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Verdict(NamedTuple):
    """Attributes:
    admitted: the request may be served; the buckets are debited.
    wait_s: when refused, the seconds until it would fit.
    too_large: it never fits.
    limited_by: "requests" or "tokens"; of an admitted request meaningless.
    """

    admitted: bool
    wait_s: float = 0.0
    too_large: bool = False
    limited_by: str = "requests"


@dataclass(slots=True)
class Bucket:
    """`rate` units a second, at most `capacity` at once; `level` may be negative down to one request's
    need.
    """

    rate: float
    capacity: float
    level: float
    at: float

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + self.rate * max(0.0, now - self.at))
        self.at = now

    def follow(self, earlier: Bucket, now: float) -> None:
        """Take the level of the bucket over that this one replaces, as far as there is room for it."""
        earlier.refill(now)
        self.level, self.at = min(self.capacity, earlier.level), now

    def wait_for(self, need: float) -> float:
        return max(0.0, (min(need, self.capacity) - self.level) / self.rate)

    def until_full(self) -> float:
        return max(0.0, (self.capacity - self.level) / self.rate)


class RateLimits:
    """All limits together: nothing is debited unless all admit."""

    def __init__(
        self, *, rpm: float | None, rps: float | None, tpm: float | None, burst_s: float, now: float
    ) -> None:
        self._rpm = rpm if rpm is not None else rps * 60 if rps is not None else None
        self._tpm = tpm
        rates = [rate for rate in (rps, rpm / 60 if rpm is not None else None) if rate is not None]
        self._requests = [_full_bucket(rate, burst_s, now) for rate in rates]
        self._tokens = _full_bucket(tpm / 60, burst_s, now) if tpm is not None else None

    @property
    def active(self) -> bool:
        return bool(self._requests) or self._tokens is not None

    def admit(self, now: float, tokens: int) -> Verdict:
        """Debit one request of `tokens` (prompt and most completion tokens), or say how long until it
        fits.
        """
        if self._tpm is not None and tokens > self._tpm:
            return Verdict(admitted=False, too_large=True, limited_by="tokens")
        needs = [(bucket, 1.0, "requests") for bucket in self._requests]
        needs += [(self._tokens, float(tokens), "tokens")] if self._tokens is not None else []
        waits = []
        for bucket, need, name in needs:
            bucket.refill(now)
            waits.append((bucket.wait_for(need), name))
        wait_s, name = max(waits, default=(0.0, "requests"))
        if wait_s > 1e-9:
            return Verdict(admitted=False, wait_s=wait_s, limited_by=name)
        for bucket, need, _ in needs:
            bucket.level -= need
        return Verdict(admitted=True)

    def credit(self, now: float, tokens: int) -> None:
        """Give tokens back that were taken and not used."""
        if self._tokens is not None:
            self._tokens.refill(now)
            self._tokens.level = min(self._tokens.capacity, self._tokens.level + tokens)

    def follow(self, earlier: RateLimits, now: float) -> None:
        """Take over the levels of the limits that this object replaces; a limit that is new stays full."""
        if len(self._requests) == len(earlier._requests):
            for bucket, before in zip(self._requests, earlier._requests, strict=True):
                bucket.follow(before, now)
        if self._tokens is not None and earlier._tokens is not None:
            self._tokens.follow(earlier._tokens, now)

    def headers(self) -> str:
        """OpenAI's x-ratelimit-* lines, each ending in CRLF; reset is the time until the limit is full
        again.
        """
        told = [("requests", self._rpm, self._requests[-1] if self._requests else None)]
        told.append(("tokens", self._tpm, self._tokens))
        return "".join(
            f"x-ratelimit-limit-{name}: {limit:.0f}\r\n"
            f"x-ratelimit-remaining-{name}: {max(0, int(limit - bucket.capacity + bucket.level))}\r\n"
            f"x-ratelimit-reset-{name}: {reset_text(bucket.until_full())}\r\n"
            for name, limit, bucket in told
            if limit is not None and bucket is not None
        )


def _full_bucket(rate: float, burst_s: float, now: float) -> Bucket:
    capacity = max(1.0, rate * burst_s)
    return Bucket(rate, capacity, capacity, now)


def reset_text(seconds: float) -> str:
    """OpenAI's grammar (Go durations): `20ms`, `1.5s`, `6m0s`, `1h30m0s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
