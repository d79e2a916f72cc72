"""What `batcher verify` finds: nothing in a good output, the fault in a bad one, and what it could not look at."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from verb_runs import batcher, carry_out, simulator, stopped, write_rows

from batcher.errors import JobError
from batcher.store.directory import run_directory
from batcher.store.manifest import Manifest, SessionOpen
from batcher.store.shard_input import ShardCutter
from batcher.verbs.export import export
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry
from batcher.verbs.verification import Verdict
from batcher.verbs.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batcher.simulator.launch import Simulator
    from batcher.verbs.verification import Verification

OK, FAILED, CHANGED, NOT_CHECKED = Verdict.OK, Verdict.FAILED, Verdict.CHANGED, Verdict.NOT_CHECKED


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def at(shared_simulator: Simulator) -> Simulator:
    shared_simulator.control(fail_after={}, faults_by_substring={}, faults={})
    shared_simulator.reset()
    return shared_simulator


@pytest.fixture(scope="module")
def finished(shared_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run: in.jsonl, out.parquet, .batcher. Eight rows, one failed, two invalid."""
    folder = tmp_path_factory.mktemp("finished")
    shared_simulator.control(faults_by_substring={"thing 3": "bad_request"})
    rows = write_rows(folder / "in.jsonl", [*(f"thing {number}" for number in range(6)), None])
    with rows.open("a") as file:
        file.write("{not json\n")
    carry_out(shared_simulator, rows, folder / "out.parquet")
    return folder


@pytest.fixture
def output(finished: Path, tmp_path: Path) -> Path:
    """A copy of that output with its run directory; the input stays where it is."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out.parquet"


def verdicts(found: Verification) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in found.checks}


def said(found: Verification, name: str) -> str:
    return next(check.said for check in found.checks if check.name == name)


def faults(found: Verification) -> set[str]:
    return {name for name, verdict in verdicts(found).items() if verdict in {FAILED, CHANGED}}


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """The file with other content, as another tool would write it: all metadata kept."""
    table = change(pq.ParquetFile(path).read())
    pq.write_table(table, path)


def with_column(table: pa.Table, name: str, change: Callable[[list[Any]], list[Any]]) -> pa.Table:
    index = table.schema.get_field_index(name)
    cells = pa.array(change(table.column(index).to_pylist()), table.schema.field(index).type)
    return table.set_column(index, table.schema.field(index), cells)


def test_a_good_output_passes_every_check(output: Path) -> None:
    found = verify(output)
    assert set(verdicts(found).values()) == {OK}, found.checks
    assert (found.exit_code, found.rows) == (0, 8)
    assert {"pages", "order", "rows", "totals", "checksum", "job", "input", "requests", "columns"} <= set(
        verdicts(found)
    )
    assert said(found, "outcomes") == "failed 1 · invalid 2 · ok 5"
    assert said(found, "requests").startswith("8 rows rendered again from the input:")


@pytest.mark.parametrize(
    "sets",
    [
        ["input.id_column=id", "output.prefix=llm_", "tags.team=support"],
        ["input.limit=3"],
        ["request.max_completion_tokens=7", "request.n=2", 'labels.kind=["a", "b"]'],
    ],
)
def test_other_shapes_of_output_pass_too(at: Simulator, tmp_path: Path, sets: list[str]) -> None:
    rows = write_rows(tmp_path / "in.jsonl", [f"thing {number}" for number in range(5)])
    carry_out(at, rows, tmp_path / "out.parquet", sets=sets)
    assert set(verdicts(verify(tmp_path / "out.parquet")).values()) == {OK}
    rows.unlink()
    found = verify(tmp_path / "out.parquet")
    assert faults(found) == set()
    assert verdicts(found)["requests"] is OK


def test_columns_of_json_text_render_the_same_from_the_output_alone(at: Simulator, tmp_path: Path) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text('{"text": {"a": 1}}\n{"text": "plain"}\n{"text": [1, 2.5]}\n')
    carry_out(at, rows, tmp_path / "out.parquet")
    assert set(verdicts(verify(tmp_path / "out.parquet")).values()) == {OK}
    rows.unlink()
    assert verdicts(verify(tmp_path / "out.parquet"))["requests"] is OK


def test_batch_lines_with_ids_of_their_own_pass(at: Simulator, tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    lines = [
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body | {"seed": n}}
        for n in range(3)
    ]
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["-i", rows, "-o", tmp_path / "out.parquet", "--model", "m", "--base-url", at.base_url, "-q"]
    assert batcher("run", *words).exit_code == 0
    assert set(verdicts(verify(tmp_path / "out.parquet")).values()) == {OK}
    rows.unlink()
    assert faults(verify(tmp_path / "out.parquet")) == set()


def test_without_the_input_the_output_tells_most(output: Path, finished: Path) -> None:
    hidden = finished / "hidden.jsonl"
    (finished / "in.jsonl").rename(hidden)
    try:
        found = verify(output)
    finally:
        hidden.rename(finished / "in.jsonl")
    assert (found.exit_code, verdicts(found)["input"], verdicts(found)["requests"]) == (0, NOT_CHECKED, OK)
    assert "from the output's own input columns" in said(found, "requests")
    assert "input_columns" not in verdicts(found)


def test_a_line_that_could_not_be_read_can_only_be_judged_from_the_input(
    at: Simulator, tmp_path: Path
) -> None:
    rows, output = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    rows.write_text('{"text": "a"}\n{not json\n{"text": "b"}\n')
    words = ["-i", rows, "-o", output, "--model", "m", "--prompt", "Hi {{ text or 'you' }}", "-q"]
    assert batcher("run", *words, "--base-url", at.base_url).exit_code == 3
    assert set(verdicts(verify(output)).values()) == {OK}
    rows.unlink()
    found = verify(output)
    assert (found.exit_code, verdicts(found)["invalid_rows"]) == (0, NOT_CHECKED)
    assert said(found, "requests").startswith("2 rows rendered again")


def test_an_input_that_changed_since_is_told_and_exits_4(output: Path, finished: Path) -> None:
    content = (finished / "in.jsonl").read_bytes()
    (finished / "in.jsonl").write_bytes(content.replace(b"thing 2", b"thing 9"))
    try:
        found = verify(output)
    finally:
        (finished / "in.jsonl").write_bytes(content)
    assert (found.exit_code, faults(found)) == (4, {"input"})
    assert verdicts(found)["requests"] is OK
    assert faults(verify(output)) == set()  # the same bytes under another time are the same input


def test_a_cell_that_was_changed_is_found_by_the_checksum(output: Path) -> None:
    rewrite(output, lambda table: with_column(table, "completion", lambda cells: ["forged", *cells[1:]]))
    found = verify(output)
    assert (found.exit_code, faults(found)) == (8, {"checksum"})


def test_an_input_column_that_was_changed_is_found_by_value_and_by_request(
    output: Path, finished: Path
) -> None:
    rewrite(output, lambda table: with_column(table, "text", lambda cells: ["forged", *cells[1:]]))
    found = verify(output)
    assert (found.exit_code, faults(found)) == (8, {"checksum", "input_columns"})
    (finished / "in.jsonl").rename(finished / "hidden.jsonl")
    try:
        found = verify(output)
    finally:
        (finished / "hidden.jsonl").rename(finished / "in.jsonl")
    assert faults(found) == {"checksum", "requests"}
    assert "row_index 0" in said(found, "requests")


def test_a_request_that_was_not_sent_so_is_found(output: Path) -> None:
    rewrite(
        output,
        lambda table: with_column(table, "request_hash", lambda cells: [*cells[:4], "0" * 32, *cells[5:]]),
    )
    found = verify(output)
    assert faults(found) == {"checksum", "requests"}
    assert said(found, "requests").endswith("row_index 4")


def test_an_invalid_row_that_could_be_sent_and_a_sent_one_that_could_not_are_found(output: Path) -> None:
    def swapped(cells: list[Any]) -> list[Any]:
        return ["invalid", *cells[1:6], "ok", cells[7]]

    rewrite(output, lambda table: with_column(table, "outcome", swapped))
    assert "2 rows were not sent" in said(verify(output), "requests")


def test_rows_out_of_order_missing_or_twice_are_found(output: Path) -> None:
    whole = output.read_bytes()
    rewrite(output, lambda table: table.take(pa.array([0, 2, 1, *range(3, 8)])))
    assert "2 rows are not in their place" in said(verify(output), "order")
    output.write_bytes(whole)
    rewrite(output, lambda table: table.take(pa.array([0, 1, 1, *range(2, 8)])))
    found = verify(output)
    assert "1 of them twice or backwards, the first at row 2" in said(found, "order")
    assert {"order", "rows", "totals"} <= faults(found)
    output.write_bytes(whole)
    rewrite(output, lambda table: table.slice(0, 5))
    found = verify(output)
    assert verdicts(found)["order"] is OK
    assert {"rows", "totals", "checksum"} <= faults(found)


def test_sums_that_are_not_the_published_ones_are_found(output: Path) -> None:
    rewrite(output, lambda table: with_column(table, "prompt_tokens", lambda cells: [1_000_000, *cells[1:]]))
    found = verify(output)
    assert {"checksum", "totals"} <= faults(found)
    assert "prompt_tokens" in said(found, "totals")
    assert verdicts(found)["usage"] is Verdict.NOTE
    assert said(found, "usage").startswith("1 rows: total_tokens is not prompt + completion")


def test_columns_the_job_would_not_build_are_found(output: Path) -> None:
    rewrite(output, lambda table: table.append_column("extra", pa.array([1] * 8)))
    found = verify(output)
    assert "unexpected extra int64" in said(found, "columns")
    assert verdicts(found)["requests"] is NOT_CHECKED
    rewrite(output, lambda table: table.drop_columns(["cost_usd"]))
    assert said(verify(output), "columns") == "missing: cost_usd"


def test_any_flipped_bit_and_any_cut_is_found_without_a_traceback(output: Path) -> None:
    whole = output.read_bytes()
    for place in range(0, len(whole), len(whole) // 40):
        output.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert batcher("verify", output).exit_code == 8, place
        output.write_bytes(whole[:place])
        assert batcher("verify", output).exit_code == 8, place


def test_a_run_description_edited_by_hand_exits_4(output: Path) -> None:
    described = run_directory(output).run_json
    described.write_text(described.read_text().replace("Say something", "Say nothing"))
    found = verify(output)
    assert (found.exit_code, faults(found)) == (4, {"job"})
    assert "changed after it was written" in said(found, "job")


def test_without_the_run_directory_the_file_is_checked_alone(output: Path) -> None:
    shutil.rmtree(run_directory(output).path)
    found = verify(output)
    assert found.exit_code == 0
    not_checked = {name for name, verdict in verdicts(found).items() if verdict is NOT_CHECKED}
    assert not_checked == {"job", "checksum", "totals"}
    assert {"pages", "order", "run_id", "outcomes"} <= set(verdicts(found))


def test_a_renamed_output_finds_its_run(output: Path) -> None:
    renamed = output.rename(output.with_name("renamed.parquet"))
    assert set(verdicts(verify(renamed)).values()) == {OK}


def test_rows_of_a_retry_with_other_settings_pass(at: Simulator, tmp_path: Path) -> None:
    rows, output = (
        write_rows(tmp_path / "in.jsonl", [f"thing {n}" for n in range(6)]),
        tmp_path / "out.parquet",
    )
    at.control(faults_by_substring={"thing 1": "bad_request", "thing 4": "length"})
    carry_out(at, rows, output, sets=["request.max_completion_tokens=5"])
    at.control(faults_by_substring={})
    wish = RetryWish(("failed", "truncated"), ("request.max_completion_tokens=5000",))
    retry(output, wish, RunOptions(environ={}))
    assert pc.unique(pq.ParquetFile(output).read(["outcome"]).column("outcome")).to_pylist() == ["ok"]
    found = verify(output)
    assert set(verdicts(found).values()) == {OK}, found.checks
    assert "generation 1" in said(found, "footer")


def test_an_output_whose_successor_is_in_the_making_is_held_against_its_own_run(
    at: Simulator, tmp_path: Path
) -> None:
    rows, output = (
        write_rows(tmp_path / "in.jsonl", [f"thing {n}" for n in range(6)]),
        tmp_path / "out.parquet",
    )
    carry_out(at, rows, output)
    at.reset()
    at.control(fail_after={"unauthorized": 2})
    words = [
        "-i",
        rows,
        "-o",
        output,
        "--model",
        "other",
        "--prompt",
        "{{ text }}",
        "--base-url",
        at.base_url,
    ]
    assert batcher("run", *words, "--replace", "-q").exit_code == 5
    assert set(verdicts(verify(output)).values()) == {OK}


def test_possibly_paid_rows_are_listed(output: Path) -> None:
    manifest = Manifest.open(run_directory(output).manifest)
    extra = {"possibly_paid": [[1, 4], [1, 2]]}
    manifest.append(
        SessionOpen(2, pid=os.getpid(), host="here", started_at=time.time(), version="0", extra=extra)
    )
    manifest.close()
    found = verify(output)
    assert (found.possibly_paid, found.exit_code) == ((2, 4), 0)
    assert "row_index 2, 4" in batcher("verify", output).stdout


def test_a_damaged_manifest_exits_8(output: Path) -> None:
    manifest = run_directory(output).manifest
    content = bytearray(manifest.read_bytes())
    content[60] ^= 1
    manifest.write_bytes(content)
    found = verify(output)
    assert (found.exit_code, verdicts(found)["manifest"]) == (8, FAILED)


def test_what_is_not_ours_is_refused_in_a_sentence(at: Simulator, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("PAR1 or not")
    (tmp_path / "empty.parquet").touch()
    for name in ("foreign.parquet", "text.parquet", "empty.parquet", "absent.parquet", ""):
        result = batcher("verify", tmp_path / name)
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
    at.control(fail_after={"unauthorized": 2})
    stopped(at, write_rows(tmp_path / "in.jsonl", ["a", "b", "c", "d"]), tmp_path / "out.parquet")
    export(tmp_path / "out.parquet", to=tmp_path / "part.parquet")
    with pytest.raises(JobError, match="export of an unfinished run"):
        verify(tmp_path / "part.parquet")


def test_json_is_one_object_alone_on_stdout(output: Path) -> None:
    result = batcher("verify", output, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, found["exit_code"], found["rows"]) == (0, "", 0, 8)
    assert {check["verdict"] for check in found["checks"]} == {"ok"}
    lines = batcher("verify", output).stdout.splitlines()
    assert len(lines) == 1 + len(found["checks"])
    assert all(line.startswith("    ok ") for line in lines[1:])


def test_many_shards_and_row_groups_are_one_output(
    at: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ShardCutter.cut.__kwdefaults__ is not None
    monkeypatch.setitem(ShardCutter.cut.__kwdefaults__, "most_rows", 7)
    rows = write_rows(tmp_path / "in.jsonl", [f"thing {n}" for n in range(30)])
    carry_out(at, rows, tmp_path / "out.parquet")
    table = pq.ParquetFile(tmp_path / "out.parquet").read()
    assert set(verdicts(verify(tmp_path / "out.parquet")).values()) == {OK}
    pq.write_table(table, tmp_path / "out.parquet", row_group_size=4)
    assert faults(verify(tmp_path / "out.parquet")) == {"checksum"}
