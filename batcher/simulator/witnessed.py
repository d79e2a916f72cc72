"""Modes of answers as servers that others wrote gave them, word for word where the words matter.

LiteLLM's proxy, llama.cpp's server and mock servers were asked by this program what the documentation leaves open:
a wrong key, n = 2, tools that the model does not know. What nobody would have invented stands here. Where nothing
structured was asked for, and one completion, the answer stays the good one but for its oddity.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

import orjson

from batcher.simulator import lines
from batcher.simulator.plan import Mode
from batcher.simulator.replies import error_body, refusal
from batcher.simulator.streaming import DONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator.plan import Delivery, Occasion

Json = dict[str, object]

_LITELLM_UNPRICED = (
    "x-litellm-model-api-base: http://127.0.0.1:8000/v1\r\n"
    "x-litellm-response-cost-original: 0.0\r\nx-litellm-response-cost-discount-amount: 0.0\r\n"
    "llm_provider-keep-alive: timeout=5, max=100\r\n"
)
_LLAMACPP = "access-control-allow-origin: \r\nkeep-alive: timeout=5, max=100\r\n"
_TIMINGS = {"cache_n": 55, "prompt_n": 1, "prompt_ms": 0.277, "predicted_n": 8, "predicted_ms": 0.402}


def _choices(content: Json) -> list[Json]:
    return cast("list[Json]", content["choices"])


def _usage(content: Json) -> Json:
    return cast("Json", content["usage"])


def _one_choice(content: Json) -> None:
    """The first completion alone, and the usage of it."""
    _count_one_choice(content)
    del _choices(content)[1:]


def _count_one_choice(content: Json) -> None:
    usage = _usage(content)
    counted = cast("int", usage["completion_tokens"]) // len(_choices(content))
    prompt = cast("int", usage["prompt_tokens"])
    usage.update(completion_tokens=counted, total_tokens=prompt + counted, completion_tokens_details=None)


def _no_call(content: Json) -> None:
    for choice in _choices(content):
        message = cast("Json", choice["message"])
        if message.pop("tool_calls", None):
            message["content"] = "I would look at the weather first."
            choice["finish_reason"] = "stop"


def _call_of_another_function(content: Json) -> None:
    for choice in _choices(content):
        for call in cast("list[Json]", cast("Json", choice["message"]).get("tool_calls") or []):
            cast("Json", call["function"])["name"] = "Write"


def _bare_call(content: Json) -> None:
    """No content, not even null; finish_reason stop; a call counts as no token."""
    for choice in _choices(content):
        message = cast("Json", choice["message"])
        if message.get("tool_calls"):
            choice["finish_reason"] = "stop"
            choice["message"] = {"role": "assistant", "tool_calls": message["tool_calls"]}
            usage = _usage(content)
            usage.update(
                completion_tokens=0, total_tokens=usage["prompt_tokens"], completion_tokens_details=None
            )


def _with_timings(content: Json) -> None:
    content["timings"] = _TIMINGS
    for choice in _choices(content):
        message = cast("Json", choice["message"])
        choice["message"] = {key: value for key, value in message.items() if value is not None}


def _as_it_is(_: Json) -> None:
    return None


def _send(occasion: Occasion, *, change: Callable[[Json], None], headers: str) -> Delivery:
    change(occasion.completion().content)
    return occasion.answer(headers=headers)


def _rewritten(event: bytes, change: Callable[[Json], None]) -> bytes:
    chunk = orjson.loads(event.removeprefix(b"data: "))
    change(chunk)
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _usage_beside_a_choice(chunk: Json) -> None:
    """LiteLLM tells the cost of a stream here, because the headers are gone by then."""
    if chunk.get("usage") and not chunk["choices"]:
        chunk["choices"] = [{"index": 0, "delta": {}}]
        chunk["usage"] = {**cast("Json", chunk["usage"]), "cost": 0.0000018}


def _calls_without_index(chunk: Json) -> None:
    chunk.pop("usage", None)
    for choice in _choices(chunk):
        for call in cast("list[Json]", cast("Json", choice["delta"]).get("tool_calls") or []):
            call.pop("index", None)


def _stream_litellm(occasion: Occasion) -> Delivery:
    if not occasion.is_streamed:
        return occasion.answer()
    return occasion.stream([*(_rewritten(each, _usage_beside_a_choice) for each in occasion.events()), DONE])


def _stream_as_text(occasion: Occasion) -> Delivery:
    if not occasion.is_streamed:
        return occasion.answer()
    kept = [_rewritten(each, _calls_without_index) for each in occasion.events()]
    told = [each for each in kept if b'"choices":[]' not in each]
    delivery = occasion.stream([*told, DONE])
    head = cast("bytes", delivery.steps[0]).replace(b"text/event-stream", b"text/plain; charset=utf-8")
    return replace(delivery, steps=(head, *delivery.steps[1:]))


def _ok(name: str, description: str, change: Callable[[Json], None], headers: str = "") -> Mode:
    build = partial(_send, change=change, headers=headers)
    return Mode(name, f"200, paid: {description}", True, lines.OK, True, build)


WITNESSED: tuple[Mode, ...] = (
    _ok("n_ignored", "one completion, however many were asked for", _one_choice),
    _ok("usage_of_one_choice", "llama.cpp: n completions, usage of one", _count_one_choice),
    _ok("tools_ignored", "llama.cpp: text though a call was required", _no_call),
    _ok("tool_unknown", "a call of a function that nobody offered", _call_of_another_function),
    _ok("tool_calls_bare", "calls without content that count as 0 tokens", _bare_call),
    _ok("litellm_unpriced", "LiteLLM: cost headers, but not the cost itself", _as_it_is, _LITELLM_UNPRICED),
    _ok("llamacpp_answer", "llama.cpp: timings, an empty header value", _with_timings, _LLAMACPP),
    Mode(
        "stream_litellm",
        "a stream: usage and cost in an extra chunk that has a choice",
        True,
        lines.OK,
        True,
        _stream_litellm,
    ),
    Mode(
        "stream_as_text",
        "a stream: of type text/plain, calls without index, no usage",
        True,
        lines.USAGE,
        True,
        _stream_as_text,
    ),
    refusal(
        "litellm_no_db",
        "LiteLLM without a database: the key is wrong",
        lines.AUTH,
        400,
        error_body("No connected db.", "no_db_connection", "400"),
    ),
    refusal(
        "litellm_timeout",
        "LiteLLM: its own deadline, of a type that says otherwise",
        lines.TIMEOUT,
        408,
        error_body("litellm.Timeout: Request timed out.", "invalid_request_error", "408"),
        headers="x-litellm-response-cost: 0\r\nx-litellm-timeout: 1.0\r\n",
        persistent=False,
    ),
    refusal(
        "express_413",
        "Express: the body is too large, and it blames itself",
        lines.CONTEXT,
        413,
        error_body("Internal server error", "internal_error", "internal_error"),
    ),
)
