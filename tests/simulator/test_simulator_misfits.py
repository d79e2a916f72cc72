"""Answers that are whole and not as asked for: what each such mode makes of JSON and of calls."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import jsonschema_rs
import orjson
import pytest
from simulator_wire import chat

from batcher.simulator import SimulatorConfig
from batcher.simulator.plan import Call
from batcher.simulator.script import compile_script, parse_fields

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["a", "b"]}, "size": {"type": "integer"}},
    "required": ["kind", "size"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
TOOLS = [{"type": "function", "function": {"name": "note", "parameters": SCHEMA}}]
ROWS = 60


def message(mode: str, row: int, **asked: object) -> dict[str, Any]:
    body = chat(f"row {row}", **asked)
    call = Call(body, parse_fields(body), blake2b(body, digest_size=16).digest())
    plan = compile_script(SimulatorConfig(faults={mode: 1.0})).plan(call)
    (step,) = plan.delivery.steps
    assert isinstance(step, bytes)
    (choice,) = orjson.loads(step.partition(b"\r\n\r\n")[2])["choices"]
    found: dict[str, Any] = choice["message"]
    return found


def is_valid(text: str) -> bool:
    try:
        return jsonschema_rs.is_valid(SCHEMA, orjson.loads(text))
    except orjson.JSONDecodeError:
        return False


def test_a_broken_answer_never_satisfies_its_schema_and_breaks_it_in_many_ways() -> None:
    texts = [message("schema_broken", row, response_format=FORMAT)["content"] for row in range(ROWS)]
    assert not any(map(is_valid, texts))
    starts = {text[:4] if text[0] != "{" else is_json(text) for text in texts}
    assert {"Sure", '[{"k', True, False} <= starts


def is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def test_broken_arguments_never_satisfy_the_tools_schema() -> None:
    for row in range(ROWS):
        (call,) = message("schema_broken", row, tools=TOOLS)["tool_calls"]
        assert not is_valid(call["function"]["arguments"])


def test_a_fence_stands_around_an_answer_that_is_good() -> None:
    text = message("json_fenced", 0, response_format=FORMAT)["content"]
    assert text.startswith("```json\n")
    assert is_valid(text.removeprefix("```json\n").removesuffix("\n```"))


def test_arguments_may_be_an_object_and_calls_may_be_two() -> None:
    (call,) = message("arguments_object", 0, tools=TOOLS)["tool_calls"]
    assert jsonschema_rs.is_valid(SCHEMA, call["function"]["arguments"])
    first, second = message("parallel_calls", 0, tools=TOOLS)["tool_calls"]
    assert first["id"] != second["id"]
    assert first["function"] == second["function"]


@pytest.mark.parametrize("mode", ["schema_broken", "json_fenced", "arguments_object", "parallel_calls"])
def test_an_answer_in_prose_stays_the_good_one(mode: str) -> None:
    assert message(mode, 0) == message("ok", 0)
