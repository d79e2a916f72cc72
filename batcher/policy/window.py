"""How many requests may be in flight when a person said so. And the part that lets nothing more out at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.policy import constants as c
from batcher.policy.part import Part, Wait
from batcher.policy.verdict import KEEP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.policy.part import Observation
    from batcher.records import Request

_FULL: Final = Wait(math.inf, "concurrency")
_STOPPING: Final = Wait(math.inf, "stopping")


def most_in_flight(descriptors: int | None, *, most: int = c.WINDOW_MOST) -> int:
    """The largest window that the process can hold, >= 1: one connection each, some descriptors kept.

    Args:
        descriptors: the soft limit of open files; None: no limit.
        most: the largest window in any case.
    """
    if descriptors is None:
        return most
    return max(1, min(most, descriptors - c.DESCRIPTORS_KEPT))


class Window(Part):
    """At most `limit` requests in flight; a full window is the normal state and holds nothing back by
    name.

    With `gentle`, a window above 32 is filled over the first second after the canary, and after an outage it
    doubles from 4 per window of successes, like an automatic one.
    """

    def __init__(self, limit: int, *, gentle: bool = False) -> None:
        if limit < 1:
            raise ValueError(f"concurrency must be at least 1, got {limit}")
        self.limit = self.most = limit
        self.in_flight = 0
        self._sent = 0
        self._fills = gentle and limit > c.FILL_AT_ONCE
        self._filling_since = math.inf
        self._ramp = limit  # below `limit` only after an outage
        self._ramp_since = -math.inf
        self._successes = 0

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        if self.in_flight >= self._ramp:
            return _FULL
        return self._filling(now) if self._fills else None

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        self.in_flight += 1
        if self._fills:
            self._sent += 1
            if self._sent == 2:  # the canary went alone
                self._filling_since = now
            elif now >= self._filling_since + c.FILL_S:
                self._fills = False

    def on_done(self, now: float) -> None:  # noqa: ARG002
        if self.in_flight < 1:
            raise RuntimeError("an attempt ended that was never admitted")
        self.in_flight -= 1

    def on_reply(self, seen: Observation) -> None:
        if self._ramp >= self.limit or seen.sent_at <= self._ramp_since:
            return
        if seen.verdict.action is KEEP and self.in_flight >= c.WINDOW_USED_SHARE * self._ramp:
            self._successes += 1
            if self._successes >= self._ramp:
                self._successes, self._ramp = 0, min(self.limit, 2 * self._ramp)

    def restart(self, now: float) -> None:
        """The server is back: slow start, up to the pinned number."""
        self._ramp, self._ramp_since, self._successes = min(c.WINDOW_START, self.limit), now, 0

    def state(self, now: float) -> Mapping[str, object]:  # noqa: ARG002
        mode = "slow start" if self._ramp < self.limit else "pinned"
        return {
            "window": {"limit": self._ramp, "most": self.limit, "in_flight": self.in_flight, "mode": mode}
        }

    def _filling(self, now: float) -> Wait | None:
        since = min(self._filling_since, now)
        open_now = max(c.FILL_AT_ONCE, int(self.limit * (now - since) / c.FILL_S + 1e-6))
        if self.in_flight < open_now:
            return None
        return Wait(since + (self.in_flight + 1) * c.FILL_S / self.limit, "ramp")


class Stopping(Part):
    """Once closed, nothing is admitted any more."""

    def __init__(self) -> None:
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002
        return _STOPPING if self._closed else None

    def holding(self, now: float) -> str | None:  # noqa: ARG002
        return _STOPPING.reason if self._closed else None
