"""`retry`: the chosen rows again, all others untouched; money adds up; whatever stops it, the same command goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from typed_rows import rows_of, same_columns, sent_to, typed_table, write_typed
from verb_runs import carry_out, write_rows

from batcher.errors import AccountError, BatcherError, Conflict, JobError, StorageError
from batcher.job import JobOptions, load_job
from batcher.store.directory import run_directory
from batcher.store.footer import read_facts
from batcher.store.manifest import Manifest, Publish, read
from batcher.store.run_state import replay
from batcher.verbs import retry as retry_module
from batcher.verbs.options import RunOptions
from batcher.verbs.retry import RetryWish, retry
from batcher.verbs.run import run

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.report import Summary
    from batcher.simulator.launch import Simulator
    from batcher.store.manifest import ManifestRecord

pytest_plugins = ("verbs_fixtures",)

PRICES = ["prices.m.input=1.0", "prices.m.output=4.0"]
SHORT = "request.max_completion_tokens=3"
LONGER = "request.max_completion_tokens=400"
KEPT = (
    "completion",
    "response_id",
    "cost_usd",
    "billed_prompt_tokens",
    "request_hash",
    "received_at",
    "run_id",
)


def again(output: Path, *outcomes: str, sets: tuple[str, ...] = (), **options: Any) -> Summary:
    return retry(output, RetryWish(outcomes, sets), RunOptions(environ={}, **options))


def refused(output: Path, *outcomes: str, sets: tuple[str, ...] = ()) -> BatcherError:
    with pytest.raises(BatcherError) as caught:
        again(output, *outcomes, sets=sets)
    return caught.value


@pytest.fixture
def failed(endpoint: Simulator, tmp_path: Path) -> Path:
    """An output of eight rows: rows 3 and 7 failed, row 8 is invalid; the endpoint is well again."""
    endpoint.control(faults_by_substring={"thing 3": "bad_request", "thing 7": "bad_request"})
    rows = write_rows(tmp_path / "in.jsonl", [*(f"thing {number}" for number in range(8)), None])
    carry_out(endpoint, rows, tmp_path / "out.parquet", sets=PRICES)
    endpoint.control(faults_by_substring={})
    endpoint.reset()
    return tmp_path / "out.parquet"


def outcomes_of(output: Path) -> list[str]:
    return [row["outcome"] for row in rows_of(output)]


# --- what is done again, and what is not


def test_failed_rows_are_sent_again_and_the_others_stay_as_they_are(
    endpoint: Simulator, failed: Path
) -> None:
    before = rows_of(failed)
    summary = again(failed, "failed")
    after = rows_of(failed)
    assert sent_to(endpoint) == 2
    assert summary.outcomes == {"ok": 8, "invalid": 1}
    assert (summary.exit_code, summary.verb) == (3, "retry")
    for old, new in zip(before, after, strict=True):
        if old["outcome"] != "failed":
            assert new == old
        else:
            assert (new["outcome"], new["error_type"], new["error_message"]) == ("ok", None, None)
            assert new["request_hash"] == old["request_hash"], "the same request, so it is the same hash"
            assert new["completion"]


def test_truncated_rows_get_more_room_and_what_they_cost_before_is_added(
    endpoint: Simulator, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "in.jsonl", [f"thing {number}" for number in range(4)])
    output = tmp_path / "out.parquet"
    carry_out(endpoint, rows, output, sets=[*PRICES, SHORT])
    before = rows_of(output)
    assert {row["outcome"] for row in before} == {"truncated"}
    summary = again(output, "truncated", sets=(LONGER,))
    after = rows_of(output)
    assert sent_to(endpoint) == 8
    for old, new in zip(before, after, strict=True):
        assert new["outcome"] == "ok"
        assert len(new["completion"]) > len(old["completion"])
        assert new["request_hash"] != old["request_hash"], "another limit is another request"
        assert new["paid_attempts"] == 2
        for name in ("prompt_tokens", "completion_tokens"):
            assert new[f"billed_{name}"] == old[f"billed_{name}"] + new[name], name
        spent = (new["billed_prompt_tokens"] * 1.0 + new["billed_completion_tokens"] * 4.0) / 1e6
        assert new["cost_usd"] == pytest.approx(spent)
    totals = endpoint.totals()
    billed = sum(row["billed_completion_tokens"] for row in after)
    assert billed == totals["completion_tokens"] == summary.completion_tokens
    assert summary.cost_usd == pytest.approx(sum(row["cost_usd"] for row in after))
    assert summary.repeated_cost_usd == pytest.approx(sum(row["cost_usd"] for row in before))


def test_a_truncated_answer_is_kept_when_the_retry_brings_none(endpoint: Simulator, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ["thing 0", "thing 1"])
    output = tmp_path / "out.parquet"
    carry_out(endpoint, rows, output, sets=[*PRICES, SHORT])
    before = rows_of(output)
    endpoint.control(faults_by_substring={"thing 1": "bad_request"})
    again(output, "truncated", sets=(LONGER,))
    after = rows_of(output)
    assert [row["outcome"] for row in after] == ["ok", "truncated"]
    assert {name: after[1][name] for name in KEPT} == {name: before[1][name] for name in KEPT}


def test_a_failed_row_that_fails_again_tells_the_last_failure(endpoint: Simulator, failed: Path) -> None:
    endpoint.control(faults_by_substring={"thing 3": "moderation_400", "thing 7": "context_length"})
    again(failed, "failed")
    after = rows_of(failed)
    assert [after[number]["outcome"] for number in (3, 7)] == ["refused", "failed"]
    assert [after[number]["error_type"] for number in (3, 7)] == ["moderated", "context_length"]


def test_retries_can_be_repeated(endpoint: Simulator, failed: Path) -> None:
    endpoint.control(faults_by_substring={"thing 7": "bad_request"})
    assert again(failed, "failed").outcomes["failed"] == 1
    endpoint.control(faults_by_substring={})
    assert again(failed, "failed").outcomes == {"ok": 8, "invalid": 1}
    facts = read_facts(failed)
    assert facts is not None
    assert facts.generation == 2
    assert sent_to(endpoint) == 3


def test_with_nothing_to_do_nothing_is_sent_and_the_file_is_not_touched(
    endpoint: Simulator, failed: Path
) -> None:
    stamp = failed.stat()
    summary = again(failed, "truncated", "refused")
    assert summary.finished_before
    assert summary.outcomes == {"ok": 6, "failed": 2, "invalid": 1}
    assert summary.exit_code == 3
    assert sent_to(endpoint) == 0
    assert (failed.stat().st_ino, failed.stat().st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)


def test_invalid_rows_stay_invalid_and_say_why(endpoint: Simulator, failed: Path) -> None:
    before = rows_of(failed)[8]
    again(failed, "invalid")
    after = rows_of(failed)[8]
    assert sent_to(endpoint) == 0
    assert (after["outcome"], after["error_message"]) == ("invalid", before["error_message"])


def test_after_a_retry_the_run_is_still_finished(endpoint: Simulator, failed: Path) -> None:
    again(failed, "failed")
    endpoint.reset()
    summary = carry_out(endpoint, failed.with_name("in.jsonl"), failed, sets=PRICES)
    assert summary.finished_before
    assert sent_to(endpoint) == 0


def test_a_retry_does_not_need_the_input_any_more(endpoint: Simulator, failed: Path) -> None:
    failed.with_name("in.jsonl").unlink()
    assert again(failed, "failed").outcomes["ok"] == 8
    assert sent_to(endpoint) == 2


# --- input columns


def test_columns_of_every_type_survive_a_retry(endpoint: Simulator, tmp_path: Path) -> None:
    endpoint.control(faults_by_substring={"thing 4": "bad_request"})
    rows = write_typed(tmp_path / "in.parquet", 7)
    output = tmp_path / "out.parquet"
    carry_out(endpoint, rows, output)
    assert same_columns(output, typed_table(7))
    endpoint.control(faults_by_substring={})
    assert again(output, "failed").outcomes == {"ok": 7}
    assert same_columns(output, typed_table(7))


def test_templates_see_the_same_values_in_a_retry(endpoint: Simulator, tmp_path: Path) -> None:
    """Every column is rendered; the hash says whether a retry renders it to the same bytes."""
    endpoint.control(faults_by_substring={"thing 1": "bad_request"})
    given = typed_table(4, integer_ids=True)
    rows = write_typed(tmp_path / "in.parquet", 4, integer_ids=True)
    output = tmp_path / "out.parquet"
    names = [name for name in given.column_names if name not in {"nan", "bytes"}]
    prompt = "request.prompt=" + "".join(f"{{% if text %}}{{{{ {name} }}}}{{% endif %}}|" for name in names)
    carry_out(endpoint, rows, output, sets=[prompt, "input.id_column=custom_id"])
    before = rows_of(output)
    assert before[1]["outcome"] == "failed"
    endpoint.control(faults_by_substring={})
    again(output, "failed")
    after = rows_of(output)
    assert after[1]["outcome"] == "ok"
    assert after[1]["request_hash"] == before[1]["request_hash"]
    assert after[1]["custom_id"] == "7000000001"


def test_an_integer_custom_id_is_carried_as_text_and_rendered_as_a_number(
    endpoint: Simulator, tmp_path: Path
) -> None:
    endpoint.control(faults_by_substring={"thing 1": "bad_request"})
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps({"custom_id": n, "text": f"thing {n}"}) + "\n" for n in range(3)))
    output = tmp_path / "out.parquet"
    sets = ["input.id_column=custom_id", "request.prompt={{ custom_id + 1 }} {{ text }}"]
    carry_out(endpoint, rows, output, sets=sets)
    before = rows_of(output)
    assert [row["custom_id"] for row in before] == ["0", "1", "2"]
    assert [row["outcome"] for row in before] == ["ok", "failed", "ok"]
    endpoint.control(faults_by_substring={})
    again(output, "failed")
    after = rows_of(output)
    assert [row["outcome"] for row in after] == ["ok"] * 3
    assert after[1]["request_hash"] == before[1]["request_hash"]
    assert [row["custom_id"] for row in after] == ["0", "1", "2"]


@pytest.mark.parametrize("ids", [[1.5, 2.0], [True, False], [{"a": 1}, {"a": 2}], ["1", 2], ["a", [2]]])
def test_odd_custom_ids_survive_a_retry(endpoint: Simulator, tmp_path: Path, ids: list[object]) -> None:
    endpoint.control(faults_by_substring={"thing 1": "bad_request"})
    rows = tmp_path / "in.jsonl"
    lines = [json.dumps({"custom_id": each, "text": f"thing {n}"}) for n, each in enumerate(ids)]
    rows.write_text("\n".join(lines))
    output = tmp_path / "out.parquet"
    carry_out(endpoint, rows, output, sets=["input.id_column=custom_id"])
    before = rows_of(output)
    endpoint.control(faults_by_substring={})
    again(output, "failed")
    after = rows_of(output)
    assert [row["outcome"] for row in after] == ["ok", "ok"]
    assert [row["custom_id"] for row in after] == [row["custom_id"] for row in before]
    assert after[1]["request_hash"] == before[1]["request_hash"]


def test_batch_lines_survive_a_retry(endpoint: Simulator, tmp_path: Path) -> None:
    endpoint.control(faults_by_substring={"thing 1": "bad_request"})
    rows = tmp_path / "in.jsonl"
    lines = [
        {
            "custom_id": f"id-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "own", "messages": [{"role": "user", "content": f"thing {n}"}], "top_p": 0.5},
        }
        for n in range(3)
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = tmp_path / "out.parquet"
    given = JobOptions(input=str(rows), output=str(output), model="m", base_url=endpoint.base_url)
    run(load_job(None, options=given), RunOptions(environ={}))
    before = rows_of(output)
    assert [row["outcome"] for row in before] == ["ok", "failed", "ok"]
    endpoint.control(faults_by_substring={})
    assert again(output, "failed").outcomes == {"ok": 3}
    after = rows_of(output)
    assert [row["custom_id"] for row in after] == ["id-0", "id-1", "id-2"]
    assert after[1]["request_hash"] == before[1]["request_hash"]
    assert after[1]["request_model"] == "own"
    for name in ("url", "method", "body"):
        assert [row[name] for row in after] == [row[name] for row in before]


# --- crashes and stops


class _CrashAt:
    """Ends the process, so to speak, before the manifest's `Publish` record is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.append = Manifest.append
        crash = self

        def append(manifest: Manifest, record: ManifestRecord) -> None:
            if isinstance(record, Publish):
                raise KeyboardInterrupt
            crash.append(manifest, record)

        monkeypatch.setattr(Manifest, "append", append)


def test_a_retry_killed_between_rename_and_record_is_recognised(
    endpoint: Simulator, failed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _CrashAt(patch)
        with pytest.raises(KeyboardInterrupt):
            again(failed, "failed")
    facts = read_facts(failed)
    assert facts is not None
    assert facts.generation == 1, "the new file has its name already"
    assert replay(read(run_directory(failed).manifest).records).published is None
    after_crash = rows_of(failed)
    endpoint.reset()
    summary = again(failed, "failed")
    assert sent_to(endpoint) == 0, "nothing is bought again"
    assert summary.outcomes == {"ok": 8, "invalid": 1}
    assert rows_of(failed) == after_crash
    assert replay(read(run_directory(failed).manifest).records).published is not None
    assert again(failed, "failed").finished_before


def test_a_retry_that_was_stopped_goes_on(endpoint: Simulator, failed: Path) -> None:
    before = rows_of(failed)
    endpoint.control(fail_after={"unauthorized": 1})
    with pytest.raises(AccountError):
        again(failed, "failed")
    assert rows_of(failed) == before, "the old output stands until the new one is verified"
    endpoint.control(fail_after={})
    paid = endpoint.totals()["generated"]
    assert again(failed, "failed").outcomes == {"ok": 8, "invalid": 1}
    assert endpoint.totals()["generated"] == 2
    assert paid == 1


def test_an_unfinished_retry_with_other_settings_is_refused_with_the_exact_command(
    endpoint: Simulator, failed: Path
) -> None:
    endpoint.control(fail_after={"unauthorized": 0})
    refused(failed, "failed", sets=(LONGER,))
    endpoint.control(fail_after={})
    endpoint.reset()
    for outcomes, sets in ((["failed"], ()), (["failed"], (SHORT,)), (["failed", "refused"], (LONGER,))):
        found = refused(failed, *outcomes, sets=sets)
        assert isinstance(found, Conflict)
        assert "not finished; nothing was sent" in str(found)
        assert found.hint == f"go on with: batcher retry {failed} --outcome failed --set {LONGER}"
    assert sent_to(endpoint) == 0
    assert again(failed, "failed", sets=(LONGER,)).outcomes["ok"] == 8


def test_the_command_to_go_on_with_is_quoted_for_a_shell(endpoint: Simulator, failed: Path) -> None:
    endpoint.control(fail_after={"unauthorized": 0})
    refused(failed, "failed", sets=("request.stop=a b",))
    assert str(refused(failed, "failed").hint).endswith("--outcome failed --set 'request.stop=a b'")


def test_the_order_of_outcomes_makes_no_other_retry(endpoint: Simulator, failed: Path) -> None:
    endpoint.control(fail_after={"unauthorized": 0})
    refused(failed, "failed", "refused")
    endpoint.control(fail_after={})
    assert again(failed, "refused", "failed").outcomes["ok"] == 8


def test_the_run_is_refused_while_its_retry_is_unfinished_and_says_how_it_goes_on(
    endpoint: Simulator, failed: Path
) -> None:
    endpoint.control(fail_after={"unauthorized": 0})
    refused(failed, "failed")
    endpoint.control(fail_after={})
    endpoint.reset()
    summary = carry_out(endpoint, failed.with_name("in.jsonl"), failed, sets=PRICES)
    assert summary.finished_before, "the output stands as it was"
    assert sent_to(endpoint) == 0
    assert again(failed, "failed").outcomes["ok"] == 8, "and the retry still goes on"


def test_a_failed_disk_leaves_the_old_output(
    endpoint: Simulator, failed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = failed.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("batcher.verbs.closing.publish", full)
        with pytest.raises(StorageError):
            again(failed, "failed")
    assert failed.read_bytes() == before
    endpoint.reset()
    assert again(failed, "failed").outcomes["ok"] == 8
    assert sent_to(endpoint) == 0


# --- refusals


@pytest.mark.parametrize("outcome", ["ok", "done", "OK", ""])
def test_rows_that_are_ok_are_never_chosen(endpoint: Simulator, failed: Path, outcome: str) -> None:
    found = refused(failed, "failed", outcome)
    assert isinstance(found, JobError)
    assert "failed, truncated, refused, invalid" in str(found)
    assert sent_to(endpoint) == 0


@pytest.mark.parametrize(
    "given",
    [
        "input.limit=3", "input.path=x.jsonl", "output.path=y.parquet", "output.prefix=p_", 'labels.kind=["a", "b"]',
        'labels=["a"]', "tags.team=x", "endpoint.base_url=http://localhost:1/v1", " input.limit = 3",
    ],
)  # fmt: skip
def test_what_the_file_is_made_of_cannot_be_set(endpoint: Simulator, failed: Path, given: str) -> None:
    found = refused(failed, "failed", sets=(given,))
    assert isinstance(found, JobError)
    assert given.partition("=")[0].strip() in str(found)
    assert sent_to(endpoint) == 0
    assert again(failed, "failed").outcomes["ok"] == 8, "and a refused setting leaves nothing behind"


@pytest.mark.parametrize(
    "given",
    [
        'request.tools=[{type="function", function={name="f"}}]',
        "request.n=2",
        "input={}",
        "output={}",
        "tags={}",
        "endpoint={}",
    ],
)  # fmt: skip
def test_no_setting_changes_the_columns_by_another_way(endpoint: Simulator, failed: Path, given: str) -> None:
    columns = pq.read_schema(failed).names
    with pytest.raises(BatcherError):
        again(failed, "failed", sets=(given,))
    assert pq.read_schema(failed).names == columns
    assert sent_to(endpoint) == 0


def test_an_unknown_setting_is_refused_with_a_suggestion(endpoint: Simulator, failed: Path) -> None:
    found = refused(failed, "failed", sets=("request.temprature=1",))
    assert isinstance(found, JobError)
    assert "temprature" in str(found)
    assert sent_to(endpoint) == 0


def test_only_outputs_of_batcher_with_their_run_directory_can_be_retried(
    endpoint: Simulator, failed: Path, tmp_path: Path
) -> None:
    assert isinstance(refused(tmp_path / "absent.parquet", "failed"), JobError)
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(typed_table(3).select(["text"]), foreign)
    assert isinstance(refused(foreign, "failed"), JobError)
    moved = tmp_path / "moved.parquet"
    moved.write_bytes(failed.read_bytes())
    found = refused(moved, "failed")
    assert isinstance(found, Conflict)
    assert "--replace" in str(found.hint)
    assert sent_to(endpoint) == 0


def test_fixed_settings_name_every_table_that_makes_columns() -> None:
    assert {"input.", "output.", "labels", "tags."} <= set(retry_module.FIXED)
