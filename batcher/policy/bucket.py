"""A continuous token bucket that may run into debt by one request.

It holds 50 ms of its rate unless told otherwise. A request goes when the bucket holds as much as it needs, or
is full; what it needs beyond that is debt. So the most that can leave within any span T is rate x T + max(50
ms of the rate, one request): the burst of the rules, for requests of every size. Never refilled by a clock
that goes back.
"""

from __future__ import annotations

from batcher.policy.constants import PACE_BURST_S

_ROUNDING_S = 1e-6
"""By so much of its refill a bucket may fall short: a wait must end, and floats of a clock have an error."""


class Bucket:
    """`per_s` units a second, > 0, and room for `burst_s` of it; full at first."""

    __slots__ = ("_at", "_burst_s", "_level", "_most", "per_s")

    def __init__(self, per_s: float, now: float, *, burst_s: float = PACE_BURST_S) -> None:
        self.per_s = per_s
        self._burst_s = burst_s
        self._most = per_s * burst_s
        self._level = self._most
        self._at = now

    def wait_s(self, need: float, now: float) -> float:
        """Seconds until a request of that need may go; 0: now. Changes nothing that is seen."""
        if now > self._at:
            if self._level < self._most:
                level = self._level + (now - self._at) * self.per_s
                self._level = level if level < self._most else self._most
            self._at = now
        short = (need if need < self._most else self._most) - self._level
        wait = short / self.per_s
        return wait if wait > _ROUNDING_S else 0.0

    def take(self, need: float) -> None:
        """Debit a request that `wait_s` let go at this time."""
        self._level -= need

    def give(self, units: float, *, room: float = 0.0) -> None:
        """Credit what was debited and not used; a negative number debits what was used beyond it.

        Args:
            units: how much.
            room: how far beyond full the credit may lift the level.
        """
        most = self._most + room
        level = self._level + units
        self._level = level if level < most else max(self._level, most)

    def change(self, per_s: float, now: float) -> None:
        """Go on at another rate; a debt stays the debt it is."""
        self.wait_s(0.0, now)
        self.per_s = per_s
        self._most = per_s * self._burst_s
        self._level = min(self._level, self._most)
