"""Every mode of the simulator gets from the whole program what the failure rules say of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from runs import (
    LEDGER_KEY,
    MODEL,
    PROMPT,
    carry,
    journal_kinds,
    keys_sent,
    make_job,
    marked,
    table_of,
    write_texts,
)
from table_expected import TABLE, modes_of

from batcher.policy import RULES, RULES_ELSEWHERE
from batcher.simulator import MODES, SimulatorConfig, launch, lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runs import Ended

    from batcher.simulator import Simulator

LATENCY = "fixed:0.3"
"""Of answers and refusals: a reset sooner than 100 ms after sending would rightly count as not paid."""
CALM = 60
"""Rows before the faulty ones that are answered well, so that the first replies are those of an API."""
CALM_BESIDE = 8
"""Rows answered well after each faulty one: nobody can tell an endpoint that mostly fails from one that is down."""
ALWAYS_ROWS = 2_600
"""They last 12 s at 64 in flight; a row that meets three timeouts of 2 s ends after 9, while others are answered."""
USABLE = {"usage_cost", "usage_of_one_choice"}
"""Modes of odd usage that one answer can be counted by all the same."""
SHORT_DEADLINE = ("endpoint.timeout_s=2.0",)


class Met(NamedTuple):
    """A finished run: its rows by the mode that they met first."""

    ended: Ended
    rows: dict[str, list[dict[str, Any]]]


# --- lists that must agree --------------------------------------------------------------------------------------


def test_every_mode_has_its_line_here_and_the_other_way_round() -> None:
    assert set(TABLE) == set(MODES)


def test_the_modes_cover_the_failure_table_and_nothing_else() -> None:
    conditions = set(RULES.values()) | set(RULES_ELSEWHERE.values())
    assert conditions == set(lines.TABLE_LINES)
    served = {mode.table_line for mode in MODES.values()}
    assert served == conditions - set(lines.NOT_SERVED)


def test_every_rule_that_classify_knows_is_met_by_a_mode() -> None:
    served = {mode.table_line for mode in MODES.values()}
    unserved = {name for name, condition in RULES.items() if condition not in served}
    assert unserved == {"tls"}


# --- modes on every attempt: what becomes of the row ------------------------------------------------------------


@pytest.fixture(scope="module")
def always(tmp_path_factory: pytest.TempPathFactory) -> Met:
    """One run; each mode that does not stop it hits one row on every attempt."""
    folder = tmp_path_factory.mktemp("always")
    modes = modes_of("paid_retry", "kept", "ended")
    place = {CALM + CALM_BESIDE * number: mode for number, mode in enumerate(modes)}
    words = (f"[{place[number]}]" if number in place else "calm" for number in range(ALWAYS_ROWS))
    write_texts(folder / "in.jsonl", [f"<{number}> {word}" for number, word in enumerate(words)])
    config = SimulatorConfig(
        latency=LATENCY,
        refusal_latency=LATENCY,
        ledger_key=LEDGER_KEY,
        faults_by_substring={f"[{mode}]": mode for mode in modes},
    )
    with launch(config) as simulator:
        job = make_job(folder, simulator.base_url, concurrency=64, sets=SHORT_DEADLINE)
        ended = carry(job)
        sent = keys_sent(simulator)
    rows = table_of(folder / "out.parquet")
    assert {row["row_index"]: row["attempts"] for row in rows} == {int(k): n for k, n in sent.items()}
    return Met(ended, {mode: [rows[number]] for number, mode in place.items()})


@pytest.mark.parametrize("mode", modes_of("kept", "ended", "paid_retry"))
def test_a_row_that_always_meets_it_ends_as_the_table_says(always: Met, mode: str) -> None:
    expected, row = TABLE[mode], always.rows[mode][0]
    assert (row["outcome"], row["attempts"], row["paid_attempts"]) == expected[1:4]
    assert (row["error_type"] is None) == (row["outcome"] == "ok")
    if row["outcome"] == "ok" and mode != "tool_calls_stop":  # no tools in this job, so no column for calls
        assert row["completion"]


def test_rows_that_are_not_ok_give_exit_code_3(always: Met) -> None:
    assert always.ended.exit_code == 3


def test_named_error_types_are_those_of_the_rules(always: Met) -> None:
    assert always.rows["exceeds_tpm"][0]["error_type"] == "exceeds_tpm"
    assert always.rows["body_over_64_mib"][0]["error_type"] == "response_too_large"


def test_unusable_usage_is_null_and_flagged(always: Met) -> None:
    for mode in (name for name in MODES if name.startswith("usage_") and name not in USABLE):
        row = always.rows[mode][0]
        assert row["warnings"], mode
        assert row["prompt_tokens"] is None or row["completion_tokens"] is None, mode
        assert row["billed_completion_tokens"] is None, mode


# --- modes once: the retry helps --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Met:
    """One run; every row but the calm ones meets one mode on its first attempt only."""
    folder = tmp_path_factory.mktemp("once")
    modes = [*modes_of("paid_retry", "unpaid_retry"), "error_in_200_rate_limit"]
    count = 12 * len(modes)
    write_texts(folder / "in.jsonl", marked(CALM, word="calm") + marked(count, start=CALM))
    config = SimulatorConfig(
        seed=3,
        latency=LATENCY,
        refusal_latency=LATENCY,
        ledger_key=LEDGER_KEY,
        faults=dict.fromkeys(modes, 1 / len(modes)),
        faults_by_substring={"calm": "ok"},
    )
    with launch(config) as simulator:
        ended = carry(make_job(folder, simulator.base_url, concurrency=256, sets=SHORT_DEADLINE))
        first: dict[str, str] = {}
        for entry in simulator.ledger():
            first.setdefault(entry["key"], entry["mode"])
    met: dict[str, list[dict[str, Any]]] = {}
    for row in table_of(folder / "out.parquet"):
        met.setdefault(first[str(row["row_index"])], []).append(row)
    return Met(ended, met)


@pytest.mark.parametrize("mode", modes_of("unpaid_retry"))
def test_an_unpaid_failure_is_tried_again_and_not_charged(once: Met, mode: str) -> None:
    results = {(row["outcome"], row["attempts"], row["paid_attempts"]) for row in once.rows[mode]}
    assert results == {("ok", 2, 1)}


@pytest.mark.parametrize("mode", [*modes_of("paid_retry"), "error_in_200_rate_limit"])
def test_a_paid_or_ambiguous_failure_is_tried_again_and_counted(once: Met, mode: str) -> None:
    results = {(row["outcome"], row["attempts"], row["paid_attempts"]) for row in once.rows[mode]}
    assert results == {("ok", 2, 2)}


def test_every_row_ended_well_in_the_run_of_passing_faults(once: Met) -> None:
    assert once.ended.exit_code == 0


# --- modes that stop the run ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with launch(SimulatorConfig(latency="fixed:0", ledger_key=LEDGER_KEY)) as simulator:
        yield simulator


@pytest.mark.parametrize("mode", modes_of("stop"))
def test_a_mode_that_stops_the_run_costs_one_request_and_no_row(
    shared: Simulator, tmp_path: Path, mode: str
) -> None:
    shared.reset()
    shared.control(faults_by_substring={"row": mode})
    write_texts(tmp_path / "in.jsonl", marked(6, word="row"))
    ended = carry(make_job(tmp_path, shared.base_url))
    assert ended.exit_code == TABLE[mode].exit_code
    assert [entry["mode"] for entry in shared.ledger()] == [mode]
    assert ended.said.outcomes == {}
    assert journal_kinds(tmp_path)["e"] == 0
    shared.control(faults_by_substring={})
    again = carry(make_job(tmp_path, shared.base_url))
    assert (again.exit_code, again.said.outcomes) == (0, {"ok": 6})


# --- apart ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["stale_reset", "stale_close"])
def test_a_connection_that_the_peer_had_closed_costs_nothing(
    shared: Simulator, tmp_path: Path, mode: str
) -> None:
    """Every second or later request of a connection meets it, and a fresh connection answers."""
    shared.reset()
    shared.control(faults_by_substring={}, faults={mode: 1.0}, faulty_attempts=1, latency="fixed:0.01")
    write_texts(tmp_path / "in.jsonl", marked(40))
    ended = carry(make_job(tmp_path, shared.base_url, concurrency=4))
    modes = shared.totals()["modes"]
    shared.control(faults={})
    assert (ended.exit_code, ended.said.outcomes) == (0, {"ok": 40})
    assert modes[mode] >= 10
    assert (ended.said.paid, ended.said.ambiguous) == (40, 0)
    assert {row["paid_attempts"] for row in table_of(tmp_path / "out.parquet")} == {1}


@pytest.mark.parametrize("mode", ["close_before_body", "reset_before_body"])
def test_a_request_that_did_not_leave_whole_costs_nothing(
    shared: Simulator, tmp_path: Path, mode: str
) -> None:
    """With a body that no socket buffer takes whole: of a small one nobody can tell whether it left."""
    shared.reset()
    shared.control(faults_by_substring={"endless": mode}, faults={})
    write_texts(tmp_path / "in.jsonl", ["<0> calm", "<1> endless " + "lorem ipsum " * 1_000_000])
    done = threading.Event()

    def heal() -> None:
        while not done.is_set() and shared.totals()["requests"] < 4:
            time.sleep(0.01)
        shared.control(faults_by_substring={})

    watcher = threading.Thread(target=heal)
    watcher.start()
    try:
        ended = carry(make_job(tmp_path, shared.base_url, concurrency=1))
    finally:
        done.set()
        watcher.join()
    row = table_of(tmp_path / "out.parquet")[1]
    assert (ended.exit_code, ended.said.ambiguous) == (0, 0)
    assert (row["outcome"], row["paid_attempts"]) == ("ok", 1)
    assert row["attempts"] >= 3


def test_an_outage_of_half_a_second_costs_no_row(tmp_path: Path) -> None:
    config = SimulatorConfig(latency="fixed:0.05", ledger_key=LEDGER_KEY, faults={"outage": 0.05})
    write_texts(tmp_path / "in.jsonl", marked(60))
    with launch(config) as simulator:
        ended = carry(make_job(tmp_path, simulator.base_url, concurrency=8))
        modes = Counter(entry["mode"] for entry in simulator.ledger())
    assert modes["outage"] >= 1
    assert (ended.exit_code, ended.said.outcomes) == (0, {"ok": 60})


def test_a_daily_limit_parks_the_run_announces_it_and_sends_nothing(
    shared: Simulator, tmp_path: Path
) -> None:
    shared.reset()
    shared.control(faults_by_substring={}, faults={"daily_limit": 1.0})
    write_texts(tmp_path / "in.jsonl", marked(6))
    command = [sys.executable, "-P", "-m", "batcher.cli", "run", "-i", "in.jsonl", "-o", "out.parquet"]
    command += ["--model", MODEL, "--prompt", PROMPT, "--base-url", shared.base_url]
    progress = tmp_path / ".batcher" / "out.parquet.run" / "progress.json"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and _held_by(progress) != "parked":
            time.sleep(0.05)
        assert _held_by(progress) == "parked"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    shared.control(faults={})
    assert process.returncode == 130
    assert len(shared.ledger()) == 1
    again = carry(make_job(tmp_path, shared.base_url))
    assert (again.exit_code, again.said.outcomes) == (0, {"ok": 6})


def _held_by(progress: Path) -> object:
    try:
        return json.loads(progress.read_bytes()).get("held_by")
    except (FileNotFoundError, json.JSONDecodeError):
        return None


@pytest.mark.long
def test_a_row_refused_a_hundred_times_while_a_thousand_succeed_is_throttled(tmp_path: Path) -> None:
    """About two minutes: its waits double up to two seconds each."""
    config = SimulatorConfig(
        latency="fixed:1.0", ledger_key=LEDGER_KEY, faults_by_substring={"<5>": "throttled_for_ever"}
    )
    write_texts(tmp_path / "in.jsonl", marked(2_000))
    with launch(config) as simulator:
        ended = carry(make_job(tmp_path, simulator.base_url, concurrency=16))
    rows = table_of(tmp_path / "out.parquet")
    assert ended.exit_code == 3
    assert (rows[5]["outcome"], rows[5]["error_type"], rows[5]["paid_attempts"]) == ("failed", "throttled", 0)
    assert rows[5]["attempts"] >= 100
