"""One row on its way through the engine: what was tried, what it may still cost, and its journal records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batcher.chat.reask import asked_again
from batcher.policy import RowBudget
from batcher.records import KEPT_HEADERS, EndRecord, Outcome, Reply, ReplyRecord

if TYPE_CHECKING:
    from batcher.engine.judging import Misfit
    from batcher.policy import Verdict
    from batcher.records import Request

_KEPT = frozenset(KEPT_HEADERS)
UNUSED = RowBudget()
"""One for all: it is a value, and nearly all rows end with it."""


@dataclass(slots=True)
class RowLife:
    """The mutable story of one row within this session.

    Attributes:
        queued_at: when the row first asked for a slot, on the clock of `anyio.current_time`.
        attempts: attempts begun, those of earlier sessions that the journal knows of included.
        paid_attempts: of them paid or ambiguous.
        ambiguous: of them those whose payment is unknown.
        failures: unsettled attempts in a row, for the back-off exponent.
        open_intent: an intent stands in the journal that nothing answers yet.
        voids: void records written for this row.
        reply: what the latest attempt brought back, without its body.
        mismatches: answers of this row that did not fit, those of earlier sessions included.
        again: what is sent in place of the request since the last of them.
        answers_seen: the run's count of answers when this row's last attempt failed; -1 before the first failure.
    """

    request: Request
    queued_at: float
    attempts: int = 0
    paid_attempts: int = 0
    ambiguous: int = 0
    failures: int = 0
    open_intent: bool = False
    voids: int = 0
    mismatches: int = 0
    again: Request | None = None
    answers_seen: int = -1
    last_attempt_at: float = 0.0
    first_failed_at: float = 0.0
    sent_at_tick: float = 0.0
    budget: RowBudget = UNUSED
    verdict: Verdict | None = None
    reply: Reply | None = None

    @property
    def asking(self) -> Request:
        """What an attempt sends now."""
        return self.again or self.request

    def ask_again(self, misfit: Misfit) -> None:
        """From now on the row is asked with this answer and its errors."""
        self.mismatches += 1
        self.again = asked_again(self.request, misfit.answer, misfit.problem)

    def paid(self, *, is_ambiguous: bool) -> None:
        """A reply of this row was journalled: it answers the intent, and may cost money."""
        self.open_intent = False
        self.paid_attempts += 1
        self.ambiguous += is_ambiguous

    @property
    def queue_ms(self) -> float:
        """From the first wish for a slot to the dispatch of the latest attempt."""
        return round((self.sent_at_tick - self.queued_at) * 1000, 3)

    def reply_record(self, reply: Reply) -> ReplyRecord:
        """The journal's record of a reply that is, or may have been, paid for; it counts itself as paid."""
        # Built by hand and by position: `replace` and keywords cost three times as much, and this is every row.
        kept = Reply(
            reply.status,
            tuple([each for each in reply.headers if each[0] in _KEPT]),
            reply.body,
            reply.progress,
            reply.fault,
            reply.sent_at,
            reply.received_at,
            reply.latency_ms,
            reply.reused_connection,
            reply.ttft_ms,
        )
        request = self.request
        return ReplyRecord(
            request.row_index,
            request.request_hash,
            request.model,
            self.attempts,
            self.paid_attempts + 1,
            self.queue_ms,
            kept,
            request.custom_id,
        )

    def end_record(self, verdict: Verdict, reply: Reply) -> EndRecord:
        """How the row ends by this verdict on its last reply, without an answer."""
        return EndRecord(
            row_index=self.request.row_index,
            outcome=verdict.outcome or Outcome.FAILED,
            error_type=verdict.error_type or verdict.rule,
            error_code=verdict.error_code,
            error_message=verdict.error_message or verdict.message,
            status_code=reply.status,
            request_hash=self.request.request_hash,
            model=self.request.model,
            attempts=self.attempts,
            paid_attempts=self.paid_attempts,
            ambiguous=self.ambiguous,
            queue_ms=self.queue_ms,
            latency_ms=reply.latency_ms,
            sent_at=reply.sent_at,
            received_at=reply.received_at,
            request_id=reply.header("x-request-id") or reply.header("request-id"),
            custom_id=self.request.custom_id,
        )
