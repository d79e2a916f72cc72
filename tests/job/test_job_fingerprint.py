"""Identity is not tuning: what moves the fingerprint, what does not, and how a difference reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from batcher.job import Difference, Fingerprint, Job, diff, fingerprint, job_from_table, readable
from batcher.job.difference import NOT_SET, SHOWN_CHARS
from batcher.job.fingerprint import IDENTITY, TUNING
from batcher.job.model import JobTables, RequestTable

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE: dict[str, object] = {
    "input": {"path": "/rows.jsonl"},
    "request": {"model": "gpt-4o", "prompt": "Classify this ticket.\n{{ body }}"},
    "output": {"path": "/out.parquet"},
    "labels": {"mood": ["good", "bad"]},
}

CHANGES: dict[str, str] = {
    "labels.*": 'labels.mood=["good", "awful"]',
    "input.format": "input.format=jsonl",
    "input.id_column": "input.id_column=id",
    "request.model": "request.model=gpt-4.1",
    "request.system": "request.system=Be brief.",
    "request.prompt": "request.prompt=Other {{ body }}",
    "request.temperature": "request.temperature=1",
    "request.max_completion_tokens": "request.max_completion_tokens=5",
    "request.max_tokens": "request.max_tokens=5",
    "request.top_p": "request.top_p=0.5",
    "request.seed": "request.seed=5",
    "request.stop": "request.stop=END",
    "request.reask": "request.reask=1",
    "request.dedupe": "request.dedupe=true",
    "request.n": "request.n=2",
    "request.tools": 'request.tools=[{type="function", function={name="f"}}]',
    "request.tool_choice": "request.tool_choice=auto",
    "request.*": "request.reasoning_effort=high",
    "input.path": "input.path=/other.jsonl",
    "input.limit": "input.limit=5",
    "input.allow_empty": "input.allow_empty=true",
    "endpoint.api_key_env": "endpoint.api_key_env=OTHER",
    "endpoint.headers": 'endpoint.headers={X-A="b"}',
    "endpoint.timeout_s": "endpoint.timeout_s=5",
    "endpoint.idle_timeout_s": "endpoint.idle_timeout_s=5",
    "request.stream": "request.stream=true",
    "endpoint.ca_file": "endpoint.ca_file=/ca.pem",
    "limits.concurrency": "limits.concurrency=5",
    "limits.requests_per_minute": "limits.requests_per_minute=5",
    "limits.tokens_per_minute": "limits.tokens_per_minute=5",
    "limits.max_cost_usd": "limits.max_cost_usd=5",
    "limits.deadline": "limits.deadline=5h",
    "limits.max_attempts": "limits.max_attempts=9",
    "limits.max_paid_attempts": "limits.max_paid_attempts=9",
    "output.path": "output.path=/other.parquet",
    "output.prefix": "output.prefix=llm_",
    "output.keep_raw": "output.keep_raw=true",
    "output.expand": "output.expand=false",
    "output.report": "output.report=night.html",
    "tags.*": "tags.team=support",
    "prices.*.input": "prices.m={input=1, output=1}",
}
"""For every key that can be set today beside the others of `TABLE`: a `--set` that changes it."""

ELSEWHERE = {
    "input.prompt_column",  # needs a job without prompt: tested below
    "input.messages_column",
    "request.response_format",  # needs a job without labels: tested below
    "request.images.column",  # the table needs its column: tested below
    "request.images.detail",
    "request.images.max_bytes",
    "request.images.root",
    "endpoint.base_url",  # by what the endpoint calls itself: tested below
    "prices.*.cached_input",
    "prices.*.output",
}


def job(*sets: str, **changed: object) -> Job:
    return job_from_table({**TABLE, **changed}, sets=sets)


def of(found: Job, **given: Any) -> Fingerprint:
    return fingerprint(found, **{"input_hash": "a1", "endpoint_identity": "e", "simulated": False, **given})


def keys_of(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """Every key of a job, as `IDENTITY` and `TUNING` write them."""
    for name, field in model.model_fields.items():
        inner = next((each for each in models_in(field.annotation)), None)
        is_named_by_user = str(field.annotation).startswith("dict[") and place == ""
        here = f"{place}{name}" + (".*" if is_named_by_user else "")
        if inner is not None:
            yield from keys_of(inner, f"{here}.")
        else:
            yield here
    if model is RequestTable:
        yield f"{place}*"


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from models_in(part)


def test_every_key_of_a_job_is_either_identity_or_tuning() -> None:
    assert set(keys_of(JobTables)) == IDENTITY | TUNING
    assert frozenset() == IDENTITY & TUNING


def test_every_key_that_can_be_set_is_tried_below() -> None:
    assert set(CHANGES) | ELSEWHERE == IDENTITY | TUNING


@pytest.mark.parametrize("key", sorted(IDENTITY & set(CHANGES) - {"input.path"}))
def test_an_identity_key_moves_the_fingerprint(key: str) -> None:
    assert of(job(CHANGES[key])).digest != of(job()).digest


@pytest.mark.parametrize("key", sorted(TUNING & set(CHANGES)))
def test_a_tuning_key_leaves_the_fingerprint_alone(key: str) -> None:
    assert of(job(CHANGES[key])) == of(job())


@pytest.mark.parametrize("change", ['column=["photo", "back"]', "detail=high", "max_bytes=5"])
def test_the_table_of_images_moves_the_fingerprint(change: str) -> None:
    images = "request.images.column=photo"
    assert of(job(images)).digest != of(job()).digest
    assert of(job(images, f"request.images.{change}")).digest != of(job(images)).digest


def test_a_folder_of_images_may_move() -> None:
    images = "request.images.column=photo"
    assert of(job(images, "request.images.root=/there")) == of(job(images, "request.images.root=/here"))


def test_a_renamed_input_with_the_same_content_is_the_same_run() -> None:
    assert of(job(CHANGES["input.path"])) == of(job())


@pytest.mark.parametrize("key", ["prompt_column", "messages_column"])
def test_the_column_that_is_asked_moves_the_fingerprint(key: str) -> None:
    request = {"model": "m"}
    plain = job(request=request)
    assert of(job(request=request, input={"path": "/rows.jsonl", key: "c"})).digest != of(plain).digest


def test_a_response_format_moves_the_fingerprint() -> None:
    shaped = job("request.response_format={type='json_object'}", labels={})
    assert of(shaped).digest != of(job(labels={})).digest


@pytest.mark.parametrize("given", [{"input_hash": "b2"}, {"endpoint_identity": "f"}, {"simulated": True}])
def test_input_endpoint_and_simulation_move_the_fingerprint(given: dict[str, object]) -> None:
    assert of(job(), **given).digest != of(job()).digest


def test_the_number_of_rows_is_only_for_show() -> None:
    assert of(job(), input_rows=5).digest == of(job()).digest
    assert of(job(), input_rows=5).parts["input.rows"] == 5


def test_the_order_in_which_keys_are_written_is_no_matter() -> None:
    one = job(labels={}, request={"model": "m", "prompt": "p", "metadata": {"a": 1, "b": 2}})
    other = job(labels={}, request={"metadata": {"b": 2, "a": 1}, "prompt": "p", "model": "m"})
    assert of(one).digest == of(other).digest
    assert of(job(labels={"a": ["x", "y"]})).digest != of(job(labels={"a": ["y", "x"]})).digest


def test_the_digest_is_pinned_so_that_an_upgrade_cannot_disown_old_runs() -> None:
    assert of(job()).digest == "82a34cda5adffbeffa53e6f265bc4d1a"


def test_equal_jobs_have_no_difference() -> None:
    assert diff(of(job(), input_rows=5).parts, of(job()).parts) == []


def test_a_changed_prompt_reads_as_in_the_design() -> None:
    new = job('request.prompt="Classify this support ticket by its main issue.\\n{{ body }}"')
    assert readable(diff(of(job()).parts, of(new).parts)) == [
        'request.prompt   - "Classify this ticket.\\n{{ body }}"',
        '                 + "Classify this support ticket by its main issue.\\n{{ body }}"',
    ]


def test_keys_stand_in_one_column_and_absent_ones_are_called_so() -> None:
    new = job("request.temperature=0.5", "request.model=m")
    assert readable(diff(of(job()).parts, of(new).parts)) == [
        'request.model         - "gpt-4o"',
        '                      + "m"',
        "request.temperature   - (not set)",
        "                      + 0.5",
    ]


def test_a_changed_input_is_told_by_rows_and_hash() -> None:
    old = of(job(), input_hash="a" * 32, input_rows=200_000)
    new = of(job(), input_hash="b" * 32, input_rows=200_012)
    assert readable(diff(old.parts, new.parts)) == [
        f"input   - 200,000 rows, hash {'a' * 12}",
        f"        + 200,012 rows, hash {'b' * 12}",
    ]


def test_an_input_without_a_row_count_is_told_by_its_hash() -> None:
    found = diff(of(job(), input_hash="a" * 32).parts, of(job(), input_hash="b" * 32).parts)
    assert readable(found) == [f"input   - hash {'a' * 12}", f"        + hash {'b' * 12}"]


def test_of_a_long_text_what_surrounds_the_change_is_shown() -> None:
    old, new = f"{'x' * 500} old {'y' * 500}", f"{'x' * 500} new {'y' * 500}"
    first, second = readable([Difference("request.prompt", old, new)])
    assert " old yyy" in first
    assert " new yyy" in second
    assert first.endswith("…")
    assert "- …x" in first
    assert max(len(first), len(second)) < SHOWN_CHARS + 30


def test_a_text_that_only_grew_is_shown_where_it_grew() -> None:
    first, second = readable([Difference("k", "x" * 300, "x" * 300 + "end")])
    assert first.endswith('xxx"')
    assert second.endswith('xxxend"')


def test_null_is_not_the_same_as_not_set() -> None:
    assert diff({"request.a": None}, {}) == [Difference("request.a", None, NOT_SET)]


def test_nothing_to_tell_is_no_line() -> None:
    assert readable([]) == []
