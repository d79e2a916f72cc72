"""Streamed replies, read as the plain replies that they stand for."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from batcher.chat.reading import read, read_reply
from batcher.chat.sse_answer import reply_text
from batcher.records import ApiError, Fault, FaultKind, Progress, Reading, Reply, Shape

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
ABOUT = {
    "id": "c-1",
    "object": "chat.completion.chunk",
    "created": 5,
    "model": "m-1",
    "system_fingerprint": "f",
}


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {**ABOUT, "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more}


def choice(index: int, delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {**ABOUT, "choices": [{"index": index, "delta": delta, "finish_reason": finish, **more}]}


def calling(*pieces: dict[str, Any]) -> dict[str, Any]:
    return chunk({"tool_calls": list(pieces)})


def sse(*values: Any, done: bool = True) -> bytes:
    said = [value if isinstance(value, bytes) else orjson.dumps(value) for value in values]
    return b"".join(b"data: %b\n\n" % each for each in [*said, *([b"[DONE]"] if done else [])])


START, END = chunk({"role": "assistant", "content": "", "refusal": None}), chunk({}, "stop")
LAST = {**ABOUT, "choices": [], "usage": USAGE}
GOOD = sse(START, chunk({"content": "Hal"}), chunk({"content": "lo"}), END, LAST)


def reading(*values: Any, done: bool = True, status: int = 200) -> Reading:
    return read_reply(status, (), sse(*values, done=done))


def text_of(found: Reading) -> str | None:
    assert found.answer is not None
    return found.answer.completion


def test_a_stream_reads_as_the_plain_reply_that_it_stands_for() -> None:
    logprobs = [{"token": t, "logprob": -1.0} for t in ("Hal", "lo")]
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {
        "role": "assistant",
        "content": "Hallo",
        "reasoning_content": "Hm. So.",
        "refusal": None,
        "tool_calls": [call],
    }
    plain = {
        **ABOUT,
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "stop", "logprobs": {"content": logprobs}},
            {"index": 1, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"},
        ],
        "usage": USAGE,
    }
    streamed = reading(
        START,
        choice(0, {"reasoning_content": "Hm. "}),
        choice(0, {"reasoning_content": "So."}),
        choice(1, {"role": "assistant", "content": "H"}),
        choice(0, {"content": "Hal"}, logprobs={"content": logprobs[:1]}),
        choice(1, {"content": "i"}),
        choice(0, {"content": "lo"}, logprobs={"content": logprobs[1:]}),
        calling({"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}),
        calling({"index": 0, "function": {"arguments": '{"a"'}}),
        calling({"index": 0, "function": {"arguments": ": 1}"}}),
        choice(1, {}, "length"),
        END,
        LAST,
    )
    expected = read_reply(200, (), orjson.dumps(plain))
    assert streamed.ended
    assert streamed.warnings == expected.warnings == ()
    assert expected.answer is not None
    assert streamed.answer is not None
    for name in expected.answer.__slots__:
        mine, theirs = getattr(streamed.answer, name), getattr(expected.answer, name)
        if name.endswith(("_json", "_calls")):
            mine, theirs = json.loads(mine), json.loads(theirs)
        assert mine == theirs, name


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n", b"\r"),
        GOOD.replace(b"data: ", b"data:"),
        b"\xef\xbb\xbf: hello\n\n" + GOOD.replace(b"\n\n", b"\n\n: ping\n\n"),
        GOOD.replace(b",", b",\ndata: "),
        GOOD.removesuffix(b"data: [DONE]\n\n"),
        GOOD.removesuffix(b"\n\n"),
        GOOD + b"data: [DONE]\n\n",
        GOOD.replace(b"data: [DONE]", b"data: [DONE] "),
        b"data: \n\n" + GOOD,
        sse(START, chunk({"content": "Hal"}), chunk({"content": "lo"}, "stop"), chunk({"content": ""}), LAST),
        sse(
            {**ABOUT, "id": "", "model": "", "choices": []},
            *[chunk({"content": x}) for x in ("Hal", "lo")],
            END,
            LAST,
        ),
    ],
)
def test_what_servers_do_to_a_stream_changes_nothing(body: bytes) -> None:
    found = read_reply(200, (), body)
    assert (found.shape, text_of(found), found.ended, found.warnings) == (Shape.CHOICES, "Hallo", True, ())
    assert found.answer is not None
    assert (found.answer.response_id, found.answer.response_model) == ("c-1", "m-1")
    assert (found.answer.finish_reason, found.answer.usage.total_tokens) == ("stop", 10)


@pytest.mark.parametrize(
    ("body", "text", "word"),
    [
        (GOOD.replace(b"\n\n", b"\n"), "Hallo", "events_not_separated"),
        (b"data: ping\n\n" + GOOD, "Hallo", "stream_noise"),
        (GOOD + sse(chunk({"content": "more"})), "Hallo", "data_after_done"),
        (sse(START, chunk({"content": "x"}), END), "x", "usage_missing"),
        (GOOD.replace(b"Hal", b"Hal\xff"), "Hal\ufffdlo", "bad_utf8_replaced"),
        (GOOD.replace(b"Hal", b"\\ud83d").replace(b'"lo"', b'"\\ude00"'), "\U0001f600", "stream_not_strict"),
        (GOOD.replace(b"Hal", b"\\ud83d"), "\ufffdlo", "lone_surrogate_replaced"),
    ],
)
def test_what_is_odd_in_a_stream_is_flagged_and_its_text_kept(body: bytes, text: str, word: str) -> None:
    found = read_reply(200, (), body)
    assert (text_of(found), found.ended) == (text, True)
    assert word in found.warnings


def test_the_last_usage_counts() -> None:
    found = reading(chunk({"content": "x"}, usage={"prompt_tokens": 7, "completion_tokens": 1}), END, LAST)
    late = read_reply(200, (), sse(chunk({"content": "x"}, "stop")) + sse(LAST))
    for each in (found, late):
        assert each.answer is not None
        assert each.answer.usage.completion_tokens == 3


F1 = {"name": "f", "arguments": '{"a":1}'}
F2 = {"name": "g", "arguments": "{}"}


@pytest.mark.parametrize(
    "chunks",
    [
        [calling({"index": 0, "id": "1", "function": F1}), calling({"index": 1, "id": "2", "function": F2})],
        [calling({"index": 0, "id": "1", "function": F1}, {"index": 1, "id": "2", "function": F2})],
        [calling({"index": 0, "id": "1", "function": F1}), calling({"index": 0, "id": "2", "function": F2})],
        [calling({"id": "1", "function": F1}), calling({"id": "2", "function": F2})],
        [calling({"id": "1", "function": F1}, {"id": "2", "function": F2})],
        [
            calling({"index": 0, "id": "1", "function": {"name": "f", "arguments": '{"a'}}),
            calling({"index": 1, "id": "2", "function": {"name": "g"}}),
            calling({"index": 0, "id": "1", "function": {"name": "f", "arguments": '":1}'}}),
            calling({"index": 1, "function": {"arguments": "{}"}}),
        ],
        [
            calling({"id": "1", "function": {"name": "f", "arguments": '{"a'}}),
            calling({"function": {"arguments": '":1}'}}),
            calling({"id": "2", "function": F2}),
        ],
    ],
)
def test_tool_calls_are_assembled_however_they_are_numbered(chunks: list[Any]) -> None:
    found = reading(START, *chunks, chunk({}, "tool_calls"), LAST)
    assert found.answer is not None
    calls = json.loads(found.answer.tool_calls or "")
    assert [(call["id"], call["type"], call["function"]) for call in calls] == [
        ("1", "function", F1),
        ("2", "function", F2),
    ]
    assert found.answer.completion is None


def test_parts_whole_messages_and_the_old_function_call_are_understood() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "Hal"},
    ]
    found = reading(chunk({"content": parts}), chunk({"content": "lo"}), END, LAST)
    assert found.answer is not None
    assert (found.answer.completion, found.answer.reasoning) == ("Hallo", "Hm")
    whole = {
        **ABOUT,
        "choices": [{"message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
    }
    assert text_of(reading(whole)) == "x"
    legacy = reading(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk({}, "function_call"),
    )
    assert legacy.answer is not None
    assert json.loads(legacy.answer.tool_calls or "")[0]["function"] == {"name": "f", "arguments": "{}"}


# --- streams that do not end well


def test_every_cut_of_a_stream_keeps_the_text_that_came_and_never_counts_as_an_answer() -> None:
    end = GOOD.index(orjson.dumps(END)) + len(orjson.dumps(END))
    for cut in range(len(GOOD)):
        found = read_reply(200, (), GOOD[:cut])
        if cut < GOOD.index(b"\n\n"):
            assert found.shape is Shape.NOT_JSON
        else:
            assert "Hallo".startswith(text_of(found) or "")
            assert (text_of(found) == "Hallo") is (cut >= GOOD.index(orjson.dumps(END)) - len("\n\ndata: "))
            assert found.ended is (cut >= end)


BROKEN = {"error": {"message": "Provider disconnected", "code": 502}}


@pytest.mark.parametrize(
    "body",
    [
        sse(START, chunk({"content": "Hal"}), BROKEN),
        sse(START, chunk({"content": "Hal"}), BROKEN, done=False),
        sse(START, chunk({"content": "Hal"}), {**chunk({}, "error"), **BROKEN}),
        sse(
            START,
            chunk({"content": "Hal"}),
            {"object": "error", "message": "Provider disconnected", "code": 502},
        ),
        sse(START, chunk({"content": "Hal"}), done=False)
        + b'event: error\ndata: {"message": "Provider disconnected", "code": 502}\n\n',
        sse(START, chunk({"content": "Hal"}), done=False) + b"error: %b\n\n" % orjson.dumps(BROKEN["error"]),
    ],
)
def test_an_error_in_mid_stream_is_an_error_that_keeps_what_came(body: bytes) -> None:
    found = read_reply(200, (), body)
    assert (found.shape, found.ended, text_of(found)) == (Shape.ERROR, False, "Hal")
    assert found.error is not None
    assert (found.error.message, found.error.code) == ("Provider disconnected", "502")


def test_an_error_before_any_choice_and_one_behind_the_answer() -> None:
    first = reading(BROKEN)
    assert (first.shape, first.error) == (Shape.ERROR, ApiError("Provider disconnected", None, "502"))
    behind = reading(START, chunk({"content": "x"}), END, BROKEN)
    assert (behind.shape, behind.ended) == (Shape.CHOICES, True)
    assert "error_beside_choices" in behind.warnings


def test_a_hole_in_the_middle_is_no_end() -> None:
    found = read_reply(200, (), GOOD.replace(b'{"content":"lo"}', b'{"content":"lo'))
    assert (text_of(found), found.ended) == ("Hal", False)


def test_an_end_without_a_reason_is_left_to_the_reason() -> None:
    done = reading(START, chunk({"content": "x"}), LAST)
    assert (done.ended, done.warnings) == (True, ("finish_reason_missing",))


@pytest.mark.parametrize(
    "body", [b": ping\n\n", b"data: nothing here\n\n", b"data: [DONE]\n\n", b"data: 7\n\n"]
)
def test_a_stream_without_an_object_is_no_answer(body: bytes) -> None:
    assert read_reply(200, (), body) == Reading(Shape.NOT_JSON)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"choices": 1},
        {"choices": [1, {"delta": 2}]},
        {
            "choices": [
                {
                    "index": "x",
                    "delta": {"content": 5, "tool_calls": [1, {}, {"function": 3}]},
                    "logprobs": {"content": 1},
                }
            ]
        },
    ],
)
def test_no_chunk_is_too_odd_to_be_read(value: Any) -> None:
    for values in ([value], [START, value, value, END], [value, chunk({"content": "x", "tool_calls": None})]):
        read_reply(200, (), sse(*values))


@pytest.mark.parametrize("depth", [200, 480, 700, 990, 5_000])
@pytest.mark.parametrize("leaf", ["1", "NaN", r'"\ud83d"'])
def test_no_depth_is_too_deep_to_be_read(depth: int, leaf: str) -> None:
    deep = f'{{"x":{"[" * depth}{leaf}{"]" * depth},"choices":[{{"index":0,"delta":{{"content":"x"}}}}]}}'
    found = read_reply(200, (), sse(deep.encode(), END))
    reply_text(sse(deep.encode(), END))
    assert found.shape in {Shape.NOT_JSON, Shape.CHOICES}


# --- how it came


def arrived(body: bytes, *, ttft_ms: float | None, fault: FaultKind | None = None) -> Reply:
    progress = Progress.COMPLETE if fault is None else Progress.CUT
    return Reply(
        200, (), body, progress, Fault(fault, "cut") if fault else None, 1.0, 2.0, 9.0, ttft_ms=ttft_ms
    )


def test_how_an_answer_came_is_flagged_where_it_is_not_as_asked() -> None:
    plain = orjson.dumps(
        {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": USAGE}
    )
    assert read(arrived(plain, ttft_ms=None)).warnings == ()
    assert read(arrived(plain, ttft_ms=3.0)).warnings == ("not_streamed",)
    assert read(arrived(GOOD, ttft_ms=3.0)).warnings == ()
    assert read(arrived(GOOD, ttft_ms=None)).warnings == ("streamed_unasked",)
    cut = read(arrived(GOOD[:-16], ttft_ms=3.0, fault=FaultKind.BODY_CUT))
    assert cut.warnings == ("stream_cut_after_answer",)


def test_the_text_of_a_streamed_reply_is_the_plain_reply() -> None:
    told = json.loads(reply_text(GOOD))
    assert told["object"] == "chat.completion"
    assert told["choices"][0]["message"]["content"] == "Hallo"
    assert told["usage"] == USAGE
    assert reply_text(b"no \xff stream") == "no \ufffd stream"
