"""The pace where nobody tells the limit: found by being refused.

- Until the first 429 there is none: the window's slow start is the ramp, so a short run is not held back.
- A refusal cuts: to 0.92 x the rate that was let through in the last second of open gate. One cut per
  episode: refusals of requests sent before the cut, or within 2 s after it, cut nothing.
- A flood need not last 2 s: the share refused x the seconds since the cut reaches 0.1.
- Refused again, before it was raised: 0.96 x the rate let through since the cut. The server's
  bucket was empty at both ends of that span, so this is its refill, however deep it is.
- Held 10 s, then raised by 1, 2, 4, 8, 8 ... % a second until the next refusal, while it is used.

"Let through" is sent and not refused so far. Cutting by the rate *sent* took 20 cuts to come down from a slow
start that had doubled past the limit. The cool-downs run on the caller's clock, whatever the gate does.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from batcher.policy import constants as c
from batcher.policy.bucket import Bucket
from batcher.policy.part import Part, Wait
from batcher.policy.verdict import KEEP, Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.policy.events import EventLog
    from batcher.policy.part import Observation
    from batcher.records import Request

PACED: Final = "rate limit (found)"
_LEAST_STEP_S: Final = 1e-5


class _Traffic:
    """Requests let through, per 50 ms of open gate, over the last second and a bit."""

    def __init__(self) -> None:
        self._cells: deque[list[float]] = deque()  # [cell number, let through]
        self._begun = math.inf

    def sent(self, at: float) -> None:
        cell = at // c.FOUND_CELL_S
        cells = self._cells
        if cells and cells[-1][0] == cell:
            cells[-1][1] += 1.0
            return
        if not cells:
            self._begun = min(self._begun, at)
        cells.append([cell, 1.0])
        while cells[0][0] < cell - c.FOUND_LOOK_BACK_S / c.FOUND_CELL_S:
            cells.popleft()

    def refused(self) -> None:
        if self._cells:
            self._cells[-1][1] -= 1.0

    def per_s(self, at: float, span_s: float) -> float:
        """The rate over the last `span_s` seconds (or since the beginning, at least a cell), >= 0."""
        first = (at - span_s) // c.FOUND_CELL_S
        through = sum(count for cell, count in self._cells if cell >= first)
        return max(0.0, through) / max(c.FOUND_CELL_S, min(span_s, at - self._begun))


class FoundPace(Part):
    """Attributes:
    shut_s: seconds that the gate has been shut until a time, for the clock of open gate.
    """

    def __init__(self, *, log: EventLog, shut_s: Callable[[float], float] = lambda _: 0.0) -> None:
        self.shut_s = shut_s
        self._log = log
        self._bucket: Bucket | None = None
        self._traffic = _Traffic()
        self._cut_at = -math.inf
        self._cut_open = -math.inf  # the same on the clock of open gate
        self._refused = 0  # of the requests sent since the cut
        self._through = 0  # sent since the cut, and not refused so far
        self._raises = 0
        self._raise_at = math.inf

    @property
    def per_s(self) -> float | None:
        """Requests a second; None before the first refusal."""
        return None if self._bucket is None else self._bucket.per_s

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        if self._bucket is None:
            return None
        if now >= self._raise_at:
            self._raise(now)
        wait_s = self._bucket.wait_s(1.0, now)
        return Wait(now + max(wait_s, _LEAST_STEP_S), PACED) if wait_s else None

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        self._traffic.sent(now - self.shut_s(now))
        if self._bucket is not None:
            self._bucket.take(1.0)
            self._through += 1

    def on_reply(self, seen: Observation) -> None:
        verdict = seen.verdict
        # The action first: asking a Flag costs 0.5 µs, and nearly all replies are answers.
        if verdict.action is KEEP or Effect.CUT_PACE not in verdict.effects:
            return
        now = seen.received_at
        self._traffic.refused()
        if seen.sent_at <= self._cut_at:
            return
        self._through -= 1
        self._refused += 1
        since_s = now - self._cut_at
        if since_s >= c.FOUND_AGAIN_S or self._is_flood(since_s):
            self._cut(now)

    def holding(self, now: float) -> str | None:
        held = self._bucket is not None and self._bucket.wait_s(1.0, now) > 0.0
        return PACED if held else None

    def state(self, now: float) -> Mapping[str, object]:  # noqa: ARG002
        return {"pace": {"requests_per_minute": None if self._bucket is None else self._bucket.per_s * 60}}

    def _cut(self, now: float) -> None:
        open_now = now - self.shut_s(now)
        if self._bucket is None:
            old = None
            per_s = c.FOUND_CUT * self._traffic.per_s(open_now, c.FOUND_FIRST_LOOK_BACK_S)
            reason = "first refusal"
        else:
            old = self._bucket.per_s
            if self._raises == 0:
                per_s = c.FOUND_CUT_AGAIN * self._through_since_cut(now, open_now, old)
                reason = "refused again"
            else:
                per_s = c.FOUND_CUT * self._traffic.per_s(open_now, c.FOUND_LOOK_BACK_S)
                reason = "refused"
            # Nothing came through: half as fast, not at once nothing. And a cut never raises.
            per_s = min(per_s or old / 2, old * c.FOUND_CUT_AGAIN)
        self._set(max(per_s, c.FOUND_LEAST_PER_S), now, reason, old)
        self._cut_at, self._cut_open = now, open_now
        self._through = self._refused = 0
        self._raises, self._raise_at = 0, now + c.FOUND_HOLD_S

    def _is_flood(self, since_s: float) -> bool:
        if since_s < c.FOUND_FLOOD_LEAST_S or self._refused < c.FOUND_FLOOD_LEAST:
            return False
        return since_s * self._refused >= c.FOUND_FLOOD_S * (self._through + self._refused)

    def _through_since_cut(self, now: float, open_now: float, old: float) -> float:
        """The server's refill: let through since the cut, per second.

        While the gate was shut, a deep bucket filled and a shallow one did not: the truth lies between the
        rates by either clock. When it was hardly open, nothing was measured: a fixed cut.
        """
        open_s = open_now - self._cut_open
        if open_s < c.FOUND_EVIDENCE_S:
            return c.FOUND_BLIND_CUT * old
        through = max(0, self._through)
        by_clock = through / (now - self._cut_at)
        by_open_gate = through / open_s
        return min(by_open_gate, max(by_clock, min(old, c.FOUND_DOUBT * by_clock)))

    def _raise(self, now: float) -> None:
        assert self._bucket is not None
        self._raise_at = now + 1.0
        old = self._bucket.per_s
        if self._traffic.per_s(now - self.shut_s(now), c.FOUND_LOOK_BACK_S) < c.FOUND_USED_SHARE * old:
            return
        share = c.FOUND_RAISES[min(self._raises, len(c.FOUND_RAISES) - 1)]
        self._raises += 1
        self._set(old * (1 + share), now, "raised", old)

    def _set(self, per_s: float, now: float, reason: str, old: float | None) -> None:
        if self._bucket is None:
            self._bucket = Bucket(per_s, now)
        else:
            self._bucket.change(per_s, now)
        self._log.tell(now, "pace", reason, old=None if old is None else old * 60, new=per_s * 60)
