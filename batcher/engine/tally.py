"""What the run has done so far: counters for progress, summary and ledger; never read to decide anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.policy import Action, Charge, Paid
from batcher.records import Outcome

if TYPE_CHECKING:
    from batcher.policy import Verdict
    from batcher.records import EndRecord, PriceUsd, Reading


@dataclass(slots=True)
class Tally:
    """Counts of this session.

    Attributes:
        outcomes: rows that ended in this session, by outcome.
        failures: ended rows that are not ok, by (outcome, error_type, error_code).
        examples: one message for each of those.
        attempts: exchanges begun.
        in_flight: exchanges under way now.
        rules: verdicts by the name of the table line.
        throttled: attempts refused for rate or overload, which cost a row nothing.
        paid: replies that were paid for certain; `ambiguous`: attempts that may have been.
        reused: rows whose answer was taken over.
        prompt_tokens, completion_tokens: of all paid replies with readable usage.
        cost_usd: of them those with a known price; None until one has.
        repeated_cost_usd: the part of it that did not become a row's answer.
    """

    price: PriceUsd
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    failures: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)
    examples: dict[tuple[str, str, str | None], str] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    in_flight: int = 0
    throttled: int = 0
    paid: int = 0
    ambiguous: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    repeated_cost_usd: float = 0.0
    warnings: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that ended in this session."""
        return self.outcomes.total()

    @property
    def outcomes_ok(self) -> int:
        return self.outcomes[Outcome.OK]

    def judged(self, verdict: Verdict, reading: Reading | None, model: str) -> float | None:
        """Count one exchange that came back; what it cost in USD, None where that is unknown."""
        self.rules[verdict.rule] += 1
        self.throttled += Charge.T in verdict.charges
        self.ambiguous += verdict.paid is Paid.AMBIGUOUS
        if verdict.paid is not Paid.YES:
            return None
        self.paid += 1
        if reading is None or reading.answer is None:
            return None
        usage = reading.answer.usage
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        cost = self.price(model, reading.answer.response_model, usage)
        if cost is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost
            if verdict.action is not Action.KEEP:
                self.repeated_cost_usd += cost
        return cost

    def ended(self, outcome: Outcome, end: EndRecord | None) -> None:
        """Count one row that is done."""
        self.outcomes[outcome] += 1
        if end is not None:
            key = _key(end)
            self.failures[key] += 1
            self.examples.setdefault(key, end.error_message or "")

    def reopened(self, end: EndRecord) -> None:
        """A row counted as ended is pending again."""
        key = _key(end)
        self.outcomes[end.outcome] -= 1
        self.failures[key] -= 1
        if not self.failures[key]:
            del self.failures[key]
            del self.examples[key]


def _key(end: EndRecord) -> tuple[str, str, str | None]:
    return (end.outcome.value, end.error_type, end.error_code)
