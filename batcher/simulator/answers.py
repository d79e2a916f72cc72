"""Pure: a request body to the chat completion a healthy server would give: text, JSON to a schema, or a
tool call.

Everything is a function of (content, seed), never of time or attempt, so that two runs can be compared
answer by
answer. The answers are plausible in shape and size only; `system_fingerprint` says that they are simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from batcher.simulator.dice import Dice, Draw
from batcher.simulator.images import weight
from batcher.simulator.latency import parse_latency
from batcher.simulator.schema import fit
from batcher.simulator.tokens import count_pieces, pieces, prompt_pieces

CREATED = (
    1_767_225_600  # 2026-01-01T00:00:00Z: a constant, because an answer depends on content and seed only
)
BYTES_PER_TOKEN = 4  # the usual rule of thumb for English

SENTENCES = (
    "The message describes one main problem and asks for a clear answer.",
    "Nothing in the text suggests that the matter is urgent.",
    "The customer has already tried the obvious steps without success.",
    "A short reply with the next step should be enough.",
    "The tone is polite, although some impatience can be felt.",
    "Two dates are mentioned, and they do not contradict each other.",
    "The amount in question matches the invoice.",
    "It would help to know which version was in use at the time.",
    "The order was placed on time but left the warehouse late.",
    "The request can be handled without passing it on.",
    "Several details are missing, so a question back is advisable.",
    "The main point is stated in the first paragraph.",
    "Overall the feedback is positive.",
    "The described behaviour is expected and documented.",
    "A refund has been promised but has not arrived yet.",
    "The account itself appears to be in good order.",
    "The writer compares the product with an earlier one.",
    "No personal details beyond a name are given.",
    "The delivery address differs from the billing address.",
    "The issue appeared right after the latest update.",
    "Restarting the device solved the problem only for a while.",
    "The second half of the text repeats the first.",
    "A similar case was reported last week.",
    "The person would like to be called back in the afternoon.",
    "The contract ends next month and will not be renewed automatically.",
    "The attached picture is said to show the damage.",
    "The price was higher than announced.",
    "All three items belong to the same order.",
    "The password could not be reset because the link had expired.",
    "In short, the text asks for a replacement rather than a refund.",
    "The numbers given add up.",
    "Further action is not required at this point.",
)


class Completion(NamedTuple):
    """A chat.completion object (fresh: the caller may change it) and its token counts."""

    content: dict[str, object]
    prompt_tokens: int
    completion_tokens: int


class _Choice(NamedTuple):
    message: dict[str, object]
    finish_reason: str
    tokens: int
    logprobs: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Manner:
    """How a simulator speaks and counts; as it stands, in sentences and by bytes.

    Attributes:
        by_words: tokens are what `batcher.simulator.tokens` cuts, not 4 bytes each.
        words: of a free text, in the place of sentences: a distribution written as latencies are, or None.
    """

    by_words: bool = False
    words: str | None = None

    def cut(self, text: str, tokens: int) -> str:
        """The first so many tokens of a text."""
        return "".join(pieces(text)[:tokens]) if self.by_words else text[: tokens * BYTES_PER_TOKEN]

    def count(self, text: str) -> int:
        return count_pieces(text) if self.by_words else count_tokens(text)

    def prompt(self, fields: Mapping[str, object], body: bytes) -> int:
        if not self.by_words:
            return count_prompt(fields, body)
        return prompt_pieces(fields) + weight(fields, body).tokens

    def free_text(self, dice: Dice, max_sentences: int) -> str:
        if self.words is None:
            return " ".join(dice.pick(SENTENCES) for _ in range(1 + dice.below(max_sentences)))
        numbers = Draw(0.0, dice.below(2**30) / 2**30, dice.below(2**30) / 2**30)
        wanted = max(1, round(parse_latency(self.words).sample(numbers)))
        words: list[str] = []
        while len(words) < wanted:
            words += dice.pick(SENTENCES).split()
        return " ".join(words[:wanted])


PLAIN = Manner()


def compose_completion(  # noqa: PLR0917 - what came, and who answers
    fields: Mapping[str, object],
    body: bytes,
    digest: bytes,
    seed: int,
    max_sentences: int,
    manner: Manner = PLAIN,
) -> Completion:
    """The good answer to a request; `max_sentences` bounds free text, at least 1."""
    dice = Dice(digest, seed)
    limit = token_limit(fields)
    count = fields.get("n")
    wanted = min(count, 128) if isinstance(count, int) and count > 0 else 1
    choices = [_choose(fields, dice, limit, max_sentences, index, manner) for index in range(wanted)]
    prompt_tokens = max(1, manner.prompt(fields, body))
    completion_tokens = sum(choice.tokens for choice in choices)
    reasoning = _reasoning_tokens(fields, dice, limit, completion_tokens, wanted)
    content: dict[str, object] = {
        "id": f"chatcmpl-{digest.hex()}",
        "object": "chat.completion",
        "created": CREATED,
        "model": fields.get("model"),
        "choices": [
            {"index": i, "message": c.message, "logprobs": c.logprobs, "finish_reason": c.finish_reason}
            for i, c in enumerate(choices)
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens + reasoning,
            "total_tokens": prompt_tokens + completion_tokens + reasoning,
            "prompt_tokens_details": {
                "cached_tokens": _cached_tokens(dice, prompt_tokens),
                "audio_tokens": 0,
            },
            "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
        },
        "system_fingerprint": "simulated",
    }
    return Completion(content, prompt_tokens, completion_tokens + reasoning)


def token_limit(fields: Mapping[str, object]) -> int | None:
    """The request's token maximum per completion, or None."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def count_prompt(fields: Mapping[str, object], body: bytes) -> int:
    """Tokens of a request, its images as images."""
    images = weight(fields, body)
    return (len(body) - images.image_bytes) // BYTES_PER_TOKEN + images.tokens


def count_tokens(text: str) -> int:
    return max(1, -(-len(text) // BYTES_PER_TOKEN))


def _cached_tokens(dice: Dice, prompt_tokens: int) -> int:
    # OpenAI caches prefixes from 1,024 tokens on, in steps of 128.
    if prompt_tokens < 1024 or dice.below(4) == 0:
        return 0
    return prompt_tokens * 3 // 4 // 128 * 128


def _reasoning_tokens(
    fields: Mapping[str, object], dice: Dice, limit: int | None, used: int, wanted: int
) -> int:
    if dice.below(8) and not _reasons(fields):
        return 0
    tokens = 64 * (1 + dice.below(4))
    return tokens if limit is None or used + tokens <= limit * wanted else 0


def _choose(  # noqa: PLR0917
    fields: Mapping[str, object],
    dice: Dice,
    limit: int | None,
    max_sentences: int,
    index: int,
    manner: Manner,
) -> _Choice:
    called = _tool_call(fields, dice, index)
    if called is not None:
        message: dict[str, object] = {
            "role": "assistant",
            "content": None,
            "tool_calls": [called],
            "refusal": None,
        }
        return _Choice(message, "tool_calls", manner.count(str(called["function"])))
    text = _json_answer(fields, dice)
    if text is None:
        text = _stop_at(manner.free_text(dice, max_sentences), fields.get("stop"))
    tokens, finish_reason = manner.count(text), "stop"
    if limit is not None and tokens > limit:
        text, tokens, finish_reason = manner.cut(text, limit), limit, "length"
    message = {"role": "assistant", "content": text, "refusal": None}
    if _reasons(fields):
        message["reasoning_content"] = dice.pick(SENTENCES)
    return _Choice(message, finish_reason, tokens, _logprobs(fields, text))


def _reasons(fields: Mapping[str, object]) -> bool:
    """Whether the model was asked to reason, so that it also tells what it thought, as reasoning servers do."""
    effort = fields.get("reasoning_effort")
    return isinstance(effort, str) and effort != "none"


def _logprobs(fields: Mapping[str, object], text: str) -> dict[str, object] | None:
    """A log probability for every token of a text, OpenAI's shape; None unless they were asked for."""
    if fields.get("logprobs") is not True:
        return None
    pieces = (text[at : at + BYTES_PER_TOKEN] for at in range(0, len(text), BYTES_PER_TOKEN))
    tokens = [
        {"token": piece, "logprob": -len(piece) / 16, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in pieces
    ]
    return {"content": tokens, "refusal": None}


def _json_answer(fields: Mapping[str, object], dice: Dice) -> str | None:
    wanted = fields.get("response_format")
    if not isinstance(wanted, Mapping) or wanted.get("type") not in {"json_schema", "json_object"}:
        return None
    if wanted["type"] == "json_object":
        return orjson.dumps({"answer": dice.pick(SENTENCES)}).decode()
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return orjson.dumps(fit(schema if isinstance(schema, Mapping) else {"type": "object"}, dice)).decode()


def _tool_call(fields: Mapping[str, object], dice: Dice, index: int) -> dict[str, object] | None:
    function = _chosen_function(fields, dice)
    if function is None:
        return None
    parameters = function.get("parameters")
    arguments = fit(parameters, dice) if isinstance(parameters, Mapping) else {}
    call_id = f"call_{dice.below(2**60):015x}{index}"
    called = {"name": str(function.get("name", "")), "arguments": orjson.dumps(arguments).decode()}
    return {"id": call_id, "type": "function", "function": called}


def _chosen_function(fields: Mapping[str, object], dice: Dice) -> Mapping[str, object] | None:
    """The function to call: the one that `tool_choice` names, else any; None for "none" or after a tool's
    result.
    """
    tools = fields.get("tools")
    functions = [
        tool["function"]
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping)
    ]
    choice = fields.get("tool_choice")
    if not functions or choice == "none" or _ends_with_tool_result(fields.get("messages")):
        return None
    if isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        functions = [f for f in functions if f.get("name") == choice["function"].get("name")]
    return dice.pick(functions) if functions else None


def _ends_with_tool_result(messages: object) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[-1], Mapping)
        and messages[-1].get("role") == "tool"
    )


def _stop_at(text: str, stop: object) -> str:
    if stop is None:
        return text
    marks = [stop] if isinstance(stop, str) else stop if isinstance(stop, Sequence) else []
    for mark in marks:
        if isinstance(mark, str) and mark:
            text = text.split(mark, 1)[0]
    return text
