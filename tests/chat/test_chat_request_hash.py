"""What a request hash depends on, and that no row, however odd, makes the builder stumble."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from chat_requests import BATCH, CHAT, GOOD_BODY, PLAIN, USER, build, problem, request, with_
from hypothesis import given, settings
from hypothesis import strategies as st

from batcher.chat.request import RequestBuilder, RequestSpec
from batcher.records import InputRow, Problem, Request


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6, "max_tokens": 5}, 6),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": True}, None),
    ],
)
def test_the_token_maximum_is_read_from_the_body(params: dict[str, object], expected: int | None) -> None:
    assert request(with_(params=params), prompt="Hi").max_tokens == expected
    assert request(BATCH, body={**GOOD_BODY, **params}).max_tokens == expected


def test_a_hash_has_32_digits_and_stays_the_same_for_ever() -> None:
    # A changed value here means that every answer ever bought is bought again.
    assert request(prompt="Hi").request_hash == "6e393c7125ea33ae434ba363fe244a46"


def test_everything_that_changes_an_answer_changes_the_hash_and_nothing_else_does() -> None:
    same = [
        request(prompt="Hi"),
        request(with_(columns=("prompt", "id"), id_column="id"), prompt="Hi", id=9),
        request(with_(CHAT), messages=[USER]),
        request(with_(prompt="{{ prompt }}"), prompt="Hi"),
        request(BATCH, body={"messages": [USER], "model": "gpt-4o"}),
    ]
    assert len({built.request_hash for built in same}) == 1
    others = [
        request(prompt="Hi!"),
        request(with_(model="gpt-4.1"), prompt="Hi"),
        request(with_(params={"temperature": 0}), prompt="Hi"),
        request(with_(system="S"), prompt="Hi"),
        request(with_(simulated=True), prompt="Hi"),
        request(with_(endpoint_identity="http://localhost:8000/v1"), prompt="Hi"),
        request(with_(endpoint_identity=PLAIN.endpoint_identity + "\x001", simulated=True), prompt="Hi"),
    ]
    hashes = {built.request_hash for built in (*others, same[0])}
    assert len(hashes) == len(others) + 1


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": JSON_VALUES}),
    min_size=1,
    max_size=3,
)
FORMS = [
    with_(id_column="id", columns=("prompt", "id")),
    with_(prompt="{{ prompt }}{% if x %}{{ x.y }}{% endif %}", columns=("prompt", "x")),
    with_(prompt="{{ row | tojson }} {{ row }}", columns=("prompt", "x")),
    with_(CHAT, system="{{ prompt or 'none' }}"),
    with_(BATCH, model="gpt-4o", params={"seed": 1}),
]


@pytest.mark.parametrize("spec", FORMS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "prompt": JSON_VALUES,
            "id": JSON_VALUES,
            "x": JSON_VALUES,
            "messages": MESSAGES | JSON_VALUES,
            "body": st.fixed_dictionaries(
                {"messages": MESSAGES}, optional={"model": st.text(), "x": JSON_VALUES}
            )
            | JSON_VALUES,
            "custom_id": JSON_VALUES,
            "url": JSON_VALUES,
        },
    )
)
def test_any_row_gives_valid_json_or_a_problem_that_can_be_stored(
    spec: RequestSpec, values: dict[str, Any]
) -> None:
    built = RequestBuilder(spec).build(InputRow(0, values))
    if isinstance(built, Problem):
        built.message.encode()
        assert built.message
    else:
        body = orjson.loads(built.body)
        assert body["model"] == built.model
        assert body["messages"]
        assert b"NaN" not in built.body or "NaN" in json.dumps(body)
    if built.custom_id is not None:
        built.custom_id.encode()


def _shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shuffled(value[key]) for key in reversed(value)}
    return [_shuffled(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=150, deadline=None, derandomize=True)
@given(MESSAGES, st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4))
def test_the_hash_does_not_depend_on_the_order_of_keys(messages: list[Any], extra: dict[str, Any]) -> None:
    body = {**extra, "model": "m", "messages": messages, "stream": False}
    one, other = build(BATCH, body=body), build(BATCH, body=_shuffled(body))
    if isinstance(one, Request):
        assert isinstance(other, Request)
        assert one.request_hash == other.request_hash
        assert orjson.loads(one.body) == orjson.loads(other.body)
    else:
        assert isinstance(other, Problem)


def test_depth_is_a_problem_and_never_a_crash() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    assert problem(BATCH, body={**GOOD_BODY, "x": deep}).error_type == "invalid_row"
    assert problem(CHAT, messages=[{"role": "user", "content": deep}]).error_type == "invalid_row"
    spec = with_(prompt="{{ x }}", columns=("x",))
    assert problem(spec, x=deep).error_type == "template_error"
    assert problem(with_(BATCH), body=dict(GOOD_BODY), custom_id=deep).custom_id is None
