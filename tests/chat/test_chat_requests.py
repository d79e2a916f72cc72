"""Requests: what a row says in each form, and which rows say nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from chat_requests import BATCH, CHAT, GOOD_BODY, PLAIN, USER, build, problem, request, sent, with_

from batcher.chat.request import RequestBuilder
from batcher.errors import JobError
from batcher.records import InputRow, Problem, Request

if TYPE_CHECKING:
    from batcher.ports import RequestBuilder as RequestBuilderPort


def refused(**changes: Any) -> str:
    with pytest.raises(JobError) as caught:
        RequestBuilder(dataclasses.replace(PLAIN, **changes))
    return str(caught.value)


def test_the_builder_is_the_port_the_engine_asks_for() -> None:
    port: RequestBuilderPort = RequestBuilder(PLAIN)
    assert port.columns == {"prompt"}


# --- prompts and templates ------------------------------------------------------------------------


def test_a_prompt_is_one_user_message_with_keys_in_a_stable_order() -> None:
    spec = with_(params={"temperature": 0, "max_tokens": 64, "seed": 7}, system="Be brief.")
    built = request(spec, prompt="Hi\x00\u2028 é")
    assert (
        built.body
        == (
            '{"model":"gpt-4o","messages":[{"role":"system","content":"Be brief."},'
            '{"role":"user","content":"Hi\\u0000\u2028 é"}],"temperature":0,"max_tokens":64,"seed":7}'
        ).encode()
    )
    assert (built.row_index, built.model, built.own_model, built.max_tokens) == (7, "gpt-4o", False, 64)


def test_parameters_pass_through_as_given() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    params = {"tools": tools, "tool_choice": "auto", "stop": ["\n"], "top_p": 0.5, "logit_bias": {"1": None}}
    body = sent(with_(params=params), prompt="Hi")
    assert body == {"model": "gpt-4o", "messages": [USER], **params}


def test_a_template_comes_before_any_column() -> None:
    spec = with_(prompt="Label: {{ text }}", columns=("prompt", "messages", "text"))
    assert RequestBuilder(spec).columns == {"text"}
    assert sent(spec, text="x", prompt="y")["messages"] == [{"role": "user", "content": "Label: x"}]


def test_a_system_template_reads_the_row() -> None:
    spec = with_(system="Answer in {{ lang }}.", columns=("prompt", "lang"))
    assert RequestBuilder(spec).columns == {"prompt", "lang"}
    assert sent(spec, prompt="Hi", lang="de")["messages"][0] == {"role": "system", "content": "Answer in de."}
    assert '"lang"' in problem(spec, prompt="Hi", lang=None).message


def test_a_named_prompt_column_is_used() -> None:
    spec = with_(prompt_column="q", columns=("q", "messages", "prompt"))
    assert RequestBuilder(spec).columns == {"q"}
    assert sent(spec, q="Hi")["messages"] == [USER]


@pytest.mark.parametrize("value", [None, "", " \n", 5, True, ["Hi"], {"a": 1}])
def test_a_prompt_that_is_no_text_is_a_problem_naming_the_column(value: object) -> None:
    found = problem(prompt=value)
    assert 'column "prompt"' in found.message
    assert found.error_type in {"missing_value", "invalid_row"}


def test_an_absent_prompt_is_a_missing_value() -> None:
    assert problem().error_type == "missing_value"


def test_a_template_that_renders_to_nothing_is_a_problem() -> None:
    assert "empty prompt" in problem(with_(prompt="{{ prompt }}"), prompt=" ").message


def test_a_template_problem_keeps_its_kind() -> None:
    assert problem(with_(prompt="{{ prompt }}")).error_type == "missing_value"
    assert problem(with_(prompt="{{ 1 / prompt }}"), prompt=0).error_type == "template_error"


def test_a_row_that_could_not_be_read_is_a_problem_with_its_reason() -> None:
    built = build(with_(id_column="id", columns=("prompt", "id")), problem="line 3 is not JSON", id="a")
    assert built == Problem(7, "invalid_row", "line 3 is not JSON", "a")


# --- conversations --------------------------------------------------------------------------------


def test_a_messages_column_comes_before_a_prompt_column() -> None:
    assert RequestBuilder(CHAT).columns == {"messages"}


def test_messages_are_sent_as_given() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    messages = [
        {"role": "user", "content": parts, "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"arguments": "{}"}}]},
        {"role": "tool", "content": "", "tool_call_id": "1"},
        {"role": "narrator", "content": "an unknown role is not our business"},
    ]
    assert sent(CHAT, messages=messages)["messages"] == messages
    assert sent(CHAT, messages=json.dumps(messages))["messages"] == messages


def test_nulls_that_an_arrow_struct_adds_are_left_out_of_native_messages_only() -> None:
    part = {"type": "text", "text": "a", "image_url": None}
    message = {"role": "user", "content": [part], "name": None, "tool_calls": None}
    assert sent(CHAT, messages=[message])["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}]}
    ]
    assert sent(CHAT, messages=json.dumps([message]))["messages"] == [message]


def test_the_system_message_goes_first_unless_the_row_has_one() -> None:
    spec = with_(CHAT, system="Be brief.")
    assert sent(spec, messages=[USER])["messages"] == [{"role": "system", "content": "Be brief."}, USER]
    for role in ("system", "developer"):
        own = [{"role": role, "content": "mine"}, USER]
        assert sent(spec, messages=own)["messages"] == own


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "null"),
        ([], "empty"),
        ("[]", "empty"),
        ("", "not JSON"),
        ("hello", "not JSON"),
        ('[{"role": "user", "content": NaN}]', "not JSON"),
        ('{"role": "user", "content": "x"}', "not a list"),
        ({"role": "user", "content": "x"}, "not a list"),
        (5, "not a list"),
        (["Hi"], "message 0 is not an object"),
        ([USER, None], "message 1 is not an object"),
        ([{"content": "x"}], "no role"),
        ([{"role": None, "content": "x"}], "no role"),
        ([{"role": "user", "content": None}], "no content"),
        ([{"role": "user"}], "no content"),
        ([{"role": "assistant", "content": None, "tool_calls": None}], "no content"),
    ],
)
def test_a_conversation_that_is_none_is_a_problem_naming_the_column(value: object, word: str) -> None:
    found = problem(CHAT, messages=value)
    assert word in found.message
    assert '"messages"' in found.message


# --- batch lines ----------------------------------------------------------------------------------


def test_a_batch_body_is_sent_as_it_is_and_only_missing_keys_are_filled() -> None:
    spec = with_(BATCH, model="gpt-4o", params={"temperature": 0, "seed": 1}, system="never injected")
    body = {"temperature": 1, "messages": [USER], "model": "own", "x": None}
    built = request(spec, body=body, custom_id="a/../b\n", url="/v1/chat/completions", method="POST")
    assert orjson.loads(built.body) == {**body, "seed": 1}
    assert list(orjson.loads(built.body)) == ["temperature", "messages", "model", "x", "seed"]
    assert (built.custom_id, built.model, built.own_model) == ("a/../b\n", "own", True)


def test_a_batch_line_without_a_model_takes_the_jobs() -> None:
    built = request(with_(BATCH, model="gpt-4o"), body={"messages": [USER]})
    assert (built.model, built.own_model) == ("gpt-4o", False)


def test_a_batch_line_with_another_schema_than_the_job_is_never_sent_because_its_answer_could_only_fail() -> (
    None
):
    spec = with_(BATCH, params={"response_format": {"type": "json_object"}})
    same = {**GOOD_BODY, "response_format": {"type": "json_object"}}
    assert sent(spec, body=same) == same
    for other in ({"type": "text"}, None):
        assert "another response_format" in problem(spec, body={**same, "response_format": other}).message
    assert sent(BATCH, body=same) == same


def test_a_batch_body_as_text_is_read() -> None:
    assert sent(BATCH, body='{"model":"m","messages":[{"role":"user","content":"Hi"}]}')["model"] == "m"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"body": GOOD_BODY, "url": "/v1/embeddings"}, "url"),
        ({"body": GOOD_BODY, "url": 5}, "url"),
        ({"body": GOOD_BODY, "url": "http://[x/chat/completions"}, "url"),
        ({"body": GOOD_BODY, "method": "GET"}, "method"),
        ({"body": None}, "no body"),
        ({}, "no body"),
        ({"body": "{"}, "not JSON"),
        ({"body": [1]}, "not an object"),
        ({"body": {"messages": [USER]}}, "model"),
        ({"body": {"messages": [USER], "model": None}}, "model"),
        ({"body": {"messages": [USER], "model": 5}}, "model"),
        ({"body": {"model": "m"}}, "messages"),
        ({"body": {"model": "m", "messages": []}}, "empty"),
        ({"body": {**GOOD_BODY, "stream": True}}, "stream"),
    ],
)
def test_a_batch_line_that_cannot_be_sent_is_a_problem(values: dict[str, Any], word: str) -> None:
    assert word in problem(BATCH, **values).message


@pytest.mark.parametrize(
    "url",
    [None, "/v1/chat/completions", "https://evil.example/v9/chat/completions?x=1", "/chat/completions/"],
)
def test_the_host_of_a_batch_line_is_ignored(url: str | None) -> None:
    assert b"evil" not in request(BATCH, body=dict(GOOD_BODY), url=url).body


def test_a_batch_line_streams_where_the_job_does_unless_it_says_otherwise() -> None:
    options = {"include_usage": True}
    spec = with_(BATCH, params={"stream": True, "stream_options": options})
    for line, body in (
        (GOOD_BODY, {"stream": True, "stream_options": options}),
        ({**GOOD_BODY, "stream": True}, {"stream": True, "stream_options": options}),
        ({**GOOD_BODY, "stream": False}, {"stream": False}),
    ):
        made = request(spec, body=dict(line))
        assert orjson.loads(made.body) == {**GOOD_BODY, **body}
        assert made.stream is body["stream"]


def test_a_null_parameter_of_a_batch_body_stays() -> None:
    spec = with_(BATCH, params={"temperature": 0})
    assert sent(spec, body={**GOOD_BODY, "temperature": None})["temperature"] is None


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (12, "12"),
        (2**70, str(2**70)),
        (None, None),
        (1.5, "1.5"),
        (True, "true"),
        (["é"], '["é"]'),
    ],
)
def test_an_id_is_carried_as_text(value: object, text: str | None) -> None:
    assert request(BATCH, body=dict(GOOD_BODY), custom_id=value).custom_id == text
    spec = with_(id_column="key", columns=("prompt", "key"))
    assert request(spec, prompt="Hi", key=value).custom_id == text


def test_an_id_column_wins_over_the_lines_own_id() -> None:
    spec = with_(BATCH, id_column="key", columns=("custom_id", "body", "key"))
    assert request(spec, body=dict(GOOD_BODY), custom_id="a", key="b").custom_id == "b"


def test_an_id_that_cannot_be_stored_is_a_problem() -> None:
    assert "id" in problem(BATCH, body=dict(GOOD_BODY), custom_id="\ud800").message


def test_without_an_id_column_no_id_is_carried() -> None:
    spec = with_(columns=("prompt", "custom_id"))
    assert "custom_id" not in RequestBuilder(spec).columns
    assert request(spec, prompt="Hi", custom_id="a").custom_id is None


# --- what JSON cannot carry -----------------------------------------------------------------------


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), "\ud800", 2**64, b"x"])
def test_a_value_that_json_cannot_carry_is_a_problem(odd: object) -> None:
    assert problem(BATCH, body={**GOOD_BODY, "x": [{"y": odd}]}).error_type == "invalid_row"
    assert problem(CHAT, messages=[{"role": "user", "content": "a", "x": odd}]).error_type == "invalid_row"


def test_a_lone_surrogate_in_a_prompt_is_a_problem_that_can_be_stored() -> None:
    problem(prompt="a\udfffb").message.encode()
    problem(with_(prompt="{{ prompt.x }}"), prompt={"\ud800": 1}).message.encode()


def test_null_as_a_word_or_a_value_is_no_nan() -> None:
    assert sent(prompt="null")["messages"][0]["content"] == "null"


# --- mistakes of the job --------------------------------------------------------------------------


def test_no_usable_column_is_refused_listing_the_columns() -> None:
    message = refused(columns=("id", "Prompt"))
    assert "id, Prompt" in message
    assert 'Did you mean "Prompt"?' in message


def test_no_model_is_refused() -> None:
    assert "model" in refused(model=None)
    assert "model" in refused(model="")


@pytest.mark.parametrize("key", ["prompt_column", "messages_column", "id_column"])
def test_a_named_column_that_is_not_there_is_refused_by_its_key(key: str) -> None:
    message = refused(**{key: "promt"})
    assert f"input.{key}" in message
    assert 'Did you mean "prompt"?' in message


def test_a_template_and_a_messages_column_together_are_refused() -> None:
    assert "messages_column" in refused(
        prompt="{{ prompt }}", messages_column="messages", columns=("prompt", "messages")
    )


def test_a_prompt_over_batch_lines_is_refused() -> None:
    assert "Batch" in refused(input_format="openai-batch", prompt="{{ body }}", columns=("body",))
    assert '"body"' in refused(input_format="openai-batch", columns=("prompt",))


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": float("nan")},
        {"logit_bias": {"a": [float("inf")]}},
        {"seed": 2**64},
        {"stop": "\ud800"},
        {"model": "x"},
        {"messages": []},
    ],
)
def test_a_parameter_that_cannot_be_sent_is_refused_by_its_key(params: dict[str, object]) -> None:
    assert f"request.{next(iter(params))}" in refused(params=params)


def test_a_wrong_system_template_is_refused_by_its_key() -> None:
    assert "request.system" in refused(system="{{ promt }}")


def test_changing_the_parameters_afterwards_changes_nothing() -> None:
    params: dict[str, Any] = {"stop": ["a"]}
    builder = RequestBuilder(with_(params=params))
    params["stop"].append("b")
    built = builder.build(InputRow(0, {"prompt": "Hi"}))
    assert isinstance(built, Request)
    assert json.loads(built.body)["stop"] == ["a"]
