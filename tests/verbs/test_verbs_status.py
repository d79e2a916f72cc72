"""What `batcher status` shows of runs that are alive, dead, finished, or not readable."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from verb_runs import batcher, carry_out, killed, simulator, stopped, write_rows

from batcher.errors import JobError, StorageError
from batcher.store.directory import RunDirectory, run_directory
from batcher.store.lock import RunLock
from batcher.store.manifest import Manifest, RetryOpen, read
from batcher.verbs.options import RunOptions
from batcher.verbs.run_status import Life
from batcher.verbs.status import status, unchanged_while
from batcher.verbs.status_words import status_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.simulator.launch import Simulator
    from batcher.verbs.run_status import RunStatus


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def at(shared_simulator: Simulator) -> Simulator:
    shared_simulator.control(fail_after={}, faults_by_substring={}, latency="fixed:0.001")
    shared_simulator.reset()
    return shared_simulator


def only(found: list[RunStatus]) -> RunStatus:
    assert len(found) == 1, found
    return found[0]


def text_of(found: RunStatus, here: Path) -> str:
    return "\n".join(status_lines([found], here=here, now=time.time()))


def texts(rows: int) -> list[str | None]:
    return [f"thing {number}" for number in range(rows)]


def test_a_finished_run_is_finished_with_its_rows_and_nothing_to_type(at: Simulator, tmp_path: Path) -> None:
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(7)), tmp_path / "out.parquet")
    found = only(status(tmp_path))
    assert (found.life, found.rows_done, found.rows_total, found.not_ok) == (Life.FINISHED, 7, 7, 0)
    assert (found.output, found.verb, found.exit_code, found.hint) == (
        str(tmp_path / "out.parquet"),
        "run",
        0,
        None,
    )
    assert found.ended_at is not None
    assert abs(found.ended_at - time.time()) < 60
    assert "out.parquet  finished  7/7 rows" in text_of(found, tmp_path)


def test_rows_that_a_retry_may_mend_are_told_with_the_command(at: Simulator, tmp_path: Path) -> None:
    at.control(faults_by_substring={"thing 3": "length", "thing 4": "bad_request", "thing 5": "refusal"})
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(40)), tmp_path / "my out.parquet")
    found = only(status(tmp_path))
    assert (found.exit_code, found.not_ok) == (3, found.not_ok)
    assert found.not_ok > 2
    assert found.hint == f"batcher retry '{tmp_path}/my out.parquet' --outcome failed,truncated"
    assert f"not ok {found.not_ok}" in text_of(found, tmp_path)


def test_a_stopped_run_tells_why_and_how_far_it_came(at: Simulator, tmp_path: Path) -> None:
    at.control(fail_after={"unauthorized": 5})
    stopped(at, write_rows(tmp_path / "in.jsonl", texts(30)), tmp_path / "out.parquet")
    found = only(status(tmp_path))
    assert (found.life, found.exit_code, found.exit_reason) == (Life.STOPPED, 5, "account")
    assert (found.rows_done, found.rows_total) == (5, 30)
    text = text_of(found, tmp_path)
    assert "stopped: account (exit 5)  5/30 rows (17%)" in text
    assert "next: with a working key the same command goes on" in text
    assert found.message is not None
    assert found.message.splitlines()[0] in text


def test_a_killed_run_is_crashed_and_the_next_session_knows_what_may_be_paid_twice(
    at: Simulator, tmp_path: Path
) -> None:
    rows, output = write_rows(tmp_path / "in.jsonl", texts(400)), tmp_path / "out.parquet"
    at.control(latency="fixed:0.05")
    pid = killed(at, rows, output, after=20)
    found = only(status(output))
    assert (found.life, found.pid, found.host, found.exit_code) == (
        Life.CRASHED,
        pid,
        os.uname().nodename,
        None,
    )
    assert (found.rows_total, found.hint) == (400, "the same command goes on")
    assert f"process {pid} on {os.uname().nodename} is gone" in text_of(found, tmp_path)
    at.control(fail_after={"unauthorized": 0})
    stopped(at, rows, output)
    found = only(status(output))
    assert found.life is Life.STOPPED
    assert 1 <= len(found.possibly_paid) <= 4
    assert {session for session, _ in found.possibly_paid} == {1}
    assert f"{len(found.possibly_paid)} rows may have been paid twice: row_index" in text_of(found, tmp_path)


def test_whoever_holds_the_lock_is_alive(at: Simulator, tmp_path: Path) -> None:
    at.control(fail_after={"unauthorized": 5})
    stopped(at, write_rows(tmp_path / "in.jsonl", texts(30)), tmp_path / "out.parquet")
    directory = run_directory(tmp_path / "out.parquet")
    with RunLock.acquire(directory.lock, pid=4_000_001, host="elsewhere", now=time.time()):
        found = only(status(tmp_path))
    assert (found.life, found.pid, found.host, found.hint) == (Life.RUNNING, 4_000_001, "elsewhere", None)
    assert "process 4000001 on elsewhere · last sign of life" in text_of(found, tmp_path)
    assert only(status(tmp_path)).life is Life.STOPPED


def test_a_session_at_work_is_shown_with_rate_and_what_holds_it(at: Simulator, tmp_path: Path) -> None:
    at.control(fail_after={"unauthorized": 5})
    stopped(at, write_rows(tmp_path / "in.jsonl", texts(30)), tmp_path / "out.parquet")
    directory = run_directory(tmp_path / "out.parquet")
    said = json.loads(directory.progress.read_bytes())
    said |= {
        "rows_done": 12,
        "rate": 3.0,
        "held_by": "endpoint down",
        "not_ok": 1,
        "cost_usd": 0.25,
        "in_flight": 4,
        "flow": said["flow"]
        | {"breaker": {"open": True, "next_probe_s": 4.0}, "held_s": {"endpoint down": 40.0}},
    }
    directory.progress.write_text(json.dumps(said))
    with RunLock.acquire(directory.lock, pid=os.getpid(), host="here", now=time.time()):
        found = only(status(tmp_path))
    assert (found.rows_done, found.rate, found.held_by, found.in_flight) == (12, 3.0, "endpoint down", 4)
    lines = text_of(found, tmp_path).splitlines()
    assert lines[0].endswith(
        "12/30 rows (40%)  3.0 rows/s  ETA 6.0 s  $0.25  not ok 1  held by: endpoint down, next probe in 4.0 s"
    )
    assert "    window 4 (pinned), 0 in flight" in lines
    assert "    held: endpoint down 40 s" in lines
    assert found.to_json()["flow"] == said["flow"]


def test_what_held_a_run_is_told_of_one_that_ended_too(at: Simulator, tmp_path: Path) -> None:
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(7)), tmp_path / "out.parquet")
    found = only(status(tmp_path))
    assert found.flow["window"] == {"limit": 4, "most": 4, "in_flight": 0, "mode": "pinned"}
    assert "window 4" not in text_of(found, tmp_path), "how a run stood that is over is for --json"


def test_progress_of_another_session_is_not_believed(at: Simulator, tmp_path: Path) -> None:
    at.control(fail_after={"unauthorized": 5})
    stopped(at, write_rows(tmp_path / "in.jsonl", texts(30)), tmp_path / "out.parquet")
    directory = run_directory(tmp_path / "out.parquet")
    said = json.loads(directory.progress.read_bytes())
    directory.progress.write_text(json.dumps(said | {"session": 7, "rows_done": 29, "rate": 3.0}))
    with RunLock.acquire(directory.lock, pid=os.getpid(), host="here", now=time.time()):
        found = only(status(tmp_path))
    assert (found.rate, found.rows_done) == (None, 0)


def test_an_open_retry_is_told_with_the_command_that_goes_on(at: Simulator, tmp_path: Path) -> None:
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(7)), tmp_path / "out.parquet")
    manifest = Manifest.open(run_directory(tmp_path / "out.parquet").manifest)
    settings = {"sets": ["request.max_completion_tokens=256"]}
    manifest.append(RetryOpen(1, outcomes=("failed", "truncated"), settings=settings, rows=2))
    manifest.close()
    found = only(status(tmp_path))
    assert (found.life, found.verb) == (Life.CRASHED, "retry")
    assert found.retry is not None
    assert found.retry["rows"] == 2
    assert found.hint == (
        f"batcher retry {tmp_path}/out.parquet --outcome failed,truncated --set request.max_completion_tokens=256"
    )


def test_a_damaged_manifest_is_told_and_hides_no_other_run(at: Simulator, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", texts(3))
    for name in ("a.parquet", "b.parquet", "c.parquet"):
        carry_out(at, rows, tmp_path / name)
    manifest = run_directory(tmp_path / "b.parquet").manifest
    content = bytearray(manifest.read_bytes())
    content[40] ^= 1
    manifest.write_bytes(content)
    found = status(tmp_path)
    assert [each.life for each in found] == [Life.FINISHED, Life.UNREADABLE, Life.FINISHED]
    assert "is damaged at record 1" in text_of(found[1], tmp_path)
    assert batcher("status", tmp_path).exit_code == 0


def test_a_run_description_edited_by_hand_is_told(at: Simulator, tmp_path: Path) -> None:
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(3)), tmp_path / "out.parquet")
    described = run_directory(tmp_path / "out.parquet").run_json
    described.write_text(described.read_text().replace('"model": "m"', '"model": "n"'))
    found = only(status(tmp_path))
    assert found.life is Life.UNREADABLE
    assert found.problem is not None
    assert "changed after it was written" in found.problem


def test_an_output_that_is_gone_or_replaced_is_told(at: Simulator, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(3)), output)
    output.rename(tmp_path / "moved.parquet")
    assert only(status(tmp_path)).problem == "the output is gone"
    output.write_text("something else")
    assert only(status(tmp_path)).problem == "another file stands at the output's name"


def test_runs_are_found_in_folders_below_and_in_a_shared_state_folder(at: Simulator, tmp_path: Path) -> None:
    rows, state = write_rows(tmp_path / "in.jsonl", texts(2)), tmp_path / "state"
    for folder in ("a/deep", "b"):
        (tmp_path / folder).mkdir(parents=True)
        carry_out(at, rows, tmp_path / folder / "out.parquet")
    carry_out(at, rows, tmp_path / "b" / "shared.parquet", options=RunOptions(environ={}, state=state))

    def names(found: list[RunStatus]) -> list[str]:
        return sorted(str(Path(each.output).relative_to(tmp_path)) for each in found)

    assert names(status(tmp_path)) == ["a/deep/out.parquet", "b/out.parquet"]
    assert names(status(tmp_path / "b", state=state)) == ["b/out.parquet", "b/shared.parquet"]
    assert names(status(tmp_path / "a", state=state)) == ["a/deep/out.parquet"]
    assert names(status(tmp_path / "b" / "shared.parquet", state=state)) == ["b/shared.parquet"]
    assert names(status(state)) == ["b/shared.parquet"]


def test_the_command_of_a_run_in_a_shared_folder_names_that_folder(at: Simulator, tmp_path: Path) -> None:
    at.control(faults_by_substring={"thing 1": "bad_request"})
    rows, state = write_rows(tmp_path / "in.jsonl", texts(2)), tmp_path / "state"
    carry_out(at, rows, tmp_path / "out.parquet", options=RunOptions(environ={}, state=state))
    found = only(status(tmp_path, state=state))
    assert found.hint == f"batcher retry {tmp_path}/out.parquet --outcome failed --state {state}"


def test_without_a_path_every_run_of_the_state_folder_is_shown(
    at: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RunOptions(environ={}, state=tmp_path / "state")
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(2)), tmp_path / "out.parquet", options=options)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("BATCHER_STATE", str(tmp_path / "state"))
    assert "out.parquet  finished" in batcher("status").output
    assert "no runs here" in batcher("status", ".").output


def test_json_is_a_list_of_objects_alone_on_stdout(at: Simulator, tmp_path: Path) -> None:
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(2)), tmp_path / "out.parquet")
    said = batcher("status", tmp_path, "--json")
    found: list[dict[str, Any]] = json.loads(said.stdout)
    assert said.stderr == ""
    assert [(each["life"], each["rows_done"], each["output"]) for each in found] == [
        ("finished", 2, str(tmp_path / "out.parquet"))
    ]
    assert json.loads(batcher("status", tmp_path / ".batcher", "--json").stdout) == found


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="does not exist"):
        status(tmp_path / "nope")
    assert status(tmp_path) == []


def test_a_look_starts_over_when_the_manifest_grew(at: Simulator, tmp_path: Path) -> None:
    carry_out(at, write_rows(tmp_path / "in.jsonl", texts(2)), tmp_path / "out.parquet")
    directory = run_directory(tmp_path / "out.parquet")
    looks = []

    def look() -> int:
        looks.append(len(read(directory.manifest).records))
        if len(looks) == 1:
            manifest = Manifest.open(directory.manifest)
            manifest.append(RetryOpen(1, outcomes=("failed",), settings={}, rows=1))
            manifest.close()
        if len(looks) == 2:
            return looks[-1]
        raise StorageError("a part is gone, because the run went on")

    assert unchanged_while(directory, look) == looks[0] + 1
    with pytest.raises(StorageError, match="a part is gone"):
        unchanged_while(directory, look)


def test_looking_changes_nothing(at: Simulator, tmp_path: Path) -> None:
    at.control(fail_after={"unauthorized": 5})
    stopped(at, write_rows(tmp_path / "in.jsonl", texts(30)), tmp_path / "out.parquet")

    def content() -> dict[Path, tuple[bytes, int]]:
        return {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(tmp_path.rglob("*"))
            if path.is_file()
        }

    before = content()
    assert status(tmp_path)
    assert content() == before


def test_a_folder_where_nothing_began_is_no_run(tmp_path: Path) -> None:
    directory = run_directory(tmp_path / "out.parquet")
    directory.make()
    with RunLock.acquire(directory.lock, pid=os.getpid(), host="here", now=time.time()):
        found = only(status(tmp_path))
        assert (found.life, found.output) == (Life.RUNNING, str(tmp_path / "out.parquet"))
        assert "no session yet" in text_of(found, tmp_path)
    assert status(tmp_path) == []
    RunDirectory(directory.path).tries.mkdir()
    directory.try_part(1).touch()
    found = only(status(tmp_path))
    assert (found.life, found.tries) == (Life.NOT_STARTED, 1)
