"""May this request go out now? One question to all parts together, in two phases.

Every part is asked first; only when all agree is anything debited (`commit`), so a request that the gate
holds back has not used up a place in the window. A new part (pace, breaker, retry bucket, budget,
deadline) implements `Part` and is given to `FlowState`; nothing else changes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from batcher.policy.canary import Canary
from batcher.policy.gate import Gate
from batcher.policy.part import SEND, Part, Send, Wait
from batcher.policy.window import Stopping, Window

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from batcher.policy.verdict import Verdict
    from batcher.records import Request


class FlowState:
    """The flow control of one session: what is in flight, and who has a say in what follows.

    Events are told in this order per attempt: `admit` said `Send`, `on_sent`, `on_verdict` (unless it was
    cancelled), `on_done`. All times are on one clock of the caller's choice.

    Attributes:
        held: how often each reason held a request back.
    """

    def __init__(self, *, concurrency: int, rng: random.Random, further: Sequence[Part] = ()) -> None:
        self._stopping = Stopping()
        self._window = Window(concurrency)
        self._gate = Gate(concurrency=concurrency, rng=rng)
        self.parts: tuple[Part, ...] = (self._stopping, self._gate, Canary(), *further, self._window)
        self.held: Counter[str] = Counter()
        # Only the parts that listen: calling the empty ones would double the cost of an attempt.
        self._on_sent = [part.on_sent for part in self.parts if type(part).on_sent is not Part.on_sent]
        self._on_verdict = [
            part.on_verdict for part in self.parts if type(part).on_verdict is not Part.on_verdict
        ]
        self._on_done = [part.on_done for part in self.parts if type(part).on_done is not Part.on_done]

    @property
    def in_flight(self) -> int:
        return self._window.in_flight

    @property
    def parked_until(self) -> float:
        """When an announced parking ends, on the caller's clock; minus infinity when there was none."""
        return self._gate.parked_until

    def stop(self) -> None:
        """Admit nothing any more."""
        self._stopping.close()

    def on_sent(self, now: float) -> None:
        for tell in self._on_sent:
            tell(now)

    def on_verdict(self, verdict: Verdict, now: float) -> None:
        for tell in self._on_verdict:
            tell(verdict, now)

    def on_done(self, now: float) -> None:
        for tell in self._on_done:
            tell(now)

    def held_by(self, now: float) -> str | None:
        """Why requests wait at this time, in words; None when nothing but the window's size holds them."""
        for part in self.parts:
            reason = part.holding(now)
            if reason is not None:
                return reason
        return None


def admit(state: FlowState, request: Request, now: float) -> Send | Wait:
    """Ask all parts; debit all or none.

    Returns:
        `Send`, with the request counted as in flight; or the `Wait` of the part that holds it longest.
    """
    longest: Wait | None = None
    for part in state.parts:
        wait = part.ask(request, now)
        if wait is not None and (longest is None or wait.until > longest.until):
            longest = wait
    if longest is not None:
        state.held[longest.reason] += 1
        return longest
    for part in state.parts:
        part.commit(request, now)
    return SEND
