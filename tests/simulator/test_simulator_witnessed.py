"""Answers as servers that others wrote gave them: what each such mode makes of n, of calls and of usage."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson
import pytest
from simulator_wire import chat

from batcher.simulator import SimulatorConfig
from batcher.simulator.plan import Call
from batcher.simulator.script import compile_script, parse_fields
from batcher.simulator.witnessed import WITNESSED

SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "note", "parameters": SCHEMA}}]
KEPT = [mode.name for mode in WITNESSED if mode.paid]


def completion(mode: str, **asked: object) -> dict[str, Any]:
    body = chat("row", **asked)
    call = Call(body, parse_fields(body), blake2b(body, digest_size=16).digest())
    (step,) = compile_script(SimulatorConfig(faults={mode: 1.0})).plan(call).delivery.steps
    assert isinstance(step, bytes)
    found: dict[str, Any] = orjson.loads(step.partition(b"\r\n\r\n")[2])
    return found


def test_n_may_be_ignored_or_counted_as_one() -> None:
    whole, one, counted = (completion(mode, n=3) for mode in ("ok", "n_ignored", "usage_of_one_choice"))
    tokens = whole["usage"]["completion_tokens"]
    assert [len(each["choices"]) for each in (whole, one, counted)] == [3, 1, 3]
    assert one["choices"][0] == whole["choices"][0]
    assert [each["usage"]["completion_tokens"] for each in (one, counted)] == [tokens // 3] * 2


def test_a_call_that_was_required_may_be_text_or_of_another_function() -> None:
    (text,) = completion("tools_ignored", tools=TOOLS)["choices"]
    (other,) = completion("tool_unknown", tools=TOOLS)["choices"]
    assert "tool_calls" not in text["message"]
    assert (text["finish_reason"], bool(text["message"]["content"])) == ("stop", True)
    assert other["message"]["tool_calls"][0]["function"]["name"] == "Write"


def test_a_bare_call_has_no_content_stops_and_counts_as_nothing() -> None:
    found = completion("tool_calls_bare", tools=TOOLS)
    (choice,) = found["choices"]
    assert (sorted(choice["message"]), choice["finish_reason"]) == (["role", "tool_calls"], "stop")
    assert found["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("mode", sorted(set(KEPT) - {"llamacpp_answer"}))
def test_one_answer_in_prose_stays_the_good_one(mode: str) -> None:
    assert completion(mode)["choices"] == completion("ok")["choices"]
