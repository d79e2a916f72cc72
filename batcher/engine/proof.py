"""Attempts that must not be wasted wait for a proof that the endpoint is alive.

The proof is an answer to a request that was sent after the row's latest failure. Answers to what was sent before it
come in while an outage goes on, and prove nothing.

1. The last attempt that R allows a row waits for it, a minute at most: else slow answers from before an outage charge
   quick failures of the outage, and rows end that were not at fault. `max_attempts` holds all the same.
2. The last attempt that P allows waits for it, ten minutes at most: a dying server that takes requests and closes the
   connection costs a row no more than it must.
3. An attempt after one that may have been paid for waits a little, even if P allows more: 5 s where nobody else
   waits, 10 s more for each row that does, so that of many rows one asks every 10 s.

The times run from the sending of the attempt that failed: a timeout has waited already. Who waits here holds no slot,
and stands in no line. In normal running the proof comes within one latency.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

from batcher.policy import Charge, Effect, Paid
from batcher.policy import constants as c

if TYPE_CHECKING:
    from batcher.engine.life import RowLife
    from batcher.policy import RowLimits


class Proof:
    """Made inside the event loop; `wait` is called by any number of tasks.

    Attributes:
        answered_sent: when the newest request that was answered was sent; minus infinity before the first answer.
    """

    def __init__(self) -> None:
        self.answered_sent = float("-inf")
        self._waiting: deque[tuple[float, anyio.Event]] = deque()  # (since, told), the oldest failure first
        self._closed = False

    def answered(self, sent_at: float) -> None:
        """A request that was sent then has been answered."""
        if sent_at <= self.answered_sent:
            return
        self.answered_sent = sent_at
        while self._waiting and self._waiting[0][0] < sent_at:
            self._waiting.popleft()[1].set()

    def close(self) -> None:
        """The run stops: nobody waits any more."""
        self._closed = True
        for _, told in self._waiting:
            told.set()
        self._waiting.clear()

    async def wait(self, life: RowLife, limits: RowLimits) -> None:
        """Return when the row, which has just failed, may try again; at once where it need not wait."""
        failed_at = life.last_attempt_at
        if self._closed or self.answered_sent > failed_at:
            return
        until = life.sent_at_tick + self._most_s(life, limits)
        if anyio.current_time() >= until:
            return
        ticket = (failed_at, anyio.Event())
        self._enter(ticket)
        try:
            with anyio.move_on_at(until):
                await ticket[1].wait()
        finally:
            if not ticket[1].is_set():
                self._waiting.remove(ticket)

    def _most_s(self, life: RowLife, limits: RowLimits) -> float:
        """How long the row waits at most, in seconds from its latest attempt's sending; 0: not at all."""
        verdict, budget = life.verdict, life.budget
        assert verdict is not None
        if Effect.FAULT in verdict.effects and verdict.paid is Paid.AMBIGUOUS:
            if budget.paid >= limits.max_paid_attempts - 1:
                return c.PROOF_PAID_S
            if not budget.is_last_attempt(limits):
                return c.PROOF_AMBIGUOUS_S + c.PROOF_AMBIGUOUS_APART_S * len(self._waiting)
        is_last = Charge.R in verdict.charges and budget.is_last_attempt(limits)
        return c.PROOF_ATTEMPT_S if is_last else 0.0

    def _enter(self, ticket: tuple[float, anyio.Event]) -> None:
        """By the time of the failure: who had a long back-off comes here after those that failed later."""
        place = len(self._waiting)
        while place and self._waiting[place - 1][0] > ticket[0]:
            place -= 1
        self._waiting.insert(place, ticket)
