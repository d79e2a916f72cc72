"""May this request go out now? One question to all parts together, in two phases.

Every part is asked first; only when all agree is anything debited (`commit`), so a request that the gate
holds back has not used up a place in the window. A new part implements `Part` and is given to `FlowState`;
nothing else changes.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from batcher.policy.assembly import Assembly, complete, fixed
from batcher.policy.canary import Canary
from batcher.policy.part import SEND, Part, Send, Wait
from batcher.policy.window import Stopping

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from batcher.errors import BatcherError
    from batcher.policy.events import FlowEvent
    from batcher.policy.part import Observation
    from batcher.policy.settings import FlowSettings
    from batcher.policy.verdict import Verdict
    from batcher.records import Request


PROOF = "sign of life"
"""Nothing is under way, and what is left waits for a proof that the endpoint is alive."""


class FlowState:
    """The flow control of one session: what is in flight, and who has a say in what follows.

    `FlowState(concurrency=…)` holds a fixed number in flight and closes the gate on throttling;
    `from_settings` has all parts. Events are told in this order per attempt: `admit` said `Send`, `on_sent`,
    `on_reply` and `on_verdict` (unless it was cancelled), `on_done`; or `withdraw` after `admit`. All times
    are on one clock of the caller's choice.

    Attributes:
        held: how often each reason held a request back.
        deadline_at: when the session must end, on the caller's clock; infinity: never.
        spend: the budget's part, for attempts lost in earlier sessions; None without a budget.
        memory: what rows in hand are counted with.
        awaiting_proof: rows that wait outside for a proof that the endpoint is alive; only told, never asked.
    """

    def __init__(
        self,
        *,
        concurrency: int = 1,
        rng: random.Random,
        further: Sequence[Part] = (),
        assembly: Assembly | None = None,
    ) -> None:
        made = assembly or fixed(concurrency, rng=rng)
        self._stopping = Stopping()
        self._window = made.window
        self._gate = made.gate
        self._log = made.log
        self._breaker = made.breaker
        self._deadline = made.deadline
        self.spend = made.spend
        self.memory = made.memory
        self.deadline_at = math.inf if made.deadline is None else made.deadline.at
        self.parts: tuple[Part, ...] = (
            self._stopping,
            made.gate,
            Canary(),
            *made.further,
            *further,
            made.memory,
            made.window,
        )
        self.held: Counter[str] = Counter()
        self.awaiting_proof = 0
        # Only the parts that listen: calling the empty ones would double the cost of an attempt.
        listening = {name: [part for part in self.parts if _listens(part, name)] for name in _EVENTS}
        self.asked = [part.ask for part in listening["ask"]]
        self.committed = [part.commit for part in listening["commit"]]
        self._on_sent = [part.on_sent for part in listening["on_sent"]]
        self._on_reply = [part.on_reply for part in listening["on_reply"]]
        self._on_verdict = [part.on_verdict for part in listening["on_verdict"]]
        self._on_done = [part.on_done for part in listening["on_done"]]
        self._on_unanswered = [part.on_unanswered for part in listening["on_unanswered"]]
        self._on_withdrawn = [part.on_withdrawn for part in listening["on_unanswered"]]
        self._unanswered: set[int] = set()  # admitted and not yet replied to

    @classmethod
    def from_settings(
        cls,
        settings: FlowSettings,
        *,
        rng: random.Random,
        now: float,
        spent_usd: float = 0.0,
        further: Sequence[Part] = (),
    ) -> FlowState:
        """All parts, for a session that begins now.

        Args:
            settings: the user's limits and the machine's.
            rng: source of the jitter.
            now: on the clock that all later calls keep to.
            spent_usd: what earlier sessions of the run spent, ambiguous attempts at full price.
            further: parts of the caller's, asked and told like the others.

        Raises:
            ValueError: a limit is out of its range.
        """
        made = complete(settings, rng=rng, now=now, spent_usd=spent_usd)
        return cls(rng=rng, assembly=made, further=further)

    @property
    def in_flight(self) -> int:
        return self._window.in_flight

    @property
    def unanswered(self) -> int:
        """Requests admitted and not yet replied to; what it counts must not outlive them."""
        return len(self._unanswered)

    @property
    def window(self) -> int:
        """How many requests may be in flight at present."""
        return self._window.limit

    @property
    def most_window(self) -> int:
        """The largest that `window` can ever be."""
        return self._window.most

    @property
    def parked_until(self) -> float:
        """When an announced parking ends, on the caller's clock; minus infinity when there was none."""
        return self._gate.parked_until

    def stop(self) -> None:
        """Admit nothing any more."""
        self._stopping.close()

    def admitted(self, request: Request) -> None:
        """All parts were debited; for `admit` only."""
        self._unanswered.add(request.row_index)

    def on_sent(self, now: float, request: Request | None = None) -> None:
        """The admitted request is being handed to the network."""
        del request
        for tell in self._on_sent:
            tell(now)

    def on_reply(self, seen: Observation) -> None:
        """An attempt came back; tell this before its `on_verdict`."""
        self._unanswered.discard(seen.request.row_index)
        for tell in self._on_reply:
            tell(seen)

    def on_verdict(self, verdict: Verdict, now: float) -> None:
        for tell in self._on_verdict:
            tell(verdict, now)

    def on_done(self, now: float, request: Request | None = None) -> None:
        """The attempt is over. `request` tells whose, so that a cancelled one gives back what it holds."""
        for tell in self._on_done:
            tell(now)
        if request is not None and request.row_index in self._unanswered:
            self._unanswered.discard(request.row_index)
            for tell_of in self._on_unanswered:
                tell_of(request, now)

    def withdraw(self, request: Request, now: float) -> None:
        """The admitted request is not sent after all: it gives back what it holds, and costs nothing."""
        self._unanswered.discard(request.row_index)
        for tell in self._on_done:
            tell(now)
        for tell_of in self._on_withdrawn:
            tell_of(request, now)

    def is_uncharged(self, verdict: Verdict, sent_at: float) -> bool:
        """Whether this fault, of a request sent then, belongs to an outage: not to be charged to R.

        May change from False to True while the outage is recognised, so ask again before a row is ended.
        """
        return self._breaker is not None and self._breaker.is_uncharged(verdict, sent_at)

    @property
    def blames_rows(self) -> bool:
        """Whether every failure is taken for the row's own, though nothing is answered."""
        return self._breaker is not None and self._breaker.blames_rows

    def overdue(self, now: float) -> BatcherError | None:
        """What to stop with when the deadline is over; None before."""
        return None if self._deadline is None or now < self._deadline.at else self._deadline.reached()

    def drain_events(self) -> list[FlowEvent]:
        """What changed since the last time, oldest first; at most the latest 1,000."""
        return self._log.drain()

    def held_by(self, now: float) -> str | None:
        """Why requests wait at this time, in words; None when nothing but the window's size holds them."""
        for part in self.parts:
            reason = part.holding(now)
            if reason is not None:
                return reason
        return PROOF if self.awaiting_proof and not self.in_flight else None

    def state(self, now: float) -> Mapping[str, object]:
        """Everything at this time as JSON values: window, limits, pace, gate, breaker, budget, deadline.

        Keys of parts that the session does not have are absent. Durations are seconds, rates per minute.
        """
        told: dict[str, object] = {"held_by": self.held_by(now), "held": dict(self.held)}
        for part in self.parts:
            told.update(part.state(now))
        return told


def admit(state: FlowState, request: Request, now: float) -> Send | Wait:
    """Ask all parts; debit all or none.

    Returns:
        `Send`, with the request counted as in flight; or the `Wait` of the part that holds it longest, a
        `Wait` with a `stop` before all others.
    """
    longest: Wait | None = None
    for ask in state.asked:
        wait = ask(request, now)
        if wait is not None and (longest is None or _weighs_more(wait, longest)):
            longest = wait
    if longest is not None:
        state.held[longest.reason] += 1
        if longest.until > state.deadline_at > now:
            return replace(longest, until=state.deadline_at)
        return longest
    for commit in state.committed:
        commit(request, now)
    state.admitted(request)
    return SEND


_EVENTS = ("ask", "commit", "on_sent", "on_reply", "on_verdict", "on_done", "on_unanswered")


def _listens(part: Part, event: str) -> bool:
    return getattr(type(part), event) is not getattr(Part, event)


def _weighs_more(one: Wait, other: Wait) -> bool:
    if (one.stop is None) != (other.stop is None):
        return one.stop is not None
    return one.until > other.until
