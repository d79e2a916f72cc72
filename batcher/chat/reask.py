"""A row asked again: its conversation, what the model answered, and what is wrong with that.

Pure, and made of nothing but the row's request and the journalled answer, so that after a crash the second
request can be made again. It keeps the row's `request_hash`: by that hash the answer is found and verified, and
what a row asks is its own request, however often it had to be asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from batcher.chat.tool_calls import calls_in

if TYPE_CHECKING:
    from batcher.records import Answer, Request

_NOTHING = "(no text)"
"""In place of an empty answer: several servers refuse an assistant message without content."""


def asked_again(request: Request, answer: Answer, problem: str) -> Request:
    """The request with the answer and its errors at the end of the conversation.

    Args:
        request: of the row, as it was first sent.
        answer: the one that does not satisfy the contract.
        problem: why not; at most 2,000 characters.
    """
    body: dict[str, Any] = orjson.loads(request.body)
    body["messages"] = [*body["messages"], *_answered(answer, problem)]
    return replace(request, body=orjson.dumps(body))


def _answered(answer: Answer, problem: str) -> list[dict[str, Any]]:
    calls = calls_in(answer.tool_calls)
    if not calls:
        asked = (
            f"Your answer does not satisfy the required schema: {problem}\nAnswer again, with the JSON alone."
        )
        return [
            {"role": "assistant", "content": answer.completion or _NOTHING},
            {"role": "user", "content": asked},
        ]
    asked = f"The call does not satisfy the function's schema: {problem}\nCall the function again."
    if not all(_can_be_answered(call) for call in calls):
        text = answer.completion or answer.tool_calls or _NOTHING
        return [{"role": "assistant", "content": text}, {"role": "user", "content": asked}]
    return [
        {"role": "assistant", "content": answer.completion, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": call["id"], "content": f"Error: {problem}"} for call in calls),
        {"role": "user", "content": asked},
    ]


def _can_be_answered(call: object) -> bool:
    """Whether the call can stand in a request: servers refuse those without an id or without argument text."""
    if not isinstance(call, dict) or not isinstance(call.get("id"), str) or not call["id"]:
        return False
    function = call.get("function")
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )
