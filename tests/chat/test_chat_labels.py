"""Labels: the schema that is asked for, and what an answer gives."""

from __future__ import annotations

import pytest

from batcher.chat.labels import label_values, response_format

ONE = {"category": ("billing", "refund", "other thing")}
TWO = {"category": ("billing", "refund"), "urgency": ("low", "high")}


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
    assert label_values(completion, TWO) == {"category": "refund", "urgency": "high"}


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ('{"category": "refund"}', {"category": "refund", "urgency": None}),
        ('{"category": "Refund", "urgency": "high"}', {"category": None, "urgency": "high"}),
        ('{"category": ["refund"], "urgency": 1}', {"category": None, "urgency": None}),
        ("refund", {"category": None, "urgency": None}),
        ('"refund"', {"category": None, "urgency": None}),
        ("[]", {"category": None, "urgency": None}),
        ('{"category": "refund", "urg', {"category": None, "urgency": None}),
        ("", {"category": None, "urgency": None}),
        (None, {"category": None, "urgency": None}),
        ("null", {"category": None, "urgency": None}),
    ],
)
def test_what_does_not_fit_is_null_label_by_label(
    completion: str | None, expected: dict[str, str | None]
) -> None:
    assert label_values(completion, TWO) == expected


@pytest.mark.parametrize(
    "completion", ["refund", " refund\n", '"refund"', '{"category":"refund"}', "```\nrefund\n```"]
)
def test_a_single_label_may_be_answered_bare(completion: str) -> None:
    assert label_values(completion, ONE) == {"category": "refund"}


@pytest.mark.parametrize("completion", ["refund.", "It is refund", "Refund", "refund billing", "{}", "5"])
def test_a_bare_answer_that_is_no_label_is_never_guessed(completion: str) -> None:
    assert label_values(completion, ONE) == {"category": None}


def test_a_label_that_looks_like_json_is_still_a_label() -> None:
    assert label_values("1", {"stars": ("1", "2")}) == {"stars": "1"}
    assert label_values("null", {"x": ("null",)}) == {"x": "null"}
    assert label_values('{"stars": 1}', {"stars": ("1", "2")}) == {"stars": None}
