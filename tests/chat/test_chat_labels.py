"""Labels: the schema that is asked for, and what an answer gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batcher.chat.contracts import contract_of
from batcher.chat.labels import response_format
from batcher.records import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.chat.contract import Fit

ONE = {"category": ("billing", "refund", "other thing")}
TWO = {"category": ("billing", "refund"), "urgency": ("low", "high")}


def fit(completion: str | None, labels: Mapping[str, tuple[str, ...]]) -> Fit:
    contract = contract_of(labels=labels, response_format=None, tools=None, tool_choice=None)
    return contract.fit(Answer(completion=completion))


def test_the_schema_is_strict_closed_and_in_the_users_order() -> None:
    assert response_format(TWO) == {
        "type": "json_schema",
        "json_schema": {
            "name": "category_urgency",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "category": {"type": "string", "enum": ["billing", "refund"]},
                    "urgency": {"type": "string", "enum": ["low", "high"]},
                },
                "required": ["category", "urgency"],
                "additionalProperties": False,
            },
        },
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("grün art",), "gr_n_art"),
        (("种类",), "labels"),
        (("a" * 80, "b"), "a" * 64),
        (("a.b", "c"), "a_b_c"),
    ],
)
def test_a_schema_name_has_only_characters_a_server_takes(names: tuple[str, ...], expected: str) -> None:
    assert response_format(dict.fromkeys(names, ("x",)))["json_schema"]["name"] == expected


@pytest.mark.parametrize(
    "completion",
    [
        '{"category": "refund", "urgency": "high"}',
        ' {"urgency":"high","category":"refund","more":1}\n',
        '```json\n{"category": "refund", "urgency": "high"}\n```',
        '```\n{"category": "refund", "urgency": "high"}```\n',
    ],
)
def test_an_object_gives_every_label(completion: str) -> None:
    found = fit(completion, TWO)
    assert found.problem is None
    assert isinstance(found.value, dict)
    assert {name: found.value[name] for name in TWO} == {"category": "refund", "urgency": "high"}
    assert found.warnings == (("json_in_fence",) if "```" in completion else ())


@pytest.mark.parametrize(
    ("completion", "said"),
    [
        ('{"category": "refund"}', '/: "urgency" is a required property'),
        (
            '{"category": "Refund", "urgency": "high"}',
            '/category: "Refund" is not one of "billing" or "refund"',
        ),
        ('{"category": ["refund"], "urgency": 1}', "/category: "),
        ("refund", "not JSON"),
        ('"refund"', 'is not of type "object"'),
        ("[]", 'is not of type "object"'),
        ('{"category": "refund", "urg', "not JSON"),
        ('Sure! {"category": "refund", "urgency": "high"}', "not JSON"),
        ("", "no text"),
        (None, "no text"),
        ("null", 'is not of type "object"'),
    ],
)
def test_what_does_not_fit_is_told_and_gives_no_label_at_all(completion: str | None, said: str) -> None:
    found = fit(completion, TWO)
    assert found.problem is not None
    assert said in found.problem
    assert (found.value, found.parsed) == (None, None)


@pytest.mark.parametrize(
    "completion", ["refund", " refund\n", '"refund"', '{"category":"refund"}', "```\nrefund\n```"]
)
def test_a_single_label_may_be_answered_bare(completion: str) -> None:
    assert fit(completion, ONE).value == {"category": "refund"}


@pytest.mark.parametrize("completion", ["refund.", "It is refund", "Refund", "refund billing", "{}", "5"])
def test_a_bare_answer_that_is_no_label_is_never_guessed(completion: str) -> None:
    found = fit(completion, ONE)
    assert (found.problem is None, found.value) == (False, None)


def test_a_label_that_looks_like_json_is_still_a_label() -> None:
    assert fit("1", {"stars": ("1", "2")}).value == {"stars": "1"}
    assert fit("null", {"x": ("null", "y")}).value == {"x": "null"}
    assert fit('{"stars": 1}', {"stars": ("1", "2")}).value is None
