"""What a gateway says a reply cost: believed when it can be true, flagged when it cannot."""

from __future__ import annotations

import orjson
import pytest

from batcher.chat.reading import read_reply
from batcher.records import Reading, Usage

COUNTS: dict[str, object] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
HEADER = "x-litellm-response-cost"


def read(usage: dict[str, object] | None = None, header: str | None = None, status: int = 200) -> Reading:
    choices = [{"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"}]
    body = orjson.dumps({"choices": choices, "usage": COUNTS | (usage or {})})
    return read_reply(status, () if header is None else ((HEADER, header),), body)


def cost(reading: Reading) -> float | None:
    assert reading.answer is not None
    return reading.answer.usage.cost_usd


@pytest.mark.parametrize(
    ("usage", "header", "expected"),
    [
        ({}, None, None),
        ({"cost": 0.000123}, None, 0.000123),
        ({"cost": 0}, None, 0.0),
        ({"cost": None}, "0.5", 0.5),
        ({"cost": 0.25}, "0.5", 0.25),
        ({}, "1e-06", 1e-06),
        ({}, "None", None),
        ({}, "", None),
        ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.3}}, None, 0.3),
        ({"cost": 0.01, "is_byok": False}, None, 0.01),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}}, None, 0.21),
        ({"cost": 0.01, "is_byok": True}, None, None),
    ],
)
def test_a_cost_is_read_from_usage_then_from_the_header(
    usage: dict[str, object], header: str | None, expected: float | None
) -> None:
    reading = read(usage, header)
    assert cost(reading) == (None if expected is None else pytest.approx(expected))
    assert reading.warnings == ()


@pytest.mark.parametrize("said", [-0.01, 1e9, 10**400, "0.5", True, [1]])
def test_an_absurd_cost_in_usage_is_flagged_and_not_used(said: object) -> None:
    body = b'{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,'
    body += b'"completion_tokens":3,"total_tokens":10,"cost":%s}}' % (
        str(said).encode() if isinstance(said, int) and not isinstance(said, bool) else orjson.dumps(said)
    )
    reading = read_reply(200, (), body)
    assert cost(reading) is None
    assert "cost_unreadable" in reading.warnings


@pytest.mark.parametrize("said", ["nan", "inf", "-1", "free", "1e99"])
def test_an_absurd_cost_in_a_header_is_flagged_and_not_used(said: str) -> None:
    reading = read({}, said)
    assert (cost(reading), reading.warnings) == (None, ("cost_unreadable",))


def test_the_cost_of_a_reply_whose_answer_is_lost_is_kept() -> None:
    reading = read_reply(200, ((HEADER, "0.5"),), b'{"choices":[{"mess')
    assert cost(reading) == 0.5


def test_tokens_newly_cached_are_read_under_both_names() -> None:
    openai = read({"prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 4}})
    anthropic = read({"cache_creation_input_tokens": 4})
    for reading, cached in ((openai, 2), (anthropic, None)):
        assert reading.answer is not None
        assert reading.answer.usage == Usage(7, 3, 10, cached, None, 4)
