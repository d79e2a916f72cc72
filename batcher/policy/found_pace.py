"""The pace where nobody tells the limit: found by being refused.

- Until the first cut there is none: the window's slow start is the ramp, so a short run is not held back. It
  comes when more than a tenth is refused (`excess`), or when refusals go on for 5 s and 300 requests: to 0.92 x
  the rate let through in the time of one answer. Slow start goes on from there, paced: +50 % a second.
- From then on a refusal cuts: to 0.92 x the rate that was let through in the last second of open gate. One cut
  per episode: refusals of requests sent before the cut, or within 2 s after it, cut nothing.
- A flood need not last 2 s: the share refused x the seconds since the cut reaches 0.1.
- Refused again, before it was raised: 0.96 x the rate let through since the cut. The server's
  bucket was empty at both ends of that span, so this is its refill, however deep it is.
- Held 10 s, then raised by 1, 2, 4, 8, 8 ... % a second until the next refusal, while it is used.
- Cuts that do not help (`vain_cuts`) are given back, and the share refused is borne for 60 s: what is refused
  beyond it (`excess`) cuts. Back to the rate before, and on from there by +50 % a second until a cut.

"Let through" is sent and not refused so far. Cutting by the rate *sent* took 20 cuts to come down from a slow
start that had doubled past the limit. The cool-downs run on the caller's clock, whatever the gate does.
Without the last rule 2 % refused by one busy backend of many brought a run to a twentieth of its speed.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from batcher.policy import constants as c
from batcher.policy.bucket import Bucket
from batcher.policy.excess import Excess
from batcher.policy.part import Part, Wait
from batcher.policy.vain_cuts import VainCuts
from batcher.policy.verdict import KEEP, Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.policy.events import EventLog
    from batcher.policy.part import Observation
    from batcher.records import Request

PACED: Final = "rate limit (found)"
_LEAST_STEP_S: Final = 1e-5


class _Traffic:
    """Requests let through, per 50 ms of open gate, over the last 4 seconds and a bit."""

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
        while cells[0][0] < cell - c.FOUND_FIRST_MOST_S / c.FOUND_CELL_S:
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
    borne: share of the requests that is refused at any rate, as far as is known; 0: none.
    """

    def __init__(self, *, log: EventLog, shut_s: Callable[[float], float] = lambda _: 0.0) -> None:
        self.shut_s = shut_s
        self.borne = 0.0
        self._log = log
        self._bucket: Bucket | None = None
        self._traffic = _Traffic()
        self._latency_s = 0.0  # running mean of the answers
        self._excess = Excess(c.FOUND_START_SHARE)
        self._series = VainCuts(math.inf, -math.inf)
        self._first_at = math.inf  # the first refusal
        self._cut_at = -math.inf
        self._cut_open = -math.inf  # the same on the clock of open gate
        self._refused = 0  # of the requests sent since the cut, or the first refusal
        self._through = 0  # sent since then, and not refused so far
        self._raises = 0
        self._raise_at = math.inf
        self._is_ramp = False  # raised quickly: no limit was met since
        self._borne_until = -math.inf

    @property
    def per_s(self) -> float | None:
        """Requests a second; None before the first cut."""
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
        self._excess.sent()
        self._through += 1
        if self._bucket is not None:
            self._bucket.take(1.0)

    def on_reply(self, seen: Observation) -> None:
        verdict = seen.verdict
        # The action first: asking a Flag costs 0.5 µs, and nearly all replies are answers.
        if verdict.action is KEEP:
            self._latency_s += (seen.received_at - seen.sent_at - self._latency_s) / c.FOUND_LATENCY_MEMORY
        elif Effect.CUT_PACE in verdict.effects:
            self._traffic.refused()
            if seen.sent_at > self._cut_at:
                self._on_refusal(seen.received_at)

    def holding(self, now: float) -> str | None:
        held = self._bucket is not None and self._bucket.wait_s(1.0, now) > 0.0
        return PACED if held else None

    def state(self, now: float) -> Mapping[str, object]:  # noqa: ARG002
        per_minute = None if self._bucket is None else self._bucket.per_s * 60
        return {"pace": {"requests_per_minute": per_minute, "refused_at_any_rate": self.borne}}

    # --- refusals ---

    def _on_refusal(self, now: float) -> None:
        if self._bucket is None and self._first_at == math.inf:
            self._first_at = now
            self._refused, self._through = 0, 1
        self._refused += 1
        self._through -= 1
        self._excess.refused()
        if self.borne and now >= self._borne_until:
            self._judge_again(now)
        if self._bucket is None:
            if self._excess.is_too_much or self._persists(now):
                self._cut_first(now)
        elif self.borne:
            if self._excess.is_too_much:
                self._cut(self._bucket.per_s, now)
        elif self._is_due(now - self._cut_at):
            sent = self._refused + self._through
            if self._raises == 0 and self._series.are_vain(
                self._bucket.per_s, refused=self._refused, sent=sent
            ):
                self._give_back(self._bucket.per_s, now)
            else:
                self._cut(self._bucket.per_s, now)

    def _persists(self, now: float) -> bool:
        sent = self._refused + self._through
        return now - self._first_at >= c.FOUND_START_S and sent >= c.FOUND_START_LEAST

    def _is_due(self, since_s: float) -> bool:
        if since_s >= c.FOUND_AGAIN_S:
            return True
        if since_s < c.FOUND_FLOOD_LEAST_S or self._refused < c.FOUND_FLOOD_LEAST:
            return False
        return since_s * self._refused >= c.FOUND_FLOOD_S * (self._through + self._refused)

    # --- cuts ---

    def _cut_first(self, now: float) -> None:
        """To the rate of one answer's time: slow start opens the window in lumps, and a lump tells no rate."""
        open_now = now - self.shut_s(now)
        if self._excess.is_too_much:
            span_s = min(c.FOUND_FIRST_MOST_S, max(c.FOUND_FIRST_LOOK_BACK_S, self._latency_s))
            rate = self._traffic.per_s(open_now, span_s)
            while span_s < c.FOUND_FIRST_MOST_S and rate * span_s < c.FOUND_FIRST_LEAST:
                span_s = min(c.FOUND_FIRST_MOST_S, 2 * span_s)
                rate = self._traffic.per_s(open_now, span_s)
        else:
            since = self._through / (now - self._first_at)
            rate = max(since, self._traffic.per_s(open_now, c.FOUND_LOOK_BACK_S))
        rate = max(rate, c.FOUND_LEAST_PER_S)
        self._series = VainCuts(rate, now)
        self._change(c.FOUND_CUT * rate, now, "first refusal", None)
        self._begin(now, raise_in_s=1.0, is_ramp=True)

    def _cut(self, old: float, now: float) -> None:
        open_now = now - self.shut_s(now)
        if self._raises == 0:
            through = self._through_since_cut(now, open_now, old)
            self._count_again(through, now, open_now)
            per_s, reason = c.FOUND_CUT_AGAIN * through, "refused again"
        else:
            per_s, reason = c.FOUND_CUT * self._traffic.per_s(open_now, c.FOUND_LOOK_BACK_S), "refused"
            self._series.raised()
            if self._series.is_over(old, now):
                self._series = VainCuts(old, now)
        # What is borne is sent, too. Nothing came through: half as fast, not at once nothing. A cut never raises.
        per_s = min(per_s / (1.0 - self.borne) or old / 2, old * c.FOUND_CUT_AGAIN)
        self._change(per_s, now, reason, old)
        self._begin(now, raise_in_s=c.FOUND_HOLD_S, is_ramp=False)

    def _count_again(self, through: float, now: float, open_now: float) -> None:
        sent = self._refused + self._through
        self._series.cut_again(
            refused=self._refused, sent=sent, span_s=now - self._cut_at, open_s=open_now - self._cut_open
        )
        if sent >= c.VAIN_EVIDENCE and self._refused > c.VAIN_SHARE_MOST * sent:
            self._series = VainCuts(through, now)

    def _begin(self, now: float, *, raise_in_s: float, is_ramp: bool) -> None:
        """Another pace: what was sent before tells nothing about it."""
        self._cut_at, self._cut_open = now, now - self.shut_s(now)
        self._through = self._refused = 0
        self._excess.forget()
        self._raises, self._raise_at = 0, now + raise_in_s
        self._is_ramp = is_ramp

    # --- refusals that the rate does not cause ---

    def _give_back(self, old: float, now: float) -> None:
        share = self._series.share(refused=self._refused, sent=self._refused + self._through)
        self.borne = max(c.BORNE_LEAST, share)
        self._borne_until = now + c.BORNE_S
        self._excess.borne = c.BORNE_TIMES * self.borne + c.BORNE_MARGIN
        reason = f"{max(1, round(100 * share))}% refused at any rate: given back"
        self._change(max(old, self._series.per_s), now, reason, old)
        self._begin(now, raise_in_s=1.0, is_ramp=True)

    def _judge_again(self, now: float) -> None:
        """What was borne may have another cause by now."""
        self.borne = 0.0
        self._excess.borne = c.FOUND_START_SHARE
        if self._bucket is not None:
            self._series = VainCuts(self._bucket.per_s, now)

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
        old = self._bucket.per_s
        self._raise_at = now + max(1.0, c.FOUND_TOLD_PER_S / old)
        used = self._traffic.per_s(now - self.shut_s(now), c.FOUND_LOOK_BACK_S)
        # Of a pace below 2 a second, a second tells nothing.
        if used < c.FOUND_USED_SHARE * old and old >= c.FOUND_TOLD_PER_S:
            return
        share = c.FOUND_RAISES[min(self._raises, len(c.FOUND_RAISES) - 1)]
        self._raises += 1
        self._change(old * (1 + (c.FOUND_RAMP if self._is_ramp else share)), now, "raised", old)

    def _change(self, per_s: float, now: float, reason: str, old: float | None) -> None:
        per_s = max(per_s, c.FOUND_LEAST_PER_S)
        if self._bucket is None:
            self._bucket = Bucket(per_s, now)
        else:
            self._bucket.change(per_s, now)
        self._log.tell(now, "pace", reason, old=None if old is None else old * 60, new=per_s * 60)
