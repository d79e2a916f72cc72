"""Replies with an answer, or with nothing in it: every odd one that is known."""

from __future__ import annotations

import json

import orjson
import pytest
from chat_replies import USAGE, answer, completion, counts_of, reading

from batcher.chat.answer import MAX_TOKENS_BELIEVED
from batcher.chat.reading import read, read_reply
from batcher.records import Answer, Progress, Reading, Reply, Shape, Usage

# --- good replies ---------------------------------------------------------------------------------


def test_a_good_reply_gives_its_parts_without_a_warning() -> None:
    usage = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert reading(completion(usage=usage)) == Reading(
        Shape.CHOICES,
        Answer(
            response_id="c1",
            response_model="m-1",
            finish_reason="stop",
            completion="Hi",
            usage=Usage(9, 3, 12, 4, 1),
            usage_json=orjson.dumps(usage).decode(),
        ),
    )


def test_read_takes_a_reply() -> None:
    body = orjson.dumps(completion())
    reply = Reply(200, (), body, Progress.COMPLETE, None, 0.0, 1.0, 1000.0)
    assert read(reply) == read_reply(200, (), body)


def test_tool_calls_are_kept_word_for_word() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0, "é": null}'}}]
    found = answer(completion({"content": None, "tool_calls": calls}, finish_reason="tool_calls"))
    assert found.completion is None
    assert found.tool_calls == orjson.dumps(calls).decode()


def test_a_refusal_and_reasoning_are_kept() -> None:
    found = answer(completion({"content": None, "refusal": "No.", "reasoning_content": "hm"}))
    assert (found.refusal, found.reasoning) == ("No.", "hm")
    assert answer(completion({"content": "a", "reasoning": "hm"})).reasoning == "hm"
    assert answer(completion({"content": "a", "refusal": "", "reasoning": ""})).refusal is None


def test_further_choices_are_kept_as_json() -> None:
    value = completion()
    value["choices"].append({"index": 1, "message": {"content": "Ho"}, "finish_reason": "stop"})
    found = answer(value)
    assert found.completion == "Hi"
    assert json.loads(found.choices_json or "") == value["choices"][1:]
    assert answer(completion()).choices_json is None


def test_logprobs_of_the_answers_own_choice_are_kept_as_json() -> None:
    value = completion()
    value["choices"][0]["logprobs"] = {"content": [{"token": "Hi", "logprob": -0.5}]}
    assert answer(value).logprobs_json == '{"content":[{"token":"Hi","logprob":-0.5}]}'
    value["choices"][0]["logprobs"] = None
    assert answer(value).logprobs_json is None


def test_an_empty_content_is_an_empty_text() -> None:
    assert answer(completion({"content": ""})).completion == ""


# --- odd answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text", "warnings"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", ()),
        (["a", "b"], "ab", ()),
        ([{"type": "text", "text": {"value": "a"}}], "a", ()),
        ([], None, ()),
        ([{"type": "image", "url": "x"}, {"type": "text", "text": "b"}, 5], "b", ("content_parts_not_text",)),
        (5, "5", ("content_not_text",)),
        (2.5, "2.5", ("content_not_text",)),
        (True, "true", ("content_not_text",)),
        ({"a": "é"}, '{"a":"é"}', ("content_not_text",)),
        (None, None, ()),
    ],
)
def test_a_content_that_is_no_text_becomes_text(
    content: object, text: str | None, warnings: tuple[str, ...]
) -> None:
    found = reading(completion({"content": content}))
    assert found.answer is not None
    assert (found.answer.completion, found.warnings) == (text, warnings)


def test_thoughts_and_refusals_among_the_parts_go_where_they_belong() -> None:
    thoughts = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    refusal = {"type": "refusal", "refusal": "No."}
    found = answer(completion({"content": [thoughts, {"type": "text", "text": "a"}, refusal]}))
    assert (found.completion, found.reasoning, found.refusal) == ("a", "hm", "No.")


@pytest.mark.parametrize(
    ("reason", "kept", "word"),
    [
        (None, None, "finish_reason_missing"),
        ("", None, "finish_reason_missing"),
        (5, None, "finish_reason_unreadable"),
        ({}, None, "finish_reason_unreadable"),
        ("abort", "abort", None),
    ],
)
def test_an_odd_finish_reason_is_flagged(reason: object, kept: str | None, word: str | None) -> None:
    found = reading(completion(finish_reason=reason))
    assert found.answer is not None
    assert found.answer.finish_reason == kept
    assert found.warnings == ((word,) if word else ())


def test_a_missing_finish_reason_is_flagged() -> None:
    value = completion()
    del value["choices"][0]["finish_reason"]
    assert reading(value).warnings == ("finish_reason_missing",)


def test_a_first_choice_that_is_none_gives_way_to_the_next() -> None:
    value = completion()
    value["choices"].insert(0, {"message": None, "finish_reason": "error"})
    found = reading(value)
    assert found.answer is not None
    assert (found.answer.completion, found.answer.finish_reason) == ("Hi", "stop")
    assert found.answer.choices_json == '[{"message":null,"finish_reason":"error"}]'
    assert found.warnings == ("first_choice_unusable",)


def test_an_error_beside_an_answer_does_not_lose_the_answer() -> None:
    found = reading(completion(error={"message": "late"}))
    assert found.shape is Shape.CHOICES
    assert found.warnings == ("error_beside_choices",)


def test_a_legacy_function_call_is_a_tool_call() -> None:
    found = reading(completion({"content": None, "function_call": {"name": "f", "arguments": "{}"}}))
    assert found.answer is not None
    assert found.warnings == ("function_call_legacy",)
    assert json.loads(found.answer.tool_calls or "")[0]["function"] == {"name": "f", "arguments": "{}"}


def test_odd_fields_become_text_and_are_flagged() -> None:
    found = reading(completion({"content": "a", "reasoning": ["x"], "refusal": 5, "tool_calls": {"a": 1}}))
    assert found.answer is not None
    assert (found.answer.reasoning, found.answer.refusal, found.answer.tool_calls) == (
        '["x"]',
        "5",
        '{"a":1}',
    )
    assert found.warnings == ("reasoning_not_text", "refusal_not_text", "tool_calls_not_a_list")
    assert answer({**completion(), "id": 5, "model": None}).response_id == "5"


# --- usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "count", ["9", 9.0, 9.5, 1e30, -1, True, [], {}, MAX_TOKENS_BELIEVED + 1, 2**70 // 2**7]
)
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_a_count_that_is_none_is_null_and_flagged(field: str, count: object) -> None:
    found = reading(completion(usage={**USAGE, field: count}))
    assert found.answer is not None
    assert getattr(found.answer.usage, field) is None
    assert found.warnings == ("usage_unreadable",)
    assert sum(value is None for value in counts_of(found.answer.usage)[:3]) == 1


@pytest.mark.parametrize(
    ("usage", "word"),
    [
        (None, "usage_missing"),
        ([], "usage_unreadable"),
        ("many", "usage_unreadable"),
        (12, "usage_unreadable"),
        ({}, "usage_incomplete"),
        ({"prompt_tokens": 9}, "usage_incomplete"),
        ({**USAGE, "total_tokens": 13}, "usage_inconsistent"),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": "4"}}, "usage_unreadable"),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 10}}, "usage_inconsistent"),
        ({**USAGE, "completion_tokens_details": {"reasoning_tokens": 4}}, "usage_inconsistent"),
    ],
)
def test_an_odd_usage_is_flagged_and_the_answer_kept(usage: object, word: str) -> None:
    found = reading(completion(usage=usage))
    assert found.answer is not None
    assert found.answer.completion == "Hi"
    assert found.warnings == (word,)


def test_a_missing_usage_is_flagged_like_a_null() -> None:
    value = completion()
    del value["usage"]
    assert reading(value).warnings == ("usage_missing",)
    assert answer(value).usage_json is None


@pytest.mark.parametrize("details", [None, [], "x"])
def test_details_that_are_not_there_are_no_oddity(details: object) -> None:
    usage = {**USAGE, "prompt_tokens_details": details, "completion_tokens_details": details}
    assert reading(completion(usage=usage)).warnings == ()


def test_more_cached_than_prompt_tokens_are_no_cached_tokens() -> None:
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 10}}
    assert answer(completion(usage=usage)).usage == Usage(9, 3, 12, None, None)


def test_reasoning_beside_the_completion_is_kept_as_sent() -> None:
    usage = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 40}}
    assert answer(completion(usage=usage)).usage.reasoning_tokens == 40


# --- empty ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        5,
        "",
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": "Hi"}]},
        {"choices": [{"text": "Hi"}]},
        {"error": None},
        {"error": {}},
        {"error": ""},
        {"error": False},
        {"model": "llama", "message": {"role": "assistant", "content": "Ollama's own API"}},
        [[], 5],
    ],
)
def test_json_without_a_usable_choice_or_an_error_is_empty(value: object) -> None:
    found = reading(value)
    assert found.shape is Shape.EMPTY
    assert found.answer is not None
    assert found.error is None


def test_an_empty_reply_keeps_what_stood_there() -> None:
    found = reading(
        {
            "id": "c",
            "model": "m",
            "choices": [{"message": None, "finish_reason": "content_filter"}],
            "usage": USAGE,
        }
    )
    assert found.answer is not None
    assert (found.answer.response_id, found.answer.response_model) == ("c", "m")
    assert found.answer.finish_reason == "content_filter"
    assert found.answer.usage == Usage(9, 3, 12)
