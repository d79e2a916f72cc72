"""Structured answers through whole runs: typed and valid or failed with the reason, and every cent of it counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from verb_runs import batcher, carry_out, stopped, write_rows

from batcher.errors import JobError
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.simulator.launch import Simulator

pytest_plugins = ("verbs_fixtures",)

PRICES = ["prices.m.input=1.0", "prices.m.output=4.0"]
PROPERTIES = (
    'kind={type="string", enum=["bug", "wish"]}, urgent={type="boolean"},'
    " score={type='integer', minimum=0, maximum=9}"
)
SCHEMA = (
    'request.response_format={type="object", additionalProperties=false, required=["kind", "urgent", "score"],'
    f" properties={{{PROPERTIES}}}}}"
)
ITEM = '{type="object", required=["article"], properties={article={type="string"}, count={type="integer"}}}'
PARAMETERS = (
    '{type="object", required=["items", "express"], properties={express={type="boolean"},'
    f' items={{type="array", items={ITEM}}}}}}}'
)
TOOL = f'request.tools=[{{type="function", function={{name="note", parameters={PARAMETERS}}}}}]'
ROWS = 200


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def is_whole(row: dict[str, Any]) -> bool:
    """Typed and valid."""
    kind_and_urgent = row["kind"] in {"bug", "wish"} and isinstance(row["urgent"], bool)
    parsed = {name: row[name] for name in ("kind", "urgent", "score")}
    return kind_and_urgent and 0 <= row["score"] <= 9 and json.loads(row["parsed"]) == parsed


def test_of_200_rows_all_are_typed_and_valid_or_failed_with_the_reason_and_the_bill_is_the_servers(
    endpoint: Simulator, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "in.jsonl", [f"row {n}" for n in range(ROWS)])
    endpoint.control(faults={"schema_broken": 0.2, "json_fenced": 0.2})
    out = tmp_path / "out.parquet"
    summary = carry_out(endpoint, rows, out, sets=[SCHEMA, "request.reask=1", *PRICES])
    totals, found = endpoint.totals(), rows_of(out)
    good = [row for row in found if row["outcome"] == "ok"]
    bad = [row for row in found if row["outcome"] != "ok"]
    assert all(map(is_whole, good))
    assert {(row["outcome"], row["error_type"], row["parsed"], row["kind"]) for row in bad} == {
        ("failed", "schema_mismatch", None, None)
    }
    assert all(row["error_message"] and row["completion"] for row in bad)
    assert {row["attempts"] for row in bad} == {2}
    assert {row["warnings"] for row in good} >= {None, "json_in_fence", "asked_again"}
    assert sum(row["attempts"] for row in found) == totals["generated"] > ROWS
    assert sum(row["billed_prompt_tokens"] for row in found) == totals["prompt_tokens"]
    assert sum(row["billed_completion_tokens"] for row in found) == totals["completion_tokens"]
    dollars = (totals["prompt_tokens"] + 4 * totals["completion_tokens"]) / 1e6
    assert summary.cost_usd == pytest.approx(dollars)
    assert batcher("verify", out).exit_code == 0

    endpoint.control(faults={})
    retry(out, RetryWish(("failed",), ("request.temperature=1",)), RunOptions(environ={}))
    again = rows_of(out)
    assert all(map(is_whole, again))
    assert sum(row["billed_prompt_tokens"] for row in again) == endpoint.totals()["prompt_tokens"]


@pytest.mark.parametrize(("fault", "outcome"), [("content_filter", "refused"), ("length", "truncated")])
def test_an_answer_that_fits_but_is_not_ok_fills_no_typed_column(
    endpoint: Simulator, tmp_path: Path, fault: str, outcome: str
) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["odd", "plain", "odd"])
    endpoint.control(faults_by_substring={"odd": fault})
    carry_out(endpoint, rows, tmp_path / "out.parquet", sets=[TOOL, "request.dedupe=true"])
    found = rows_of(tmp_path / "out.parquet")
    assert [row["outcome"] for row in found] == [outcome, "ok", outcome]
    assert [row["express"] is None for row in found] == [True, False, True]
    assert [row["parsed"] is None for row in found] == [True, False, True]
    assert all(row["response_json"] for row in (found[0], found[2]))


def test_calls_become_typed_columns_however_a_server_spells_them(endpoint: Simulator, tmp_path: Path) -> None:
    texts = ["plain", "[finish]", "[object]", "[twice]", "[bare]", "[broken]", "[text]", "[other]"]
    modes = (
        "tool_calls_stop",
        "arguments_object",
        "parallel_calls",
        "tool_calls_bare",
        "schema_broken",
        "tools_ignored",
        "tool_unknown",
    )
    endpoint.control(faults_by_substring=dict(zip(texts[1:], modes, strict=True)))
    out = tmp_path / "out.parquet"
    carry_out(endpoint, write_rows(tmp_path / "in.jsonl", texts), out, sets=[TOOL])
    schema, found = pq.read_schema(out), rows_of(out)
    assert schema.field("express").type == pa.bool_()
    assert schema.field("items").type == pa.list_(
        pa.struct([("article", pa.string()), ("count", pa.int64())])
    )
    assert [row["outcome"] for row in found] == ["ok"] * 5 + ["failed", "ok", "failed"]
    assert [row["warnings"] for row in found] == [
        None,
        None,
        "arguments_not_text",
        "several_tool_calls",
        *[None] * 4,
    ]
    for row in found[:5]:
        (first, *_) = json.loads(row["tool_calls"])
        said = first["function"]["arguments"]
        said = json.loads(said) if isinstance(said, str) else said
        assert [item["article"] for item in row["items"]] == [item["article"] for item in said["items"]]
        assert row["express"] is said["express"]
        parsed = json.loads(row["parsed"])
        assert (parsed[0] if isinstance(parsed, list) else parsed) == said
    assert found[1]["finish_reason"] == "stop"
    assert "call 0" in found[5]["error_message"]
    assert "'Write' is not among the functions" in found[7]["error_message"]
    assert found[5]["tool_calls"] is not None
    assert (found[6]["tool_calls"], found[6]["parsed"]) == (None, None)


def test_streams_in_the_forms_of_other_servers_tell_their_calls_and_their_cost(
    endpoint: Simulator, tmp_path: Path
) -> None:
    modes = {"[cost]": "stream_litellm", "[text]": "stream_as_text"}
    endpoint.control(faults_by_substring=modes)
    out = tmp_path / "out.parquet"
    sets = [TOOL, "request.stream=true", "request.tool_choice=required"]
    carry_out(endpoint, write_rows(tmp_path / "in.jsonl", ["plain", *modes]), out, sets=sets)
    found = rows_of(out)
    assert [row["outcome"] for row in found] == ["ok"] * 3
    assert all(json.loads(row["parsed"])["items"] is not None for row in found)
    assert [row["cost_usd"] for row in found] == [None, 0.0000018, None]
    assert [row["warnings"] for row in found] == [None, None, "usage_missing"]


def test_what_was_asked_for_beside_text_has_its_columns(endpoint: Simulator, tmp_path: Path) -> None:
    sets = [
        "request.n=3", "request.logprobs=true", 'request.stop=["."]', "request.seed=7",
        "request.reasoning_effort=high", "request.max_tokens=6",
    ]  # fmt: skip
    out = tmp_path / "out.parquet"
    carry_out(endpoint, write_rows(tmp_path / "in.jsonl", ["a", "b", "c"]), out, sets=sets)
    for row in rows_of(out):
        assert len(json.loads(row["choices_json"])) == 2
        tokens = json.loads(row["logprobs_json"])["content"]
        assert "".join(token["token"] for token in tokens) == row["completion"]
        assert row["reasoning"]
        assert "." not in row["completion"]
        assert row["outcome"] == ("truncated" if row["finish_reason"] == "length" else "ok")
    assert {row["outcome"] for row in rows_of(out)} >= {"truncated"}


def test_columns_stay_as_the_run_began_and_without_expand_there_is_only_the_json(
    endpoint: Simulator, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["a", "b"])
    out = tmp_path / "out.parquet"
    endpoint.control(fail_after={"unauthorized": 0})
    assert stopped(endpoint, rows, out, sets=[SCHEMA, "output.expand=false"]) == 5
    endpoint.control(fail_after={})
    carry_out(endpoint, rows, out, sets=[SCHEMA])
    names = pq.read_schema(out).names
    assert "parsed" in names
    assert "kind" not in names


def test_a_schema_that_clashes_with_the_input_or_cannot_be_used_is_told_before_anything_is_sent(
    endpoint: Simulator, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["a"])
    clash = 'request.response_format={type="object", properties={text={type="string"}}}'
    with pytest.raises(JobError, match="text") as caught:
        carry_out(endpoint, rows, tmp_path / "out.parquet", sets=[clash])
    assert caught.value.hint == 'add to the job file:  [output] prefix = "batcher_"'
    remote = 'request.response_format={"$ref"="http://127.0.0.1:9/schema.json", type="object"}'
    with pytest.raises(JobError, match="leads out of the schema"):
        carry_out(endpoint, rows, tmp_path / "out.parquet", sets=[remote])
    assert endpoint.totals()["requests"] == 0
