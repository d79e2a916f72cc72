"""Modes that answer 2xx or 3xx in correct HTTP, but not as one expects: finish reasons, usage, shapes,
statuses.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import orjson

from batcher.simulator import lines
from batcher.simulator.answers import BYTES_PER_TOKEN
from batcher.simulator.plan import Delivery, Mode
from batcher.simulator.replies import error_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.plan import Occasion

Json = dict[str, object]


def _good(occasion: Occasion) -> Delivery:
    return occasion.answer()


def _changed(change: Callable[[Json, Json], None], headers: str = "") -> Callable[[Occasion], Delivery]:
    """A builder: the good answer after `change(completion, its first choice)`."""

    def build(occasion: Occasion) -> Delivery:
        content = occasion.completion().content
        change(content, cast("list[Json]", content["choices"])[0])
        return occasion.answer(headers=headers)

    return build


def _message(choice: Json) -> Json:
    return cast("Json", choice["message"])


def _text(choice: Json) -> str:
    content = _message(choice)["content"]
    return content if isinstance(content, str) else ""


def _finish(reason: object) -> Callable[[Json, Json], None]:
    def change(_: Json, choice: Json) -> None:
        choice["finish_reason"] = reason

    return change


def _cut(_: Json, choice: Json) -> None:
    text = _text(choice)
    choice["finish_reason"] = "length"
    _message(choice)["content"] = text[: max(BYTES_PER_TOKEN, len(text) // 2)]


def _filtered(_: Json, choice: Json) -> None:
    choice["finish_reason"] = "content_filter"
    _message(choice)["content"] = ""


def _refuse(_: Json, choice: Json) -> None:
    choice["finish_reason"] = "stop"
    _message(choice).update(content=None, refusal="I'm sorry, but I can't help with that.", tool_calls=None)


def _say_nothing(content: Json, choice: Json) -> None:
    choice["finish_reason"] = "stop"
    choice["message"] = {"role": "assistant", "content": None}
    usage = cast("Json", content["usage"])
    usage.update(completion_tokens=0, total_tokens=usage["prompt_tokens"], completion_tokens_details=None)


def _no_choices(content: Json, _: Json) -> None:
    content["choices"] = []


def _null_choices(content: Json, _: Json) -> None:
    content["choices"] = None


def _null_message(_: Json, choice: Json) -> None:
    choice["message"] = None


def _content_parts(_: Json, choice: Json) -> None:
    text = _text(choice)
    half = len(text) // 2
    _message(choice)["content"] = [
        {"type": "text", "text": text[:half]},
        {"type": "text", "text": text[half:]},
    ]


def _content_number(_: Json, choice: Json) -> None:
    _message(choice)["content"] = 42


def _usage(**values: object) -> Callable[[Json, Json], None]:
    def change(content: Json, _: Json) -> None:
        cast("Json", content["usage"]).update(values)

    return change


def _without_usage(content: Json, _: Json) -> None:
    del content["usage"]


def _null_usage(content: Json, _: Json) -> None:
    content["usage"] = None


def _tools_stop(_: Json, choice: Json) -> None:
    choice["finish_reason"] = "stop"
    called = {"id": "call_simulated", "type": "function", "function": {"name": "answer", "arguments": "{}"}}
    message = _message(choice)
    message.update(content=None, tool_calls=message.get("tool_calls") or [called])


def _fixed(body: bytes) -> Callable[[Occasion], Delivery]:
    def build(occasion: Occasion) -> Delivery:
        return occasion.reply(200, body)

    return build


def _with_status(occasion: Occasion, *, status: int) -> Delivery:
    return occasion.reply(status, orjson.dumps(occasion.completion().content))


def _without_answer(occasion: Occasion, *, status: int, body: bytes = b"") -> Delivery:
    return occasion.reply(status, body)


def _redirect(occasion: Occasion, *, status: int) -> Delivery:
    return occasion.reply(status, b"", headers=f"location: {occasion.config.redirect_to}\r\n")


def _echo_key(occasion: Occasion) -> Delivery:
    key = (occasion.call.authorization or "").removeprefix("Bearer ")

    def change(_: Json, choice: Json) -> None:
        _message(choice)["content"] = f"You sent the key {key} along."

    return _changed(change)(occasion)


def _ok(
    name: str, description: str, change: Callable[[Json, Json], None], line: str, odd: str | None = None
) -> Mode:
    return Mode(name, f"200, paid: {description}", True, line, True, _changed(change), odd_reply=odd)


def _passing(
    name: str, description: str, build: Callable[[Occasion], Delivery], odd: str | None = None
) -> Mode:
    return Mode(name, f"200, paid: {description}", True, lines.NO_ANSWER, False, build, odd_reply=odd)


def _error_in_200(name: str, description: str, body: bytes, *, persistent: bool = False) -> Mode:
    return Mode(name, f"200: {description}", False, lines.ERROR_IN_200, persistent, _fixed(body))


def _statuses() -> list[Mode]:
    modes = [
        Mode(
            f"status_{status}",
            f"{status} with an answer",
            True,
            lines.NOT_200,
            True,
            partial(_with_status, status=status),
        )
        for status in (201, 203, 206)
    ]
    modes += [
        Mode(
            f"status_{status}",
            f"{status} without an answer",
            False,
            lines.NOT_200,
            True,
            partial(_without_answer, status=status, body=body),
        )
        for status, body in ((202, b'{"status":"queued"}'), (204, b""), (205, b""))
    ]
    modes += [
        Mode(
            f"redirect_{status}",
            f"{status} to `redirect_to`",
            False,
            lines.NOT_200,
            True,
            partial(_redirect, status=status),
        )
        for status in (301, 302, 303, 307, 308)
    ]
    return modes


_OK_LINE, _USAGE_LINE = lines.OK, lines.USAGE

ODDITIES: tuple[Mode, ...] = (
    Mode("ok", "200, paid: the good answer", True, lines.OK, False, _good),
    _ok(
        "tool_calls_stop",
        "LiteLLM: a tool call that finishes with stop",
        _tools_stop,
        _OK_LINE,
        lines.LITELLM_TOOLS,
    ),
    _ok("content_parts", "content is a list of parts", _content_parts, _OK_LINE, lines.CONTENT_PARTS),
    _ok("content_number", "content is a number", _content_number, _OK_LINE, lines.CONTENT_NUMBER),
    _ok("usage_cost", "OpenRouter's usage.cost", _usage(cost=0.000123, is_byok=False), _OK_LINE),
    Mode(
        "litellm_cost",
        "200, paid: LiteLLM's x-litellm-response-cost",
        True,
        lines.OK,
        True,
        _changed(
            lambda _content, _choice: None,
            "x-litellm-response-cost: 0.000456\r\nx-litellm-call-id: sim-1\r\n",
        ),
    ),
    Mode(
        "answer_echoes_key",
        "200, paid: the answer repeats the key of the request",
        True,
        lines.OK,
        True,
        _echo_key,
    ),
    _ok("length", "cut at the token limit", _cut, lines.LENGTH),
    _ok("content_filter", "finish_reason content_filter", _filtered, lines.REFUSED),
    _ok("refusal", "a refusal in place of content", _refuse, lines.REFUSED),
    _passing("finish_null", "finish_reason null", _changed(_finish(None))),
    _passing("finish_abort", "vLLM's finish_reason abort", _changed(_finish("abort")), lines.VLLM_ABORT),
    _passing("finish_error", "finish_reason error", _changed(_finish("error"))),
    _passing("finish_unknown", "a finish_reason nobody knows", _changed(_finish("eos_token_reached"))),
    _passing("choices_empty", "choices is empty", _changed(_no_choices)),
    _passing("choices_null", "choices is null", _changed(_null_choices), lines.EMPTY_JSON),
    _passing("message_null", "the message is null", _changed(_null_message), lines.EMPTY_JSON),
    _passing("no_content", "no content and 0 tokens", _changed(_say_nothing)),
    _passing("json_null", "the body is null", _fixed(b"null"), lines.EMPTY_JSON),
    _passing("json_list", "the body is []", _fixed(b"[]"), lines.EMPTY_JSON),
    _passing("json_empty_object", "the body is {}", _fixed(b"{}"), lines.EMPTY_JSON),
    _ok("usage_missing", "no usage", _without_usage, _USAGE_LINE),
    _ok("usage_null", "usage is null", _null_usage, _USAGE_LINE),
    _ok(
        "usage_strings",
        "usage in strings",
        _usage(prompt_tokens="12", completion_tokens="a lot", total_tokens=""),
        _USAGE_LINE,
        lines.USAGE_ODD,
    ),
    _ok(
        "usage_floats",
        "usage in fractions",
        _usage(prompt_tokens=10.5, completion_tokens=3.25, total_tokens=13.75),
        _USAGE_LINE,
        lines.USAGE_ODD,
    ),
    _ok(
        "usage_huge",
        "usage of 1e30",
        _usage(prompt_tokens=1e30, completion_tokens=1e30, total_tokens=2e30),
        _USAGE_LINE,
        lines.USAGE_ODD,
    ),
    _ok(
        "usage_negative",
        "usage below zero",
        _usage(prompt_tokens=-1, completion_tokens=-7, total_tokens=-8),
        _USAGE_LINE,
        lines.USAGE_ODD,
    ),
    _ok(
        "usage_absurd",
        "usage of 10^15 tokens",
        _usage(prompt_tokens=10**15, completion_tokens=10**15, total_tokens=2 * 10**15),
        _USAGE_LINE,
    ),
    _error_in_200(
        "error_in_200",
        "OpenRouter's error object, code 502, no choices",
        orjson.dumps({"error": {"message": "Provider returned error", "code": 502}}),
    ),
    _error_in_200(
        "error_in_200_rate_limit",
        "an error object, code 429, no choices",
        error_body("Rate limit reached.", "rate_limit_error", 429),
    ),
    _error_in_200(
        "error_in_200_string", "error is a string, no choices", b'{"error":"Service temporarily overloaded"}'
    ),
    _error_in_200(
        "error_in_200_quota",
        "insufficient_quota, no choices",
        persistent=True,
        body=error_body("You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    ),
    *_statuses(),
)
