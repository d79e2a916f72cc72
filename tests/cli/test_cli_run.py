"""`batcher run` from outside: exit codes, which stream says what, and surroundings that are not as they should be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_runs import PROMPT, batcher

from batcher.report import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli_runs import Place

pytest_plugins = ("cli_fixtures",)

LINES = "".join(json.dumps({"text": f"thing {number}"}) + "\n" for number in range(6))


def process(
    place: Place, *words: object, env: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, with nothing in its environment but what is needed."""
    given = ["-i", "in.jsonl", "-o", "out.parquet", "--model", "m", "--prompt", PROMPT]
    command = [
        sys.executable,
        "-P",
        "-m",
        "batcher.cli",
        "run",
        *given,
        "--base-url",
        place.endpoint.base_url,
    ]
    settings: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    return subprocess.run(
        [*command, *map(str, words)],
        cwd=place.folder, env={"PATH": os.environ["PATH"], **(env or {})}, timeout=60, check=False,
        **(settings | streams),
    )  # fmt: skip


# --- streams


def test_without_json_stdout_stays_empty_and_everything_human_is_on_stderr(place: Place) -> None:
    said = place.run(place.write(LINES))
    assert (said.code, said.out) == (0, "")
    assert "  out.parquet  6 rows, verified" in said.err
    assert "thing 0" in said.err, "the first rows are shown"


def test_json_is_one_object_on_stdout_and_the_rest_stays_on_stderr(place: Place) -> None:
    said = place.run(place.write(LINES), "--json")
    summary = said.summary
    assert summary["verb"] == "run"
    assert (summary["exit_code"], summary["exit_reason"], summary["next"]) == (0, "ok", "none")
    assert summary["outcomes"] == {"ok": 6}
    assert summary["output"] == str(place.output)
    assert "verified" in said.err


def test_summary_writes_the_same_object_to_a_file(place: Place) -> None:
    said = place.run(place.write(LINES), "--json", "--summary", "summary.json")
    assert json.loads((place.folder / "summary.json").read_text()) == said.summary


def test_a_stop_is_one_json_object_too(place: Place) -> None:
    place.endpoint.control(fail_after={"unauthorized": 2})
    said = place.run(place.write(LINES), "--json", "--summary", "summary.json")
    assert said.code == 5
    summary = said.summary
    assert (summary["exit_code"], summary["exit_reason"], summary["next"]) == (5, "account", "fix_key")
    assert summary["message"].startswith("401 from")
    assert summary["rows_total"] == 6
    assert json.loads((place.folder / "summary.json").read_text()) == summary
    assert "(exit 5)" in said.err


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [(["-i", "absent.jsonl"], 2, "dataset_not_usable"), (["--concurrency", "0"], 2, "job_not_usable")],
)
def test_a_stop_before_the_session_is_one_json_object_too(
    place: Place, words: list[str], code: int, reason: str
) -> None:
    said = place.run(place.write(LINES), *words, "--json")
    assert said.code == code
    assert (said.summary["exit_code"], said.summary["exit_reason"]) == (code, reason)
    assert said.summary["message"]


def test_quiet_says_only_the_summary(place: Place) -> None:
    said = place.run(place.write(LINES), "-q")
    assert said.err.splitlines()[0].startswith("  out.parquet  6 rows")
    assert "thing 0" not in said.err


def test_into_a_log_a_line_of_pairs_is_written_now_and_then(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "LOG_EVERY_S", 0.01)
    place.endpoint.control(latency="fixed:0.3")
    said = place.run(place.write(LINES))
    lines = [line for line in said.err.splitlines() if line.startswith("  ts=")]
    assert lines
    assert " rows=0/6 " in lines[0]
    assert "in_flight=" in lines[0]


# --- exit codes


def test_rows_that_are_not_ok_are_exit_3_and_a_finished_run_exits_as_it_did(place: Place) -> None:
    place.endpoint.control(faults_by_substring={"thing 3": "bad_request"})
    first = place.run(place.write(LINES), "--json")
    assert (first.code, first.summary["next"]) == (3, "retry_rows")
    place.endpoint.reset()
    again = place.run("in.jsonl", "--json")
    assert (again.code, place.sent) == (3, 0)
    assert again.summary["finished_before"] is True
    assert "nothing was sent" in again.err


@pytest.mark.parametrize(
    ("share", "code"), [("17%", 0), ("16%", 3), ("100%", 0), ("0", 3), ("16.7", 0)]
)  # one of six is 16.67 %
def test_allow_failures_is_a_share_of_the_rows(place: Place, share: str, code: int) -> None:
    place.endpoint.control(faults_by_substring={"thing 3": "bad_request"})
    assert place.run(place.write(LINES), "--allow-failures", share).code == code
    assert place.run("in.jsonl", "--allow-failures", share).code == code


def test_what_failed_and_what_helps_is_said(place: Place) -> None:
    place.endpoint.control(faults_by_substring={"thing 3": "context_length", "thing 4": "bad_request"})
    said = place.run(place.write(LINES))
    assert "1 failed  context too long" in said.err
    assert "no retry helps: shorten the prompt" in said.err


def test_truncated_rows_come_with_the_command_that_gives_them_room(place: Place) -> None:
    said = place.run(place.write(LINES), "--set", "request.max_completion_tokens=3")
    assert said.code == 3
    command = "batcher retry out.parquet --outcome truncated --set request.max_completion_tokens=12"
    assert command in said.err
    place.endpoint.reset()
    assert batcher(*command.split()[1:]).code in {0, 3}
    assert place.sent == 6, "the command can be typed as it is shown"


def test_another_process_is_exit_9(place: Place) -> None:
    place.endpoint.control(latency="fixed:1")
    place.write(LINES)
    words = [sys.executable, "-P", "-m", "batcher.cli", "run", "-i", "in.jsonl", "-o", "out.parquet", "-q"]
    words += ["--model", "m", "--prompt", PROMPT, "--base-url", place.endpoint.base_url]
    first = subprocess.Popen(words, cwd=place.folder, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while not place.sent:
        assert time.monotonic() < until
        assert first.poll() is None
    said = place.run("in.jsonl", "--json")
    assert said.code == 9
    assert said.summary["exit_reason"] == "locked"
    assert str(first.pid) in said.err
    assert first.wait(30) == 0


# --- surroundings


def test_with_nothing_in_the_environment_it_works(place: Place) -> None:
    place.write(LINES)
    ended = process(place, "--json", env={"LANG": "C"})
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["outcomes"] == {"ok": 6}


def test_ascii_streams_lose_no_run(place: Place) -> None:
    place.write(json.dumps({"text": "漢字 👋"}, ensure_ascii=False) + "\n")
    ended = process(
        place, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    )
    assert ended.returncode == 0, ended.stderr
    assert b"verified" in ended.stderr
    assert place.rows()[0]["text"] == "漢字 👋"


def test_a_reader_of_stdout_that_left_does_not_end_the_run(place: Place) -> None:
    place.write(LINES)
    reader, writer = os.pipe()
    os.close(reader)
    ended = process(place, "--json", stdout=writer)
    os.close(writer)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert len(place.rows()) == 6, "the output is published all the same"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_do_not_end_the_run(place: Place, closed: str) -> None:
    place.write(LINES)
    words = '-i in.jsonl -o out.parquet --model m --prompt "$1" --base-url "$2"'
    line = f'exec "$0" -P -m batcher.cli run {words} {closed}'
    ended = subprocess.run(
        ["sh", "-c", line, sys.executable, PROMPT, place.endpoint.base_url],
        cwd=place.folder, timeout=60, check=False, capture_output=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert len(place.rows()) == 6


def test_a_full_device_behind_stderr_does_not_end_the_run(place: Place) -> None:
    place.write(LINES)
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device, not a path of ours
        ended = process(place, stderr=full)
    assert ended.returncode == 0
    assert len(place.rows()) == 6


def test_an_unwritable_folder_is_exit_2_before_anything_is_sent(place: Place) -> None:
    place.write(LINES)
    locked = place.folder / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("root writes everywhere")
    said = place.run("in.jsonl", "-o", "locked/out.parquet")
    assert said.code == 2
    assert "locked" in said.err
    assert place.sent == 0


@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="needs /proc, a folder in which nobody can write"
)
def test_a_folder_nobody_can_write_in_is_exit_2(place: Place) -> None:
    place.write(LINES)
    said = place.run("in.jsonl", "-o", "/proc/out.parquet")
    assert said.code in {2, 8}
    assert "Traceback" not in said.err
    assert place.sent == 0


# --- standard input


def test_a_pipe_is_an_input_and_a_stopped_run_resumes_from_its_copy(place: Place) -> None:
    place.endpoint.control(fail_after={"unauthorized": 2})
    assert place.run("-", stdin=LINES.encode()).code == 5
    paid = place.endpoint.totals()["generated"]
    place.endpoint.control(fail_after={})
    said = place.run("-", stdin=b"")
    assert said.code == 0, said.err
    assert [row["text"] for row in place.rows()] == [f"thing {number}" for number in range(6)]
    totals = place.endpoint.totals()
    assert (totals["generated"], totals["paid_again"]) == (6, 0)
    assert 0 < paid < 6


def test_a_finished_run_from_a_pipe_is_finished_with_the_pipe_and_without(place: Place) -> None:
    place.run("-", stdin=LINES.encode())
    place.endpoint.reset()
    assert place.run("-", stdin=LINES.encode()).code == 0
    assert place.run("-", stdin=b"").code == 0
    assert place.sent == 0


def test_another_pipe_is_another_input_and_refused(place: Place) -> None:
    place.run("-", stdin=LINES.encode())
    place.endpoint.reset()
    said = place.run("-", stdin=b'{"text": "other"}\n')
    assert said.code == 4
    assert place.sent == 0


def test_after_a_refused_pipe_the_first_one_is_still_the_input(place: Place) -> None:
    place.endpoint.control(fail_after={"unauthorized": 2})
    assert place.run("-", stdin=LINES.encode()).code == 5
    place.endpoint.control(fail_after={})
    assert place.run("-", stdin=b'{"text": "other"}\n').code == 4
    said = place.run("-", stdin=b"")
    assert said.code == 0, said.err
    assert len(place.rows()) == 6


# --- state folders


@pytest.mark.parametrize("by_variable", [False, True])
def test_two_outputs_of_one_name_share_a_state_folder(
    place: Place, by_variable: bool, tmp_path: Path
) -> None:
    place.write(LINES)
    state = tmp_path / "state"
    words = [] if by_variable else ["--state", state]
    env = {"BATCHER_STATE": str(state)} if by_variable else {}
    for folder, top_p in (("a", "0.1"), ("b", "0.2")):
        said = place.run(
            "in.jsonl", "-o", f"{folder}/out.parquet", "--set", f"request.top_p={top_p}", *words, env=env
        )
        assert said.code == 0, said.err
    assert place.sent == 12
    assert len([path for path in state.iterdir() if path.name.endswith(".run")]) == 2
    assert not list(place.folder.rglob(".batcher"))
    assert (state / ".gitignore").read_text() == "*\n"
    again = place.run("in.jsonl", "-o", "a/out.parquet", "--set", "request.top_p=0.1", *words, env=env)
    assert (again.code, place.sent) == (0, 12)
    assert len((state / "ledger.jsonl").read_text().splitlines()) == 2


# --- simulated


def test_simulate_needs_no_key_and_stands_in_no_real_runs_way(place: Place) -> None:
    place.write(LINES)
    words = ["-i", "in.jsonl", "-o", "out.parquet", "--model", "m", "--prompt", PROMPT]
    said = batcher("run", *words, "--simulate", "--json")
    assert said.code == 0, said.err
    assert said.summary["simulated"] is True
    assert said.err.splitlines()[0].strip().startswith("SIMULATED")
    assert not place.output.exists()
    assert place.run("in.jsonl").code == 0
    assert place.sent == 6, "no simulated answer was taken over"
