"""Pure: a reply's verdict as the verdict on its row, by what the job asked answers to be.

The failure table judges a reply; whether an answer is what was asked for, it cannot know. An `ok` answer that
breaks the contract is no answer: the row fails with what is wrong with it, or is asked again while `reask` lets
it. Truncated and refused answers keep their own outcomes, whatever their text is: half a JSON is not the model's
mistake.

The engine judges a reply with this when it comes, and `settle` when it reads the journal, so that both say the
same before and after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from batcher.chat.contract import ANYTHING, Fit
from batcher.policy import Action
from batcher.records import Outcome

if TYPE_CHECKING:
    from batcher.chat.contract import Contract
    from batcher.policy import Verdict
    from batcher.records import Answer, Reading

SCHEMA_MISMATCH = "schema_mismatch"
"""Rule and ``error_type`` of an answer that does not satisfy the contract."""


class Misfit(NamedTuple):
    """An answer that does not fit, and what is wrong with it."""

    answer: Answer
    problem: str


class Judgement(NamedTuple):
    """What a reply means for its row.

    Attributes:
        fit: what the answer holds.
        misfit: what the row is to be asked again with; None where it is not to be.
    """

    verdict: Verdict
    fit: Fit
    misfit: Misfit | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job asks its answers to be.

    Attributes:
        reask: how often a row whose answer does not fit is asked again; 0 or more.
    """

    contract: Contract = ANYTHING
    reask: int = 0

    def judge(self, verdict: Verdict, reading: Reading | None, *, mismatches: int) -> Judgement:
        """The verdict on the row.

        Args:
            verdict: the reply's.
            reading: of the reply; None when it had no body.
            mismatches: answers of this row before this one that did not fit.
        """
        if verdict.action is not Action.KEEP or reading is None or reading.answer is None:
            return Judgement(verdict, Fit())
        fit = self.contract.fit(reading.answer)
        if fit.problem is None or verdict.outcome is not Outcome.OK:
            return Judgement(verdict, fit)
        is_last = mismatches >= self.reask
        failed = replace(
            verdict,
            rule=SCHEMA_MISMATCH,
            action=Action.FAIL if is_last else Action.RETRY,
            outcome=Outcome.FAILED if is_last else None,
            error_type=SCHEMA_MISMATCH,
            message=fit.problem,
            error_message=fit.problem,
        )
        return Judgement(failed, fit, None if is_last else Misfit(reading.answer, fit.problem))


NO_TERMS = Terms()
