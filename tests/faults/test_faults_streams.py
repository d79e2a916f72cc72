"""Streams through whole runs: cut, stalled, odd; every row accounted for, and what was paid is what is billed."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from runs import LEDGER_KEY, PRICES, bodies_of, carry, make_job, marked, table_of, write_texts

from batcher.chat.reading import read_reply
from batcher.simulator import SimulatorConfig, launch
from batcher.simulator.answers import compose_completion
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.simulator import Simulator

STREAMED = ("request.stream=true", "endpoint.idle_timeout_s=0.5", *PRICES)
ROWS = 300


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0.002", hold_s=5, ledger_key=LEDGER_KEY)) as simulator:
        yield simulator


@pytest.fixture
def server(shared: Simulator) -> Simulator:
    shared.control(faults={}, faults_by_substring={}, chunk_latency="fixed:0")
    shared.reset()
    return shared


def whole_text(body: bytes) -> str:
    """What the simulator generates for a body, as it is when nothing is in its way."""
    made = compose_completion(json.loads(body), body, blake2b(body, digest_size=16).digest(), 0, 6)
    choices: Any = made.content["choices"]
    return str(choices[0]["message"]["content"])


def test_with_cut_and_stalled_streams_and_without_usage_every_row_and_every_token_is_accounted_for(
    server: Simulator, tmp_path: Path
) -> None:
    server.control(
        faults={"stream_cut": 0.03, "stream_stall": 0.02, "usage_missing": 0.05},
        faults_by_substring={"<1007>": "stream_cut", "<1008>": "stream_stall"},
    )
    write_texts(tmp_path / "in.jsonl", [*marked(ROWS), "<1007> always cut", "<1008> always silent"])
    job = make_job(tmp_path, server.base_url, sets=STREAMED, concurrency=32)
    ended = carry(job)
    rows, totals, texts = (
        table_of(tmp_path / "out.parquet"),
        server.totals(),
        list(map(whole_text, bodies_of(job))),
    )
    assert ended.exit_code == 3
    assert [row["outcome"] for row in rows] == ["ok"] * ROWS + ["failed"] * 2
    assert [row["completion"] for row in rows[:ROWS]] == texts[:ROWS]
    for row, text, kind in zip(rows[ROWS:], texts[ROWS:], ("body_cut", "read_timeout"), strict=True):
        assert (row["error_type"], row["paid_attempts"], row["finish_reason"]) == (kind, 3, None)
        assert len(text) / 4 < len(row["completion"]) < len(text)
        assert text.startswith(row["completion"])
        assert json.loads(row["response_json"])["choices"][0]["message"]["content"] == row["completion"]
    assert totals["modes"]["stream_cut"] > 6
    assert totals["modes"]["stream_stall"] > 5
    assert sum(row["paid_attempts"] for row in rows) == totals["generated"]
    silent = [row for row in rows[:ROWS] if row["warnings"] == "usage_missing"]
    assert {row["prompt_tokens"] for row in silent} == {None}
    assert len(silent) == totals["modes"]["usage_missing"] > 5
    known = {entry["key"]: entry["prompt_tokens"] for entry in server.ledger() if entry["mode"] == "ok"}
    assert [row["billed_prompt_tokens"] for row in rows if row["prompt_tokens"]] == [
        known[f"{n}"] for n, row in enumerate(rows) if row["prompt_tokens"]
    ]
    assert all(0 < row["ttft_ms"] <= row["latency_ms"] for row in rows)


class Met(NamedTuple):
    outcome: str
    attempts: int
    warnings: str | None = None
    error_type: str | None = None


MODES = {
    "stream_cut_reset": Met("failed", 3, "finish_reason_missing, usage_missing", "body_cut"),
    "stream_cut_clean": Met("failed", 3, "finish_reason_missing, usage_missing", "body_cut"),
    "stream_cut_late": Met("ok", 1, "usage_missing, stream_cut_after_answer"),
    "stream_error": Met(
        "failed", 3, "finish_reason_missing, usage_missing, error_beside_choices", "server_error"
    ),
    "stream_no_done": Met("ok", 1),
    "stream_crlf": Met("ok", 1),
    "stream_pings": Met("ok", 1),
    "stream_bytes": Met("ok", 1),
    "stream_usage_always": Met("ok", 1),
    "stream_plain": Met("ok", 1, "not_streamed"),
    "usage_missing": Met("ok", 1, "usage_missing"),
    "length": Met("truncated", 1, None, "truncated"),
    "refusal": Met("refused", 1, None, "refused"),
    "content_parts": Met("ok", 1),
    "tool_calls_stop": Met("ok", 1),
    "finish_abort": Met("failed", 2, None, "no_answer"),
    "no_content": Met("failed", 2, None, "no_answer"),
    "malformed_json": Met("failed", 3, "finish_reason_missing, usage_missing", "body_cut"),
    "gzip": Met("ok", 1),
    "http_10": Met("ok", 1),
    "body_cut": Met("failed", 3, "finish_reason_missing, usage_missing", "body_cut"),
    "bad_utf8": Met("ok", 1, "bad_utf8_replaced"),
}


def test_every_kind_of_stream_gets_what_it_must(server: Simulator, tmp_path: Path) -> None:
    server.control(faults_by_substring={f"say {name} once": name for name in MODES})
    good = [f"good {number}" for number in range(60)]  # so that no budget of the run is in the way
    write_texts(tmp_path / "in.jsonl", [*good, *(f"say {name} once" for name in MODES)])
    carry(make_job(tmp_path, server.base_url, sets=STREAMED))
    rows = table_of(tmp_path / "out.parquet")[len(good) :]
    met = {
        name: Met(row["outcome"], row["attempts"], row["warnings"], row["error_type"])
        for name, row in zip(MODES, rows, strict=True)
    }
    assert met == MODES
    assert sum(row["paid_attempts"] for row in rows) == server.totals()["generated"] - len(good)


TOOL = (
    'request.tools=[{type="function", function={name="f", parameters={type="object", required=["a", "b"],'
    ' properties={a={type="string"}, b={type="integer"}}}}}]'
)
KIND = '{type="string", enum=["x", "y"]}'
SCHEMA = f'request.response_format={{type="object", required=["kind"], properties={{kind={KIND}}}}}'


@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("request.n=3", "request.logprobs=true"),
        ("request.reasoning_effort='low'",),
        (TOOL,),
        (SCHEMA, "request.reask=1"),
    ],
    ids=["text", "several", "reasoning", "tools", "schema"],
)
def test_a_streamed_answer_fills_the_columns_as_a_plain_one_would(
    server: Simulator, tmp_path: Path, sets: tuple[str, ...]
) -> None:
    """The plain form of the same answer, read as it would have come."""
    server.control(faults={"schema_broken": 0.3} if SCHEMA in sets else {})
    write_texts(tmp_path / "in.jsonl", marked(12))
    job = make_job(tmp_path, server.base_url, sets=(*STREAMED, *sets, "output.keep_raw=true"))
    assert carry(job).exit_code in {0, 3}
    asked_again = 0
    for row, body in zip(table_of(tmp_path / "out.parquet"), bodies_of(job), strict=True):
        if row["attempts"] > 1:
            asked_again += 1
            continue
        digest = blake2b(body, digest_size=16).digest()
        made = compose_completion(json.loads(body), body, digest, 0, 6)
        plain = read_reply(200, (), json.dumps(made.content).encode()).answer
        assert plain is not None
        said = ("completion", "reasoning", "refusal", "finish_reason", "response_id", "response_model")
        assert {name: row[name] for name in said} == {
            **{name: getattr(plain, name) for name in said[:-2]},
            "response_id": plain.response_id,
            "response_model": plain.response_model,
        }
        for name in ("tool_calls", "logprobs_json", "usage_json"):
            text = getattr(plain, name)
            assert json.loads(row.get(name) or "null") == json.loads(text or "null"), name
        if plain.choices_json is not None:
            told, expected = json.loads(row["choices_json"]), json.loads(plain.choices_json)
            assert [
                (c["index"], c["message"]["content"], c["finish_reason"], c["logprobs"]) for c in told
            ] == [(c["index"], c["message"]["content"], c["finish_reason"], c["logprobs"]) for c in expected]
        assert json.loads(row["response_json"])["object"] == "chat.completion"
    assert (asked_again > 0) is (SCHEMA in sets)


def test_truncated_streams_are_bought_again_by_retry_and_stay_streams(
    server: Simulator, tmp_path: Path
) -> None:
    write_texts(tmp_path / "in.jsonl", marked(8))
    short = (*STREAMED, "request.max_completion_tokens=3")
    assert carry(make_job(tmp_path, server.base_url, sets=short)).exit_code == 3
    out = tmp_path / "out.parquet"
    first = table_of(out)
    assert {row["outcome"] for row in first} == {"truncated"}
    retry(out, RetryWish(("truncated",), ("request.max_completion_tokens=400",)), RunOptions(environ={}))
    then = table_of(out)
    assert {row["outcome"] for row in then} == {"ok"}
    assert all(row["ttft_ms"] > 0 and len(row["completion"]) > 12 for row in then)


def test_time_to_the_first_token_is_not_the_time_to_the_last(server: Simulator, tmp_path: Path) -> None:
    server.control(chunk_latency="fixed:0.01")
    write_texts(tmp_path / "in.jsonl", marked(4))
    assert carry(make_job(tmp_path, server.base_url, sets=STREAMED)).exit_code == 0
    for row in table_of(tmp_path / "out.parquet"):
        pieces = len(row["completion"]) / 4
        assert row["latency_ms"] - row["ttft_ms"] > pieces * 10 * 0.8
