"""One reply -> one verdict. Pure, total: every status, fault and body has a line of the table.

The order of decision:

1. no status line, or a 200 whose body is not whole: by what ended the exchange. A stream that had told its whole
   answer is whole, whatever ended it then; one that ended before its answer did is a body cut short
2. 200 with choices: by finish_reason
3. 200 with an error object and no choices: as a reply with that error's own status, from 4 on, but perhaps
   paid
4. money, then auth: code, type, and text where servers leave no choice
5. ``x-should-retry``
6. the status, with code, type and text of the error object where one status means several things
7. the shape of the body (200 only)

Only ``error.{code,type,message}`` is searched, never content. A body cut short under an error status
changes nothing: the status had already said that nothing was generated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from batcher.policy import codes
from batcher.policy.constants import PARK_OVER_S, PARK_UNKNOWN_S, TRUSTED_AFTER
from batcher.policy.table import TEMPLATES
from batcher.policy.verdict import Action, Charge, Paid, Verdict
from batcher.policy.waits import retry_after, server_wait
from batcher.records import ApiError, FaultKind, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.records import Reading, Reply


class Context(NamedTuple):
    """What a reply alone does not tell. A NamedTuple, because one is made for every attempt.

    Attributes:
        successes: rows answered so far in this session.
        own_model: the row, not the job, named the model.
        now: seconds since the epoch, for dates in headers.
        tokens_needed: what the request reserves against a token limit; None: unknown.
        refused_before: how often this row was refused for rate already.
    """

    successes: int
    own_model: bool
    now: float
    tokens_needed: int | None = None
    refused_before: int = 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """An error reply as the status rules look at it: code, type and message in lower case, "" where
    absent.
    """

    status: int
    reply: Reply
    error: ApiError
    words: frozenset[str]
    text: str
    context: Context


_OK: Final = TEMPLATES["ok"]
_OF_FAULT: Final = {
    FaultKind.DNS: "connect",
    FaultKind.CONNECT_REFUSED: "connect",
    FaultKind.CONNECT_TIMEOUT: "connect",
    FaultKind.CONNECT_FAILED: "connect",
    FaultKind.TLS: "tls",
    FaultKind.NOT_SENT: "not_sent",
    FaultKind.STALE: "stale_connection",
    FaultKind.RESET: "no_reply",
    FaultKind.EOF: "no_reply",
    FaultKind.READ_TIMEOUT: "no_reply",
    FaultKind.DEADLINE: "no_reply",
    FaultKind.BODY_CUT: "bad_body",
    FaultKind.BAD_ENCODING: "bad_body",
    FaultKind.BAD_HTTP: "bad_http",
    FaultKind.TOO_LARGE: "response_too_large",
}
_CUTS: Final = frozenset({FaultKind.BODY_CUT, FaultKind.READ_TIMEOUT, FaultKind.DEADLINE})
"""What may end a body behind the last word of its answer."""
_OF_STATUS: Final = {
    401: "account",
    407: "account",
    **dict.fromkeys((405, 410, 415, 426, 501), "wrong_endpoint"),
    **dict.fromkeys((408, 504, 524), "gateway_timeout"),
    **dict.fromkeys((409, 421, 423, 424, 425), "conflict"),
    413: "request_too_large",
    422: "unprocessable",
    451: "moderated",
    529: "overloaded",
}


def classify(reply: Reply, reading: Reading | None, context: Context) -> Verdict:
    """Judge one reply; `reading` is None when there was no body to read."""
    status, fault = reply.status, reply.fault
    if fault is not None and fault.kind in _CUTS and reading is not None and reading.ended:
        fault = None
    if status == 200 and fault is None:
        if reading is not None and reading.ended is False and reading.shape is not Shape.ERROR:
            return _faulty(reply, FaultKind.BODY_CUT, "the stream ended before its answer did", reading)
        if reading is not None and reading.shape is Shape.CHOICES:
            return _answer(reading)
        return _no_choices(reply, reading, context)
    if fault is not None and (status is None or status == 200):
        return _faulty(reply, fault.kind, fault.message, reading)
    if status is None:
        return _faulty(reply, FaultKind.EOF, "no reply", reading)
    return _failed(status, reply, reading, context)


# --- 200 --------------------------------------------------------------------------------------------------


def _answer(reading: Reading) -> Verdict:
    answer = reading.answer
    assert answer is not None, "a reading with choices has an answer"
    finish = (answer.finish_reason or "").lower()
    if answer.refusal is not None or finish in codes.FILTER_FINISHES:
        return TEMPLATES["refused"]
    if finish in codes.LENGTH_FINISHES:
        return TEMPLATES["truncated"]
    if finish not in codes.OK_FINISHES:
        return _unanswered(f"finish_reason {answer.finish_reason!r}"[:200])
    usage = answer.usage
    if not answer.completion and answer.tool_calls is None and usage.completion_tokens == 0:
        return _unanswered("no content and 0 completion tokens")
    unknown = usage.prompt_tokens is None or usage.completion_tokens is None
    return TEMPLATES["usage_unknown"] if unknown else _OK


def _unanswered(why: str) -> Verdict:
    return replace(TEMPLATES["no_answer"], status_code=200, error_message=why)


def _no_choices(reply: Reply, reading: Reading | None, context: Context) -> Verdict:
    shape = Shape.NOT_JSON if reading is None else reading.shape
    match shape:
        case Shape.NOT_JSON | Shape.CHOICES:
            start = reply.body[:80].decode("utf-8", errors="replace")
            why = f"not JSON, begins {start!r}" if reply.body else "no bytes in the body"
            return replace(TEMPLATES["bad_body"], status_code=200, error_message=why)
        case Shape.EMPTY:
            return _unanswered("no choices")
        case Shape.ERROR:
            assert reading is not None
            return _error_in_200(reply, reading, context)
        case _:
            assert_never(shape)


def _error_in_200(reply: Reply, reading: Reading, context: Context) -> Verdict:
    verdict = _failed(_status_of(reading.error or ApiError()), reply, reading, context)
    if _began_to_answer(reading):  # a refusal that came so late has cost as much as any other end
        charges = (verdict.charges & ~Charge.T) | Charge.R | Charge.P | Charge.B
    elif Charge.T in verdict.charges:
        charges = verdict.charges
    else:
        charges = verdict.charges | Charge.P
    # A row that no retry helps is ended by the error's own name; all else is counted as this line.
    rule = verdict.rule if verdict.action is Action.FAIL else "error_in_200"
    paid = Paid.YES if _began_to_answer(reading) else Paid.AMBIGUOUS
    return replace(verdict, rule=rule, paid=paid, charges=charges, status_code=200)


def _status_of(error: ApiError) -> int:
    for word in (error.code, error.type):
        if word is None:
            continue
        if word.isascii() and word.isdigit() and len(word) == 3 and word >= "400":
            return int(word)
        known = codes.STATUS_OF_CODE.get(word.lower())
        if known is not None:
            return known
    return 500


# --- faults -----------------------------------------------------------------------------------------------


def _faulty(reply: Reply, kind: FaultKind, message: str, reading: Reading | None) -> Verdict:
    template = TEMPLATES[_OF_FAULT[kind]]
    return replace(
        template,
        paid=Paid.YES if _began_to_answer(reading) else template.paid,
        error_type=kind.value,
        status_code=reply.status,
        error_message=message,
        message=message,
    )


def _began_to_answer(reading: Reading | None) -> bool:
    """Whether a part of a stream's answer came: then it was generated, so it is paid for."""
    if reading is None or reading.ended is not False or reading.answer is None:
        return False
    answer = reading.answer
    return bool(answer.completion or answer.reasoning or answer.refusal or answer.tool_calls)


# --- error statuses ---------------------------------------------------------------------------------------


def _failed(status: int, reply: Reply, reading: Reading | None, context: Context) -> Verdict:
    error = (reading.error if reading is not None else None) or ApiError()
    words = frozenset(word.lower() for word in (error.code, error.type) if word)
    seen = _Seen(status, reply, error, words, (error.message or "").lower(), context)
    rule = _account_rule(seen)
    if rule is None:
        rule = _told(seen, _status_rule(seen))
    return _filled(rule, seen)


def _account_rule(seen: _Seen) -> str | None:
    """Money and auth patterns in the error object, whatever the status."""
    if not seen.words.isdisjoint(codes.MONEY_CODES) or any(
        codes.MONEY_CODE_PART in word for word in seen.words
    ):
        return "money"
    if seen.status in codes.MONEY_TEXT_STATUSES and _says(seen, codes.MONEY_TEXTS):
        return "money"
    if not seen.words.isdisjoint(codes.AUTH_CODES) and not _moderated(seen):
        return "account"
    if seen.status in codes.AUTH_TEXT_STATUSES and _says(seen, codes.AUTH_TEXTS):
        return "account"
    return None


def _told(seen: _Seen, rule: str) -> str:
    """What `x-should-retry` makes of the status rule: a rule that already agrees keeps its own budgets."""
    wish = (seen.reply.header("x-should-retry") or "").strip().lower()
    retried = TEMPLATES[rule].action in {Action.RETRY, Action.PARK}
    if wish == "true" and not retried:
        return "told_to_retry"
    if wish == "false" and retried:
        return "told_not_to_retry"
    return rule


def _status_rule(seen: _Seen) -> str:
    status = seen.status
    fixed = _OF_STATUS.get(status)
    if fixed is not None:
        return fixed
    rule_of = _RULE_OF_STATUS.get(status)
    if rule_of is not None:
        return rule_of(seen)
    if 400 <= status < 500:
        return "bad_request"
    return _rule_of_5xx(seen) if 500 <= status < 600 else "unexpected_status"


def _rule_of_402(seen: _Seen) -> str:
    wait = retry_after(seen.reply.headers, now=seen.context.now)
    return "money" if wait is None else _limited(seen)


def _rule_of_403(seen: _Seen) -> str:
    return "moderated" if _moderated(seen) else "account"


def _rule_of_400(seen: _Seen) -> str:
    if not seen.words.isdisjoint(codes.CONTEXT_CODES) or _says(seen, codes.CONTEXT_TEXTS):
        return "context_length"
    if _moderated(seen):
        return "moderated"
    if not seen.words.isdisjoint(codes.MODEL_CODES) or _says(seen, codes.MODEL_TEXTS_400):
        return "model_not_found" if seen.context.own_model else "wrong_endpoint"
    return "bad_request"


def _rule_of_404(seen: _Seen) -> str:
    """A row's own model is the row's trouble, unless nothing worked yet and no model is spoken of."""
    trusted = seen.context.successes >= TRUSTED_AFTER
    names_model = not seen.words.isdisjoint(codes.MODEL_CODES) or "model" in seen.text
    if seen.context.own_model and (names_model or trusted):
        return "model_not_found"
    return "vanished" if trusted else "wrong_endpoint"


def _rule_of_5xx(seen: _Seen) -> str:
    if not seen.words.isdisjoint(codes.CONTEXT_CODES) or _says(seen, codes.CONTEXT_TEXTS_500):
        return "context_length"
    if seen.status == 500 and _says(seen, codes.PERMANENT_500_TEXTS):
        return "bad_request"
    if seen.status == 503:
        wait = retry_after(seen.reply.headers, now=seen.context.now)
        if wait is not None:
            return "daily_limit" if wait > PARK_OVER_S else "overloaded"
    return "server_error"


def _limited(seen: _Seen) -> str:
    if _asks_beyond_limit(seen.text):
        return "exceeds_tpm"
    wait = _wait(seen)
    if wait is not None:
        return "daily_limit" if wait > PARK_OVER_S else "rate_limit"
    daily = not seen.words.isdisjoint(codes.DAILY_CODES) or codes.DAILY_TEXT.search(seen.text) is not None
    return "daily_limit" if daily else "rate_limit"


def _asks_beyond_limit(text: str) -> bool:
    found = codes.REQUESTED_OF_LIMIT.search(text)
    if found is None:
        return False
    limit, requested = (int(number.replace(",", "") or 0) for number in found.groups())
    return requested > limit


def _moderated(seen: _Seen) -> bool:
    return not seen.words.isdisjoint(codes.MODERATION_CODES) or _says(seen, codes.MODERATION_TEXTS)


def _says(seen: _Seen, texts: tuple[str, ...]) -> bool:
    return any(text in seen.text for text in texts)


def _wait(seen: _Seen) -> float | None:
    return server_wait(
        seen.reply.headers,
        seen.error.message,
        now=seen.context.now,
        tokens_needed=seen.context.tokens_needed,
        refused_before=seen.context.refused_before,
    )


def _filled(rule: str, seen: _Seen) -> Verdict:
    template = TEMPLATES[rule]
    wait = _wait(seen) if template.action in {Action.RETRY, Action.PARK} else None
    if template.action is Action.PARK and wait is None:
        wait = PARK_UNKNOWN_S
    return replace(
        template,
        wait_s=wait,
        status_code=seen.reply.status,
        error_code=seen.error.code,
        error_message=seen.error.message,
        message=_sentence(seen),
    )


def _sentence(seen: _Seen) -> str:
    if 300 <= seen.status < 400:
        target = seen.reply.header("location")
        return f"{seen.status} from the endpoint: it redirects{f' to {target[:200]}' if target else ''}"
    said = seen.error.message or seen.error.code or seen.error.type
    return f'{seen.status} from the endpoint: "{said}"' if said else f"{seen.status} from the endpoint"


_RULE_OF_STATUS: Final[Mapping[int, Callable[[_Seen], str]]] = {
    400: _rule_of_400,
    402: _rule_of_402,
    403: _rule_of_403,
    404: _rule_of_404,
    429: _limited,
}
"""Statuses that mean several things."""
