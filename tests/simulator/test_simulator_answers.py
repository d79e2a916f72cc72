"""Answers fit the schema or tool they were asked for, in size and in shape."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import orjson
import pytest
from simulator_wire import chat

from batcher.simulator.answers import compose_completion
from batcher.simulator.dice import Dice
from batcher.simulator.pattern import match_pattern
from batcher.simulator.schema import fit
from batcher.simulator.script import parse_fields


def _complete(body: bytes, seed: int = 0) -> dict[str, Any]:
    fields = parse_fields(body)
    assert fields is not None
    content: dict[str, Any] = compose_completion(
        fields, body, blake2b(body, digest_size=16).digest(), seed, 6
    ).content
    return content


def _is_a(value: object, kind: str) -> bool:
    types: dict[str, tuple[type, ...]] = {
        "object": (dict,),
        "array": (list,),
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "null": (type(None),),
    }
    return isinstance(value, types[kind]) and (kind == "boolean" or not isinstance(value, bool))


def check(value: Any, schema: Any, root: Any) -> None:  # noqa: C901, PLR0912 - one rule per keyword
    """A validator of its own, so that the generator is not judged by itself."""
    if schema is True:
        return
    if "$ref" in schema:
        place = root
        for step in schema["$ref"].split("/")[1:]:
            place = place[step]
        check(value, place, root)
    for part in schema.get("allOf", []):
        check(value, part, root)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            assert any(_fits(value, branch, root) for branch in schema[key])
    if "const" in schema:
        assert value == schema["const"]
    if "enum" in schema:
        assert value in schema["enum"]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    assert not kinds or any(_is_a(value, kind) for kind in kinds), (value, schema)
    if isinstance(value, dict):
        assert set(schema.get("required", [])) <= set(value)
        known = schema.get("properties", {})
        if schema.get("additionalProperties") is False:
            assert set(value) <= set(known)
        for name, item in value.items():
            check(item, known.get(name, True), root)
    if isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 99)
        leading = schema.get("prefixItems", [])
        for at, item in enumerate(value):
            check(item, leading[at] if at < len(leading) else schema.get("items", True), root)
        if schema.get("uniqueItems"):
            assert all(item not in value[:at] for at, item in enumerate(value))
    if isinstance(value, str):
        assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10_000)
        assert re.search(schema.get("pattern", ""), value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value)
        assert schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
        assert abs(value / schema.get("multipleOf", value or 1) % 1) < 1e-6


def _fits(value: object, schema: object, root: object) -> bool:
    try:
        check(value, schema, root)
    except AssertionError:
        return False
    return True


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    required = list(properties)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **more,
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "label": _object({"category": {"type": "string", "enum": ["billing", "refund", "other"]}}),
    "numbers": _object(
        {
            "a": {"type": "integer", "minimum": 3, "maximum": 5},
            "b": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "c": {"type": "integer", "multipleOf": 7},
            "d": {"type": "number", "minimum": -5, "maximum": -4.5},
            "e": {"type": "integer", "maximum": -3},
            "f": {"type": "integer"},
            "g": {"type": "number"},
        }
    ),
    "strings": _object(
        {
            "long": {"type": "string", "minLength": 60, "maxLength": 61},
            "short": {"type": "string", "maxLength": 3},
            "order": {"type": "string", "pattern": r"^[A-Z]{2}-\d{4,6}(?:/(a|b))?$"},
            "date": {"type": "string", "format": "date", "pattern": r"^\d{4}-\d\d-\d\d$"},
        }
    ),
    "nested": _object(
        {
            "ok": {"type": "boolean"},
            "nothing": {"type": "null"},
            "always": {"const": 7},
            "maybe": {"type": ["string", "null"]},
            "items": {"type": "array", "minItems": 1, "maxItems": 4, "items": {"$ref": "#/$defs/item"}},
            "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "minItems": 2,
                     "maxItems": 2},
            "tags": {"type": "array", "items": {"enum": ["x", "y", "z"]}, "uniqueItems": True, "minItems": 2},
        },
        **{"$defs": {"item": _object({"sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}})}},
    ),
    "branches": _object(
        {
            "one": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "integer"}}]},
            "two": {"oneOf": [{"const": "a"}, {"type": "integer"}]},
            "all": {"allOf": [_object({"a": {"type": "integer"}}, additionalProperties=True),
                              _object({"b": {"type": "string"}}, additionalProperties=True)]},
        }
    ),
    "recursive": {
        "$defs": {
            "node": _object(
                {"name": {"type": "string"},
                 "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                 "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}
            )
        },
        "$ref": "#/$defs/node",
    },
    "anything": {"type": "object"},
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_json_answer_satisfies_its_schema(name: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": name, "schema": SCHEMAS[name], "strict": True}}
    for row in range(60):
        choice = _complete(chat(f"row {row}", response_format=wanted))["choices"][0]
        assert choice["finish_reason"] == "stop"
        check(orjson.loads(choice["message"]["content"]), SCHEMAS[name], SCHEMAS[name])


def test_enum_answers_use_every_label() -> None:
    values = {str(fit(SCHEMAS["label"], Dice(b"%d" % row, 0))) for row in range(100)}
    assert len(values) == 3


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/nowhere"}, {"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"anyOf": [{"$ref": "#"}]}]
)
def test_senseless_references_end(schema: dict[str, object]) -> None:
    fit(schema, Dice(b"x", 0))


def test_patterns_beyond_the_generator_are_left_alone() -> None:
    assert match_pattern(r"(?=a)b", Dice(b"x", 0)) is None
    assert match_pattern(r"(a)\1", Dice(b"x", 0)) is None


@pytest.mark.parametrize("pattern", [r"\d+", r"[a-c]x?", r"a|bc|[^\d]", r"(ab){2,3}", r"\w\s\.", r"[]a]"])
def test_simple_patterns_are_matched(pattern: str) -> None:
    for row in range(50):
        text = match_pattern(pattern, Dice(b"%d" % row, 0))
        assert text is not None
        assert re.fullmatch(pattern, text)


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMAS["nested"]}}
    for name in ("first", "second")
]


def test_tool_call_fits_the_parameters() -> None:
    for row in range(30):
        choice = _complete(chat(f"row {row}", tools=TOOLS))["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        [called] = choice["message"]["tool_calls"]
        assert called["function"]["name"] in {"first", "second"}
        check(orjson.loads(called["function"]["arguments"]), SCHEMAS["nested"], SCHEMAS["nested"])


def test_tool_choice_is_obeyed() -> None:
    named = {"type": "function", "function": {"name": "second"}}
    for row in range(10):
        choice = _complete(chat(f"row {row}", tools=TOOLS, tool_choice=named))["choices"][0]
        assert choice["message"]["tool_calls"][0]["function"]["name"] == "second"
    assert "tool_calls" not in _complete(chat(tools=TOOLS, tool_choice="none"))["choices"][0]["message"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_token_limit_cuts_and_says_so(name: str) -> None:
    limit: dict[str, Any] = {name: 3}
    content = _complete(chat("hello", **limit))
    assert content["choices"][0]["finish_reason"] == "length"
    assert len(content["choices"][0]["message"]["content"]) == 12
    assert content["usage"]["completion_tokens"] == 3


def test_n_gives_so_many_choices_and_counts_all_their_tokens() -> None:
    content = _complete(chat(n=3))
    assert [choice["index"] for choice in content["choices"]] == [0, 1, 2]
    texts = {choice["message"]["content"] for choice in content["choices"]}
    assert len(texts) == 3
    assert content["usage"]["completion_tokens"] > max(len(text) // 4 for text in texts)


def test_logprobs_come_for_every_token_of_the_text_when_asked_for() -> None:
    (choice,) = _complete(chat(logprobs=True))["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(each["token"] for each in tokens) == choice["message"]["content"]
    assert all(each["logprob"] <= 0 for each in tokens)
    assert _complete(chat())["choices"][0]["logprobs"] is None


def test_a_model_that_is_asked_to_reason_tells_what_it_thought_and_counts_it() -> None:
    for row in range(10):
        content = _complete(chat(f"row {row}", reasoning_effort="high"))
        assert content["choices"][0]["message"]["reasoning_content"]
        assert content["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
        assert "reasoning_content" not in _complete(chat(f"row {row}"))["choices"][0]["message"]


def test_stop_ends_the_text_before_it() -> None:
    assert "." not in _complete(chat(stop="."))["choices"][0]["message"]["content"]
    assert " " not in _complete(chat(stop=["~", " "]))["choices"][0]["message"]["content"]


def test_usage_adds_up_and_sometimes_has_cached_and_reasoning_tokens() -> None:
    usages = [_complete(chat(f"row {row}" + "x" * 8000))["usage"] for row in range(100)]
    for usage in usages:
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
        assert usage["completion_tokens_details"]["reasoning_tokens"] < usage["completion_tokens"]
    assert len({usage["prompt_tokens_details"]["cached_tokens"] for usage in usages}) > 1
    reasoning = [usage["completion_tokens_details"]["reasoning_tokens"] for usage in usages]
    assert 0 < sum(map(bool, reasoning)) < 50


def test_text_lengths_vary_and_most_contents_get_answers_of_their_own() -> None:
    texts = [_complete(chat(f"row {row}"))["choices"][0]["message"]["content"] for row in range(200)]
    assert len(set(texts)) > 150
    assert max(map(len, texts)) > 4 * min(map(len, texts))
