"""From a row's journal to its output values, rule by rule."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from engine_world import Step, completion, error, lost, ok

from batcher.chat.contracts import contract_of
from batcher.engine.judging import Terms
from batcher.engine.settle import SettledRow, Settler
from batcher.records import (
    Cost,
    CostSource,
    EndRecord,
    Fault,
    Outcome,
    Reply,
    ReplyRecord,
    ReuseRecord,
    RowHistory,
    Usage,
)


def price(asked: str | None, answered: str | None, usage: Usage) -> Cost | None:
    if usage.cost_usd is not None:
        return Cost(usage.cost_usd, CostSource.GATEWAY)
    return None if usage.prompt_tokens is None else Cost(usage.prompt_tokens / 1000, CostSource.PRICES)


SETTLE = Settler(run_id="run-1", price=price)


def labelling(reask: int = 0) -> Settler:
    """Settles rows that are to be labelled good or bad."""
    labels = {"mood": ("good", "bad")}
    contract = contract_of(labels=labels, response_format=None, tools=None, tool_choice=None)
    return replace(SETTLE, terms=Terms(contract, reask), expand=lambda value: dict(value or {}))  # type: ignore[call-overload]


def kept(step: Step, attempts: int = 1, paid: int = 1, *, latency_ms: float = 5.0) -> ReplyRecord:
    reply = Reply(
        status=step.status,
        headers=(("x-request-id", f"req-{attempts}"),),
        body=step.body,
        progress=step.progress,
        fault=None if step.fault is None else Fault(step.fault, step.fault.value),
        sent_at=100.0 + attempts,
        received_at=101.0 + attempts,
        latency_ms=latency_ms,
    )
    return ReplyRecord(0, "hash", "m", attempts, paid, 2.0, reply, custom_id="c")


def ended(outcome: Outcome = Outcome.FAILED, **values: object) -> EndRecord:
    end = EndRecord(
        0, outcome, "server_error", error_code="e", error_message="it said no", status_code=500,
        request_hash="hash", model="m", attempts=5, paid_attempts=1, queue_ms=3.0, latency_ms=4.0,
        sent_at=1.0, received_at=2.0, request_id="req-9", custom_id="c",
    )  # fmt: skip
    return replace(end, **values)  # type: ignore[arg-type]


def settled(*replies: ReplyRecord, settle: Settler = SETTLE, **history: object) -> SettledRow:
    row = settle(RowHistory(0, replies, **history))  # type: ignore[arg-type]
    assert row is not None
    return row


# 1. An answer taken over


def test_an_answer_taken_over_is_the_rows_answer_and_cost_this_run_nothing() -> None:
    values = {
        "outcome": "ok",
        "completion": "fine",
        "cost_usd": 9.0,
        "attempts": 4,
        "billed_prompt_tokens": 70,
    }
    row = settled(reuse=ReuseRecord(0, "hash", "run-0", values, custom_id="c"))
    assert row.outcome is Outcome.OK
    assert (row.values["completion"], row.values["reused_from"], row.values["run_id"]) == (
        "fine",
        "run-0",
        "run-1",
    )
    spent = ("cost_usd", "attempts", "paid_attempts", "billed_prompt_tokens", "billed_completion_tokens")
    assert [row.values[name] for name in spent] == [0, 0, 0, 0, 0]


def test_labels_of_an_answer_taken_over_follow_this_runs_labels() -> None:
    settle = labelling()
    values = {"outcome": "ok", "completion": '{"mood": "good"}'}
    row = settled(reuse=ReuseRecord(0, "hash", "run-0", values), settle=settle)
    assert row.values["mood"] == "good"


def test_an_answer_taken_over_that_is_no_label_is_a_failure_and_still_costs_nothing() -> None:
    values = {"outcome": "ok", "completion": '{"mood": "so so"}', "cost_usd": 1.0}
    row = settled(reuse=ReuseRecord(0, "hash", "run-0", values), settle=labelling())
    assert (row.outcome, row.values["error_type"], row.values["cost_usd"]) == (
        Outcome.FAILED,
        "schema_mismatch",
        0.0,
    )
    assert "mood" not in row.values


# 1a. What answers must be

GOOD, BAD = '{"mood": "good"}', '{"mood": "so so"}'


def test_an_answer_that_is_no_label_fails_and_keeps_what_was_said_and_paid() -> None:
    row = settled(kept(ok(text=BAD)), settle=labelling())
    assert (row.outcome, row.values["outcome"]) == (Outcome.FAILED, "failed")
    assert row.values["error_type"] == "schema_mismatch"
    assert "/mood" in str(row.values["error_message"])
    assert row.values["completion"] == BAD
    assert json.loads(str(row.values["response_json"]))["id"] == "c-1"
    assert "mood" not in row.values
    assert (row.values["billed_prompt_tokens"], row.values["paid_attempts"]) == (7, 1)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_a_cut_or_refused_answer_is_not_held_against_the_schema(finish: str) -> None:
    row = settled(kept(ok(text='{"mood": "go', finish=finish)), settle=labelling(1))
    assert row.outcome in {Outcome.TRUNCATED, Outcome.REFUSED}
    assert row.values["error_type"] == row.values["outcome"]


def test_a_row_that_may_be_asked_again_is_not_done() -> None:
    assert labelling(1)(RowHistory(0, (kept(ok(text=BAD)),))) is None


def test_the_second_answer_counts_and_both_are_billed() -> None:
    row = settled(kept(ok(text=BAD)), kept(ok(text=GOOD), 2, 2), settle=labelling(1))
    assert (row.outcome, row.values["mood"], row.values["completion"]) == (Outcome.OK, "good", GOOD)
    assert (row.values["billed_prompt_tokens"], row.values["cost_usd"]) == (14, 0.014)
    assert (row.values["attempts"], row.values["paid_attempts"]) == (2, 2)


def test_a_row_is_asked_again_once_only() -> None:
    row = settled(kept(ok(text=BAD)), kept(ok(text=BAD), 2, 2), settle=labelling(1))
    assert (row.outcome, row.values["error_type"]) == (Outcome.FAILED, "schema_mismatch")
    assert row.values["billed_prompt_tokens"] == 14


# 2. The first complete answer


def test_of_two_answers_the_first_complete_one_wins_and_both_are_billed() -> None:
    row = settled(kept(ok(text="first")), kept(ok(text="second"), 2, 2))
    assert row.values["completion"] == "first"
    assert row.values["request_id"] == "req-1"
    assert (row.values["billed_prompt_tokens"], row.values["billed_completion_tokens"]) == (14, 6)
    assert row.values["cost_usd"] == 0.014
    assert (row.values["attempts"], row.values["paid_attempts"]) == (2, 2)


def test_what_was_paid_in_vain_before_the_answer_is_billed_with_it() -> None:
    row = settled(kept(ok(text="", finish=None)), kept(ok(text="fine"), 2, 2))
    assert row.outcome is Outcome.OK
    assert (row.values["completion"], row.values["prompt_tokens"], row.values["billed_prompt_tokens"]) == (
        "fine",
        7,
        14,
    )


def test_an_answer_counts_even_if_an_end_record_was_written_after_it() -> None:
    assert settled(kept(ok()), end=ended()).outcome is Outcome.OK


def test_an_answer_keeps_its_own_finish_reason_times_and_identity() -> None:
    row = settled(kept(ok(finish="length")))
    assert row.outcome is Outcome.TRUNCATED
    expected = {
        "finish_reason": "length",
        "response_id": "c-1",
        "response_model": "m-1",
        "request_model": "m",
        "request_hash": "hash",
        "custom_id": "c",
        "status_code": 200,
        "sent_at": 101.0,
        "received_at": 102.0,
        "latency_ms": 5.0,
        "queue_ms": 2.0,
    }
    assert {name: row.values[name] for name in expected} == expected


def test_the_whole_reply_is_kept_for_rows_that_are_not_ok_or_where_asked() -> None:
    assert "response_json" not in settled(kept(ok())).values
    cut = ok(finish="length")
    assert settled(kept(cut)).values["response_json"] == cut.body.decode()
    raw = replace(SETTLE, keep_raw=True)
    assert settled(kept(ok()), settle=raw).values["response_json"] == completion().decode()


def test_a_lost_attempt_of_a_crashed_session_is_said_beside_the_answer() -> None:
    row = settled(kept(ok()), open_intents=1)
    assert row.values["warnings"] == "possibly_paid_before"


def test_usage_that_nobody_knows_is_null_and_not_zero() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
    row = settled(kept(Step(200, body)))
    assert row.outcome is Outcome.OK
    billed = ("billed_prompt_tokens", "billed_completion_tokens", "cost_usd", "cost_source", "prompt_tokens")
    assert [row.values[name] for name in billed] == [None] * 5


def test_tags_are_columns_of_every_row() -> None:
    tagged = replace(SETTLE, tags={"team": "support"})
    for row in (settled(kept(ok()), settle=tagged), settled(end=ended(), settle=tagged)):
        assert row.values["tag_team"] == "support"


# 3. The end record


def test_an_ended_row_speaks_by_its_end_record() -> None:
    row = settled(end=ended())
    assert row.outcome is Outcome.FAILED
    expected = {
        "error_type": "server_error",
        "error_code": "e",
        "error_message": "it said no",
        "status_code": 500,
        "attempts": 5,
        "request_id": "req-9",
        "outcome": "failed",
        "cost_usd": 0.0,
        "billed_prompt_tokens": 0,
    }
    assert {name: row.values[name] for name in expected} == expected


def test_an_ended_row_keeps_the_bytes_and_the_bill_of_what_was_paid() -> None:
    half = Step(200, completion()[:30])
    row = settled(kept(ok(text="", finish=None)), kept(half, 2, 2), end=ended())
    assert row.values["response_json"] == half.body.decode()
    assert row.values["billed_prompt_tokens"] == 7
    assert row.values["paid_attempts"] == 1, "the end record counts, not the replies"


def test_bytes_that_are_no_text_do_not_keep_a_row_from_ending() -> None:
    row = settled(kept(Step(200, b"\xff\xfe")), end=ended())
    assert row.values["response_json"] == "\ufffd\ufffd"


def test_an_invalid_row_has_no_bill_and_no_request() -> None:
    row = settled(end=EndRecord(0, Outcome.INVALID, "missing_value", error_message="no text"))
    assert (row.outcome, row.values["cost_usd"], row.values["request_hash"]) == (Outcome.INVALID, 0.0, None)


def test_ambiguous_payments_without_a_reply_have_an_unknown_cost() -> None:
    row = settled(kept(lost()), end=ended())
    assert row.values["cost_usd"] is None
    assert row.values["billed_prompt_tokens"] is None


@pytest.mark.parametrize(
    ("said", "source"),
    [((0.25, 0.5), "gateway"), ((0.25, None), "prices"), ((None, None), "prices")],
)
def test_a_cost_is_the_gateways_word_only_when_it_spoke_of_every_paid_attempt(
    said: tuple[float | None, float | None], source: str
) -> None:
    def body(cost: float | None, text: str) -> bytes:
        usage: dict[str, object] = {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001}
        usage |= {"cost": cost} if cost is not None else {}
        choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop" if text else None}
        return json.dumps({"choices": [choice], "usage": usage}).encode()

    row = settled(kept(Step(200, body(said[0], ""))), kept(Step(200, body(said[1], "yes")), 2, 2))
    assert row.outcome is Outcome.OK
    assert row.values["cost_usd"] == sum(1.0 if cost is None else cost for cost in said)
    assert row.values["cost_source"] == source


# 4. A reply that no retry can mend, 5. not done


def test_a_crash_between_a_final_reply_and_its_end_record_leaves_the_row_ended() -> None:
    dead = Step(200, json.dumps({"error": {"code": "context_length_exceeded", "message": "long"}}).encode())
    row = settled(kept(dead))
    assert (row.outcome, row.values["error_type"]) == (Outcome.FAILED, "context_length")
    assert row.values["attempts"] == 1


def test_a_row_without_an_answer_and_without_an_end_is_not_done() -> None:
    assert SETTLE(RowHistory(0)) is None
    assert SETTLE(RowHistory(0, open_intents=2)) is None
    assert SETTLE(RowHistory(0, (kept(lost()), kept(error(504), 2, 2)))) is None


def test_a_reply_that_stopped_the_run_leaves_the_row_pending() -> None:
    fatal = Step(200, b'{"error":{"code":"invalid_api_key","message":"no"}}')
    assert SETTLE(RowHistory(0, (kept(fatal),))) is None


def test_tool_calls_without_a_column_of_their_own_keep_the_whole_reply() -> None:
    body = (
        b'{"id":"a","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":'
        b'[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}]}'
    )
    row = settled(kept(Step(200, body)))
    assert row.values["response_json"] == body.decode()
    with_column = settled(kept(Step(200, body)), settle=replace(SETTLE, tool_calls=True))
    assert "response_json" not in with_column.values
