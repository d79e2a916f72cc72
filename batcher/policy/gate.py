"""The gate that throttling closes for everybody, not only for the row that was refused.

- A refusal with a hint (Retry-After and its kin) closes it for that long, with upward jitter; the latest
opening time counts.
- A hint over 10 minutes, or a daily limit, parks the run: the same gate, under its own name, with
`parked_until` to announce.
- A refusal without a hint closes nothing while others succeed: the row backs off alone. When refusals
outnumber successes
  (at least 4 of the last 32) the gate closes for 0.25 s, doubled each time until something succeeds.
- On opening, for the first second, at most window/8 requests per 100 ms go out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.policy import constants as c
from batcher.policy.part import Part, Wait
from batcher.policy.verdict import Action, Charge

if TYPE_CHECKING:
    import random

    from batcher.policy.verdict import Verdict
    from batcher.records import Request

_RAMP = "ramp"
_PARKED = "parked"
_ROUNDING = 1e-4
"""Part of a step by which a clock may fall short of it: at epoch-sized times a float's own error is 2e-6
of a step."""


class Gate(Part):
    """Open at first. `concurrency` scales the ramp; `rng` gives the jitter."""

    def __init__(self, *, concurrency: int, rng: random.Random) -> None:
        self._rng = rng
        self._per_step = max(1, concurrency // c.RAMP_STEPS_PER_WINDOW)
        self._opens_at = -math.inf
        self._clear_at = -math.inf
        self._reason = ""
        self._released = 0
        self._parked_until = -math.inf
        self._refused = 0
        self._succeeded = 0
        self._blind_s = c.GATE_BLIND_S

    @property
    def parked_until(self) -> float:
        """When an announced parking ends; minus infinity when there was none."""
        return self._parked_until

    def ask(self, request: Request, now: float) -> Wait | None:  # noqa: ARG002 - the protocol's form
        if now >= self._clear_at:
            return None
        if now < self._opens_at:
            return Wait(self._opens_at, self._reason)
        step = int((now - self._opens_at) / c.RAMP_STEP_S + _ROUNDING)
        if self._released < (step + 1) * self._per_step:
            return None
        return Wait(self._opens_at + (step + 1) * c.RAMP_STEP_S, _RAMP)

    def commit(self, request: Request, now: float) -> None:  # noqa: ARG002
        if now < self._clear_at:
            self._released += 1

    def on_verdict(self, verdict: Verdict, now: float) -> None:
        if Charge.T not in verdict.charges:
            if verdict.action is Action.KEEP:
                self._succeeded += 1
                self._blind_s = c.GATE_BLIND_S
            return
        self._refused += 1
        reason = verdict.rule.replace("_", " ")
        if verdict.action is Action.PARK:
            self._parked_until = max(self._parked_until, now + (verdict.wait_s or c.PARK_UNKNOWN_S))
            self._close(self._parked_until, _PARKED)
        elif verdict.wait_s is not None:
            self._close(now + verdict.wait_s * (1 + self._rng.uniform(0.0, c.HINT_JITTER_SHARE)), reason)
        elif now >= self._opens_at and self._mostly_refused():
            self._close(now + self._blind_s * (1 + self._rng.uniform(0.0, c.HINT_JITTER_SHARE)), reason)
            self._blind_s = min(2 * self._blind_s, c.GATE_BLIND_MOST_S)

    def holding(self, now: float) -> str | None:
        if now < self._opens_at:
            return self._reason
        return _RAMP if now < self._clear_at else None

    def _close(self, until: float, reason: str) -> None:
        if until > self._opens_at:
            self._opens_at, self._clear_at = until, until + c.RAMP_S
            self._reason = reason
            self._released = 0

    def _mostly_refused(self) -> bool:
        while self._refused + self._succeeded > c.GATE_BLIND_OF_LAST:
            self._refused, self._succeeded = self._refused // 2, self._succeeded // 2
        return self._refused >= c.GATE_BLIND_LEAST and self._refused > self._succeeded
