"""Replies: every odd one that is known, and that none makes the reader stumble or lose a paid answer."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batcher.chat.answer import MAX_TOKENS_BELIEVED
from batcher.chat.reading import read, read_reply
from batcher.records import Answer, ApiError, Progress, Reading, Reply, Shape, Usage

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
    assert sum(value is None for value in vars_of(found.answer.usage)[:3]) == 1


def vars_of(usage: Usage) -> list[int | None]:
    return [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
    ]


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


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"error": {"message": "m", "type": "t", "code": "c", "param": None}}, ("m", "t", "c")),
        ({"error": {"message": "m", "type": "t", "code": 400}}, ("m", "t", "400")),
        ({"error": {"message": "m", "code": 400.0}}, ("m", None, "400")),
        ({"error": {"message": "m", "code": True}}, ("m", None, None)),
        ({"error": "m"}, ("m", None, None)),
        ({"error": ["m", "n"]}, ("m; n", None, None)),
        ({"error": [{"message": "m", "code": 5}]}, ("m", None, "5")),
        ({"error": {"error": {"message": "m", "type": "t"}}}, ("m", "t", None)),
        ({"error": {"error": {"message": "m"}, "code": 7}}, ("m", None, "7")),
        ({"error": {"message": '{"error": {"message": "m", "code": "c"}}', "type": "up"}}, ("m", "up", "c")),
        ({"error": {"message": {"message": "m"}}}, ("m", None, None)),
        ({"error": {"message": "{not json}"}}, ("{not json}", None, None)),
        ({"error": {"code": "c", "message": None}}, (None, None, "c")),
        ({"error": {"what": 1}}, ('{"what": 1}', None, None)),
        ({"error": 5}, ("5", None, None)),
        ({"error": "Bad Request", "message": "m", "statusCode": 400}, ("m", "Bad Request", None)),
        ({"error": "m", "error_type": "validation"}, ("m", "validation", None)),
        ({"detail": "m"}, ("m", None, None)),
        ({"detail": {"error": {"message": "m", "type": "t"}}}, ("m", "t", None)),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "required", "type": "missing"}]},
            ("body.messages.0: required", "missing", None),
        ),
        ({"message": "m", "code": "c"}, ("m", None, "c")),
        ({"object": "error", "message": "m", "type": "t", "code": 404}, ("m", "t", "404")),
        ({"msg": "m"}, ("m", None, None)),
        ({"errors": [{"code": 1000, "message": "m"}], "success": False}, ("m", None, "1000")),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
            ("m", "overloaded_error", None),
        ),
        (
            [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}],
            ("m", "RESOURCE_EXHAUSTED", "429"),
        ),
        ("Internal Server Error", ("Internal Server Error", None, None)),
        ({"error": "<html><title>502</title></html>"}, ("502", None, None)),
        ({"error": {"message": "a\x1b[31m\n\u202eb\x00", "type": "t\n"}}, ("a [31m b", "t", None)),
        ({"choices": [], "error": {"message": "m"}}, ("m", None, None)),
        ({"choices": None, "error": {"message": "m"}}, ("m", None, None)),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_error_is_found_however_it_is_spelt(
    value: object, expected: tuple[str | None, str | None, str | None], status: int
) -> None:
    assert said(value, status) == ApiError(*expected)


def test_a_message_is_cut_at_its_promised_length() -> None:
    found = said({"error": {"message": "é" * 1_000_000, "type": "t" * 10_000}})
    assert len(found.message or "") == 2000
    assert len(found.type or "") <= 2000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b"<html><head><title>502 Bad &amp; Gateway</title></head><body>nginx</body></html>",
            "502 Bad & Gateway",
        ),
        (b"<html><style>p{}</style><body><h1>No</h1><script>x()</script> way</body>", "No way"),
        (b"<!-- c --><p>Only <b>text</b>", "Only text"),
        (b"Internal Server Error", "Internal Server Error"),
        (b"upstream\x1b[2J \x00 failed\n", "upstream [2J failed"),
        (b"bad \xff bytes", "bad \ufffd bytes"),
        (b"<<<<", "<<<<"),
        (b'data: {"error": 1}', 'data: {"error": 1}'),
        (b'{"error": {"message": "cut', '{"error": {"message": "cut'),
    ],
)
def test_a_page_or_plain_text_gives_its_message(body: bytes, message: str) -> None:
    found = page(body)
    assert found is not None
    assert found.message == message
    assert page(body, status=200) is None


def test_an_xml_error_gives_its_message_and_code() -> None:
    found = page(
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Denied</Message></Error>', 403
    )
    assert found == ApiError("Denied", None, "AccessDenied")


def test_a_page_in_another_encoding_is_decoded() -> None:
    found = page("Überlastet".encode("latin-1"), content_type="text/plain; charset=ISO-8859-1")
    assert found == ApiError("Überlastet")
    assert page(b"plain", content_type='text/plain; charset="unicode_escape"') == ApiError("plain")


@pytest.mark.parametrize("body", [b"", b" \n", b"<p></p>"])
def test_a_page_that_says_nothing_has_no_error(body: bytes) -> None:
    assert page(body) is None


@pytest.mark.parametrize("body", [b"<" * 300_000, b"<script" * 50_000, b"<title>" * 50_000, b"<!--" * 50_000])
def test_hostile_markup_takes_no_time(body: bytes) -> None:
    page(body)  # quadratic searches over the whole body would take minutes


# --- JSON that is not quite JSON ------------------------------------------------------------------


def raw(content: str, usage: str = '{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}') -> bytes:
    choice = '{"message":{"content":' + content + '},"finish_reason":"stop"}'
    return ('{"choices":[' + choice + '],"usage":' + usage + "}").encode()


@pytest.mark.parametrize(
    ("body", "text", "warnings"),
    [
        (raw('"a\\ud800b"'), "a\ufffdb", ("lone_surrogate_replaced",)),
        (raw('"\\udf00\\ud83d\\ude00"'), "\ufffd😀", ("lone_surrogate_replaced",)),
        (raw('"a\nb\tc\x01"'), "a\nb\tc\x01", ("json_not_strict",)),
        (b"\xef\xbb\xbf" + raw('"a"'), "a", ("bom_in_json",)),
        (
            raw('"a"', '{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"cost":NaN}'),
            "a",
            ("nan_in_json",),
        ),
        (
            raw('"a"', '{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"x":1e999}'),
            "a",
            ("nan_in_json",),
        ),
        (
            raw('"a"', '{"prompt_tokens":NaN,"completion_tokens":3,"total_tokens":12}'),
            "a",
            ("nan_in_json", "usage_incomplete"),
        ),
    ],
)
def test_a_paid_answer_in_json_that_is_not_strict_is_kept_and_flagged(
    body: bytes, text: str, warnings: tuple[str, ...]
) -> None:
    found = read_reply(200, (), body)
    assert found.shape is Shape.CHOICES
    assert found.answer is not None
    assert (found.answer.completion, found.warnings) == (text, warnings)
    assert "NaN" not in (found.answer.usage_json or "")


def test_of_duplicate_keys_the_last_counts() -> None:
    found = read_reply(
        200, (), b'{"choices":[],"choices":[{"message":{"content":"b"},"finish_reason":"stop"}]}'
    )
    assert found.answer is not None
    assert found.answer.completion == "b"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"<html>",
        b"{",
        raw('"half')[:30],
        b'{"choices":[]} trailing',
        b"\xff\xfe{\x00}\x00",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b"[" * 5_000 + b"]" * 5_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"a":' + b"1" * 5_000 + b"}",
        b"\x1f\x8b\x08\x00garbage",
        b"NaN",
        b"data: [DONE]\n\n",
    ],
)
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    assert read_reply(200, (), body) == Reading(Shape.NOT_JSON)


def test_an_answer_nested_as_deep_as_json_allows_is_read() -> None:
    deep = "[" * 900 + "]" * 900
    assert read_reply(200, (), raw(deep)).shape is Shape.CHOICES


# --- nothing makes it stumble ---------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=10)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={name: field | VALUES for name, field in fields.items()})


ERRORS = some(
    message=st.text(),
    type=st.text(),
    code=st.integers(),
    error=VALUES,
    detail=VALUES,
    loc=VALUES,
    status=VALUES,
)
PARTS = st.lists(
    some(type=st.sampled_from(["text", "refusal"]), text=st.text(), thinking=VALUES, refusal=VALUES)
)
REPLIES = some(
    id=st.text(),
    model=st.text(),
    choices=st.lists(
        some(
            message=some(
                content=PARTS, tool_calls=VALUES, refusal=VALUES, reasoning=VALUES, function_call=VALUES
            ),
            finish_reason=VALUES,
        ),
        max_size=3,
    ),
    usage=some(
        prompt_tokens=st.integers(),
        completion_tokens=st.integers(),
        total_tokens=st.integers(),
        prompt_tokens_details=some(cached_tokens=st.integers()),
        completion_tokens_details=some(reasoning_tokens=st.integers()),
    ),
    error=ERRORS,
    detail=ERRORS,
    errors=st.lists(ERRORS, max_size=2),
    message=VALUES,
)


def check(found: Reading) -> None:
    """What every reading promises: storable text, counts or None, and the fields of its shape."""
    assert (found.answer is not None) == (found.shape in {Shape.CHOICES, Shape.EMPTY})
    assert found.shape is not Shape.ERROR or found.error is not None
    if found.error is not None:
        for text in (found.error.message, found.error.type, found.error.code):
            assert text is None or (text.strip() and len(text) <= 2000)
            assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in text or "")
            (text or "").encode()
    if found.answer is not None:
        for count in vars_of(found.answer.usage):
            assert count is None or (type(count) is int and 0 <= count <= MAX_TOKENS_BELIEVED)
        for name in Answer.__slots__:
            value = getattr(found.answer, name)
            assert isinstance(value, str | Usage | None)
            if isinstance(value, str):
                value.encode()
        for text in (found.answer.tool_calls, found.answer.choices_json, found.answer.usage_json):
            assert text is None or isinstance(json.loads(text), object)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from([None, 200, 204, 400, 500]))
@example(b'{"choices":[{"message":{"content":"\\ud800', 200)
def test_any_bytes_can_be_read(body: bytes, status: int | None) -> None:
    check(read_reply(status, (("content-type", "text/html; charset=x"),), body))


@settings(max_examples=500, deadline=None, derandomize=True)
@given(REPLIES | ERRORS | VALUES, st.sampled_from([200, 400, 500]))
def test_any_json_can_be_read(value: object, status: int) -> None:
    # Python's writer also writes NaN, Infinity and lone surrogates, which servers built on it do.
    check(read_reply(status, (), json.dumps(value).encode()))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_good_reply_with_one_byte_changed_can_be_read(position: int, byte: int) -> None:
    body = bytearray(orjson.dumps(completion({"content": "é\n😀", "tool_calls": [{"id": "1"}]})))
    body[position % len(body)] = byte
    check(read_reply(200, (), bytes(body)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 400))
def test_a_reply_cut_short_is_no_json(length: int) -> None:
    body = orjson.dumps(completion())
    assert read_reply(200, (), body[: length % len(body)]).shape is Shape.NOT_JSON
