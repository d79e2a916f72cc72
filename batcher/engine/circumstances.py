"""What the run knows around a row's failed attempt, and what an attempt that no budget counts is charged to. Pure.

R counts an attempt only where it says something about the row (see `batcher.policy.budgets`). What never left whole
(a connection closed before the body was sent) is charged to no budget, because it says nothing; a row that meets it for
ever while others succeed would be retried for ever. So:

- it counts as a refusal: after 100 of them while 1,000 others succeed the row ends
- when every row left has failed since the last answer, it is charged to R like any other failure, at least 60 s apart;
  but not where no connection stood: then no row was involved at all
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.policy import Charge, Effect, RowFacts, Verdict

if TYPE_CHECKING:
    from batcher.engine.life import RowLife

_COUNTED: Final = Charge.R | Charge.P | Charge.T


@dataclass(slots=True)
class Circumstances:
    """Counts around all rows of one session.

    Attributes:
        in_hand: rows begun and not ended.
        answers: rows answered by an exchange; `ok` those with outcome ok.
    """

    in_hand: int = 0
    answers: int = 0
    ok: int = 0
    _failed_since_answer: set[int] = field(default_factory=set)

    def begun(self) -> None:
        self.in_hand += 1

    def ended(self, row_index: int) -> None:
        """The row is done, or goes back to the store undone."""
        self.in_hand -= 1
        self._failed_since_answer.discard(row_index)

    def answered(self, *, is_ok: bool) -> None:
        self.answers += 1
        self.ok += is_ok
        self._failed_since_answer.clear()

    def around(
        self,
        life: RowLife,
        *,
        is_dry: bool,
        in_outage: bool = False,
        answered_sent: float = -math.inf,
        is_blamed: bool = False,
    ) -> RowFacts:
        """The facts around an attempt of `life` that just failed.

        Args:
            life: the row's.
            is_dry: no further row can be had.
            in_outage: the endpoint was down when it was sent, as far as is known now.
            answered_sent: when the newest request that was answered was sent.
            is_blamed: whatever fails is taken for the row's own, as if another row had been answered since.
        """
        self._failed_since_answer.add(life.request.row_index)
        since = self.answers - life.answers_seen if life.answers_seen >= 0 else 1
        facts = RowFacts(
            answers_since_last_attempt=max(since, is_blamed),
            seconds_since_last_attempt=life.sent_at_tick - life.last_attempt_at,
            all_left_failed=is_dry and len(self._failed_since_answer) >= self.in_hand,
            answers=self.answers,
            in_outage=in_outage,
            sent_at=life.sent_at_tick,
            was_well=is_blamed or (life.failures > 0 and answered_sent > life.first_failed_at),
        )
        life.answers_seen = self.answers
        return facts


class Charged(NamedTuple):
    """What a row's budget is told of a failed attempt."""

    verdict: Verdict
    facts: RowFacts


def charged(verdict: Verdict, facts: RowFacts) -> Charged:
    """The attempt as the row's budget counts it; changed only where no budget would."""
    if verdict.charges & _COUNTED:
        return Charged(verdict, facts)
    counted = replace(verdict, charges=verdict.charges | Charge.T)
    if facts.all_left_failed and Effect.CONNECT not in verdict.effects:
        counted = replace(counted, charges=counted.charges | Charge.R, free_first=False)
        facts = replace(facts, answers_since_last_attempt=0)
    return Charged(counted, facts)
