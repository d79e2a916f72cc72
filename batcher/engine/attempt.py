"""One attempt: admitted, intended, exchanged, journalled, read, judged.

The order is the promise. The intent is written before the request leaves, the reply before anybody interprets it, and
neither waits for the other rows. What is certainly unpaid is counted and not journalled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.chat.reading import read
from batcher.engine.circumstances import charged
from batcher.engine.first_words import FirstWords
from batcher.engine.judging import SCHEMA_MISMATCH
from batcher.policy import Action, Charge, Context, Paid, attempt_timeout_s, classify
from batcher.policy.part import NO_USAGE, Observation
from batcher.policy.verdict import KEEP
from batcher.records import IntentRecord, Outcome, VoidRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.engine.judging import Terms
    from batcher.engine.life import RowLife
    from batcher.engine.tally import Tally
    from batcher.engine.turnstile import Turnstile
    from batcher.engine.twins import Twins
    from batcher.policy import FlowState, RowFacts, RowLimits, Verdict
    from batcher.ports import Endpoint, Store
    from batcher.records import Reading, Reply, Request

VOIDS_PER_ROW = 3
"""Void records written for one row; after that an intent stays open, so a storm of refusals cannot fill the disk."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Makes attempts for all rows of one engine.

    Attributes:
        clock: seconds on the event loop's clock.
        wall: seconds since the epoch, for dates that servers send.
        timeout_s: the user's attempt timeout, or None for the rule in `attempt_timeout_s`.
        idle_s: between two pieces of a stream.
        successes: rows answered ok by an exchange of this session so far.
        sending: told before every dispatch.
        facts: what the run knows around a row that just failed.
        terms: what answers must be.
        twins: told every answer; None where equal rows are all sent.
        observe: told every verdict on a reply; True when this one stopped the run.
    """

    store: Store
    endpoint: Endpoint
    flow: FlowState
    turnstile: Turnstile
    tally: Tally
    limits: RowLimits
    terms: Terms
    twins: Twins | None
    clock: Callable[[], float]
    wall: Callable[[], float]
    timeout_s: float | None
    idle_s: float
    successes: Callable[[], int]
    sending: Callable[[], None]
    facts: Callable[[RowLife], RowFacts]
    observe: Callable[[RowLife, Verdict], bool]

    async def make(self, life: RowLife) -> Verdict:
        """Make one attempt; the verdict's action is RETRY (or PARK) only while the row's budgets allow another.

        A row whose answer does not fit is asked again here, at once: that is no failure of the endpoint, so nothing
        waits for it.

        The action is STOP for every reply that stopped the run, whatever else it said: the row stays pending.

        Raises:
            Abandoned: the run is stopping; nothing was sent.
            StorageError: the journal cannot be written; the intent on disk tells what may have been paid.
        """
        while True:
            verdict = self._within_budget(life, await self._attempt(life, life.asking))
            if verdict.rule != SCHEMA_MISMATCH or verdict.action is not Action.RETRY:
                return verdict

    async def _attempt(self, life: RowLife, request: Request) -> Verdict:
        await self.turnstile.enter(request, retrying=life.failures > 0 or life.again is not None)
        self.tally.in_flight += 1
        try:
            reply = await self._exchange(life, request)
            return await self._judge(life, request, reply)
        finally:
            self.tally.in_flight -= 1
            self.flow.on_done(self.clock(), request)
            self.turnstile.leave()

    async def _exchange(self, life: RowLife, request: Request) -> Reply:
        now = self.clock()
        life.attempts += 1
        life.sent_at_tick = now
        if not life.open_intent:
            self.store.intend(IntentRecord(request.row_index, request.request_hash, attempts=life.attempts))
            life.open_intent = True
        self.sending()
        self.flow.on_sent(now, request)
        self.tally.attempts += 1
        timeout = attempt_timeout_s(request.max_tokens, timeout_s=self.timeout_s)
        if not request.stream:
            return await self.endpoint.exchange(request, deadline=now + timeout)
        first = FirstWords(self.wall, idle_s=self.idle_s)
        return first.told(await self.endpoint.exchange(request, deadline=now + timeout, watch=first.watch))

    async def _judge(self, life: RowLife, request: Request, reply: Reply) -> Verdict:
        kept = reply.status is not None and 200 <= reply.status < 300
        if kept:
            await self.store.keep(life.reply_record(reply))
        reading = read(reply) if reply.status is not None else None
        verdict = classify(reply, reading, self._context(life))
        if verdict.paid is not Paid.NO and not kept:
            await self.store.keep(life.reply_record(reply))
            kept = True
        if kept:
            life.paid(is_ambiguous=verdict.paid is Paid.AMBIGUOUS)
        elif life.open_intent and life.voids < VOIDS_PER_ROW:
            void_intent(self.store, life)
        judged = self.terms.judge(verdict, reading, mismatches=life.mismatches)
        cost_usd = self.tally.judged(judged.verdict, reading, request.model)
        self._tell_flow(request, life, reply, reading, verdict, cost_usd=cost_usd)
        life.verdict = judged.verdict
        # A row that waits keeps no body in memory; one that is answered does not wait.
        life.reply = reply if judged.verdict.action is KEEP else replace(reply, body=b"")
        if self.observe(life, verdict):
            return replace(judged.verdict, action=Action.STOP, outcome=None)
        if self.twins is not None and judged.verdict.action is KEEP:
            self.twins.answered(life.reply_record(reply))
        if judged.misfit is not None:
            life.ask_again(judged.misfit)
        return judged.verdict

    def _context(self, life: RowLife) -> Context:
        return Context(
            successes=self.successes(),
            own_model=life.request.own_model,
            now=self.wall(),
            refused_before=life.budget.refusals,
        )

    def _tell_flow(
        self,
        request: Request,
        life: RowLife,
        reply: Reply,
        reading: Reading | None,
        verdict: Verdict,
        *,
        cost_usd: float | None,
    ) -> None:
        """The flow learns of the endpoint, so it is told the reply's own verdict, whatever the row makes of it."""
        now = self.clock()
        usage = reading.answer.usage if reading is not None and reading.answer is not None else NO_USAGE
        self.flow.on_reply(
            Observation(
                request,
                sent_at=life.sent_at_tick,
                received_at=now,
                verdict=verdict,
                headers=reply.headers,
                usage=usage,
                cost_usd=cost_usd,
                reply_bytes=len(reply.body),
            )
        )
        self.flow.on_verdict(verdict, now)

    def _within_budget(self, life: RowLife, verdict: Verdict) -> Verdict:
        if verdict.action is KEEP or verdict.action not in {Action.RETRY, Action.PARK}:
            return verdict
        if verdict.rule == SCHEMA_MISMATCH:
            life.budget = life.budget.resumed(1)
        else:
            life.budget = life.budget.after(*charged(verdict, self.facts(life)))
            life.failures += 1
        life.last_attempt_at = self.clock()
        if life.failures == 1:
            life.first_failed_at = life.last_attempt_at
        if life.budget.exhausted(self.limits) == "attempts":
            life.budget = life.budget.forgiven(self.flow.is_uncharged)
        reason = life.budget.exhausted(self.limits)
        if reason is None:
            return verdict
        is_refused = reason == "throttled" and Charge.T in verdict.charges
        return replace(
            verdict,
            action=Action.FAIL,
            outcome=Outcome.FAILED,
            error_type=reason if is_refused else verdict.error_type,
        )


def void_intent(store: Store, life: RowLife) -> None:
    """Write down that the row's last attempt was certainly not paid. Raises StorageError."""
    store.void(VoidRecord(life.request.row_index, attempts=life.attempts))
    life.open_intent = False
    life.voids += 1
