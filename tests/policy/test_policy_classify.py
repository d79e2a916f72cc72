"""Every line of the failure table, and the order in which it decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.errors import AccountError, EndpointUnusable
from batcher.policy import RULES, RULES_ELSEWHERE, Action, Charge, Context, Effect, Paid, Verdict, classify
from batcher.policy.table import TEMPLATES
from batcher.records import (
    Answer,
    ApiError,
    Fault,
    FaultKind,
    Outcome,
    Progress,
    Reading,
    Reply,
    Shape,
    Usage,
)
from batcher.simulator.lines import TABLE_LINES

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_780_000_000.0
USED = Usage(prompt_tokens=10, completion_tokens=5, total_tokens=15)


def reply(
    status: int | None,
    headers: Mapping[str, str] | None = None,
    *,
    body: bytes = b"{}",
    fault: FaultKind | None = None,
    progress: Progress = Progress.COMPLETE,
) -> Reply:
    told = Fault(fault, f"it was {fault}") if fault else None
    return Reply(status, tuple((headers or {}).items()), body, progress, told, NOW - 1, NOW, 1000.0)


def judge(
    status: int,
    error: ApiError | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    successes: int = 0,
    own_model: bool = False,
) -> Verdict:
    shape = Shape.NOT_JSON if error is None else Shape.ERROR
    context = Context(successes=successes, own_model=own_model, now=NOW)
    return classify(reply(status, headers), Reading(shape, error=error), context)


def answered(answer: Answer) -> Verdict:
    context = Context(successes=0, own_model=False, now=NOW)
    return classify(reply(200), Reading(Shape.CHOICES, answer=answer), context)


PART = Answer(completion="Hal")
MID_ERROR = Reading(Shape.ERROR, PART, ApiError("slow down", None, "429"), ended=False)


@pytest.mark.parametrize(
    ("fault", "reading", "rule", "paid", "charges"),
    [
        # ended before its answer did: a body cut short, also where HTTP saw a whole one; paid, for text came
        (None, Reading(Shape.CHOICES, PART, ended=False), "bad_body", Paid.YES, "RPB"),
        (None, Reading(Shape.EMPTY, Answer(), ended=False), "bad_body", Paid.YES, "RPB"),
        (FaultKind.BODY_CUT, Reading(Shape.CHOICES, PART, ended=False), "bad_body", Paid.YES, "RPB"),
        (FaultKind.READ_TIMEOUT, Reading(Shape.CHOICES, PART, ended=False), "no_reply", Paid.YES, "RPB"),
        (
            FaultKind.DEADLINE,
            Reading(Shape.CHOICES, Answer(), ended=False),
            "no_reply",
            Paid.AMBIGUOUS,
            "RPB",
        ),
        # an error in mid-stream: as that error's code, but a refusal that came so late costs the row an attempt
        (None, MID_ERROR, "error_in_200", Paid.YES, "RPB"),
        (None, Reading(Shape.ERROR, None, MID_ERROR.error, ended=False), "error_in_200", Paid.AMBIGUOUS, "T"),
        # cut behind its last word: a whole answer
        *(
            (
                kind,
                Reading(Shape.CHOICES, Answer(completion="x", finish_reason="stop", usage=USED), ended=True),
                "ok",
                Paid.YES,
                "P",
            )
            for kind in (None, FaultKind.BODY_CUT, FaultKind.READ_TIMEOUT, FaultKind.DEADLINE)
        ),
        # [DONE] without a reason to have ended: as a plain reply without one
        (None, Reading(Shape.CHOICES, PART, ended=True), "no_answer", Paid.YES, "RPB"),
        (FaultKind.TOO_LARGE, Reading(Shape.CHOICES, PART, ended=True), "response_too_large", Paid.YES, ""),
    ],
)
def test_a_stream_is_judged_by_whether_its_answer_came_to_its_end(
    fault: FaultKind | None, reading: Reading, rule: str, paid: Paid, charges: str
) -> None:
    came = reply(200, fault=fault, progress=Progress.COMPLETE if fault is None else Progress.CUT)
    verdict = classify(came, reading, Context(successes=5, own_model=False, now=NOW))
    assert (verdict.rule, verdict.paid) == (rule, paid)
    assert {name for name in "RPBT" if Charge[name] in verdict.charges} == set(charges)


def said(message: str, *, code: str | None = None, type_: str | None = None) -> ApiError:
    return ApiError(message=message, type=type_, code=code)


@pytest.mark.parametrize(
    ("kind", "rule", "action", "charges", "paid"),
    [
        (FaultKind.DNS, "connect", Action.RETRY, Charge.B, Paid.NO),
        (FaultKind.CONNECT_REFUSED, "connect", Action.RETRY, Charge.B, Paid.NO),
        (FaultKind.CONNECT_TIMEOUT, "connect", Action.RETRY, Charge.B, Paid.NO),
        (FaultKind.CONNECT_FAILED, "connect", Action.RETRY, Charge.B, Paid.NO),
        (FaultKind.TLS, "tls", Action.STOP, Charge.NONE, Paid.NO),
        (FaultKind.NOT_SENT, "not_sent", Action.RETRY, Charge.B, Paid.NO),
        (FaultKind.STALE, "stale_connection", Action.RETRY, Charge.B, Paid.NO),
        (FaultKind.RESET, "no_reply", Action.RETRY, Charge.R | Charge.P | Charge.B, Paid.AMBIGUOUS),
        (FaultKind.EOF, "no_reply", Action.RETRY, Charge.R | Charge.P | Charge.B, Paid.AMBIGUOUS),
        (FaultKind.READ_TIMEOUT, "no_reply", Action.RETRY, Charge.R | Charge.P | Charge.B, Paid.AMBIGUOUS),
        (FaultKind.DEADLINE, "no_reply", Action.RETRY, Charge.R | Charge.P | Charge.B, Paid.AMBIGUOUS),
        (FaultKind.BAD_HTTP, "bad_http", Action.RETRY, Charge.R | Charge.P | Charge.B, Paid.AMBIGUOUS),
    ],
)
def test_a_fault_without_a_status_is_judged_by_its_kind(
    kind: FaultKind, rule: str, action: Action, charges: Charge, paid: Paid
) -> None:
    broken = reply(None, fault=kind, progress=Progress.NOT_SENT, body=b"")
    verdict = classify(broken, None, Context(successes=5, own_model=False, now=NOW))
    assert (verdict.rule, verdict.action, verdict.charges, verdict.paid) == (rule, action, charges, paid)
    assert verdict.error_type == kind.value
    assert verdict.error_message == f"it was {kind}"


@pytest.mark.parametrize("kind", [FaultKind.BODY_CUT, FaultKind.BAD_ENCODING])
def test_a_damaged_200_was_paid_and_is_tried_again(kind: FaultKind) -> None:
    verdict = classify(
        reply(200, fault=kind, progress=Progress.CUT), None, Context(0, own_model=False, now=NOW)
    )
    assert (verdict.rule, verdict.paid) == ("bad_body", Paid.YES)
    assert Effect.NOT_AN_API in verdict.effects


def test_a_200_over_the_size_limit_ends_the_row_and_was_paid() -> None:
    big = reply(200, fault=FaultKind.TOO_LARGE, progress=Progress.CUT)
    verdict = classify(big, None, Context(0, own_model=False, now=NOW))
    assert (verdict.action, verdict.error_type, verdict.paid) == (Action.FAIL, "response_too_large", Paid.YES)


def test_a_throttled_reply_whose_body_was_cut_is_still_only_throttled() -> None:
    cut = reply(429, fault=FaultKind.BODY_CUT, progress=Progress.CUT)
    verdict = classify(cut, None, Context(0, own_model=False, now=NOW))
    assert (verdict.rule, verdict.paid) == ("rate_limit", Paid.NO)


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "STOP"])
def test_a_finished_answer_is_ok(finish: str) -> None:
    verdict = answered(Answer(finish_reason=finish, completion="yes", usage=USED))
    assert (verdict.rule, verdict.action, verdict.outcome) == ("ok", Action.KEEP, Outcome.OK)
    assert (verdict.paid, verdict.error_type) == (Paid.YES, None)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(finish_reason="length", completion="", usage=USED), Outcome.TRUNCATED),
        (Answer(finish_reason="content_filter", usage=USED), Outcome.REFUSED),
        (Answer(finish_reason="stop", refusal="I cannot", usage=USED), Outcome.REFUSED),
    ],
)
def test_cut_and_refused_answers_are_kept(answer: Answer, outcome: Outcome) -> None:
    verdict = answered(answer)
    assert (verdict.action, verdict.outcome, verdict.paid) == (Action.KEEP, outcome, Paid.YES)
    assert (Effect.TRUNCATED in verdict.effects) == (outcome is Outcome.TRUNCATED)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(finish_reason=None, completion="half", usage=USED),
        Answer(finish_reason="abort", completion="half", usage=USED),
        Answer(finish_reason="error", usage=USED),
        Answer(finish_reason="banana", completion="x", usage=USED),
        Answer(finish_reason="stop", completion="", usage=Usage(9, 0, 9)),
    ],
)
def test_a_200_without_an_answer_is_tried_once_more(answer: Answer) -> None:
    verdict = answered(answer)
    assert (verdict.rule, verdict.action, verdict.most_retries) == ("no_answer", Action.RETRY, 1)
    assert verdict.charges == Charge.R | Charge.P | Charge.B
    assert verdict.paid is Paid.YES


def test_an_empty_answer_that_used_tokens_is_an_answer() -> None:
    assert answered(Answer(finish_reason="stop", completion="", usage=USED)).rule == "ok"


def test_a_tool_call_without_content_is_an_answer() -> None:
    call = Answer(finish_reason="tool_calls", tool_calls="[{}]", usage=Usage(9, 0, 9))
    assert answered(call).rule == "ok"


def test_unknown_usage_does_not_spoil_an_answer() -> None:
    verdict = answered(Answer(finish_reason="stop", completion="yes"))
    assert (verdict.rule, verdict.outcome) == ("usage_unknown", Outcome.OK)


@pytest.mark.parametrize(("shape", "rule"), [(Shape.EMPTY, "no_answer"), (Shape.NOT_JSON, "bad_body")])
def test_a_200_without_choices_is_judged_by_its_shape(shape: Shape, rule: str) -> None:
    verdict = classify(reply(200), Reading(shape), Context(0, own_model=False, now=NOW))
    assert (verdict.rule, verdict.paid) == (rule, Paid.YES)


def test_a_200_that_nobody_read_counts_as_not_json() -> None:
    verdict = classify(reply(200, body=b""), None, Context(0, own_model=False, now=NOW))
    assert (verdict.rule, verdict.error_message) == ("bad_body", "no bytes in the body")


@pytest.mark.parametrize(
    ("error", "action", "charges"),
    [
        (said("slow down", code="429"), Action.RETRY, Charge.T),
        (said("slow down", type_="rate_limit_error"), Action.RETRY, Charge.T),
        (said("upstream died", code="502"), Action.RETRY, Charge.R | Charge.P | Charge.B),
        (said("who knows"), Action.RETRY, Charge.R | Charge.P | Charge.B),
    ],
)
def test_an_error_inside_a_200_is_treated_as_its_own_code_and_may_have_been_paid(
    error: ApiError, action: Action, charges: Charge
) -> None:
    verdict = judge(200, error)
    assert (verdict.rule, verdict.action, verdict.charges) == ("error_in_200", action, charges)
    assert (verdict.paid, verdict.status_code) == (Paid.AMBIGUOUS, 200)


def test_an_error_inside_a_200_that_no_retry_helps_ends_the_row_under_its_own_name() -> None:
    verdict = judge(200, said("too long", code="context_length_exceeded"))
    assert (verdict.action, verdict.error_type) == (Action.FAIL, "context_length")


def test_an_empty_account_inside_a_200_stops_the_run() -> None:
    verdict = judge(200, said("pay", code="insufficient_quota"))
    assert (verdict.action, verdict.stop) == (Action.STOP, AccountError)


STATUS_LINES = [
    *((status, "unexpected_status") for status in (201, 202, 204, 206, 101, 301, 302, 307, 308, 304)),
    (400, "bad_request"),
    (401, "account"),
    (402, "money"),
    (403, "account"),
    (404, "wrong_endpoint"),
    *((status, "wrong_endpoint") for status in (405, 410, 415, 426, 501)),
    (407, "account"),
    *((status, "gateway_timeout") for status in (408, 504, 524)),
    *((status, "conflict") for status in (409, 421, 423, 424, 425)),
    (413, "request_too_large"),
    (418, "bad_request"),
    (422, "unprocessable"),
    (429, "rate_limit"),
    (451, "moderated"),
    *((status, "server_error") for status in (500, 502, 503, 520, 521, 522, 523, 530, 599)),
    (529, "overloaded"),
    (777, "unexpected_status"),
]


@pytest.mark.parametrize(("status", "rule"), STATUS_LINES)
def test_a_bare_status_falls_on_its_line(status: int, rule: str) -> None:
    verdict = judge(status)
    assert verdict.rule == rule
    assert verdict.status_code == status
    expected = TEMPLATES[rule]
    assert (verdict.action, verdict.charges, verdict.paid) == (
        expected.action,
        expected.charges,
        expected.paid,
    )


@pytest.mark.parametrize(
    ("rule", "stop"),
    [
        ("account", AccountError),
        ("money", AccountError),
        ("wrong_endpoint", EndpointUnusable),
        ("unexpected_status", EndpointUnusable),
        ("tls", EndpointUnusable),
    ],
)
def test_a_stop_carries_its_exit_code_and_costs_no_row_anything(rule: str, stop: type[Exception]) -> None:
    template = TEMPLATES[rule]
    assert (template.action, template.stop, template.charges) == (Action.STOP, stop, Charge.NONE)
    assert template.outcome is None


WORDS = [
    (400, said("Your credit balance is too low to access the API"), "money"),
    (403, said("Insufficient credits. Add more"), "money"),
    (400, said("Budget has been exceeded! Current cost: 15", code="400"), "money"),
    (429, said("quota", code="insufficient_quota"), "money"),
    (429, said("", type_="insufficient_quota"), "money"),
    (400, said("", code="billing_hard_limit_reached"), "money"),
    (429, said("", code="organization_spend_limit_exceeded"), "money"),
    (429, said("", type_="budget_exceeded", code="429"), "money"),
    (500, said("", code="invalid_api_key"), "account"),
    (400, said("No connected db.", code="400", type_="no_db_connection"), "account"),
    (400, said("API key not valid. Please pass a valid API key."), "account"),
    (403, said("", type_="permission_error"), "account"),
    (403, said("Your chosen model requires moderation and your input was flagged"), "moderated"),
    (400, said("filtered", code="content_filter"), "moderated"),
    (400, said("violates our content policy"), "moderated"),
    (400, said("This model's maximum context length is 4096 tokens"), "context_length"),
    (400, said("the request exceeds the available context size", code="400"), "context_length"),
    (500, said("", type_="exceed_context_size_error", code="500"), "context_length"),
    (500, said("Context size has been exceeded.", type_="server_error", code="500"), "context_length"),
    (500, said("[json.exception.parse_error.101] syntax error", code="500"), "bad_request"),
    (500, said("image input is not supported", code="500"), "bad_request"),
    (429, said("Request too large: Limit 30000, Requested 40000."), "exceeds_tpm"),
    (429, said("Rate limit reached: Limit 30,000, Used 29,000, Requested 2,000."), "rate_limit"),
    (429, said("You exceeded your current quota, please check your plan"), "rate_limit"),
    (429, said("upstream", type_="internal_server_error"), "rate_limit"),
    (429, said("Rate limit reached on requests per day (RPD)"), "daily_limit"),
    (429, said("Rate limit exceeded: free-models-per-day"), "daily_limit"),
    (400, said("gpt-5x is not a valid model ID"), "wrong_endpoint"),
    (404, said("no such model", code="model_not_found"), "wrong_endpoint"),
]


@pytest.mark.parametrize(("status", "error", "rule"), WORDS)
def test_codes_and_texts_of_real_servers_fall_on_their_line(status: int, error: ApiError, rule: str) -> None:
    assert judge(status, error).rule == rule


def test_billing_words_at_another_status_stop_nothing() -> None:
    assert judge(500, said("the text says insufficient credits")).rule == "server_error"


def test_a_402_with_retry_after_is_throttling_and_one_without_is_money() -> None:
    assert judge(402, None, {"retry-after": "3"}).rule == "rate_limit"
    assert judge(402, None, {"retry-after": "soon"}).rule == "money"


def test_a_503_with_retry_after_is_overload_and_costs_the_row_nothing() -> None:
    verdict = judge(503, None, {"retry-after": "3"})
    assert (verdict.rule, verdict.charges, verdict.wait_s) == ("overloaded", Charge.T, 3.0)


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_of_more_than_ten_minutes_parks_the_run(status: int) -> None:
    verdict = judge(status, None, {"retry-after": "601"})
    assert (verdict.action, verdict.wait_s) == (Action.PARK, 601.0)
    assert judge(status, None, {"retry-after": "600"}).action is Action.RETRY


def test_a_daily_limit_without_a_hint_is_parked_for_a_known_time() -> None:
    assert (judge(429, said("tokens per day")).wait_s or 0) > 0


def test_a_404_after_a_hundred_successes_is_the_servers_trouble() -> None:
    assert judge(404, successes=99).action is Action.STOP
    assert judge(404, successes=100).rule == "vanished"


def test_a_rows_own_unknown_model_fails_the_row_only() -> None:
    unknown = said("The model `x` does not exist", type_="NotFoundError")
    assert judge(404, unknown, own_model=True).action is Action.FAIL
    assert judge(404, None, own_model=True).action is Action.STOP
    assert judge(404, None, own_model=True, successes=100).rule == "model_not_found"


def test_should_retry_true_saves_a_row_and_false_ends_it() -> None:
    assert judge(400, None, {"x-should-retry": "true"}).rule == "told_to_retry"
    assert judge(500, None, {"x-should-retry": "false"}).action is Action.FAIL
    assert judge(429, None, {"x-should-retry": "true"}).rule == "rate_limit"


def test_money_and_keys_come_before_should_retry() -> None:
    told = {"x-should-retry": "true"}
    assert judge(429, said("", code="insufficient_quota"), told).rule == "money"
    assert judge(401, said("", code="invalid_api_key"), told).rule == "account"


def test_a_redirect_says_where_it_wanted_to_go() -> None:
    assert "https://elsewhere.example" in (
        judge(302, None, {"location": "https://elsewhere.example"}).message or ""
    )


def test_a_stop_quotes_the_server() -> None:
    assert judge(401, said("invalid key")).message == '401 from the endpoint: "invalid key"'


def test_every_line_of_the_failure_table_has_a_rule_and_no_rule_has_another_line() -> None:
    assert {*RULES.values(), *RULES_ELSEWHERE.values()} == set(TABLE_LINES)


def test_rules_say_consistent_things() -> None:
    for name, verdict in TEMPLATES.items():
        assert verdict.rule == name
        assert (verdict.outcome is not None) == (verdict.action in {Action.KEEP, Action.FAIL}), name
        assert (verdict.stop is not None) == (verdict.action is Action.STOP), name
        if Charge.T in verdict.charges:
            assert verdict.charges == Charge.T, f"{name}: throttling costs a row nothing"
            assert verdict.paid is Paid.NO
        if Charge.P in verdict.charges:
            assert verdict.paid is not Paid.NO, name


words = (
    st.none()
    | st.text(max_size=30)
    | st.sampled_from(["insufficient_quota", "429", "context_length_exceeded"])
)


@settings(max_examples=150, deadline=None)
@given(
    status=st.none() | st.integers(100, 999),
    fault=st.none() | st.sampled_from(FaultKind),
    shape=st.none() | st.sampled_from(Shape),
    code=words,
    message=words,
    hint=st.text(max_size=20),
)
def test_everything_that_can_come_back_has_a_verdict(
    *,
    status: int | None,
    fault: FaultKind | None,
    shape: Shape | None,
    code: str | None,
    message: str | None,
    hint: str,
) -> None:
    answer = Answer(finish_reason=code) if shape is Shape.CHOICES else None
    reading = None if shape is None else Reading(shape, answer=answer, error=ApiError(message, None, code))
    came = reply(status, {"retry-after": hint}, fault=fault)
    verdict = classify(came, reading, Context(successes=3, own_model=False, now=NOW))
    assert verdict.rule in TEMPLATES
    assert verdict.status_code == status
    if verdict.action is Action.KEEP:
        assert status == 200
    if status is None:
        assert verdict.action in {Action.RETRY, Action.STOP, Action.FAIL}
    if verdict.wait_s is not None:
        assert verdict.wait_s >= 0
