"""From a job to its parts: columns, prices, names; values only."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batcher.errors import JobError
from batcher.job import JobOptions, load_job
from batcher.records import InputRow, Request, Usage
from batcher.verbs.wiring import (
    InputShape,
    output_schema,
    price_function,
    prices_version,
    published_path,
    request_builder,
    settler,
)

if TYPE_CHECKING:
    from batcher.job import Job

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
SHAPE = InputShape("jsonl", SCHEMA)
BATCH = InputShape(
    "openai-batch", pa.schema([("custom_id", pa.string()), ("url", pa.string()), ("body", pa.string())])
)
USAGE = Usage(prompt_tokens=1_000_000, completion_tokens=500_000, cached_tokens=200_000)


def job_with(*sets: str, prompt: str | None = "Say {{ text }}") -> Job:
    options = JobOptions(input="in.jsonl", output="out.parquet", model="m", prompt=prompt)
    return load_job(None, sets=sets, options=options)


def columns(*sets: str, shape: InputShape = SHAPE) -> list[str]:
    prompt = None if shape is BATCH else "Say {{ text }}"
    names: list[str] = output_schema(job_with(*sets, prompt=prompt), shape).arrow.names
    return names


def test_input_columns_come_first_and_the_answer_last() -> None:
    names = columns()
    assert names[:2] == ["id", "text"]
    assert names[-1] == "completion"
    assert not {"custom_id", "tool_calls", "choices_json", "ttft_ms"} & set(names)


@pytest.mark.parametrize(
    ("sets", "appear"),
    [
        (["input.id_column=id"], ["custom_id"]),
        (['tags.team="x"'], ["tag_team"]),
        (['labels.kind=["a", "b"]'], ["kind"]),
        (["request.n=2"], ["choices_json"]),
        (["request.logprobs=true"], ["logprobs_json"]),
        (['request.tools=[{type="function", function={name="f"}}]'], ["parsed", "tool_calls"]),
        (['request.response_format={type="object", properties={a={}}}'], ["a", "parsed"]),
        (['request.response_format={type="object", properties={a={}}}', "output.expand=false"], ["parsed"]),
    ],
)
def test_the_columns_of_a_feature_exist_when_the_job_uses_it(sets: list[str], appear: list[str]) -> None:
    assert sorted(set(columns(*sets)) - set(columns())) == appear


def test_one_completion_needs_no_column_for_further_ones() -> None:
    assert "choices_json" not in columns("request.n=1")


def test_batch_lines_have_an_id_and_whatever_their_bodies_may_ask_for() -> None:
    names = columns(shape=BATCH)
    assert {"custom_id", "tool_calls", "choices_json", "logprobs_json"} <= set(names)
    assert names.count("custom_id") == 1


def test_a_prefix_stands_before_our_columns_only() -> None:
    names = columns("output.prefix=llm_", 'labels.kind=["a", "b"]')
    assert names[:2] == ["id", "text"]
    assert all(name.startswith("llm_") for name in names[2:])


def test_a_clash_of_names_is_refused_with_the_line_to_add() -> None:
    shape = InputShape("jsonl", pa.schema([("text", pa.string()), ("completion", pa.string())]))
    with pytest.raises(JobError) as caught:
        output_schema(job_with(), shape)
    assert "completion" in str(caught.value)
    assert '[output] prefix = "batcher_"' in str(caught.value.hint)


def test_labels_become_the_response_format() -> None:
    builder = request_builder(job_with('labels.kind=["a", "b"]'), SHAPE, identity="there", simulated=False)
    request = builder.build(InputRow(0, {"text": "x"}))
    assert isinstance(request, Request)
    assert b'"json_schema"' in request.body
    assert b'"enum":["a","b"]' in request.body


@pytest.mark.parametrize(("other", "simulated"), [("elsewhere", False), ("there", True)])
def test_the_same_body_to_another_endpoint_or_simulated_is_another_request(
    other: str, simulated: bool
) -> None:
    row = InputRow(0, {"text": "x"})
    here = request_builder(job_with(), SHAPE, identity="there", simulated=False).build(row)
    there = request_builder(job_with(), SHAPE, identity=other, simulated=simulated).build(row)
    assert isinstance(here, Request)
    assert isinstance(there, Request)
    assert here.body == there.body
    assert here.request_hash != there.request_hash


def test_the_jobs_prices_make_dollars_and_unknown_models_make_none() -> None:
    job = job_with("prices.m.input=1.0", "prices.m.cached_input=0.5", "prices.m.output=4.0")
    price = price_function(job)
    assert price("m", None, USAGE) == pytest.approx(0.8 * 1.0 + 0.2 * 0.5 + 0.5 * 4.0)
    assert price("other", None, USAGE) is None
    assert price("m", None, Usage()) is None
    assert prices_version(job_with()) == f"genai-prices {version('genai-prices')}"
    told = prices_version(job)
    assert told is not None
    assert told.startswith("job ")
    assert told != prices_version(job_with("prices.m.input=1.0", "prices.m.output=4.0")), "another table"


def test_a_settler_knows_its_run_labels_and_tags() -> None:
    found = settler(
        job_with('tags.team="x"', 'labels.kind=["a", "b"]', "output.keep_raw=true"), run_id="run-7"
    )
    assert (found.run_id, dict(found.tags), found.keep_raw) == ("run-7", {"team": "x"}, True)
    assert found.expand({"kind": "a", "more": 1}) == {"kind": "a"}
    assert found.terms.contract.schema is not None


@pytest.mark.parametrize(
    ("name", "simulated"),
    [
        ("out.parquet", "out.simulated.parquet"),
        ("out", "out.simulated.parquet"),
        ("a.b.parquet", "a.b.simulated.parquet"),
        ("labels.2026-11-22.parquet", "labels.2026-11-22.simulated.parquet"),
    ],
)
def test_a_simulated_run_publishes_beside_the_real_ones_name(name: str, simulated: str) -> None:
    assert published_path(Path("/d") / name, simulated=True) == Path("/d") / simulated
    assert published_path(Path("/d") / name, simulated=False) == Path("/d") / name
