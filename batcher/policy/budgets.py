"""How often one row may try, as a pure value.

P counts paid and ambiguous attempts, always. R counts attempts only when they say something about *this* row:

- another row was answered since this row's last attempt, or
- every row left has failed since the last answer, and the attempt comes at least 60 s after the last one
that was charged.

So an outage of an hour ends no row, and a last row that always fails ends after some minutes. Throttling
(T) costs a row nothing, but a row refused 100 times while 1,000 others succeed is `throttled`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batcher.policy.constants import (
    LONELY_ATTEMPT_APART_S,
    MAX_ATTEMPTS,
    MAX_PAID_ATTEMPTS,
    THROTTLED_OTHERS,
    THROTTLED_REFUSALS,
)
from batcher.policy.verdict import Action, Charge

if TYPE_CHECKING:
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
    """

    answers_since_last_attempt: int
    seconds_since_last_attempt: float
    all_left_failed: bool
    answers: int = 0


@dataclass(frozen=True, slots=True)
class RowBudget:
    """What a row has used up in this session.

    Attributes:
        attempts: attempts that failed.
        charged: of them charged to R.
        paid: attempts charged to P, those of earlier sessions included.
        free_used: the one free repetition of an unsent request is spent.
        limited_rule: the last rule with a limited number of retries, and `limited` how often it was met.
        refusals: attempts that were throttled, and `answers_at_refusal` the run's answers at the first of
            them.
        since_charged_s: time since the last attempt charged to R (or since the first attempt), seconds.
    """

    attempts: int = 0
    charged: int = 0
    paid: int = 0
    free_used: bool = False
    limited_rule: str | None = None
    limited: int = 0
    most_limited: int = 0
    refusals: int = 0
    answers_at_refusal: int = 0
    answers: int = 0
    since_charged_s: float = 0.0

    def resumed(self, paid: int) -> RowBudget:
        """The budget of a row for which earlier sessions already paid so many attempts."""
        return replace(self, paid=self.paid + paid)

    def after(self, verdict: Verdict, facts: RowFacts) -> RowBudget:
        """The budget after an attempt that settled nothing (its action is RETRY or PARK)."""
        since = self.since_charged_s + (facts.seconds_since_last_attempt if self.attempts else 0.0)
        after = replace(self, attempts=self.attempts + 1, answers=facts.answers, since_charged_s=since)
        if verdict.free_first and not self.free_used:
            return replace(after, free_used=True)
        if Charge.P in verdict.charges:
            after = replace(after, paid=after.paid + 1)
        if Charge.R in verdict.charges and _says_something(facts, since):
            after = replace(after, charged=after.charged + 1, since_charged_s=0.0)
        if Charge.T in verdict.charges:
            after = _refused(after, facts)
        if verdict.most_retries is not None:
            after = _limited(after, verdict.rule, verdict.most_retries)
        return after

    def exhausted(self, limits: RowLimits) -> str | None:
        """Why the row may not try again: "attempts", "paid_attempts", "retries", "throttled"; else None."""
        if self.charged >= limits.max_attempts:
            return "attempts"
        if self.paid >= limits.max_paid_attempts:
            return "paid_attempts"
        if self.limited_rule is not None and self.limited > self.most_limited:
            return "retries"
        others = self.answers - self.answers_at_refusal
        if self.refusals >= limits.refusals and others >= limits.refusals_others:
            return "throttled"
        return None

    def bucket_cost(self, verdict: Verdict) -> int:
        """What a retry after this verdict takes from the run's retry bucket; asked before `after`."""
        free = verdict.free_first and not self.free_used
        return int(Charge.B in verdict.charges and verdict.action is Action.RETRY and not free)


def _refused(budget: RowBudget, facts: RowFacts) -> RowBudget:
    start = facts.answers if budget.refusals == 0 else budget.answers_at_refusal
    return replace(budget, refusals=budget.refusals + 1, answers_at_refusal=start)


def _limited(budget: RowBudget, rule: str, most: int) -> RowBudget:
    count = budget.limited + 1 if budget.limited_rule == rule else 1
    return replace(budget, limited_rule=rule, limited=count, most_limited=most)


def _says_something(facts: RowFacts, since_charged_s: float) -> bool:
    if facts.answers_since_last_attempt > 0:
        return True
    return facts.all_left_failed and since_charged_s >= LONELY_ATTEMPT_APART_S
