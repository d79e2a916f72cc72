"""Replies that are no strict JSON, or none at all; nothing makes the reader stumble or lose an answer."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import orjson
import pytest
from chat_replies import completion, counts_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batcher.chat.answer import MAX_TOKENS_BELIEVED
from batcher.chat.reading import read_reply
from batcher.records import Answer, Reading, Shape, Usage

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


def test_what_orjson_reads_but_does_not_write_is_kept_all_the_same() -> None:
    deep: Any = 1
    for _ in range(300):  # orjson reads 1,024 levels and writes 254
        deep = [deep]
    body = json.dumps(completion({"content": None, "tool_calls": [deep]})).encode()
    nested = read_reply(200, (), body)
    assert nested.answer is not None
    assert json.loads(nested.answer.tool_calls or "") == [deep]
    found = read_reply(200, (), raw('"a"', '{"prompt_tokens":1,"x":NaN,"y":1180591620717411303424}'))
    assert found.answer is not None
    assert json.loads(found.answer.usage_json or "") == {"prompt_tokens": 1, "x": None, "y": 2**70}


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
        for count in counts_of(found.answer.usage):
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
