"""Pure: a chat completion as the chunks in which a healthy server would stream it, as server-sent events.

Every text is cut into pieces of one token; several choices come interleaved; a tool call comes with its name first and
its arguments after it; log probabilities go with the tokens they belong to. Usage, where it is asked for, stands alone
in a last chunk without choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, cast

import orjson

from batcher.simulator.answers import BYTES_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE = b"data: [DONE]\n\n"
_TEXTS = ("reasoning_content", "content", "refusal")

Json = dict[str, object]
Piece = Mapping[str, object]


def is_streamed(fields: Mapping[str, object] | None) -> bool:
    """Whether a request asks for its answer piece by piece."""
    return bool(fields and fields.get("stream"))


def wants_usage(fields: Mapping[str, object] | None) -> bool:
    options = fields.get("stream_options") if fields else None
    return isinstance(options, dict) and bool(options.get("include_usage"))


def events_of(
    completion: Mapping[str, object], *, with_usage: bool, usage_always: bool = False
) -> list[bytes]:
    """The events of a streamed answer, `DONE` not among them.

    Args:
        completion: a chat.completion object, odd ones included.
        with_usage: in a last chunk without choices, if the completion has one.
        usage_always: in every other chunk too, as far as it has come.
    """
    frame = {key: value for key, value in completion.items() if key not in {"choices", "usage"}}
    frame["object"] = "chat.completion.chunk"
    choices = completion.get("choices")
    pieces = _interleaved(choices) if isinstance(choices, list) and choices else [choices]
    usage = completion.get("usage")
    chunks: list[Json] = [{**frame, "choices": each} for each in pieces]
    for number, chunk in enumerate(chunks, start=1):
        if usage_always and isinstance(usage, dict):
            chunk["usage"] = {
                **usage,
                "completion_tokens": min(number, cast("int", usage["completion_tokens"])),
            }
    if with_usage and "usage" in completion:
        chunks.append({**frame, "choices": [], "usage": usage})
    return [b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks]


def _interleaved(choices: list[Json]) -> Iterator[list[Piece]]:
    for step in zip_longest(*map(_pieces, choices)):
        yield from ([piece] for piece in step if piece is not None)


def _pieces(choice: Json) -> Iterator[Piece]:
    index, message, reason = choice.get("index"), choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, dict):
        yield {"index": index, "delta": message, "finish_reason": reason}
        return
    start: Json = {"role": "assistant", "content": "", "refusal": None}
    yield {"index": index, "delta": start, "logprobs": None, "finish_reason": None}
    tokens = _tokens(choice)
    for delta in _deltas(message):
        logprobs = next(tokens, None) if "content" in delta else None
        yield {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
    yield {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}


def _tokens(choice: Json) -> Iterator[Piece]:
    """The log probabilities of one token after the other."""
    logprobs = choice.get("logprobs")
    told = logprobs.get("content") if isinstance(logprobs, dict) else None
    for token in told if isinstance(told, list) else ():
        yield {"content": [token], "refusal": None}


def _deltas(message: Json) -> Iterator[Piece]:
    for key in _TEXTS:
        value = message.get(key)
        if isinstance(value, str):
            yield from ({key: piece} for piece in _cut(value))
        elif isinstance(value, list):
            yield from ({key: [part]} for part in value)
        elif value is not None:
            yield {key: value}
    for index, call in enumerate(cast("list[Json]", message.get("tool_calls") or [])):
        yield from ({"tool_calls": [{"index": index, **piece}]} for piece in _call_pieces(call))


def _call_pieces(call: Json) -> Iterator[Piece]:
    function = cast("Json", call["function"])
    arguments = function["arguments"]
    if not isinstance(arguments, str):  # mode arguments_object
        yield call
        return
    yield {**call, "function": {**function, "arguments": ""}}
    yield from ({"function": {"arguments": piece}} for piece in _cut(arguments))


def _cut(text: str) -> Iterator[str]:
    return (text[at : at + BYTES_PER_TOKEN] for at in range(0, len(text), BYTES_PER_TOKEN))
