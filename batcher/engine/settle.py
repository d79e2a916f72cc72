"""Pure: from a row's journalled history to its output values, the same for seal, resume, export and reuse.

The journal keeps what came back, not what it meant; meaning is given here, by the same reading and the same table
that the engine used. Rules, in this order:

1. An answer taken over is the row's answer; it cost this run nothing.
2. Of several answers the first complete one wins; all that were paid are billed.
3. Without an answer, the row's end record speaks, with the bytes of the last reply kept beside it.
4. A reply that no retry can mend ends the row even if the end record was lost in a crash.
5. Otherwise the row is not done.

An answer that does not satisfy the job's contract is none (`judging`); what it said is kept beside the failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from batcher.chat.reading import read
from batcher.chat.sse_answer import reply_text
from batcher.engine.judging import NO_TERMS, SCHEMA_MISMATCH, Terms
from batcher.policy import Action, Context, Paid, classify
from batcher.records import Answer, CostSource, EndRecord, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batcher.chat.contract import Fit
    from batcher.engine.judging import Misfit
    from batcher.policy import Verdict
    from batcher.records import Price, Reading, Reply, ReplyRecord, ReuseRecord, RowHistory

ASKED_AGAIN = "asked_again"
"""The word for the ``warnings`` column."""

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class SettledRow:
    """A finished row: its outcome and its output columns by unprefixed name (input columns are not among them)."""

    outcome: Outcome
    values: Mapping[str, object]


class _Judged(NamedTuple):
    record: ReplyRecord
    reading: Reading | None
    verdict: Verdict
    fit: Fit
    misfit: Misfit | None


def no_columns(_: object) -> Mapping[str, object]:
    return {}


@dataclass(frozen=True, slots=True)
class Settler:
    """Settles rows of one run.

    Attributes:
        run_id: the run that buys the answers.
        price: what a reply cost and who says so, or None where nobody knows.
        terms: what answers must be.
        expand: the columns of a validated value.
        tags: tag -> value; each becomes a column ``tag_NAME``.
        keep_raw: keep the whole reply of rows that are ``ok`` too.
        tool_calls: the output has a column for them.
    """

    run_id: str
    price: Price
    terms: Terms = NO_TERMS
    expand: Callable[[object], Mapping[str, object]] = no_columns
    tags: Mapping[str, str] = field(default_factory=dict)
    keep_raw: bool = False
    tool_calls: bool = False

    def __call__(self, history: RowHistory) -> SettledRow | None:
        if history.reuse is not None:
            return self._reused(history.reuse)
        judged = self._judged(history.replies)
        for each in judged:
            if each.verdict.action is Action.KEEP:
                return self._answered(history, judged, each)
        if history.end is not None:
            return self._ended(history, judged, history.end)
        dead = next((each for each in judged if each.verdict.action is Action.FAIL), None)
        return self._ended(history, judged, _end_of(dead)) if dead is not None else None

    def _judged(self, replies: Sequence[ReplyRecord]) -> list[_Judged]:
        judged: list[_Judged] = []
        mismatches = 0
        for record in replies:
            judged.append(judge(record, self.terms, mismatches=mismatches))
            mismatches += judged[-1].verdict.rule == SCHEMA_MISMATCH
        return judged

    def _row_values(self, row_index: int, custom_id: str | None) -> dict[str, object]:
        values: dict[str, object] = {f"tag_{name}": value for name, value in self.tags.items()}
        values |= {"row_index": row_index, "run_id": self.run_id, "custom_id": custom_id}
        return values

    def _reused(self, reuse: ReuseRecord) -> SettledRow:
        values = dict(reuse.values)
        values |= self._row_values(reuse.row_index, reuse.custom_id)
        values |= {
            "request_hash": reuse.request_hash,
            "reused_from": reuse.reused_from,
            "attempts": 0,
            "paid_attempts": 0,
            "billed_prompt_tokens": 0,
            "billed_completion_tokens": 0,
            "cost_usd": 0.0,
        }
        return self._refitted(values)

    def _refitted(self, values: dict[str, object]) -> SettledRow:
        """An answer taken over, held against this run's contract: what another run published may have had none."""
        outcome = Outcome(str(values["outcome"]))
        completion, tool_calls = values.get("completion"), values.get("tool_calls")
        answer = Answer(
            completion=completion if isinstance(completion, str) else None,
            tool_calls=tool_calls if isinstance(tool_calls, str) else None,
        )
        fit = self.terms.contract.fit(answer)
        if fit.problem is None:
            values |= self._fitted(fit, outcome)
        elif outcome is Outcome.OK:
            outcome = Outcome.FAILED
            values |= {"error_type": SCHEMA_MISMATCH, "error_message": fit.problem, "outcome": outcome.value}
        return SettledRow(outcome, values)

    def _fitted(self, fit: Fit, outcome: Outcome) -> dict[str, object]:
        """`parsed` and the columns of an ok row; a refused or truncated answer that happens to fit has none."""
        return {"parsed": fit.parsed, **self.expand(fit.value)} if outcome is Outcome.OK else {}

    def _answered(self, history: RowHistory, judged: Sequence[_Judged], final: _Judged) -> SettledRow:
        record, reading, verdict = final.record, final.reading, final.verdict
        outcome = verdict.outcome or Outcome.OK
        warnings = [*(reading.warnings if reading is not None else ()), *final.fit.warnings]
        if len(judged) > 1 and any(each.verdict.rule == SCHEMA_MISMATCH for each in judged):
            warnings.append(ASKED_AGAIN)
        if history.open_intents:
            warnings.append("possibly_paid_before")
        last = judged[-1].record
        values = self._row_values(record.row_index, record.custom_id)
        values |= _reply_values(record.reply, request_model=record.model)
        values |= {
            "request_hash": record.request_hash,
            "queue_ms": record.queue_ms,
            "attempts": last.attempts,
            "paid_attempts": last.paid_attempts,
            "outcome": outcome.value,
            "warnings": ", ".join(warnings) or None,
            "error_type": verdict.error_type,
            "error_code": verdict.error_code,
            "error_message": verdict.error_message,
        }
        values |= self._bill(judged)
        if reading is not None and reading.answer is not None:
            values |= _answer_values(reading.answer)
            values |= self._fitted(final.fit, outcome)
        if self.keep_raw or outcome is not Outcome.OK or not self._has_a_place(values):
            values["response_json"] = reply_text(record.reply.body)
        return SettledRow(outcome, values)

    def _has_a_place(self, values: Mapping[str, object]) -> bool:
        """Whether what was answered stands in a column of its own, so that the whole reply need not be kept."""
        return values.get("completion") is not None or (
            self.tool_calls and values.get("tool_calls") is not None
        )

    def _ended(self, history: RowHistory, judged: Sequence[_Judged], end: EndRecord) -> SettledRow:
        values = self._row_values(end.row_index, end.custom_id)
        if judged:
            last = judged[-1]
            values |= _reply_values(last.record.reply, request_model=last.record.model)
            if last.reading is not None and last.reading.answer is not None:
                values |= _answer_values(last.reading.answer)
                values["warnings"] = ", ".join(last.reading.warnings) or None
            values["response_json"] = reply_text(last.record.reply.body) or None
        values |= {
            "request_hash": end.request_hash,
            "request_model": end.model,
            "status_code": end.status_code,
            "error_type": end.error_type,
            "error_code": end.error_code,
            "error_message": end.error_message,
            "attempts": end.attempts,
            "paid_attempts": end.paid_attempts,
            "queue_ms": end.queue_ms,
            "latency_ms": end.latency_ms,
            "sent_at": end.sent_at,
            "received_at": end.received_at,
            "outcome": end.outcome.value,
        }
        if end.request_id is not None:
            values["request_id"] = end.request_id
        if history.open_intents:
            values["warnings"] = ", ".join(filter(None, [values.get("warnings"), "possibly_paid_before"]))  # type: ignore[list-item]
        values |= self._bill(judged)
        return SettledRow(end.outcome, values)

    def _bill(self, judged: Sequence[_Judged]) -> dict[str, object]:
        """Sums over all paid attempts of this run; null where something was paid and nothing is known of it."""
        paid = [each for each in judged if each.verdict.paid is not Paid.NO]
        if not paid:
            return {"billed_prompt_tokens": 0, "billed_completion_tokens": 0, "cost_usd": 0.0}
        prompt: int | None = None
        completion: int | None = None
        usd: float | None = None
        sources: set[CostSource] = set()
        for each in paid:
            answer = each.reading.answer if each.reading is not None else None
            if answer is None:
                continue
            prompt = _known_sum(prompt, answer.usage.prompt_tokens)
            completion = _known_sum(completion, answer.usage.completion_tokens)
            cost = self.price(each.record.model, answer.response_model, answer.usage)
            if cost is not None:
                usd = _known_sum(usd, cost.usd)
                sources.add(cost.source)
        return {
            "billed_prompt_tokens": prompt,
            "billed_completion_tokens": completion,
            "cost_usd": usd,
            "cost_source": _source_of(sources),
        }


def judge(record: ReplyRecord, terms: Terms = NO_TERMS, *, mismatches: int = 0) -> _Judged:
    """Read and classify a journalled reply, as the engine did when it arrived; the arguments as of `Terms.judge`."""
    reply = record.reply
    reading = read(reply) if reply.status is not None else None
    context = Context(0, False, reply.received_at)
    verdict, fit, misfit = terms.judge(classify(reply, reading, context), reading, mismatches=mismatches)
    return _Judged(record, reading, verdict, fit, misfit)


def _end_of(dead: _Judged) -> EndRecord:
    record, verdict = dead.record, dead.verdict
    return EndRecord(
        row_index=record.row_index,
        outcome=verdict.outcome or Outcome.FAILED,
        error_type=verdict.error_type or verdict.rule,
        error_code=verdict.error_code,
        error_message=verdict.error_message or verdict.message,
        status_code=record.reply.status,
        request_hash=record.request_hash,
        model=record.model,
        attempts=record.attempts,
        paid_attempts=record.paid_attempts,
        queue_ms=record.queue_ms,
        latency_ms=record.reply.latency_ms,
        sent_at=record.reply.sent_at,
        received_at=record.reply.received_at,
        custom_id=record.custom_id,
    )


def _reply_values(reply: Reply, *, request_model: str) -> dict[str, object]:
    return {
        "request_model": request_model,
        "request_id": reply.header("x-request-id") or reply.header("request-id"),
        "status_code": reply.status,
        "latency_ms": reply.latency_ms,
        "ttft_ms": reply.ttft_ms,
        "sent_at": reply.sent_at,
        "received_at": reply.received_at,
    }


def _answer_values(answer: Answer) -> dict[str, object]:
    usage = answer.usage
    return {
        "response_id": answer.response_id,
        "response_model": answer.response_model,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "usage_json": answer.usage_json,
        "completion": answer.completion,
        "reasoning": answer.reasoning,
        "refusal": answer.refusal,
        "tool_calls": answer.tool_calls,
        "choices_json": answer.choices_json,
        "logprobs_json": answer.logprobs_json,
    }


def _known_sum(one: _Number | None, other: _Number | None) -> _Number | None:
    """The sum of what is known; None when neither is."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _source_of(sources: set[CostSource]) -> str | None:
    """Of several the sum is reckoned, so it is called the gateway's only where all of it is."""
    if not sources:
        return None
    return (CostSource.GATEWAY if sources == {CostSource.GATEWAY} else CostSource.PRICES).value
