"""How many requests may be in flight, found by trying: "auto".

- Starts at 4 and doubles per window of successes until the first sign of congestion, then grows by 1 per
  window of successes. A success counts only while at least 80 % of the window is in flight.
- x0.7 on 529, on 503 with Retry-After and on a burst of other 5xx; x0.5 on a burst of timeouts or resets.
- A fault that the row alone is to blame for cuts nothing.
- One cut per episode: answers to requests sent before the cut neither cut again nor grow it.
- When a larger window brings no more tokens a second (`blocks`): back to the one that was as fast, and no
  growth for 60 s.
- After an outage (`restart`): from 4 again, doubling up to the window before the trouble.

429s are not its business: cutting the window on them gave 22-44 % of the allowed rate in simulation.
Never below 1, never above the cap it was given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from batcher.policy import constants as c
from batcher.policy.blocks import Block, Blocks
from batcher.policy.burst import Burst
from batcher.policy.part import Part, Wait
from batcher.policy.verdict import KEEP, Effect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.policy.events import EventLog
    from batcher.policy.part import Observation
    from batcher.policy.suspects import Suspects
    from batcher.records import Request

_FULL: Final = Wait(math.inf, "concurrency")
_WINDOW: Final = "window"
_CUTS: Final = Effect.CUT_WINDOW | Effect.CUT_ON_BURST | Effect.HALVE_ON_BURST


class AutoWindow(Part):
    """`most`: the cap, >= 1 (file descriptors, or the user's); `suspects` was told each reply before."""

    def __init__(self, *, most: int, log: EventLog, suspects: Suspects | None = None) -> None:
        if most < 1:
            raise ValueError(f"the largest concurrency must be at least 1, got {most}")
        self.most = most
        self.limit = min(c.WINDOW_START, most)
        self.in_flight = 0
        self._log = log
        self._suspects = suspects
        self._slow_start_to = math.inf  # doubling below this, +1 from there on
        self._calm = self.limit  # the window before the latest trouble
        self._successes = 0
        self._cut_at = -math.inf
        self._grows_at = -math.inf
        self._faults = Burst(most)
        self._losses = Burst(most)
        self._blocks = Blocks(self.limit)
        self._out: dict[int, tuple[Block, int]] = {}
        self._needed = self.limit * c.WINDOW_USED_SHARE

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        return None if self.in_flight < self.limit else _FULL

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        self.in_flight += 1
        if self.in_flight >= self._needed:  # what is sent beside an idle window says nothing about its size
            self._out[request.row_index] = (self._blocks.current, self.in_flight)

    def on_done(self, now: float) -> None:  # noqa: ARG002
        if self.in_flight < 1:
            raise RuntimeError("an attempt ended that was never admitted")
        self.in_flight -= 1

    def on_unanswered(self, request: Request, now: float) -> None:  # noqa: ARG002
        self._out.pop(request.row_index, None)

    def on_reply(self, seen: Observation) -> None:
        sent = self._out.pop(seen.request.row_index, None)
        if seen.sent_at <= self._cut_at:
            return
        verdict = seen.verdict
        if verdict.action is not KEEP:
            if verdict.effects & _CUTS:
                self._troubled(verdict.effects, seen.received_at)
            return
        now = seen.received_at
        if self.in_flight >= self._needed and now >= self._grows_at:
            self._successes += 1
            if self._successes >= self.limit:
                self._grow(now)
        if sent is not None:
            self._measure(sent, seen)

    def restart(self, now: float) -> None:
        """The server is back: slow start, up to the window before the trouble."""
        if self._slow_start_to < math.inf:  # else it never met congestion, and doubles on
            self._slow_start_to = max(self._calm, self.limit)
        self._begin(min(c.WINDOW_START, self.most), now, "slow start after an outage")

    def holding(self, now: float) -> str | None:  # noqa: ARG002 - a full window is the normal state
        return None

    def state(self, now: float) -> Mapping[str, object]:
        doubling = self.limit < self._slow_start_to
        mode = "held" if now < self._grows_at else "slow start" if doubling else "growing"
        return {_WINDOW: {"limit": self.limit, "most": self.most, "in_flight": self.in_flight, "mode": mode}}

    # --- growth ---

    def _grow(self, now: float) -> None:
        self._successes = 0
        if self.limit >= self.most:
            return
        doubling = self.limit < self._slow_start_to
        wished = min(2 * self.limit, self._slow_start_to) if doubling else self.limit + 1
        self._set(int(min(self.most, wished)), now, "slow start" if doubling else "growth")
        self._blocks.grown(self.limit)

    def _measure(self, sent: tuple[Block, int], seen: Observation) -> None:
        block, in_flight = sent
        usage = seen.usage
        tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        block.add(tokens=tokens, spent_s=seen.received_at - seen.sent_at, in_flight=in_flight)
        if block.is_judged:
            return
        back_to = self._blocks.verdict(block)
        if back_to is not None and back_to < self.limit:
            self._slow_start_to = 0
            self._grows_at = seen.received_at + c.BLOCK_RETRY_S
            self._begin(back_to, seen.received_at, "no faster when larger")

    # --- cuts ---

    def _troubled(self, effects: Effect, now: float) -> None:
        if Effect.CUT_WINDOW in effects:
            self._cut(c.WINDOW_CUT, now, "overloaded")
        elif self._suspects is not None and self._suspects.latest_is_own:
            return
        elif Effect.HALVE_ON_BURST in effects and self._losses.add(now, window=self.limit):
            self._cut(c.WINDOW_HALVED, now, "burst of timeouts or resets")
        elif Effect.CUT_ON_BURST in effects and self._faults.add(now, window=self.limit):
            self._cut(c.WINDOW_CUT, now, "burst of server errors")

    def _cut(self, factor: float, now: float, reason: str) -> None:
        if now - self._cut_at > c.WINDOW_CALM_S:
            self._calm = self.limit
        self._slow_start_to = 0
        self._begin(max(1, int(self.limit * factor)), now, reason)

    def _begin(self, limit: int, now: float, reason: str) -> None:
        """Go on from a smaller window: a new episode, nothing sent before it counts any more."""
        self._cut_at = now
        self._successes = 0
        self._faults.forget()
        self._losses.forget()
        self._set(limit, now, reason)
        self._blocks.restart(limit)

    def _set(self, limit: int, now: float, reason: str) -> None:
        if limit != self.limit:
            self._log.tell(now, _WINDOW, reason, old=self.limit, new=limit)
        self.limit = limit
        self._needed = limit * c.WINDOW_USED_SHARE
