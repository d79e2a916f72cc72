"""Replies made and read in a few words, for the tests of the reading."""

from __future__ import annotations

from typing import Any

import orjson

from batcher.chat.reading import read_reply
from batcher.records import Answer, ApiError, Reading, Shape, Usage

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def completion(
    message: object = None, *, usage: object = USAGE, finish_reason: object = "stop", **more: Any
) -> dict[str, Any]:
    if message is None:
        message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"id": "c1", "model": "m-1", "choices": [choice], "usage": usage, **more}


def reading(value: object, status: int = 200) -> Reading:
    return read_reply(status, (), orjson.dumps(value))


def answer(value: object) -> Answer:
    found = reading(value)
    assert found.shape is Shape.CHOICES
    assert found.answer is not None
    return found.answer


def said(value: object, status: int = 400) -> ApiError:
    found = reading(value, status)
    assert found.shape is Shape.ERROR
    assert found.answer is None
    assert found.error is not None
    return found.error


def page(body: bytes, status: int = 500, content_type: str = "text/html") -> ApiError | None:
    found = read_reply(status, (("content-type", content_type),), body)
    assert found.shape is Shape.NOT_JSON
    return found.error


def counts_of(usage: Usage) -> list[int | None]:
    return [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
    ]
