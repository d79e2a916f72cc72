"""How often one row may try, as a pure value.

P counts paid and ambiguous attempts, always. R counts attempts only when they say something about *this* row:

- another row was answered since this row's last attempt, or
- every row left has failed since the last answer, and the attempt comes at least 180 s after the last one
that was charged (60 s where the row failed while the endpoint was well).

"Well" is told by an answer to a request that was *sent* after the row had failed: slow answers from before an
outage come in while it goes on. They are counted, because there is always one under way, but a row that was charged for
nothing else does not end by them, and they count once when every row left has failed.

Faults of an outage (the breaker knows) are not charged; those before it was recognised are taken back
(`forgiven`). But when every row left has failed, nobody can tell an outage from rows that always fail: then probes
are charged too.

So an outage of an hour ends no row as long as another is left to ask with, one of ten minutes ends none at all, not
even the only row, and the last rows of a run that always fail end after a quarter of an hour. Throttling
(T) costs a row nothing, but a row refused 100 times while 1,000 others succeed is `throttled`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.policy.constants import (
    LONELY_ATTEMPT_APART_S,
    LONELY_OWN_APART_S,
    MAX_ATTEMPTS,
    MAX_PAID_ATTEMPTS,
    THROTTLED_OTHERS,
    THROTTLED_REFUSALS,
)
from batcher.policy.verdict import Action, Charge, Effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.policy.verdict import Verdict


@dataclass(frozen=True, slots=True)
class RowLimits:
    """What one row may use up; each at least 1."""

    max_attempts: int = MAX_ATTEMPTS
    max_paid_attempts: int = MAX_PAID_ATTEMPTS
    refusals: int = THROTTLED_REFUSALS
    refusals_others: int = THROTTLED_OTHERS


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What the run knows around a row's failed attempt.

    Attributes:
        answers_since_last_attempt: other rows answered since this row's previous attempt failed; for a
            first attempt since the run began, or any number above 0 to have it charged.
        seconds_since_last_attempt: between this attempt and the row's previous one; any number for a first
            attempt.
        all_left_failed: every row that is not done has failed since the last answer.
        answers: rows answered in this session so far.
        in_outage: the failure is that of an endpoint which is held for down.
        sent_at: when the attempt was sent, on the flow control's clock.
        was_well: a request sent after this row's first failure was answered; False for a first failure.
    """

    answers_since_last_attempt: int
    seconds_since_last_attempt: float
    all_left_failed: bool
    answers: int = 0
    in_outage: bool = False
    sent_at: float = 0.0
    was_well: bool = False


@dataclass(frozen=True, slots=True)
class RowBudget:
    """What a row has used up in this session.

    Attributes:
        attempts: attempts that failed.
        firm: of them charged to R for good.
        doubtful: of them charged to R unless they turn out to belong to an outage: (verdict, sent at).
        paid: attempts charged to P, those of earlier sessions included.
        free_used: the one free repetition of an unsent request is spent.
        limited_rule: the last rule with a limited number of retries, and `limited` how often it was met.
        refusals: attempts that were throttled, and `answers_at_refusal` the run's answers at the first of
            them.
        since_charged_s: time since the last attempt charged to R (or since the first attempt), seconds.
        is_own: the row failed again while the endpoint was well.
        lonely: attempts charged because every row left had failed.
    """

    attempts: int = 0
    firm: int = 0
    doubtful: tuple[tuple[Verdict, float], ...] = ()
    paid: int = 0
    free_used: bool = False
    limited_rule: str | None = None
    limited: int = 0
    most_limited: int = 0
    refusals: int = 0
    answers_at_refusal: int = 0
    answers: int = 0
    since_charged_s: float = 0.0
    is_own: bool = False
    lonely: int = 0

    @property
    def charged(self) -> int:
        """Attempts charged to R."""
        return self.firm + len(self.doubtful)

    def resumed(self, paid: int) -> RowBudget:
        """The budget of a row for which earlier sessions already paid so many attempts."""
        return replace(self, paid=self.paid + paid)

    def after(self, verdict: Verdict, facts: RowFacts) -> RowBudget:
        """The budget after an attempt that settled nothing (its action is RETRY or PARK)."""
        since = self.since_charged_s + (facts.seconds_since_last_attempt if self.attempts else 0.0)
        own = self.is_own or facts.was_well
        after = replace(
            self, attempts=self.attempts + 1, answers=facts.answers, since_charged_s=since, is_own=own
        )
        if verdict.free_first and not self.free_used:
            return replace(after, free_used=True)
        if Charge.P in verdict.charges:
            after = replace(after, paid=after.paid + 1)
        if Charge.R in verdict.charges:
            if _is_charged_alone(after, facts):
                after = _charged_alone(after)
            elif facts.answers_since_last_attempt > 0 and not facts.in_outage:
                after = _charged(after, verdict, facts)
        if Charge.T in verdict.charges:
            after = _refused(after, facts)
        if verdict.most_retries is not None:
            after = _limited(after, verdict.rule, verdict.most_retries)
        return after

    def forgiven(self, is_uncharged: Callable[[Verdict, float], bool]) -> RowBudget:
        """Without the charges for what has turned out to be an outage; to be asked before a row is ended."""
        doubtful = tuple(each for each in self.doubtful if not is_uncharged(*each))
        return self if len(doubtful) == len(self.doubtful) else replace(self, doubtful=doubtful)

    def exhausted(self, limits: RowLimits) -> str | None:
        """Why the row may not try again: "attempts", "paid_attempts", "retries", "throttled"; else None."""
        if self.charged >= limits.max_attempts and (self.is_own or self.lonely or limits.max_attempts == 1):
            return "attempts"
        if self.paid >= limits.max_paid_attempts:
            return "paid_attempts"
        if self.limited_rule is not None and self.limited > self.most_limited:
            return "retries"
        others = self.answers - self.answers_at_refusal
        if self.refusals >= limits.refusals and others >= limits.refusals_others:
            return "throttled"
        return None

    def is_last_attempt(self, limits: RowLimits) -> bool:
        """Whether R allows one more attempt and no other after it."""
        return self.charged >= limits.max_attempts - 1

    def bucket_cost(self, verdict: Verdict) -> int:
        """What a retry after this verdict takes from the run's retry bucket; asked before `after`."""
        free = verdict.free_first and not self.free_used
        return int(Charge.B in verdict.charges and verdict.action is Action.RETRY and not free)


def _charged(budget: RowBudget, verdict: Verdict, facts: RowFacts) -> RowBudget:
    if Effect.FAULT in verdict.effects:
        doubtful = (*budget.doubtful, (verdict, facts.sent_at))
        return replace(budget, doubtful=doubtful, since_charged_s=0.0)
    return replace(budget, firm=budget.firm + 1, since_charged_s=0.0)


def _charged_alone(budget: RowBudget) -> RowBudget:
    """For good. What other rows' late answers had charged before counts once."""
    firm = budget.firm + len(budget.doubtful)
    if not budget.lonely and not budget.is_own:
        firm = min(firm, 1)
    return replace(budget, firm=firm + 1, doubtful=(), since_charged_s=0.0, lonely=budget.lonely + 1)


def _refused(budget: RowBudget, facts: RowFacts) -> RowBudget:
    start = facts.answers if budget.refusals == 0 else budget.answers_at_refusal
    return replace(budget, refusals=budget.refusals + 1, answers_at_refusal=start)


def _limited(budget: RowBudget, rule: str, most: int) -> RowBudget:
    count = budget.limited + 1 if budget.limited_rule == rule else 1
    return replace(budget, limited_rule=rule, limited=count, most_limited=most)


def _is_charged_alone(budget: RowBudget, facts: RowFacts) -> bool:
    """Whether every row left has failed, and long enough ago was the last attempt that was charged."""
    if not facts.all_left_failed or (facts.answers_since_last_attempt > 0 and not facts.in_outage):
        return False
    apart_s = LONELY_OWN_APART_S if budget.is_own and not facts.in_outage else LONELY_ATTEMPT_APART_S
    return budget.since_charged_s >= apart_s
