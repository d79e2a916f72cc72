"""The failure table: one line per thing that can come back, and what it does.

Each `Rule` is one line of the project's failure rules (a line that means two things is two rules), in
their order. Only `classify` decides which line a reply falls on; only this file says what the line does.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from batcher.errors import AccountError, BatcherError, EndpointUnusable
from batcher.policy.verdict import Action, Charge, Effect, Paid, Verdict
from batcher.records import Outcome

_R, _P, _B, _T = Charge.R, Charge.P, Charge.B, Charge.T


class Rule(NamedTuple):
    """`condition` is the line, word for word; `verdict` what it does, without the particulars of a reply."""

    condition: str
    verdict: Verdict


def _keep(name: str, condition: str, outcome: Outcome, *, effects: Effect = Effect.NONE) -> Rule:
    error_type = None if outcome is Outcome.OK else name
    return Rule(
        condition,
        Verdict(
            name,
            Action.KEEP,
            outcome,
            error_type=error_type,
            paid=Paid.YES,
            charges=_P,
            effects=effects,
            status_code=200,
        ),
    )


def _retry(
    name: str,
    condition: str,
    charges: Charge,
    paid: Paid = Paid.NO,
    effects: Effect = Effect.NONE,
    *,
    free_first: bool = False,
    most_retries: int | None = None,
    action: Action = Action.RETRY,
) -> Rule:
    return Rule(
        condition,
        Verdict(
            name,
            action,
            error_type=name,
            paid=paid,
            charges=charges,
            effects=effects,
            free_first=free_first,
            most_retries=most_retries,
        ),
    )


def _fail(
    name: str,
    condition: str,
    outcome: Outcome = Outcome.FAILED,
    *,
    paid: Paid = Paid.NO,
    effects: Effect = Effect.NONE,
    error_type: str | None = None,
) -> Rule:
    return Rule(
        condition,
        Verdict(name, Action.FAIL, outcome, error_type=error_type or name, paid=paid, effects=effects),
    )


def _stop(name: str, condition: str, stop: type[BatcherError], *, paid: Paid = Paid.NO) -> Rule:
    return Rule(condition, Verdict(name, Action.STOP, error_type=name, paid=paid, stop=stop))


_BEFORE_BODY = (
    "closed before the body was sent; or on a reused connection that the peer had already closed (EOF readable"
    " before sending, or a reset within 100 ms of sending, no byte of a reply)"
)
_BAD_BODY = "body cut short, broken chunking, gzip error, 200 that is not JSON, HTML, empty, bad UTF-8"
_CONTEXT = "400 context length (also numeric `code`, also as a 500 with such a type), 413, 422"
_MONEY = (
    '400/402/403 billing text ("credit balance is too low"), 402 without Retry-After, 429'
    " `insufficient_quota`, `billing_hard_limit_reached`, `*_spend_limit_*`*"
)
_ROUTE = "404 model or route, 405, 410, 415, 426, 501"
_ODD_BODY = Effect.NOT_AN_API | Effect.FAULT
_LATE = Effect.HALVE_ON_BURST | Effect.FAULT

_RULES: Final = (
    _retry("connect", "DNS, refused, connect timeout", _B, effects=Effect.CONNECT | Effect.FAULT),
    _stop("tls", "TLS verification, wrong host name", EndpointUnusable),
    _retry("not_sent", _BEFORE_BODY, _B, effects=Effect.FAULT, free_first=True),
    _retry("stale_connection", _BEFORE_BODY, _B, free_first=True),
    _retry(
        "no_reply",
        "reset or EOF after sending, before a reply; read timeout; attempt deadline",
        _R | _P | _B,
        Paid.AMBIGUOUS,
        _LATE,
    ),
    _retry("bad_http", _BAD_BODY, _R | _P | _B, Paid.AMBIGUOUS, _ODD_BODY),
    _retry(
        "bad_body",
        _BAD_BODY,
        _R | _P | _B,
        Paid.YES,
        _ODD_BODY,
    ),
    _fail("response_too_large", "body over 64 MiB", paid=Paid.YES),
    _keep("ok", "200, `stop` or `tool_calls`", Outcome.OK),
    _keep("truncated", "200, `length`", Outcome.TRUNCATED, effects=Effect.TRUNCATED),
    _keep("refused", "200, `content_filter`, or `refusal` set", Outcome.REFUSED),
    _retry(
        "no_answer",
        "200, finish_reason null, `abort`, `error`, unknown; empty choices; no content and 0 tokens",
        _R | _P | _B,
        Paid.YES,
        most_retries=1,
    ),
    # The particulars of this line are those of the error's own line; see classify.
    _retry("error_in_200", "200 with an `error` object and no choices", _R | _P | _B, Paid.AMBIGUOUS),
    _keep("usage_unknown", "200, usage missing, strings, floats, negative, absurd", Outcome.OK),
    _stop("unexpected_status", "201–206, 3xx", EndpointUnusable),  # noqa: RUF001 - verbatim
    _fail("context_length", _CONTEXT),
    _fail("request_too_large", _CONTEXT),
    # 422 is where FastAPI servers put an unknown parameter: on every row it is the job's fault, so it counts.
    _fail("unprocessable", _CONTEXT, effects=Effect.SAME_CODE),
    _fail("moderated", "400/403 moderation, 451", Outcome.REFUSED),
    _stop(
        "money",
        _MONEY,
        AccountError,
    ),
    _stop("account", "401, 403 key/permission, 407", AccountError),
    _stop("wrong_endpoint", _ROUTE, EndpointUnusable),
    _retry(
        "vanished",
        _ROUTE,
        _R | _B,
        effects=Effect.CUT_ON_BURST | Effect.FAULT,
    ),
    _fail("model_not_found", _ROUTE),
    _fail("bad_request", "400 other", effects=Effect.SAME_CODE),
    _retry("gateway_timeout", "408, 504, 524", _R | _P | _B, Paid.AMBIGUOUS, _LATE),
    _retry("conflict", "409, 423, 424, 425, 421", _R | _B),
    _retry("rate_limit", "429 rate limit, 402 with Retry-After", _T, effects=Effect.CUT_PACE),
    _retry("overloaded", "529, 503 with Retry-After", _T, effects=Effect.CUT_WINDOW),
    _fail("exceeds_tpm", '429 "request larger than the limit" (requested > limit)'),
    _retry("daily_limit", "429 daily limit or Retry-After > 10 min", _T, action=Action.PARK),
    _retry(
        "server_error",
        "500, 502, 503, 520–523, 530",  # noqa: RUF001 - verbatim
        _R | _B,
        effects=Effect.CUT_ON_BURST | Effect.FAULT,
    ),
)

_BESIDE: Final = (
    _retry("told_to_retry", "x-should-retry: true, on a status that would not be retried", _R | _B),
    _fail(
        "told_not_to_retry",
        "x-should-retry: false, on a status that would be retried",
        effects=Effect.SAME_CODE,
    ),
)
"""What a header makes of a line that says otherwise."""

TEMPLATES: Final = {rule.verdict.rule: rule.verdict for rule in (*_RULES, *_BESIDE)}
"""Rule name -> what it does."""

RULES: Final = {rule.verdict.rule: rule.condition for rule in _RULES}
"""Rule name -> the line of the failure rules that it stands for, word for word, in their order."""

RULES_ELSEWHERE: Final = {
    "throttled": "100 refusals of one row while >= 1,000 others succeed",  # RowBudget.exhausted
    "invalid": "template error, missing value, invalid row",  # never sent
    "bug": "an exception that is our bug",  # the attempt boundary of the engine
}
"""The lines that no reply can fall on, and where they are decided."""
