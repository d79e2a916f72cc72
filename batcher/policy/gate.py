"""The gate that throttling closes for everybody, not only for the row that was refused.

- A refusal with a hint (Retry-After and its kin) closes it for that long, with upward jitter; the latest
opening time counts.
- Where the pace is found from refusals (`FoundPace`), single ones (`excess`: not beyond a third of what is sent)
close nothing: the row waits as long as it was told, the pace answers, and what was sent beside it is answered.
Closing for each of them, 2 % refused with a Retry-After of 5 s left a hundredth of the throughput.
- A hint over 10 minutes, or a daily limit, parks the run: the same gate, under its own name, with
`parked_until` to announce.
- A refusal without a hint closes nothing while others succeed: the row backs off alone. When refusals
outnumber successes
  (at least 4 of the last 32) the gate closes for 0.25 s, doubled each time until something succeeds.
- On opening, for as long as it was shut and at most a second, at most window/8 requests per 100 ms go
out, or what the known pace allows, if that is more: a server that says 20 ms does not cost a second.

Where the pace is found, it answers those without a hint, too: `blind` is off.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batcher.policy import constants as c
from batcher.policy.excess import Excess
from batcher.policy.part import Part, Wait
from batcher.policy.verdict import KEEP, Action, Charge

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from batcher.policy.events import EventLog
    from batcher.policy.verdict import Verdict
    from batcher.records import Request

_RAMP = "ramp"
_PARKED = "parked"
_ROUNDING = 1e-4
"""Part of a step by which a clock may fall short of it: at epoch-sized times a float's own error is 2e-6
of a step."""


class Gate(Part):
    """Open at first. `rng` gives the jitter.

    Args:
        window: the present window; scales the ramp.
        pace: the known requests a second, or None.
        blind: whether it is alone with refusals: all with a hint close it, and those without when they outnumber
            successes.
        borne: the share that is refused at any rate.
    """

    def __init__(
        self,
        *,
        window: Callable[[], int],
        rng: random.Random,
        pace: Callable[[], float | None] = lambda: None,
        blind: bool = True,
        borne: Callable[[], float] = lambda: 0.0,
        log: EventLog | None = None,
    ) -> None:
        self._window = window
        self._pace = pace
        self._blind = blind
        self._borne = borne
        self._excess = Excess(c.GATE_LONE_SHARE)
        self._log = log
        self._rng = rng
        self._per_step = 1
        self._shut_s = 0.0
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
        self._excess.sent()
        if now < self._clear_at:
            self._released += 1

    def on_verdict(self, verdict: Verdict, now: float) -> None:
        if verdict.action is KEEP:
            self._succeeded += 1
            self._blind_s = c.GATE_BLIND_S
            return
        if Charge.T not in verdict.charges:
            return
        self._refused += 1
        self._excess.refused()
        reason = verdict.rule.replace("_", " ")
        if verdict.action is Action.PARK:
            self._parked_until = max(self._parked_until, now + (verdict.wait_s or c.PARK_UNKNOWN_S))
            self._close(self._parked_until, now, _PARKED)
        elif verdict.wait_s is not None and not self._is_lone():
            self._close(now + verdict.wait_s * (1 + self._rng.uniform(0.0, c.HINT_JITTER_SHARE)), now, reason)
        elif self._blind and now >= self._opens_at and self._mostly_refused():
            self._close(now + self._blind_s * (1 + self._rng.uniform(0.0, c.HINT_JITTER_SHARE)), now, reason)
            self._blind_s = min(2 * self._blind_s, c.GATE_BLIND_MOST_S)

    def _is_lone(self) -> bool:
        if self._blind or self._refused + self._succeeded < c.GATE_LONE_LEAST:
            return False
        self._excess.borne = max(c.GATE_LONE_SHARE, c.GATE_LONE_TIMES * self._borne())
        return not self._excess.is_too_much

    def holding(self, now: float) -> str | None:
        if now < self._opens_at:
            return self._reason
        return _RAMP if now < self._clear_at else None

    def shut_s(self, now: float) -> float:
        """Seconds that it has been shut in all until now."""
        return self._shut_s - (self._opens_at - now) if now < self._opens_at else self._shut_s

    def state(self, now: float) -> Mapping[str, object]:
        shut = now < self._opens_at
        opens_in_s = self._opens_at - now if shut else None
        return {
            "gate": {
                "open": not shut,
                "opens_in_s": opens_in_s,
                "reason": self._reason if shut else None,
                "shut_s": self.shut_s(now),
            }
        }

    def _close(self, until: float, now: float, reason: str) -> None:
        if until <= self._opens_at:
            return
        self._shut_s += until - max(now, self._opens_at)
        self._opens_at, self._clear_at = until, until + min(c.RAMP_S, until - now)
        self._reason = reason
        self._released = 0
        paced = math.ceil((self._pace() or 0.0) * c.RAMP_STEP_S)
        self._per_step = max(1, self._window() // c.RAMP_STEPS_PER_WINDOW, paced)
        if self._log is not None:
            self._log.tell(now, "gate", reason, old=0.0, new=until - now)

    def _mostly_refused(self) -> bool:
        while self._refused + self._succeeded > c.GATE_BLIND_OF_LAST:
            self._refused, self._succeeded = self._refused // 2, self._succeeded // 2
        return self._refused >= c.GATE_BLIND_LEAST and self._refused > self._succeeded
