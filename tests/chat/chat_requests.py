"""Requests built from a few words, for the tests of the request builder."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from batcher.chat.request import RequestBuilder, RequestSpec
from batcher.records import InputRow, Problem, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

USER = {"role": "user", "content": "Hi"}
PLAIN = RequestSpec(
    model="gpt-4o",
    prompt=None,
    system=None,
    params={},
    input_format="jsonl",
    prompt_column=None,
    messages_column=None,
    id_column=None,
    endpoint_identity="https://api.pipellm.ai/v1",
    simulated=False,
    columns=("prompt",),
)
BATCH = dataclasses.replace(
    PLAIN, input_format="openai-batch", model=None, columns=("custom_id", "method", "url", "body")
)


def build(spec: RequestSpec = PLAIN, /, problem: str | None = None, **values: Any) -> Request | Problem:
    return RequestBuilder(spec).build(InputRow(7, values, problem))


def request(spec: RequestSpec = PLAIN, /, **values: Any) -> Request:
    built = build(spec, **values)
    assert isinstance(built, Request), built
    return built


def sent(spec: RequestSpec = PLAIN, /, **values: Any) -> Any:
    return json.loads(request(spec, **values).body)


def problem(spec: RequestSpec = PLAIN, /, **values: Any) -> Problem:
    built = build(spec, **values)
    assert isinstance(built, Problem), built
    assert built.row_index == 7
    return built


def with_(spec: RequestSpec = PLAIN, /, **changes: Any) -> RequestSpec:
    return dataclasses.replace(spec, **changes)


CHAT = with_(columns=("messages", "prompt"))
GOOD_BODY: Mapping[str, Any] = {"model": "m", "messages": [USER]}
