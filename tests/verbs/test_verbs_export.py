"""What `batcher export` writes: of stopped runs, runs at work, open retries and finished outputs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from verb_runs import batcher, carry_out, simulator, stopped, write_rows

from batcher.errors import Conflict, JobError, StorageError
from batcher.store.directory import run_directory
from batcher.store.footer import read_facts
from batcher.store.history import ShardHistory
from batcher.store.manifest import Manifest, RetryOpen
from batcher.store.publish import recognise
from batcher.store.shard_input import ShardCutter
from batcher.verbs import export as export_module
from batcher.verbs.export import export
from batcher.verbs.export_forms import batch_line
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.simulator.launch import Simulator

ROWS = 40


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def at(shared_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """A quick simulator; shards have 8 rows, so that 40 rows make sealed and open ones."""
    assert ShardCutter.cut.__kwdefaults__ is not None
    monkeypatch.setitem(ShardCutter.cut.__kwdefaults__, "most_rows", 8)
    shared_simulator.control(fail_after={}, faults_by_substring={}, latency="fixed:0.001", faults={})
    shared_simulator.reset()
    return shared_simulator


def texts(rows: int = ROWS) -> list[str | None]:
    return [f"thing {number:03d}." for number in range(rows)]


def table_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    return found


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def half_done(at: Simulator, folder: Path) -> Path:
    """An output whose run stopped in the middle: 20 rows of 40 have an answer."""
    rows, output = write_rows(folder / "in.jsonl", texts()), folder / "out.parquet"
    at.control(fail_after={"unauthorized": 20})
    assert stopped(at, rows, output) == 5
    at.control(fail_after={})
    assert len(list((run_directory(output).path / "parts").iterdir())) >= 1
    assert len(list(run_directory(output).journal_folder.iterdir())) >= 1
    return output


def test_a_stopped_run_gives_the_rows_that_are_done_in_input_order(at: Simulator, tmp_path: Path) -> None:
    output = half_done(at, tmp_path)
    found = export(output, to=tmp_path / "so_far.parquet")
    assert (found.rows, found.rows_done, found.rows_total) == (20, 20, ROWS)
    assert (found.is_complete, found.is_published) == (False, False)
    early = table_of(tmp_path / "so_far.parquet")
    indices = [row["row_index"] for row in early]
    assert indices == sorted(set(indices))
    carry_out(at, tmp_path / "in.jsonl", output)
    final = table_of(output)
    assert early == [final[index] for index in indices]
    assert pq.read_schema(tmp_path / "so_far.parquet").equals(pq.read_schema(output))


def test_an_export_is_never_taken_for_the_published_output(at: Simulator, tmp_path: Path) -> None:
    output = half_done(at, tmp_path)
    export(output, to=tmp_path / "so_far.parquet")
    facts = read_facts(tmp_path / "so_far.parquet")
    assert facts is not None
    assert (facts.complete, facts.fingerprint) == (False, "")
    assert recognise(tmp_path / "so_far.parquet", facts.run_id, generation=0) is None
    with pytest.raises(Conflict, match="the place of the output itself"):
        export(output, to=output)
    assert not output.exists()


def test_all_rows_stand_there_when_asked_for_with_nulls(at: Simulator, tmp_path: Path) -> None:
    output = half_done(at, tmp_path)
    found = export(output, to=tmp_path / "all.parquet", everything=True)
    assert (found.rows, found.rows_done, found.is_complete) == (ROWS, 20, False)
    rows = table_of(tmp_path / "all.parquet")
    assert [row["row_index"] for row in rows] == list(range(ROWS))
    assert [row["id"] for row in rows] == [f"r{number}" for number in range(ROWS)]
    assert sum(row["outcome"] is None and row["completion"] is None for row in rows) == 20


def test_a_limit_of_the_run_bounds_all_rows(at: Simulator, tmp_path: Path) -> None:
    at.control(fail_after={"unauthorized": 3})
    rows, output = write_rows(tmp_path / "in.jsonl", texts()), tmp_path / "out.parquet"
    stopped(at, rows, output, sets=["input.limit=12"])
    assert export(output, to=tmp_path / "all.parquet", everything=True).rows_total == 12
    assert len(table_of(tmp_path / "all.parquet")) == 12


def test_waiting_rows_keep_their_own_ids(at: Simulator, tmp_path: Path) -> None:
    rows, output = write_rows(tmp_path / "in.jsonl", texts(10)), tmp_path / "out.parquet"
    at.control(fail_after={"unauthorized": 3})
    stopped(at, rows, output, sets=["input.id_column=id"])
    export(output, to=tmp_path / "all.batch", form="openai-batch", everything=True)
    lines = lines_of(tmp_path / "all.batch")
    assert [line["custom_id"] for line in lines] == [f"r{number}" for number in range(10)]
    assert sum(line["response"] is None and line["error"] is None for line in lines) == 7


def test_json_lines_hold_every_column(at: Simulator, tmp_path: Path) -> None:
    output = half_done(at, tmp_path)
    export(output, to=tmp_path / "a.jsonl", form="jsonl")
    export(output, to=tmp_path / "a.parquet")
    lines, rows = lines_of(tmp_path / "a.jsonl"), table_of(tmp_path / "a.parquet")
    assert [list(line) for line in lines] == [list(row) for row in rows]
    times = {"sent_at", "received_at"}
    for line, row in zip(lines, rows, strict=True):
        assert {k: v for k, v in line.items() if k not in times} == {
            k: v for k, v in row.items() if k not in times
        }
        assert line["sent_at"][:19] == row["sent_at"].isoformat()[:19]
        assert line["sent_at"].endswith("Z")


def test_a_finished_output_is_copied_as_it_is(at: Simulator, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts()), output)
    found = export(output, to=tmp_path / "copy.parquet")
    assert (found.rows, found.is_complete, found.is_published) == (ROWS, True, True)
    assert (tmp_path / "copy.parquet").read_bytes() == output.read_bytes()


def test_a_finished_output_without_its_run_directory_is_exported(at: Simulator, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(3)), output)
    alone = tmp_path / "elsewhere" / "renamed.parquet"
    alone.parent.mkdir()
    output.rename(alone)
    export(alone, to=tmp_path / "a.batch", form="openai-batch")
    assert [line["custom_id"] for line in lines_of(tmp_path / "a.batch")] == ["0", "1", "2"]


def test_batch_lines_hold_replies_and_errors(at: Simulator, tmp_path: Path) -> None:
    at.control(
        faults_by_substring={
            "thing 001": "length",
            "thing 002": "bad_request",
            "thing 003": "refusal",
            "thing 004": "html_200",
        }
    )
    rows = write_rows(tmp_path / "in.jsonl", [*texts(5), None])
    carry_out(at, rows, tmp_path / "out.parquet", sets=["input.id_column=id", "limits.max_paid_attempts=1"])
    export(tmp_path / "out.parquet", to=tmp_path / "a.batch", form="openai-batch")
    lines, final = lines_of(tmp_path / "a.batch"), table_of(tmp_path / "out.parquet")
    assert [row["outcome"] for row in final] == ["ok", "truncated", "failed", "refused", "failed", "invalid"]
    assert [line["custom_id"] for line in lines] == ["r0", "r1", "r2", "r3", "r4", "r5"]
    assert [set(line) for line in lines] == [{"id", "custom_id", "response", "error"}] * 6
    assert len({line["id"] for line in lines}) == 6
    ok, cut, bad, refused, html, invalid = lines
    assert ok["error"] is None
    assert ok["response"]["status_code"] == 200
    body = ok["response"]["body"]
    assert (body["object"], body["id"], body["model"]) == ("chat.completion", final[0]["response_id"], "m")
    assert body["choices"][0]["message"]["content"] == final[0]["completion"]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["prompt_tokens"] == final[0]["prompt_tokens"]
    assert cut["error"] == {"code": "truncated", "message": "the answer was cut at the token limit"}
    assert cut["response"]["body"] == json.loads(final[1]["response_json"])
    assert (bad["response"]["status_code"], bad["error"]["message"]) == (400, final[2]["error_message"])
    assert refused["response"]["body"]["choices"][0]["message"]["refusal"] == final[3]["refusal"]
    assert html["response"]["status_code"] == 200
    assert "error" in html["response"]["body"]
    assert invalid["response"] is None
    assert invalid["error"]["message"] == final[5]["error_message"]


def test_a_body_put_together_is_the_body_that_came(at: Simulator, tmp_path: Path) -> None:
    rows, output = write_rows(tmp_path / "in.jsonl", texts(3)), tmp_path / "out.parquet"
    carry_out(at, rows, output, sets=["output.keep_raw=true", "request.n=3"])
    for row in table_of(output):
        filled = {name: value for name, value in row.items() if value is not None}
        filled["received_at"] = row["received_at"].timestamp()
        kept = batch_line(filled)["response"]
        built = batch_line({k: v for k, v in filled.items() if k != "response_json"})["response"]
        assert isinstance(kept, dict)
        assert isinstance(built, dict)
        assert len(built["body"]["choices"]) == 3
        for one, other in zip(kept["body"]["choices"], built["body"]["choices"], strict=True):
            assert one["message"]["content"] == other["message"]["content"]
            assert (one["index"], one["finish_reason"]) == (other["index"], other["finish_reason"])
        for name in ("id", "object", "model", "usage"):
            assert built["body"][name] == kept["body"][name]


def test_tool_calls_come_back_as_a_list() -> None:
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    row = {
        "row_index": 0,
        "run_id": "a",
        "outcome": "ok",
        "tool_calls": json.dumps(calls),
        "finish_reason": "tool_calls",
    }
    response = batch_line(row)["response"]
    assert isinstance(response, dict)
    message = response["body"]["choices"][0]["message"]
    assert (message["tool_calls"], message["content"]) == (calls, None)
    assert response["status_code"] == 200


def test_an_open_retry_shows_new_answers_beside_the_old_rows(at: Simulator, tmp_path: Path) -> None:
    rows, output = write_rows(tmp_path / "in.jsonl", texts()), tmp_path / "out.parquet"
    bad = {f"thing {number:03d}": "bad_request" for number in (1, 2, 9, 10, 30)}
    at.control(faults_by_substring=bad)
    carry_out(at, rows, output)
    old = table_of(output)
    assert sum(row["outcome"] == "failed" for row in old) == 5
    at.reset()
    at.control(faults_by_substring={}, fail_after={"unauthorized": 3})
    with pytest.raises(Exception, match="401"):
        retry(output, RetryWish(("failed",)), RunOptions(environ={}))
    found = export(output, to=tmp_path / "so_far.parquet")
    assert (found.rows, found.rows_done, found.is_published) == (ROWS, ROWS, False)
    now = table_of(tmp_path / "so_far.parquet")
    assert [row["row_index"] for row in now] == list(range(ROWS))
    mended = [row for row, before in zip(now, old, strict=True) if row != before]
    assert [row["outcome"] for row in mended] == ["ok"] * 3
    assert all(row["attempts"] > 1 for row in mended)


def test_a_run_that_publishes_while_it_is_read_is_read_again(
    at: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = half_done(at, tmp_path)
    opened = ShardHistory.open
    calls = []

    def open_late(paths: list[Path], *, first_row: int, rows: int) -> ShardHistory:
        calls.append(first_row)
        if len(calls) == 1:
            monkeypatch.setattr(ShardHistory, "open", opened)
            carry_out(at, tmp_path / "in.jsonl", output)
        return opened([path for path in paths if path.exists()], first_row=first_row, rows=rows)

    monkeypatch.setattr(ShardHistory, "open", open_late)
    found = export(output, to=tmp_path / "now.parquet")
    assert calls
    assert (found.rows, found.is_published) == (ROWS, True)
    assert table_of(tmp_path / "now.parquet") == table_of(output)


def test_a_shard_that_is_sealed_while_it_is_opened_is_read_from_its_part(
    at: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = half_done(at, tmp_path)
    export(output, to=tmp_path / "before.parquet")
    at.reset()
    at.control(fail_after={"unauthorized": 14})
    opened = ShardHistory.open
    calls = []

    def open_late(paths: list[Path], *, first_row: int, rows: int) -> ShardHistory:
        calls.append(first_row)
        if len(calls) == 1:
            monkeypatch.setattr(ShardHistory, "open", opened)
            assert stopped(at, tmp_path / "in.jsonl", output) == 5
            assert not any(path.exists() for path in paths), "the shard was not sealed meanwhile"
        return opened([path for path in paths if path.exists()], first_row=first_row, rows=rows)

    monkeypatch.setattr(ShardHistory, "open", open_late)
    export(output, to=tmp_path / "after.parquet")
    before, after = table_of(tmp_path / "before.parquet"), table_of(tmp_path / "after.parquet")
    kept = {row["row_index"]: row for row in after}
    assert [kept.get(row["row_index"]) for row in before] == before
    assert len(after) >= 30


def test_a_run_that_never_stands_still_is_given_up(
    at: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = half_done(at, tmp_path)
    manifest = Manifest.open(run_directory(output).manifest)
    number = iter(range(1, 100))

    def retried(*_: object) -> object:
        manifest.append(RetryOpen(next(number), outcomes=("failed",), settings={}, rows=1))
        return object()

    monkeypatch.setattr(export_module, "_write_once", retried)
    with pytest.raises(StorageError, match="changes faster than it can be read"):
        export(output, to=tmp_path / "now.parquet")
    manifest.close()


def test_no_file_is_replaced_and_none_is_left_behind(at: Simulator, tmp_path: Path) -> None:
    output = half_done(at, tmp_path)
    (tmp_path / "taken.parquet").write_text("mine")
    said = batcher("export", output, "-o", tmp_path / "taken.parquet")
    assert said.exit_code == 4
    assert (tmp_path / "taken.parquet").read_text() == "mine"
    part = next((run_directory(output).path / "parts").iterdir())
    part.write_bytes(part.read_bytes()[:-100])
    before = sorted(path.name for path in tmp_path.iterdir())
    said = batcher("export", output, "-o", tmp_path / "new.parquet")
    assert said.exit_code == 8, said.output
    assert "is damaged" in said.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_is_no_run_is_refused_in_a_sentence(at: Simulator, tmp_path: Path) -> None:
    (tmp_path / "foreign.parquet").write_text("nothing of ours")
    for out in ("foreign.parquet", "absent.parquet"):
        said = batcher("export", tmp_path / out, "-o", tmp_path / "new")
        assert said.exit_code == 2, said.output
        assert "Traceback" not in said.output
    with pytest.raises(JobError, match="no run is below"):
        export(tmp_path, to=tmp_path / "new")
    with pytest.raises(JobError, match="does not exist"):
        export(half_done(at, tmp_path), to=tmp_path / "no" / "new")
    assert batcher("export", tmp_path / "out.parquet").exit_code == 2


def test_the_only_run_below_needs_no_name(
    at: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(at, tmp_path)
    monkeypatch.chdir(tmp_path)
    said = batcher("export", "-o", "a.parquet", "--json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout)["rows"] == 20
    assert "20 of 40 rows done · parquet · not complete" in said.stderr
