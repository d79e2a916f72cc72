"""The parts of a chat-completions object that become columns, each with what was odd about it.

Words for the ``warnings`` column, in the order they are looked for: ``finish_reason_missing``,
``finish_reason_unreadable``, ``first_choice_unusable``, ``content_not_text``, ``content_parts_not_text``,
``reasoning_not_text``, ``refusal_not_text``, ``tool_calls_not_a_list``, ``function_call_legacy``, then those
of the usage: ``usage_missing``, ``usage_incomplete``, ``usage_unreadable``, ``usage_inconsistent``,
``cost_unreadable``.

Never raises, never rounds, never fills a count in: None is unknown. Every oddity leaves the text that was
paid for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from batcher.chat.gateway_cost import cost_in_usage
from batcher.chat.json_text import json_text
from batcher.records import Answer, Usage

MAX_TOKENS_BELIEVED = 100_000_000
"""The largest token count taken seriously: ten times the largest context window on offer (10 M tokens)."""

_NO_USAGE = Usage()


class Read(NamedTuple):
    """An answer, whether it has a usable choice (one with a message object), and what was odd."""

    answer: Answer
    is_usable: bool
    odd: list[str]


def answer_of(completion: dict[str, Any]) -> Read:
    """The answer in a reply's top-level object; without a usable choice, the parts that stood there."""
    odd: list[str] = []
    choices = completion.get("choices")
    if not isinstance(choices, list):
        choices = []
    chosen = _first_usable(choices)
    choice = choices[chosen or 0] if choices else None
    finish_reason = _finish_reason(choice, odd) if isinstance(choice, dict) else None
    said, logprobs = _NOTHING_SAID, None
    if chosen is not None:
        if chosen > 0:
            odd.append("first_choice_unusable")
        said = _message(choices[chosen]["message"], odd)
        logprobs = choices[chosen].get("logprobs")
    raw_usage = completion.get("usage")
    answer = Answer(  # by position, as `Usage`: keywords cost a third more, and this is every row, twice
        _scalar_text(completion.get("id")),
        _scalar_text(completion.get("model")),
        finish_reason,
        said.content,
        said.reasoning,
        said.refusal,
        said.tool_calls,
        json_text(choices[:chosen] + choices[chosen + 1 :])
        if len(choices) > 1 and chosen is not None
        else None,
        json_text(logprobs) if logprobs else None,
        usage_of(raw_usage, odd),
        None if raw_usage is None else json_text(raw_usage),
    )
    return Read(answer, chosen is not None, odd)


def _first_usable(choices: list[Any]) -> int | None:
    if choices and _is_usable(choices[0]):  # nearly always; the search costs half a microsecond
        return 0
    return next((position for position, choice in enumerate(choices) if _is_usable(choice)), None)


def _is_usable(choice: object) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)


def _finish_reason(choice: dict[str, Any], odd: list[str]) -> str | None:
    reason = choice.get("finish_reason")
    if reason is None or reason == "":
        odd.append("finish_reason_missing")
        return None
    if not isinstance(reason, str):
        odd.append("finish_reason_unreadable")
        return None
    return reason


class _Said(NamedTuple):
    content: str | None
    reasoning: str | None
    refusal: str | None
    tool_calls: str | None


_NOTHING_SAID = _Said(None, None, None, None)


def _message(message: dict[str, Any], odd: list[str]) -> _Said:
    content = message.get("content")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    refusal = message.get("refusal")
    if isinstance(content, list):
        parts = _parts(content, odd)
        content, reasoning, refusal = parts.content, reasoning or parts.reasoning, refusal or parts.refusal
    return _Said(
        content if type(content) is str else _text(content, "content_not_text", odd),
        _text(reasoning, "reasoning_not_text", odd) if reasoning else None,
        _text(refusal, "refusal_not_text", odd) if refusal else None,
        _tool_calls(message, odd),
    )


def _parts(parts: list[Any], odd: list[str]) -> _Said:
    """A content of parts, its text joined; thoughts (Mistral) and refusals go where they belong."""
    texts: dict[str, list[str]] = {"text": [], "thinking": [], "refusal": []}
    for part in parts:
        kind, text = _part(part)
        if kind in texts and isinstance(text, str):
            texts[kind].append(text)
        elif "content_parts_not_text" not in odd:
            odd.append("content_parts_not_text")
    content, thinking, refusal = ("".join(found) if found else None for found in texts.values())
    return _Said(content, thinking, refusal, None)


def _part(part: object) -> tuple[str, object]:
    if isinstance(part, str):
        return "text", part
    if not isinstance(part, dict):
        return "", None
    if isinstance(part.get("refusal"), str):
        return "refusal", part["refusal"]
    if "thinking" in part:
        thinking = part["thinking"]
        if isinstance(thinking, list):
            return "thinking", "".join(
                text for kind, text in map(_part, thinking) if kind == "text" and isinstance(text, str)
            )
        return "thinking", thinking
    text = part.get("text")
    return "text", text.get("value") if isinstance(text, dict) else text


def _text(value: object, word: str, odd: list[str]) -> str | None:
    if value is None or isinstance(value, str):
        return value
    odd.append(word)
    return json_text(value)


def _scalar_text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json_text(value)


def _tool_calls(message: dict[str, Any], odd: list[str]) -> str | None:
    calls = message.get("tool_calls")
    if calls:
        if not isinstance(calls, list):
            odd.append("tool_calls_not_a_list")
        return json_text(calls)
    legacy = message.get("function_call")  # OpenAI before tools, still sent by some servers
    if isinstance(legacy, dict) and legacy:
        odd.append("function_call_legacy")
        return json_text([{"type": "function", "function": legacy}])
    return None


def usage_of(usage: object, odd: list[str]) -> Usage:
    """Token counts; any that is no plausible count (text, float, negative, absurd) is None and flagged."""
    if usage is None:
        odd.append("usage_missing")
        return _NO_USAGE
    if not isinstance(usage, dict):
        odd.append("usage_unreadable")
        return _NO_USAGE
    prompt_details = usage.get("prompt_tokens_details")
    completion_details = usage.get("completion_tokens_details")
    raw = (
        usage.get("prompt_tokens"),
        usage.get("completion_tokens"),
        usage.get("total_tokens"),
        prompt_details.get("cached_tokens") if isinstance(prompt_details, dict) else None,
        completion_details.get("reasoning_tokens") if isinstance(completion_details, dict) else None,
        _cache_write(usage, prompt_details),
    )
    prompt, completion, total, cached, reasoning, written = counts = [
        # type(), not isinstance: True is no count.
        value if type(value) is int and 0 <= value <= MAX_TOKENS_BELIEVED else None
        for value in raw
    ]
    if None in counts:
        if None in raw[:3]:
            odd.append("usage_incomplete")
        if any(value is not None and count is None for value, count in zip(raw, counts, strict=True)):
            odd.append("usage_unreadable")
    if _is_inconsistent(prompt, completion, total, cached, reasoning):
        odd.append("usage_inconsistent")
        if cached is not None and prompt is not None and cached > prompt:
            cached = None  # a part larger than the whole would make the rest, and its cost, negative
    return Usage(prompt, completion, total, cached, reasoning, written, cost_in_usage(usage, odd))


def _cache_write(usage: dict[str, Any], details: object) -> object:
    """OpenAI's name for tokens newly put into a cache, or LiteLLM's beside Anthropic's models."""
    found = details.get("cache_write_tokens") if isinstance(details, dict) else None
    return usage.get("cache_creation_input_tokens") if found is None else found


def _is_inconsistent(
    prompt: int | None, completion: int | None, total: int | None, cached: int | None, reasoning: int | None
) -> bool:
    """Some servers count reasoning beside the completion, not in it: kept as sent, and said."""
    if prompt is not None and completion is not None and total is not None and total != prompt + completion:
        return True
    if prompt is not None and cached is not None and cached > prompt:
        return True
    return completion is not None and reasoning is not None and reasoning > completion
