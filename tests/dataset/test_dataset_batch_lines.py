"""OpenAI Batch lines as input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dataset_inputs import problems, read, scanned, values, write

from batcher.dataset import open_source

if TYPE_CHECKING:
    from pathlib import Path

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "zeta": 1, "alpha": 1.0}


def line(**changes: object) -> str:
    fields = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BODY} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}) + "\n"


def test_they_are_recognised_and_the_body_is_json_text_as_it_stood(tmp_path: Path) -> None:
    found = scanned(write(tmp_path / "b.jsonl", line() + line(custom_id="b")))
    assert found.format == "openai-batch"
    assert found.schema.names == ["custom_id", "method", "url", "body"]
    batch = next(iter(open_source(found).slices(first_row=0))).batch
    assert batch.column("body").to_pylist() == [json.dumps(BODY, separators=(",", ":"))] * 2
    assert values(found, "body") == [BODY, BODY]


def test_numbers_beyond_64_bits_in_a_body_keep_their_digits(tmp_path: Path) -> None:
    text = line().replace('"zeta": 1', '"zeta": 123456789012345678901234567890')
    found = scanned(write(tmp_path / "b.jsonl", text))
    batch = next(iter(open_source(found).slices(first_row=0))).batch
    assert '"zeta":123456789012345678901234567890,' in batch.column("body")[0].as_py()


@pytest.mark.parametrize("first", ["", "not json\n", "[1]\n"])
def test_bad_first_lines_do_not_hide_them(tmp_path: Path, first: str) -> None:
    found = scanned(write(tmp_path / "b.jsonl", first + line() * 2))
    assert found.format == "openai-batch"
    assert found.problems == bool(first)


@pytest.mark.parametrize(
    "url",
    ["/v1/chat/completions", "/chat/completions", "https://evil.example/v1/chat/completions?x=1", ..., None],
)
def test_a_chat_completions_url_of_any_host_is_fine(tmp_path: Path, url: object) -> None:
    assert problems(scanned(write(tmp_path / "b.jsonl", line() + line(url=url)))) == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": "/v1/embeddings"}, "asks for '/v1/embeddings'"),
        ({"url": 7}, "asks for '7'"),
        ({"body": ...}, "no body object"),
        ({"body": None}, "no body object"),
        ({"body": "text"}, "no body object"),
        ({"method": "GET"}, "method is 'GET'"),
    ],
)
def test_a_line_that_cannot_be_sent_is_a_problem_and_keeps_its_columns(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    found = scanned(write(tmp_path / "b.jsonl", line() + line(custom_id="bad", **changes) + line()))
    assert found.problems == 1
    row = read(found, "custom_id")[1]
    assert reason in (row.problem or "")
    assert row.values["custom_id"] == "bad"


def test_custom_ids_of_every_kind_are_carried_as_text(tmp_path: Path) -> None:
    ids: list[object] = [
        "a",
        "a",
        17,
        2**70,
        1.5,
        True,
        None,
        ...,
        "../../etc/passwd",
        "two\nlines",
        {"x": 1},
    ]
    found = scanned(write(tmp_path / "b.jsonl", "".join(line(custom_id=i) for i in ids)))
    assert problems(found) == {}
    assert found.schema.field("custom_id").type == "string"


def test_integer_custom_ids_alone_are_text_too(tmp_path: Path) -> None:
    found = scanned(write(tmp_path / "b.jsonl", line(custom_id=1) + line(custom_id=2)))
    assert values(found, "custom_id") == ["1", "2"]


def test_the_job_can_say_that_they_are_plain_rows(tmp_path: Path) -> None:
    found = scanned(write(tmp_path / "b.jsonl", line(url="/v1/embeddings")), form="jsonl")
    assert (found.format, found.problems) == ("jsonl", 0)


def test_a_column_named_body_alone_is_no_batch(tmp_path: Path) -> None:
    found = scanned(write(tmp_path / "b.jsonl", '{"body": {"x": 1}}\n{"body": "text"}\n'))
    assert found.format == "jsonl"
