"""What answers must be: schemas, any JSON, function calls; and what is refused before anything is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batcher.chat.contract import MAX_PROBLEM_CHARS, Contract
from batcher.chat.contracts import contract_of, strictness_warnings
from batcher.errors import JobError
from batcher.records import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {"article": {"type": "string"}, "quantity": {"$ref": "#/$defs/count"}},
    "required": ["article", "quantity"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 1}},
}
GOOD = '{"article": "KG-1042", "quantity": 12}'


def asked(schema: object = ORDER, **described: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "order", "schema": schema, **described}}


def of_format(wanted: dict[str, Any] | None) -> Contract:
    return contract_of(labels={}, response_format=wanted, tools=None, tool_choice=None)


def tool(name: str, parameters: object = ORDER) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def of_tools(
    *names: str, tool_choice: object = None, wanted: dict[str, Any] | None = None, **more: object
) -> Contract:
    tools = [tool(name, **more) for name in names]
    return contract_of(labels={}, response_format=wanted, tools=tools, tool_choice=tool_choice)


def called(*calls: tuple[str, object]) -> Answer:
    """An answer that calls functions, arguments as they stand."""
    said = [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(calls)
    ]
    return Answer(tool_calls=orjson.dumps(said).decode())


# --- text


def test_a_fitting_answer_is_parsed_and_kept_word_for_word() -> None:
    found = of_format(asked()).fit(Answer(completion=f" {GOOD}\n"))
    assert found == (None, {"article": "KG-1042", "quantity": 12}, GOOD, ())


@pytest.mark.parametrize("text", [f"```json\n{GOOD}\n```", f"```\n{GOOD}```\n"])
def test_a_fence_that_is_the_whole_answer_is_opened_and_flagged(text: str) -> None:
    found = of_format(asked()).fit(Answer(completion=text))
    assert (found.problem, found.parsed, found.warnings) == (None, GOOD, ("json_in_fence",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"article": "x"}', '/: "quantity" is a required property'),
        ('{"article": "x", "quantity": 0}', "/quantity: 0 is less than the minimum of 1"),
        ('{"article": "x", "quantity": "1"}', '/quantity: "1" is not of type "integer"'),
        ('{"article": 1, "quantity": 0}', "/quantity: "),  # all that is wrong, not the first
        ('{"article": "x", "quantity": 1, "z": 1}', "'z' was unexpected"),
        (f"Here it is: {GOOD}", "not JSON"),
        (f"```json\n{GOOD}\n``` Anything else?", "not JSON"),
        ('{"article": "x", "quantity": NaN}', "not JSON"),
        ('{"article": "\\ud800", "quantity": 1}', "not JSON"),
        ("[" * 2000, "not JSON"),
        ("", "no text"),
    ],
)
def test_an_answer_that_breaks_the_schema_says_where(text: str, said: str) -> None:
    found = of_format(asked()).fit(Answer(completion=text))
    assert found.problem is not None
    assert said in found.problem
    assert found.parsed is None


def test_what_is_wrong_is_told_in_at_most_2_kb_however_large_the_answer() -> None:
    answer = Answer(completion=json.dumps([{"article": "x" * 100_000}] * 50))
    found = of_format(asked({"type": "array", "items": {"type": "integer"}})).fit(answer)
    assert found.problem is not None
    assert len(found.problem) <= MAX_PROBLEM_CHARS


def test_a_pattern_that_explodes_fails_the_answer_and_not_the_run() -> None:
    contract = of_format(asked({"type": "string", "pattern": r"^(a+)+\1$"}))
    assert contract.fit(Answer(completion=json.dumps("a" * 40 + "!"))).problem is not None


@pytest.mark.parametrize(("text", "fits"), [("{}", True), ('{"a": [1]}', True), ("[]", False), ("1", False)])
def test_json_object_means_any_object(text: str, fits: bool) -> None:
    for wanted in ({"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "x"}}):
        assert (of_format(wanted).fit(Answer(completion=text)).problem is None) is fits


@pytest.mark.parametrize("wanted", [None, {"type": "text"}, {"type": "grammar", "value": "…"}])
def test_other_formats_ask_for_nothing(wanted: dict[str, Any] | None) -> None:
    assert of_format(wanted).fit(Answer()) == (None, None, None, ())


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, "strin"),
        ({"$ref": "https://example.invalid/order.json"}, "leads out of the schema"),
        ({"$ref": "file:///etc/hostname"}, "leads out of the schema"),
        ({"$ref": "other.json"}, "other.json"),
        ({"$ref": "#/$defs/nowhere"}, "nowhere"),
        ({"$schema": "https://example.invalid/draft", "type": "object"}, "meta-schema"),
        ({"type": "string", "pattern": "(?<x"}, "regex"),
    ],
)
def test_a_schema_that_is_none_is_refused_before_anything_is_sent(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError) as caught:
        of_format(asked(schema))
    assert "request.response_format.json_schema.schema is not a usable JSON schema" in str(caught.value)
    assert said in str(caught.value)
    with pytest.raises(JobError, match=r"request\.tools\[0\]\.function\.parameters is not a usable"):
        of_tools("order", parameters=schema)


# --- calls


def test_the_arguments_of_the_only_function_are_the_rows_value() -> None:
    contract = of_tools("order")
    assert contract.schema == ORDER
    assert contract.fit(called(("order", GOOD))) == (None, json.loads(GOOD), GOOD, ())


def test_of_parallel_calls_all_are_parsed_and_the_first_makes_the_columns() -> None:
    other = '{"article":"KG-7","quantity":1}'
    found = of_tools("order").fit(called(("order", GOOD), ("order", other)))
    assert (found.problem, found.value) == (None, json.loads(GOOD))
    assert json.loads(found.parsed or "") == [json.loads(GOOD), json.loads(other)]
    assert found.warnings == ("several_tool_calls",)


def test_of_several_functions_the_calls_are_listed_by_name_and_make_no_columns() -> None:
    contract = of_tools("order", "cancel")
    found = contract.fit(called(("cancel", GOOD), ("order", GOOD)))
    assert (contract.schema, found.problem, found.value) == (None, None, None)
    assert [each["name"] for each in json.loads(found.parsed or "")] == ["cancel", "order"]


def test_a_tool_choice_that_names_one_of_several_makes_it_the_only_one() -> None:
    contract = of_tools("order", "cancel", tool_choice={"type": "function", "function": {"name": "order"}})
    assert contract.schema == ORDER
    problem = contract.fit(called(("cancel", GOOD))).problem
    assert problem == "call 0: 'cancel' is not among the functions order"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, None),
        ("auto", None),
        ("required", "no tool was called"),
        ({"type": "function", "function": {"name": "order"}}, "no tool was called; order should have been"),
    ],
)
def test_an_answer_without_a_call_is_fine_unless_one_was_demanded(choice: object, said: str | None) -> None:
    problem = of_tools("order", tool_choice=choice).fit(Answer(completion="Nothing to order.")).problem
    assert (problem is None) if said is None else (problem is not None and said in problem)


def test_with_a_schema_too_an_answer_without_a_call_is_held_against_it() -> None:
    contract = of_tools("order", wanted=asked({"type": "object", "required": ["note"]}))
    assert contract.fit(Answer(completion='{"note": 1}')).value == {"note": 1}
    assert contract.fit(Answer(completion="no")).problem is not None
    found = contract.fit(called(("order", GOOD)))
    assert (found.problem, found.value, found.parsed) == (None, None, GOOD)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{"article": "x"}', 'call 0: arguments of order: /: "quantity" is a required property'),
        ('{"article": "x", "quant', "call 0: its arguments are not JSON"),
        ("[1]", "its arguments are not an object"),
        (5, "neither JSON text nor an object"),
        ("", '"article" is a required property'),
    ],
)
def test_a_call_whose_arguments_do_not_fit_says_which_and_why(arguments: object, said: str) -> None:
    problem = of_tools("order").fit(called(("order", arguments))).problem
    assert problem is not None
    assert said in problem


def test_arguments_come_as_an_object_or_as_nothing_at_all_from_some_servers() -> None:
    found = of_tools("order").fit(called(("order", json.loads(GOOD))))
    assert (found.problem, found.value) == (None, json.loads(GOOD))
    assert found.warnings == ("arguments_not_text",)
    nothing = of_tools("ping", parameters=None)
    for arguments in (None, "", " "):
        assert nothing.fit(called(("ping", arguments))).value == {}


@pytest.mark.parametrize(
    "tool_calls", ['{"a": 1}', "[null]", '[{"function": 1}]', '[{"function": {"name": 1}}]', "[" * 1500]
)
def test_calls_that_are_no_calls_fail_the_row(tool_calls: str) -> None:
    assert of_tools("order").fit(Answer(tool_calls=tool_calls)).problem is not None


def test_a_tool_of_an_unknown_kind_or_no_choice_of_any_asks_for_nothing() -> None:
    custom = [tool("order"), {"type": "web_search"}]
    assert contract_of(labels={}, response_format=None, tools=custom, tool_choice=None).schema is None
    assert of_tools("order", tool_choice="none").fit(Answer(completion="x")).problem is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=JSON, text=st.text())
def test_no_answer_whatever_it_is_raises(value: object, text: str) -> None:
    contracts: Sequence[Contract] = (of_format(asked()), of_tools("order"), of_tools("order", "cancel"))
    said = json.dumps(value)
    for contract in contracts:
        for answer in (
            Answer(completion=text),
            Answer(completion=said),
            Answer(tool_calls=said),
            called(("order", said)),
        ):
            contract.fit(answer)


# --- strict


def test_what_strict_servers_refuse_is_warned_of_place_by_place() -> None:
    loose = {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {}}}, "c": {}},
        "required": ["a"],
        "additionalProperties": False,
    }
    said = "\n".join(strictness_warnings(asked(loose, strict=True)))
    assert "/ does not require c" in said
    assert "/properties/a lacks additionalProperties = false" in said
    assert "/properties/a does not require b" in said
    assert strictness_warnings(asked(loose)) == strictness_warnings(asked(strict=True)) == []
    assert strictness_warnings(None) == []
